package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/spdfctl/spdfctl/analysis"
	"github.com/spdfctl/spdfctl/formats/maskfile"
	"github.com/spdfctl/spdfctl/train/gpt"
)

func newFlopsCmd(a *app) *cobra.Command {
	return group(a, "flops", "Account for the cost of training", newFlopsReportCmd(a), newFlopsMeasureCmd(a), newFlopsPaperCmd(a))
}

// flopsFlags are the flags of "flops report".
type flopsFlags struct {
	model, mask, plan, format     string
	seqLen, tokens, batch         int64
	conventions                   []string
	sparsities, finetunes, phases []string
	layers, passes                bool
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

--phase prices a whole plan, one phase after the other, beside the dense model
on the same tokens: key=value pairs of sparsity, mask, tokens or seqs, seq-len,
batch, method (static, rigl, set or gmp) and what the methods need; docs/flops.md
lists them. --plan reads the phases from a YAML file. Sparsity that changes on
the way is integrated over the tokens.

MODEL is GPT-2, GPT-NeoX, Llama, Mistral or Mixtral: a preset, a config.json, or
a checkpoint with one. Convention spdf reproduces the tables of the SPDF paper.
The others are causal, palm, chinchilla and 6n, side by side if several or "all"
are given; docs/flops.md defines them.`,
		Example: `  spdfctl flops report --model spdf-gpt3-xl --tokens 26B --sparsity 0.5,0.75
  spdfctl flops report --model runs/sparse --tokens 100M --finetune 126K:512 --json
  spdfctl flops report --model cerebras-gpt-6.7b --phase sparsity=0.9,tokens=133.2B --phase tokens=20B`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return a.flopsReport(flags) },
	}
	f := cmd.Flags()
	f.StringVar(&flags.model, "model", "", "preset name, config.json, run or checkpoint directory")
	countVar(f, &flags.seqLen, "seq-len", 0, "tokens of a sequence (0: the longest of the model)")
	countVar(f, &flags.tokens, "tokens", 0, "tokens of the pre-training, such as 2.5B (0: one sequence)")
	f.StringSliceVar(&flags.sparsities, "sparsity", nil, "fractions of each sparsified matrix that are pruned, in [0, 1)")
	f.StringVar(&flags.mask, "mask", "", "mask file whose kept weights are counted")
	f.StringSliceVar(&flags.conventions, "convention", []string{string(analysis.SPDF)}, "what is counted: spdf, causal, palm, chinchilla or 6n; several, or all, side by side")
	f.StringArrayVar(&flags.finetunes, "finetune", nil, "add a dense fine-tuning on SEQS:LEN (may be repeated)")
	f.StringVar(&flags.plan, "plan", "", "YAML file with a list of phases, priced before those of --phase")
	f.StringArrayVar(&flags.phases, "phase", nil, "a phase of a plan, as sparsity=0.9,tokens=133B (may be repeated)")
	countVar(f, &flags.batch, "batch-size", 1, "sequences of a step: what memory and optimizer are priced for")
	f.StringVar(&flags.format, "format", formatTable, "table, csv, markdown or json")
	f.BoolVar(&flags.passes, "passes", false, "also list forward, input gradient, weight gradient and optimizer")
	f.BoolVar(&flags.layers, "layers", false, "list every layer instead of sums over the blocks")
	return cmd
}

func (a *app) flopsReport(flags flopsFlags) error {
	if flags.model == "" {
		return usageErrorf("flops report: --model is missing")
	}
	if err := a.checkFormat("flops report", &flags.format); err != nil {
		return err
	}
	conventions, err := parseConventions(flags.conventions)
	if err != nil {
		return err
	}
	shape, err := analysis.ResolveShape(flags.model)
	if err != nil {
		return withPresetHint(fmt.Errorf("flops report: %w", err))
	}
	if flags.seqLen == 0 {
		flags.seqLen = int64(shape.NCtx)
	}
	if flags.seqLen > int64(shape.NCtx) {
		return usageErrorf("flops report: --seq-len %d, the model has positions for %d", flags.seqLen, shape.NCtx)
	}
	if len(flags.phases) > 0 || flags.plan != "" {
		return a.flopsPlan(shape, conventions, flags)
	}
	oneSequence := flags.tokens == 0
	if oneSequence {
		flags.tokens = flags.seqLen
	}
	tunes, err := parseFineTunes(flags.finetunes, shape.NCtx)
	if err != nil {
		return err
	}
	scenarios, names, err := flops(shape, flags)
	if err != nil {
		return err
	}
	var reports []*analysis.FLOPReport
	for _, convention := range conventions {
		report, err := shape.Report(analysis.Request{
			Convention: convention, SeqLen: int(flags.seqLen), Tokens: flags.tokens, BatchSize: int(flags.batch),
			Scenarios: scenarios, FineTunes: tunes,
		})
		if err != nil {
			return err
		}
		reports = append(reports, report)
	}
	switch {
	case flags.format == formatJSON && len(reports) == 1:
		return a.printJSON(reports[0])
	case flags.format == formatJSON:
		return a.printJSON(map[string]any{"conventions": reports})
	case flags.format == formatCSV:
		return printFLOPsCSV(a.stdout, reports, names)
	}
	t := flopsTable{report: reports[0], model: flags.model, names: names, layers: flags.layers, oneSequence: oneSequence, format: flags.format, full: true, passes: flags.passes}
	if len(reports) > 1 {
		return t.printSideBySide(a.stdout, reports)
	}
	return t.print(a.stdout)
}

// parseConventions reads the values of --convention.
func parseConventions(list []string) ([]analysis.Convention, error) {
	if len(list) == 1 && list[0] == "all" {
		return analysis.Conventions(), nil
	}
	var out []analysis.Convention
	for _, name := range list {
		c, err := analysis.ParseConvention(name)
		if err != nil {
			return nil, &usageError{err: fmt.Errorf("flops report: --convention: %w", err)}
		}
		out = append(out, c)
	}
	return out, nil
}

// flops returns what is to be counted, with the heading of its column.
func flops(shape analysis.Shape, flags flopsFlags) (scenarios []analysis.Scenario, names []string, err error) {
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
		scenario, err := maskScenario(shape, path)
		if err != nil {
			return nil, nil, err
		}
		scenarios = append(scenarios, scenario)
		names = append(names, fmt.Sprintf("mask %.4g", scenario.Sparsity))
	}
	if len(scenarios) == 0 {
		scenarios, names = []analysis.Scenario{{}}, []string{"0"}
	}
	return scenarios, names, nil
}

// maskScenario counts the kept weights of a mask file.
func maskScenario(shape analysis.Shape, path string) (analysis.Scenario, error) {
	set, err := maskfile.Read(path)
	if err != nil {
		return analysis.Scenario{}, err
	}
	kept, err := shape.MaskKept(set)
	if err != nil {
		return analysis.Scenario{}, fmt.Errorf("flops report: %s: %w", path, err)
	}
	return analysis.Scenario{Sparsity: set.Sparsity(), Kept: kept}, nil
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
