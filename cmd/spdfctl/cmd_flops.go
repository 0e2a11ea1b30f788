package main

import (
	"fmt"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/spdfctl/spdfctl/analysis"
	"github.com/spdfctl/spdfctl/formats/maskfile"
	"github.com/spdfctl/spdfctl/train/gpt"
)

func newFlopsCmd(a *app) *cobra.Command {
	return group(a, "flops", "Account for the cost of training", newFlopsReportCmd(a))
}

// flopsFlags are the flags of "flops report".
type flopsFlags struct {
	model, mask, convention string
	seqLen, tokens          int64
	sparsities, finetunes   []string
	layers                  bool
}

func newFlopsReportCmd(a *app) *cobra.Command {
	var flags flopsFlags
	cmd := &cobra.Command{
		Use:   "report --model MODEL",
		Short: "Count the FLOPs of training per layer and in total, sparse beside dense",
		Long: `Report counts the FLOPs of training a model, forward and backward, for every
sparsity asked for beside the dense model. One multiply-add is 2 FLOPs.

--sparsity prunes every sparsified matrix alike; --mask takes the kept weights
that a mask file counts. For a run or checkpoint directory with masks, and
without either flag, its own masks count. --finetune SEQS:LEN adds a dense
fine-tuning on SEQS sequences of LEN tokens, all epochs; each one given is
reported on its own.

Convention spdf reproduces the tables of the SPDF paper. The others are causal,
palm, chinchilla and 6n; docs/flops.md defines them.`,
		Example: `  spdfctl flops report --model spdf-gpt3-xl --tokens 26B --sparsity 0.5,0.75
  spdfctl flops report --model runs/sparse --tokens 100M --finetune 126K:512 --json`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return a.flopsReport(flags) },
	}
	f := cmd.Flags()
	f.StringVar(&flags.model, "model", "", "preset name, config.json, run or checkpoint directory")
	countVar(f, &flags.seqLen, "seq-len", 0, "tokens of a sequence (0: the longest of the model)")
	countVar(f, &flags.tokens, "tokens", 0, "tokens of the pre-training, such as 2.5B (0: one sequence)")
	f.StringSliceVar(&flags.sparsities, "sparsity", nil, "fractions of each sparsified matrix that are pruned, in [0, 1)")
	f.StringVar(&flags.mask, "mask", "", "mask file whose kept weights are counted")
	f.StringVar(&flags.convention, "convention", string(analysis.SPDF), "what is counted: spdf, causal, palm, chinchilla or 6n")
	f.StringArrayVar(&flags.finetunes, "finetune", nil, "add a dense fine-tuning on SEQS:LEN (may be repeated)")
	f.BoolVar(&flags.layers, "layers", false, "list every layer instead of sums over the blocks")
	return cmd
}

func (a *app) flopsReport(flags flopsFlags) error {
	if flags.model == "" {
		return usageErrorf("flops report: --model is missing")
	}
	convention, err := analysis.ParseConvention(flags.convention)
	if err != nil {
		return &usageError{err: fmt.Errorf("flops report: --convention: %w", err)}
	}
	c, err := gpt.ResolveConfig(flags.model)
	if err != nil {
		return withPresetHint(fmt.Errorf("flops report: %w", err))
	}
	if flags.seqLen == 0 {
		flags.seqLen = int64(c.NCtx)
	}
	if flags.seqLen > int64(c.NCtx) {
		return usageErrorf("flops report: --seq-len %d, the model has positions for %d", flags.seqLen, c.NCtx)
	}
	oneSequence := flags.tokens == 0
	if oneSequence {
		flags.tokens = flags.seqLen
	}
	tunes, err := parseFineTunes(flags.finetunes, c.NCtx)
	if err != nil {
		return err
	}
	scenarios, names, err := flops(c, flags)
	if err != nil {
		return err
	}
	report, err := analysis.NewFLOPReport(c, convention, int(flags.seqLen), flags.tokens, scenarios, tunes)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(report)
	}
	return flopsTable{report: report, model: flags.model, names: names, layers: flags.layers, oneSequence: oneSequence}.print(a.stdout)
}

// flops returns what is to be counted, with the heading of its column.
func flops(c gpt.Config, flags flopsFlags) (scenarios []analysis.Scenario, names []string, err error) {
	for _, text := range flags.sparsities {
		s, err := parseSparsity("flops report", text)
		if err != nil {
			return nil, nil, err
		}
		scenarios = append(scenarios, analysis.Scenario{Sparsity: s.Float64(), Kept: analysis.UniformKept(s)})
		names = append(names, s.String())
	}
	path := flags.mask
	if path == "" && len(scenarios) == 0 {
		path = ownMasks(flags.model)
	}
	if path != "" {
		set, err := maskfile.Read(path)
		if err != nil {
			return nil, nil, err
		}
		kept, err := analysis.MaskKept(c, set)
		if err != nil {
			return nil, nil, fmt.Errorf("flops report: %s: %w", path, err)
		}
		scenarios = append(scenarios, analysis.Scenario{Sparsity: set.Sparsity(), Kept: kept})
		names = append(names, fmt.Sprintf("mask %.4g", set.Sparsity()))
	}
	if len(scenarios) == 0 {
		scenarios, names = []analysis.Scenario{{}}, []string{"0"}
	}
	return scenarios, names, nil
}

// ownMasks returns the mask file of the checkpoint that model names, or "".
func ownMasks(model string) string {
	if _, ok := gpt.Preset(model); ok {
		return ""
	}
	dir := model
	if isDir(model) {
		found, err := gpt.CheckpointDir(model)
		if err != nil {
			return ""
		}
		dir = found
	} else if strings.HasSuffix(model, ".safetensors") {
		dir = filepath.Dir(model)
	}
	path := filepath.Join(dir, gpt.MasksFile)
	if _, err := os.Stat(path); err != nil {
		return ""
	}
	return path
}

// parseFineTunes reads the values of --finetune.
func parseFineTunes(list []string, maxLen int) ([]analysis.FineTune, error) {
	var out []analysis.FineTune
	for _, text := range list {
		seqs, length, ok := strings.Cut(text, ":")
		if !ok {
			return nil, usageErrorf("flops report: --finetune %q is not SEQS:LEN", text)
		}
		n, err := parseCount(seqs)
		if err != nil {
			return nil, usageErrorf("flops report: --finetune %q: sequences: %w", text, err)
		}
		l, err := parseCount(length)
		if err != nil {
			return nil, usageErrorf("flops report: --finetune %q: length: %w", text, err)
		}
		if n < 1 {
			return nil, usageErrorf("flops report: --finetune %q: %d sequences, want at least 1", text, n)
		}
		if l < 1 || l > int64(maxLen) {
			return nil, usageErrorf("flops report: --finetune %q: %d tokens, the model has positions for 1 to %d", text, l, maxLen)
		}
		out = append(out, analysis.FineTune{Seqs: n, SeqLen: int(l)})
	}
	return out, nil
}

// printFLOPs writes report as a table, a column for every result.
func printFLOPs(w io.Writer, report *analysis.FLOPReport) error {
	names := make([]string, len(report.Results))
	for i, r := range report.Results {
		names[i] = fmt.Sprintf("%.4g", r.Sparsity)
	}
	return flopsTable{report: report, names: names}.print(w)
}

// flopsTable is how a report looks.
type flopsTable struct {
	report      *analysis.FLOPReport
	model       string   // as typed; may be empty
	names       []string // headings of the results
	layers      bool     // every layer rather than sums by kind
	oneSequence bool     // no number of tokens was given
}

func (t flopsTable) print(out io.Writer) error {
	r := t.report
	if t.model != "" {
		p := r.Model.Params()
		fmt.Fprintf(out, "model:       %s: %d layers, width %d, %d heads, vocabulary %d; %s parameters, %s of them sparsifiable\n",
			t.model, r.Model.NLayer, r.Model.NEmbd, r.Model.NHead, r.Model.VocabSize, shortCount(p.Total()), shortCount(p.Weights))
	}
	fmt.Fprintf(out, "convention:  %s: %s\n", r.Convention, r.Convention.Describe())
	if t.oneSequence {
		fmt.Fprintf(out, "training:    one sequence of %d tokens, forward and backward\n\n", r.SeqLen)
	} else {
		fmt.Fprintf(out, "training:    %s tokens in sequences of %d, forward and backward\n\n", shortCount(r.Tokens), r.SeqLen)
	}

	sparse := t.sparse()
	lines := [][]string{{"FLOPs of one sequence", "dense MACs/token", "dense"}}
	for _, i := range sparse {
		lines[0] = append(lines[0], t.names[i])
	}
	for _, row := range t.rows(sparse) {
		line := []string{row.name, fmt.Sprint(row.macs), shortFLOPs(row.dense, 4)}
		for _, x := range row.sparse {
			line = append(line, shortFLOPs(x, 4))
		}
		lines = append(lines, line)
	}
	add := func(name, dense string, value func(r *analysis.Result) string) {
		line := []string{name, "", dense}
		for _, i := range sparse {
			line = append(line, value(&r.Results[i]))
		}
		lines = append(lines, line)
	}
	first := &r.Results[0]
	if !t.oneSequence {
		add("pre-training", shortFLOPs(first.DenseFLOPsTotal, 5), func(r *analysis.Result) string { return shortFLOPs(r.FLOPsTotal, 5) })
	}
	if len(sparse) > 0 {
		add("reduction", "1", func(r *analysis.Result) string { return fmt.Sprintf("%.3f", r.Reduction) })
		add("speed-up, at most", "1", func(r *analysis.Result) string { return fmt.Sprintf("%.3f", r.Speedup) })
	}
	for i, f := range first.FineTuning {
		same := shortFLOPs(f.FLOPsTotal, 5)
		add(fmt.Sprintf("fine-tuning, dense, %d x %d", f.Seqs, f.SeqLen), same, func(*analysis.Result) string { return same })
		if t.oneSequence {
			continue // its sum with one sequence of pre-training means nothing
		}
		add("  with pre-training", shortFLOPs(f.DenseWithPretraining, 5), func(r *analysis.Result) string { return shortFLOPs(r.FineTuning[i].WithPretraining, 5) })
		if len(sparse) > 0 {
			add("  speed-up, at most", "1", func(r *analysis.Result) string { return fmt.Sprintf("%.3f", r.FineTuning[i].Speedup) })
		}
	}
	return printColumns(out, lines)
}

// printColumns writes lines of cells, the first column to the left, the others
// to the right. A line may be shorter than another.
func printColumns(out io.Writer, lines [][]string) error {
	const gap = 3
	var widths []int
	for _, line := range lines {
		for i, cell := range line {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for _, line := range lines {
		fmt.Fprintf(&b, "%-*s", widths[0], line[0])
		for i, cell := range line[1:] {
			fmt.Fprintf(&b, "%*s", widths[i+1]+gap, cell)
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// sparse lists the results that are not the dense column once more.
func (t flopsTable) sparse() []int {
	var list []int
	for i, r := range t.report.Results {
		if r.FLOPsTotal.Cmp(r.DenseFLOPsTotal) != 0 || r.Sparsity != 0 {
			list = append(list, i)
		}
	}
	return list
}

// flopsRow is a line of the table: a layer, a kind of layers, or the sum.
type flopsRow struct {
	name   string
	macs   int64 // dense
	dense  *big.Int
	sparse []*big.Int
}

// rows adds up the layers of one name or kind, in the order of the computation.
func (t flopsTable) rows(sparse []int) []flopsRow {
	r, dense := t.report, t.report.DenseLayers
	var rows []flopsRow
	index := map[string]int{}
	row := func(name string) *flopsRow {
		i, ok := index[name]
		if !ok {
			i = len(rows)
			index[name] = i
			rows = append(rows, flopsRow{name: name, dense: new(big.Int), sparse: make([]*big.Int, len(sparse))})
			for j := range sparse {
				rows[i].sparse[j] = new(big.Int)
			}
		}
		return &rows[i]
	}
	heading := func(l *analysis.Layer) string {
		if t.layers {
			return l.Name
		}
		return l.Kind
	}
	for i := range dense {
		x := row(heading(&dense[i]))
		x.macs += dense[i].MACsPerToken
		x.dense.Add(x.dense, dense[i].Total)
	}
	total := flopsRow{name: "sum", dense: new(big.Int)}
	for _, x := range rows {
		total.macs += x.macs
		total.dense.Add(total.dense, x.dense)
	}
	for j, i := range sparse {
		layers := r.Results[i].Layers
		for k := range layers {
			x := row(heading(&layers[k]))
			x.sparse[j].Add(x.sparse[j], layers[k].Total)
		}
		total.sparse = append(total.sparse, r.Results[i].FLOPsPerSequence)
	}
	return append(rows, total)
}

// shortFLOPs formats a count to so many digits: "2.426e18".
func shortFLOPs(x *big.Int, digits int) string {
	if x.IsInt64() && x.Int64() < 10000 {
		return x.String()
	}
	mantissa, exp, _ := strings.Cut(new(big.Float).SetInt(x).Text('e', digits-1), "e+")
	return mantissa + "e" + strings.TrimLeft(exp, "0")
}

// shortCount formats a count as it may be typed: "2.5B", "124.4M".
func shortCount(n int64) string {
	for _, u := range []struct {
		size   float64
		suffix string
	}{{1e12, "T"}, {1e9, "B"}, {1e6, "M"}} {
		if f := float64(n); f >= u.size {
			return fmt.Sprintf("%.4g%s", f/u.size, u.suffix)
		}
	}
	return fmt.Sprint(n)
}
