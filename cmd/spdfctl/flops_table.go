package main

import (
	"fmt"
	"io"
	"math/big"

	"github.com/spdfctl/spdfctl/analysis"
)

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
	format      string   // formatTable or formatMarkdown
	full        bool     // with optimizer, parameters and memory
	passes      bool     // with forward, input gradient, weight gradient and update
}

// heading writes what stands above the table.
func (t flopsTable) heading(out io.Writer) {
	r := t.report
	if t.model != "" {
		p := r.Shape.Parameters()
		fmt.Fprintf(out, "model:       %s: %d layers, width %d, %d heads, vocabulary %d; %s parameters, %s of them sparsifiable\n",
			t.model, r.Shape.NLayer, r.Shape.NEmbd, r.Shape.NHead, r.Shape.VocabSize, shortCount(p.Total()), shortCount(p.Weights))
	}
}

// training says how much is trained.
func (t flopsTable) training(out io.Writer) {
	if t.oneSequence {
		fmt.Fprintf(out, "training:    one sequence of %d tokens, forward and backward\n\n", t.report.SeqLen)
	} else {
		fmt.Fprintf(out, "training:    %s tokens in sequences of %d, forward and backward\n\n", shortCount(t.report.Tokens), t.report.SeqLen)
	}
}

func (t flopsTable) print(out io.Writer) error {
	r := t.report
	t.heading(out)
	fmt.Fprintf(out, "convention:  %s: %s\n", r.Convention, r.Convention.Describe())
	t.training(out)

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
	if t.full {
		add("AdamW update of a step", shortFLOPs(r.DenseOptimizer, 4), func(r *analysis.Result) string { return shortFLOPs(r.Optimizer, 4) })
	}
	if err := printLines(out, t.format, lines); err != nil || !t.full {
		return err
	}
	if t.passes {
		if err := t.printPasses(out, sparse); err != nil {
			return err
		}
	}
	return t.printHeld(out, sparse)
}

// printPasses writes the passes of every row.
func (t flopsTable) printPasses(out io.Writer, sparse []int) error {
	passes := [][]string{{"FLOPs of one sequence", "forward", "input gradient", "weight gradient", "update of a step"}}
	passes = append(passes, passRows("dense ", t.report.DenseLayers, t.layers)...)
	for _, i := range sparse {
		passes = append(passes, passRows(t.names[i]+" ", t.report.Results[i].Layers, t.layers)...)
	}
	fmt.Fprintln(out)
	return printLines(out, t.format, passes)
}

// printHeld writes the parameters and the memory of training.
func (t flopsTable) printHeld(out io.Writer, sparse []int) error {
	held := [][]string{{fmt.Sprintf("held, steps of %d x %d tokens", t.report.BatchSize, t.report.SeqLen), "dense"}}
	for _, i := range sparse {
		held[0] = append(held[0], t.names[i])
	}
	add := func(name, dense string, value func(*analysis.Result) string) {
		line := []string{name, dense}
		for _, i := range sparse {
			line = append(line, value(&t.report.Results[i]))
		}
		held = append(held, line)
	}
	r := t.report
	add("parameters", fmt.Sprint(r.Parameters), func(r *analysis.Result) string { return fmt.Sprint(r.KeptParameters) })
	add("overall sparsity", "0", func(r *analysis.Result) string { return fmt.Sprintf("%.4f", r.OverallSparsity) })
	for _, m := range []struct {
		name  string
		bytes func(analysis.Memory) int64
	}{
		{"weights", func(m analysis.Memory) int64 { return m.Weights }},
		{"index of the kept", func(m analysis.Memory) int64 { return m.Index }},
		{"gradients", func(m analysis.Memory) int64 { return m.Gradients }},
		{"moments", func(m analysis.Memory) int64 { return m.Moments }},
		{"activations", func(m analysis.Memory) int64 { return m.Activations }},
		{"memory", func(m analysis.Memory) int64 { return m.Total }},
	} {
		add(m.name, shortBytes(m.bytes(r.DenseMemory)), func(r *analysis.Result) string { return shortBytes(m.bytes(r.Memory)) })
	}
	fmt.Fprintln(out)
	return printLines(out, t.format, held)
}

// passRows adds up the passes of the layers of one kind, or lists every layer.
func passRows(prefix string, layers []analysis.Layer, every bool) [][]string {
	var order []string
	sums := map[string]*[4]*big.Int{}
	for _, l := range layers {
		name := l.Kind
		if every {
			name = l.Name
		}
		s, ok := sums[name]
		if !ok {
			s = &[4]*big.Int{new(big.Int), new(big.Int), new(big.Int), new(big.Int)}
			sums[name] = s
			order = append(order, name)
		}
		for i, x := range []*big.Int{l.Forward, l.BackwardInput, l.BackwardWeight, l.Optimizer} {
			s[i].Add(s[i], x)
		}
	}
	var lines [][]string
	for _, name := range order {
		line := []string{prefix + name}
		for _, x := range sums[name] {
			line = append(line, shortFLOPs(x, 4))
		}
		lines = append(lines, line)
	}
	return lines
}

// printSideBySide writes a row for every convention.
func (t flopsTable) printSideBySide(out io.Writer, reports []*analysis.FLOPReport) error {
	t.heading(out)
	t.training(out)
	sparse := t.sparse()
	lines := [][]string{{"convention", "dense"}}
	for _, i := range sparse {
		lines[0] = append(lines[0], t.names[i], "reduction", "speed-up, at most")
	}
	for _, r := range reports {
		line := []string{string(r.Convention), shortFLOPs(r.Results[0].DenseFLOPsTotal, 5)}
		for _, i := range sparse {
			x := &r.Results[i]
			line = append(line, shortFLOPs(x.FLOPsTotal, 5), fmt.Sprintf("%.3f", x.Reduction), fmt.Sprintf("%.3f", x.Speedup))
		}
		lines = append(lines, line)
	}
	if err := printLines(out, t.format, lines); err != nil {
		return err
	}
	fmt.Fprintln(out)
	for _, r := range reports {
		if _, err := fmt.Fprintf(out, "%s: %s\n", r.Convention, r.Convention.Describe()); err != nil {
			return err
		}
	}
	return nil
}

// printFLOPsCSV writes every layer of every result, exact, a record each.
func printFLOPsCSV(out io.Writer, reports []*analysis.FLOPReport, names []string) error {
	lines := [][]string{{"convention", "scenario", "name", "kind", "sparsity", "macs_per_token", "forward", "backward_input", "backward_weight", "total", "optimizer"}}
	for _, r := range reports {
		add := func(scenario string, layers []analysis.Layer) {
			for _, l := range layers {
				lines = append(lines, []string{string(r.Convention), scenario, l.Name, l.Kind, fmt.Sprintf("%.9g", l.Sparsity), fmt.Sprint(l.MACsPerToken),
					l.Forward.String(), l.BackwardInput.String(), l.BackwardWeight.String(), l.Total.String(), l.Optimizer.String()})
			}
		}
		add("dense", r.DenseLayers)
		for i, x := range r.Results {
			add(names[i], x.Layers)
		}
	}
	return printLines(out, formatCSV, lines)
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
