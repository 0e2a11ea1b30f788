package analysis

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func medianRate(list []RunMetrics) float64 {
	rates := make([]float64, len(list))
	for i, m := range list {
		rates[i] = m.TokensPerSecond
	}
	slices.Sort(rates)
	return rates[len(rates)/2]
}

// runLayers is the ledger of a run beside that of its dense form.
type runLayers struct{ own, dense []Layer }

// layers returns the ledgers of one sequence; nil if the run has no checkpoint.
func (r RunReport) layers() (*runLayers, error) {
	if r.Model == nil {
		return nil, nil
	}
	n := r.SeqLen
	if n == 0 {
		n = r.Model.NCtx
	}
	shape := ShapeOf(*r.Model)
	dense, err := shape.Ledger(SPDF, n, nil)
	if err != nil {
		return nil, err
	}
	if r.Masks == nil {
		return &runLayers{dense, dense}, nil
	}
	kept, err := shape.MaskKept(r.Masks)
	if err != nil {
		return nil, err
	}
	own, err := shape.Ledger(SPDF, n, kept)
	return &runLayers{own, dense}, err
}

// Charts returns the figures of the page; those without data are left out.
func (p Page) Charts() ([]Chart, error) {
	line := func(id, title, text, x, y string, logY bool, point func(m RunMetrics) (x, y float64, ok bool)) Chart {
		c := Chart{ID: id, Title: title, Text: text, Kind: ChartLines, X: x, Y: y, LogY: logY}
		for _, r := range p.Runs {
			s := Series{Name: r.Name}
			for _, m := range r.Metrics {
				if x, y, ok := point(m); ok {
					s.add(x, y)
				}
			}
			s.thin()
			if len(s.X) > 0 {
				c.Series = append(c.Series, s)
			}
		}
		return c
	}
	all := []Chart{
		line("loss-tokens", "Loss against tokens", "Training loss in nats per token as tokens are seen; one line for every run.", "tokens", "loss", true,
			func(m RunMetrics) (float64, float64, bool) { return float64(m.Tokens), m.Loss, true }),
		line("loss-flops", "Loss against FLOPs", "The same losses against the training FLOPs spent, by convention spdf: a sparse run spends fewer for the same tokens.", "FLOPs", "loss", true,
			func(m RunMetrics) (float64, float64, bool) { return m.FLOPs, m.Loss, true }),
		line("validation", "Validation loss", "Loss on held-out data whenever it was measured.", "tokens", "loss", true,
			func(m RunMetrics) (float64, float64, bool) {
				if m.ValLoss == nil {
					return 0, 0, false
				}
				return float64(m.Tokens), *m.ValLoss, true
			}),
		line("lr", "Learning rate", "The learning rate of every step logged.", "step", "learning rate", false,
			func(m RunMetrics) (float64, float64, bool) { return float64(m.Step), m.LR, true }),
		line("grad-norm", "Gradient norm", "Global norm of the gradient before clipping.", "step", "norm", true,
			func(m RunMetrics) (float64, float64, bool) { return float64(m.Step), m.GradNorm, true }),
		line("speed", "Tokens per second", "Speed of every step logged.", "step", "tokens/s", false,
			func(m RunMetrics) (float64, float64, bool) { return float64(m.Step), m.TokensPerSecond, true }),
	}
	sparse := slices.ContainsFunc(p.Runs, func(r RunReport) bool { return r.Masks != nil })
	for i, r := range p.Runs {
		// Beside a sparse run the bars of a dense one say nothing new.
		charts, err := r.charts(i, r.Masks != nil || !sparse)
		if err != nil {
			return nil, fmt.Errorf("analysis: report: %s: %w", r.Name, err)
		}
		all = append(all, charts...)
	}
	return slices.DeleteFunc(all, Chart.empty), nil
}

// charts returns the figures of one run, the i-th, with its FLOPs if withBars.
func (r RunReport) charts(i int, withBars bool) ([]Chart, error) {
	id := func(what string) string { return fmt.Sprintf("run%d-%s", i+1, what) }
	layers, err := r.layers()
	if err != nil || layers == nil {
		return nil, err
	}
	bars := Chart{ID: id("flops"), Title: "FLOPs by kind of layer: " + r.Name, Kind: ChartBars, X: "kind", Y: "FLOPs of one sequence",
		Text: "Training FLOPs of one sequence by kind of layer, forward and backward, dense beside this run's kept weights.", Cols: []string{"dense", "kept weights"}}
	per := Chart{ID: id("flops-blocks"), Title: "FLOPs by block: " + r.Name, Kind: ChartBars, X: "block", Y: "FLOPs of one sequence",
		Text: "The same by block of the model; the head is last.", Cols: bars.Cols}
	for _, kind := range Kinds() {
		d, o := sumWhere(layers.dense, layers.own, func(l Layer) bool { return l.Kind == kind })
		if d > 0 {
			bars.Rows, bars.Values = append(bars.Rows, kind), append(bars.Values, []float64{d, o})
		}
	}
	for b := range r.Model.NLayer {
		prefix := "h." + strconv.Itoa(b) + "."
		d, o := sumWhere(layers.dense, layers.own, func(l Layer) bool { return strings.HasPrefix(l.Name, prefix) })
		per.Rows, per.Values = append(per.Rows, strings.TrimSuffix(prefix, ".")), append(per.Values, []float64{d, o})
	}
	d, o := sumWhere(layers.dense, layers.own, func(l Layer) bool { return l.Kind == KindHead })
	per.Rows, per.Values = append(per.Rows, KindHead), append(per.Values, []float64{d, o})
	var out []Chart
	if withBars {
		out = append(out, bars, per)
	}
	if r.Masks != nil {
		heat := r.heat(id("sparsity"), "Sparsity: "+r.Name, "Pruned over all weights of every matrix, by module and block.")
		byKey := map[string]float64{}
		for _, m := range r.Masks.Masks {
			byKey[m.Key()] = m.Sparsity()
		}
		heat.fill(layers.dense, func(l Layer) float64 { return byKey[l.Name] })
		out = append(out, heat)
		if picture, ok := maskPicture(id("mask"), r); ok {
			out = append(out, picture)
		}
	}
	if r.Drift != nil {
		heat := r.heat(id("drift"), "Drift: "+r.From+" → "+r.Name, "Cosine distance between the weights before and after, by module and block, as in Figures 3 and 4 of the SPDF paper.")
		byName := map[string]float64{}
		for _, m := range r.Drift.Matrices {
			byName[m.Name] = m.Distance
		}
		heat.fill(layers.dense, func(l Layer) float64 { return byName[l.Name] })
		out = append(out, heat)
		if v := r.Drift.Revived; v != nil {
			c := Chart{ID: id("revived"), Title: "Where revived weights went: " + r.Name, Kind: ChartBars, X: "size over the root mean square of the kept weights", Y: "share",
				Text: "Share of weights by magnitude after fine-tuning: those that the mask had pruned, those it had kept, and the change of the kept ones.",
				Cols: []string{"revived", "kept", "change of the kept"}}
			for i, e := range v.Edges {
				share := func(n, of int64) float64 { return float64(n) / float64(max(1, of)) }
				c.Rows = append(c.Rows, fmt.Sprintf("%.3g", e))
				c.Values = append(c.Values, []float64{share(v.RevivedBin[i], v.Revived), share(v.KeptBin[i], v.Kept), share(v.ChangeBin[i], v.Kept)})
			}
			out = append(out, c)
		}
	}
	return out, nil
}

func sumWhere(dense, own []Layer, want func(Layer) bool) (d, o float64) {
	for i, l := range dense {
		if want(l) {
			d += float(l.Total)
			o += float(own[i].Total)
		}
	}
	return d, o
}

// heat returns an empty map of blocks across.
func (r RunReport) heat(id, title, text string) Chart {
	c := Chart{ID: id, Title: title, Text: text, Kind: ChartHeat, X: "block", Y: "module"}
	for b := range r.Model.NLayer {
		c.Cols = append(c.Cols, "h."+strconv.Itoa(b))
	}
	return c
}

// fill writes a row for every kind of matrix in a block.
func (c *Chart) fill(layers []Layer, value func(Layer) float64) {
	for _, kind := range Kinds() {
		var row []float64
		for _, l := range layers {
			if l.Kind == kind && l.MACsPerToken > 0 && kind != KindHead && kind != KindScores && kind != KindEmbedding {
				row = append(row, value(l))
			}
		}
		if len(row) == len(c.Cols) {
			c.Rows, c.Values = append(c.Rows, kind), append(c.Values, row)
		}
	}
}

// maskCells is the side of a mask's picture.
const maskCells = 24

// maskPicture shows the first mask: the share of kept weights of each of up to
// 24 × 24 rectangles.
func maskPicture(id string, r RunReport) (Chart, bool) {
	m := r.Masks.Masks[0]
	rows, cols := min(maskCells, m.Out), min(maskCells, m.In)
	c := Chart{ID: id, Title: "Mask of " + m.Key() + ": " + r.Name, Kind: ChartHeat, X: "input", Y: "output",
		Text: "Share of kept weights in rectangles of the matrix; an even field means that no row or column is favoured."}
	for j := range cols {
		c.Cols = append(c.Cols, strconv.Itoa(j*m.In/cols))
	}
	for i := range rows {
		values := make([]float64, cols)
		for j := range cols {
			kept, total := 0, 0
			for y := i * m.Out / rows; y < (i+1)*m.Out/rows; y++ {
				for x := j * m.In / cols; x < (j+1)*m.In/cols; x++ {
					total++
					if m.Keep(y, x) {
						kept++
					}
				}
			}
			values[j] = float64(kept) / float64(total)
		}
		c.Rows, c.Values = append(c.Rows, strconv.Itoa(i*m.Out/rows)), append(c.Values, values)
	}
	return c, true
}
