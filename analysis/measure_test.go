package analysis_test

import (
	"math"
	"math/big"
	"strings"
	"testing"

	"github.com/spdfctl/spdfctl/analysis"
)

// spentOf returns a step of tiny that did exactly what the ledger says, one
// second a part.
func spentOf(t *testing.T, batch, seqLen int) []analysis.Spent {
	t.Helper()
	rows, err := analysis.Ledger(tiny, analysis.SPDF, seqLen, nil)
	if err != nil {
		t.Fatal(err)
	}
	var list []analysis.Spent
	for _, r := range rows {
		group, layer := r.Kind, 0
		if strings.HasPrefix(r.Name, "h.1.") {
			layer = 1
		}
		switch r.Kind {
		case analysis.KindQuery, analysis.KindKey, analysis.KindValue:
			group = analysis.GroupQKV
		case analysis.KindScores:
			group = analysis.GroupAttention
		case analysis.KindSoftmax:
			continue
		}
		macs := r.Forward.Int64() / 2 * int64(batch)
		list = append(list, analysis.Spent{Group: group, Layer: layer, Useful: macs, Issued: macs + 1, Seconds: 1},
			analysis.Spent{Group: group, Layer: layer, Backward: true, Useful: 2 * macs, Issued: 2 * macs, Seconds: 1})
	}
	return append(list, analysis.Spent{Group: analysis.GroupOther, Layer: 1, Seconds: 3}, analysis.Spent{Group: analysis.GroupOptimizer, Seconds: 4})
}

func TestReconcile(t *testing.T) {
	spent := spentOf(t, 3, 5)
	const peak = 1e3
	m, err := analysis.Reconcile(analysis.ShapeOf(tiny), analysis.SPDF, 3, 5, nil, spent, peak)
	if err != nil {
		t.Fatal(err)
	}
	if !m.ProductsEqual {
		t.Error("equal products are called different")
	}
	// In each of two blocks q, k, v, attention and three matrices, and the head,
	// twice; then the rest.
	if want := float64(2*(2*7+1) + 3 + 4); m.Seconds != want {
		t.Errorf("%g seconds, want %g", m.Seconds, want)
	}
	softmax := big.NewInt(3 * 3 * 3 * 2 * 2 * 25) // batch, 3 passes, 3 a score, blocks, heads, pairs
	if got := new(big.Int).Sub(m.LedgerTotal, big.NewInt(m.ExecutedTotal)); got.Cmp(softmax) != 0 {
		t.Errorf("ledger is %v above the executed, want the softmax, %v", got, softmax)
	}
	// The counts add up line by line, and so does the time.
	e := m.Explained
	flops, seconds := new(big.Int), 0.0
	for _, x := range e[:4] {
		flops.Add(flops, x.FLOPs)
	}
	if flops.Cmp(e[4].FLOPs) != 0 || flops.Add(flops, e[5].FLOPs).Cmp(e[6].FLOPs) != 0 {
		t.Errorf("the account does not add up: %+v", e)
	}
	for _, x := range e[6:9] {
		seconds += x.Seconds
	}
	if math.Abs(seconds-e[9].Seconds) > 1e-9*seconds || e[9].Seconds != m.Seconds {
		t.Errorf("%g seconds accounted for, %g on the clock", seconds, e[9].Seconds)
	}
	for _, r := range m.Groups {
		if r.Group == analysis.GroupFC && !r.Backward {
			executed := float64(2 * 3 * 2 * 5 * 24)
			if r.Seconds != 2 || float64(r.Executed) != executed || math.Abs(r.PercentOfPeak-100*executed/2/peak) > 1e-9 {
				t.Errorf("%+v", r)
			}
		}
	}

	// One multiply-add too many is seen.
	for i := range spent {
		if spent[i].Group == analysis.GroupOut && spent[i].Layer == 1 {
			spent[i].Useful++
			break
		}
	}
	if m, err = analysis.Reconcile(analysis.ShapeOf(tiny), analysis.SPDF, 3, 5, nil, spent, peak); err != nil || m.ProductsEqual {
		t.Errorf("a multiply-add too many goes unseen: %v", err)
	}
	for _, tc := range []struct {
		spent analysis.Spent
		peak  float64
		want  string
	}{
		{analysis.Spent{Group: "mlp.gate"}, 1, `"mlp.gate" in block 0 of 2`},
		{analysis.Spent{Group: analysis.GroupFC, Layer: 2}, 1, "in block 2 of 2"},
		{analysis.Spent{}, 0, "a peak of 0 FLOP/s"},
	} {
		if _, err := analysis.Reconcile(analysis.ShapeOf(tiny), analysis.SPDF, 1, 5, nil, []analysis.Spent{tc.spent}, tc.peak); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%q: %v", tc.want, err)
		}
	}
}
