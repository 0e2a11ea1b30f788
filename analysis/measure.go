package analysis

import (
	"fmt"
	"math/big"
	"strconv"
)

// Groups of a measured step: what a pass can tell apart. Query, key and value
// are one product where all three are dense or all sparse.
const (
	GroupQKV       = "attn.qkv"
	GroupAttention = "attention" // scores, softmax, weighting of values
	GroupProj      = KindProj
	GroupFC        = KindFC
	GroupOut       = KindOut
	GroupHead      = KindHead
	GroupOther     = "other"     // embeddings, LayerNorm, GELU, residuals, loss
	GroupOptimizer = "optimizer" // zeroing, norm, clipping, AdamW
)

// Groups lists the groups in the order of the computation.
func Groups() []string {
	return []string{GroupQKV, GroupAttention, GroupProj, GroupFC, GroupOut, GroupHead, GroupOther, GroupOptimizer}
}

// Spent is what one part of one step did and took.
type Spent struct {
	Group    string
	Layer    int // block; 0 outside the blocks
	Backward bool
	Useful   int64 // multiply-adds on the operands
	Issued   int64 // multiply-adds with those on padding
	Seconds  float64
}

// MeasuredRow is a line of the ledger beside what the kernels counted, for one
// step. All counts are FLOPs.
type MeasuredRow struct {
	Name          string   `json:"name"`
	Group         string   `json:"group"`
	Backward      bool     `json:"backward"`
	Ledger        *big.Int `json:"ledger"`
	Executed      int64    `json:"executed"`
	Difference    *big.Int `json:"difference"` // executed - ledger
	Issued        int64    `json:"issued"`
	Seconds       float64  `json:"seconds"`
	GFLOPS        float64  `json:"gflops"`          // of the executed
	PercentOfPeak float64  `json:"percent_of_peak"` // of this CPU
}

// Pass names the pass of a row: forward, backward, or update.
func (r *MeasuredRow) Pass() string {
	switch {
	case r.Group == GroupOptimizer:
		return "update"
	case r.Backward:
		return "backward"
	}
	return "forward"
}

// Measurement reconciles the ledger with a measured step.
type Measurement struct {
	Convention Convention    `json:"convention"`
	Batch      int           `json:"batch"`
	SeqLen     int           `json:"seq_len"`
	PeakGFLOPS float64       `json:"peak_gflops"`
	Rows       []MeasuredRow `json:"rows"`   // every block
	Groups     []MeasuredRow `json:"groups"` // sums over the blocks

	LedgerTotal   *big.Int `json:"ledger_total"`
	ExecutedTotal int64    `json:"executed_total"`
	IssuedTotal   int64    `json:"issued_total"`
	Seconds       float64  `json:"seconds"`
	// Products are the rows with weights, whose counts must agree exactly.
	ProductsEqual bool          `json:"products_equal"`
	Explained     []Explanation `json:"explained"`
}

// Explanation is one step from the ledger to the time on the clock.
type Explanation struct {
	What    string   `json:"what"`
	FLOPs   *big.Int `json:"flops"`
	Seconds float64  `json:"seconds"` // at the peak for counts, measured for overhead
}

// groupOf returns the group that a kind of the ledger is executed in.
func groupOf(kind string) string {
	switch kind {
	case KindQuery, KindKey, KindValue:
		return GroupQKV
	case KindScores, KindSoftmax:
		return GroupAttention
	case KindEmbedding:
		return GroupOther
	}
	return kind
}

// Reconcile sets what a step of batch sequences did beside the ledger of s.
// peak is the CPU's, in FLOP/s. It returns an error if a part is of no group of
// the model or peak is not positive.
func Reconcile(s Shape, convention Convention, batch, seqLen int, kept Kept, spent []Spent, peak float64) (*Measurement, error) {
	if !(peak > 0) || batch < 1 {
		return nil, fmt.Errorf("analysis: measured step: a peak of %g FLOP/s, %d sequences", peak, batch)
	}
	layers, err := s.Ledger(convention, seqLen, kept)
	if err != nil {
		return nil, err
	}
	m := &Measurement{Convention: convention, Batch: batch, SeqLen: seqLen, PeakGFLOPS: peak / 1e9, LedgerTotal: times(sum(layers), int64(batch))}
	type key struct {
		group    string
		layer    int
		backward bool
	}
	index := map[key]int{}
	row := func(k key) *MeasuredRow {
		i, ok := index[k]
		if !ok {
			i = len(m.Rows)
			index[k] = i
			name := k.group
			if k.group != GroupHead && k.group != GroupOther && k.group != GroupOptimizer {
				name = "h." + strconv.Itoa(k.layer) + "." + k.group
			}
			m.Rows = append(m.Rows, MeasuredRow{Name: name, Group: k.group, Backward: k.backward, Ledger: new(big.Int)})
		}
		return &m.Rows[i]
	}
	softmax := new(big.Int)
	for _, l := range layers {
		if l.Kind == KindSoftmax {
			softmax.Add(softmax, times(l.Total, int64(batch)))
		}
		block := 0
		if l.Kind != KindHead && l.Kind != KindEmbedding {
			block = layerOf(l.Name)
		}
		g := groupOf(l.Kind)
		f, b := row(key{g, block, false}), row(key{g, block, true})
		f.Ledger.Add(f.Ledger, times(l.Forward, int64(batch)))
		b.Ledger.Add(b.Ledger, times(new(big.Int).Add(l.BackwardInput, l.BackwardWeight), int64(batch)))
	}
	known := map[string]bool{}
	for _, g := range Groups() {
		known[g] = true
	}
	for _, x := range spent {
		if !known[x.Group] || x.Layer < 0 || x.Layer >= s.NLayer {
			return nil, fmt.Errorf("analysis: measured step: %q in block %d of %d", x.Group, x.Layer, s.NLayer)
		}
		if x.Group == GroupOther || x.Group == GroupOptimizer {
			x.Layer = 0
		}
		r := row(key{x.Group, x.Layer, x.Backward})
		r.Executed += 2 * x.Useful
		r.Issued += 2 * x.Issued
		r.Seconds += x.Seconds
	}
	m.finish(softmax, peak)
	return m, nil
}

// finish derives rates, sums and explanations.
func (m *Measurement) finish(softmax *big.Int, peak float64) {
	m.ProductsEqual = true
	groups := map[string]*MeasuredRow{}
	attention := new(big.Int)
	var overhead, products float64
	for i := range m.Rows {
		r := &m.Rows[i]
		r.rate(peak)
		name := r.Group + " " + r.Pass()
		g, ok := groups[name]
		if !ok {
			g = &MeasuredRow{Name: name, Group: r.Group, Backward: r.Backward, Ledger: new(big.Int)}
			groups[name] = g
		}
		g.Ledger.Add(g.Ledger, r.Ledger)
		g.Executed += r.Executed
		g.Issued += r.Issued
		g.Seconds += r.Seconds
		m.ExecutedTotal += r.Executed
		m.IssuedTotal += r.Issued
		m.Seconds += r.Seconds
		switch r.Group {
		case GroupAttention:
			attention.Add(attention, r.Difference)
			products += r.Seconds
		case GroupOther, GroupOptimizer:
			overhead += r.Seconds
		default:
			products += r.Seconds
			m.ProductsEqual = m.ProductsEqual && r.Difference.Sign() == 0
		}
	}
	for _, name := range Groups() {
		for _, pass := range []string{"forward", "backward", "update"} {
			if g, ok := groups[name+" "+pass]; ok && (g.Seconds > 0 || g.Ledger.Sign() > 0) {
				g.rate(peak)
				m.Groups = append(m.Groups, *g)
			}
		}
	}
	at := func(x *big.Int) float64 { return float(x) / peak }
	big64 := func(n int64) *big.Int { return big.NewInt(n) }
	attention.Add(attention, softmax) // what is left is the scores'
	padding := big64(m.IssuedTotal - m.ExecutedTotal)
	rest := new(big.Int).Sub(big64(m.ExecutedTotal), m.LedgerTotal)
	rest.Add(rest, softmax).Sub(rest, attention)
	slower := products - float64(m.IssuedTotal)/peak
	m.Explained = []Explanation{
		{"ledger", m.LedgerTotal, at(m.LedgerTotal)},
		{"softmax: counted by the convention, no multiply-adds", new(big.Int).Neg(softmax), -at(softmax)},
		{"attention: blocks above the diagonal left out, scores computed again backward", attention, at(attention)},
		{"embedding and products: difference of the counts", rest, at(rest)},
		{"executed", big64(m.ExecutedTotal), float64(m.ExecutedTotal) / peak},
		{"padding: rims of tiles, last panels", padding, at(padding)},
		{"issued", big64(m.IssuedTotal), float64(m.IssuedTotal) / peak},
		{"products and attention below the peak: packing, loads, softmax, biases", new(big.Int), slower},
		{"other: embeddings, LayerNorm, GELU, residuals, loss, optimizer", new(big.Int), overhead},
		{"on the clock", new(big.Int), m.Seconds},
	}
}

// rate fills in what follows from counts and time.
func (r *MeasuredRow) rate(peak float64) {
	r.Difference = new(big.Int).Sub(big.NewInt(r.Executed), r.Ledger)
	if r.Seconds > 0 {
		r.GFLOPS = float64(r.Executed) / r.Seconds / 1e9
		r.PercentOfPeak = 100 * float64(r.Executed) / r.Seconds / peak
	}
}
