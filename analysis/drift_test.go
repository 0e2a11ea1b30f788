package analysis_test

import (
	"math"
	"strings"
	"testing"

	"github.com/spdfctl/spdfctl/analysis"
	"github.com/spdfctl/spdfctl/masks"
	"github.com/spdfctl/spdfctl/train/gpt"
)

// driftTolerance is the float32 rounding of the weights that a test sets.
const driftTolerance = 1e-6

// moved returns a model of tiny's shape and a copy in which one matrix changed.
func moved(t *testing.T, change func(w []float32)) (a, b *gpt.Model) {
	t.Helper()
	for _, m := range []**gpt.Model{&a, &b} {
		var err error
		if *m, err = gpt.New(tiny, nil); err != nil {
			t.Fatal(err)
		}
		(*m).Init(3)
	}
	change(b.Param("h.1.mlp.c_fc.weight").W)
	return a, b
}

func TestDrift(t *testing.T) {
	const angle = 0.01
	a, b := moved(t, func(w []float32) {})
	// Rotated by an angle within a plane: the distance is 1 - cos(angle).
	wa, wb := a.Param("h.1.mlp.c_fc.weight").W, b.Param("h.1.mlp.c_fc.weight").W
	for i := range wa {
		wa[i], wb[i] = 0, 0
	}
	wa[0], wb[0], wb[7] = 2, float32(4*math.Cos(angle)), float32(4*math.Sin(angle))
	r, err := analysis.Drift(a, b, nil, true)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Matrices) != 12 || r.Revived != nil {
		t.Fatalf("%d matrices, revived %v, want 12 and none", len(r.Matrices), r.Revived)
	}
	for _, m := range r.Matrices {
		want := 0.0
		if m.Name == "h.1.mlp.c_fc.weight" {
			want = 1 - math.Cos(angle)
			if m.Kind != analysis.KindFC || m.Layer != 1 {
				t.Errorf("%s: kind %s, layer %d", m.Name, m.Kind, m.Layer)
			}
			// w[0] and w[7] are the outputs 0 and 1 of different inputs: two singular values.
			if s := m.Spectrum; s.StableRank < 1 || s.StableRank > 2 || s.Rank90 < 1 || s.Rank90 > 2 || len(s.Singular) != 4 {
				t.Errorf("spectrum %+v", s)
			}
		}
		if math.Abs(m.Distance-want) > driftTolerance*max(want, 1e-3) {
			t.Errorf("%s: distance %g, want %g", m.Name, m.Distance, want)
		}
	}
	for _, m := range r.Modules {
		if m.Kind == analysis.KindFC && (m.Layer != 1 || math.Abs(m.Mean-m.Largest/2) > 1e-12) {
			t.Errorf("module %+v", m)
		}
	}
	other := tiny
	other.NLayer = 1
	short, err := gpt.New(other, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := analysis.Drift(a, short, nil, false); err == nil || !strings.Contains(err.Error(), "(2 blocks, width 4, inner 6) against (1, 4, 6)") {
		t.Errorf("models of two shapes: %v", err)
	}
	b.Param("h.0.attn.c_proj.weight").W[0] = float32(math.NaN())
	if _, err := analysis.Drift(a, b, nil, true); err == nil || !strings.Contains(err.Error(), "changes by NaN") {
		t.Errorf("a weight that is not a number: %v", err)
	}
}

// The spectrum of a diagonal change is its diagonal.
func TestDriftSpectrum(t *testing.T) {
	a, b := moved(t, func([]float32) {})
	w := b.Param("h.0.attn.c_proj.weight").W // (4, 4)
	before := a.Param("h.0.attn.c_proj.weight").W
	clear(before)
	clear(w)
	for i, v := range []float32{1, 4, 2, 0} {
		w[i*4+i] = v
	}
	r, err := analysis.Drift(a, b, nil, true)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range r.Matrices {
		if m.Name != "h.0.attn.c_proj.weight" {
			continue
		}
		want := []float64{4, 2, 1, 0}
		for i, s := range m.Spectrum.Singular {
			if math.Abs(s-want[i]) > driftTolerance {
				t.Errorf("singular value %d is %g, want %g", i, s, want[i])
			}
		}
		entropy := -(4.0/7*math.Log(4.0/7) + 2.0/7*math.Log(2.0/7) + 1.0/7*math.Log(1.0/7))
		if s := m.Spectrum; math.Abs(s.StableRank-21.0/16) > driftTolerance || s.Rank90 != 2 || math.Abs(s.EffectiveRank-math.Exp(entropy)) > driftTolerance {
			t.Errorf("stable rank %g, rank %d, effective rank %g, want %g, 2, %g", s.StableRank, s.Rank90, s.EffectiveRank, 21.0/16, math.Exp(entropy))
		}
		if m.Distance != 1 {
			t.Errorf("distance of zero and something is %g, want 1", m.Distance)
		}
	}
}

func TestRevived(t *testing.T) {
	a, b := moved(t, func([]float32) {})
	mask := masks.New("h.0.mlp.c_proj.weight", "", 4, 6)
	for j := range 6 {
		mask.Put(0, j, true)
	}
	set, err := masks.NewSet([]*masks.Mask{mask}, masks.Recipe{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	// Stored (in, out): the kept weights are those of output 0.
	wa, wb := a.Param("h.0.mlp.c_proj.weight").W, b.Param("h.0.mlp.c_proj.weight").W
	for i := range 6 {
		for o := range 4 {
			wa[i*4+o], wb[i*4+o] = 0, 0.5 // revived to half
			if o == 0 {
				wa[i*4+o], wb[i*4+o] = 1, 2
			}
		}
	}
	r, err := analysis.Drift(a, b, set, false)
	if err != nil {
		t.Fatal(err)
	}
	v := r.Revived
	if v.Revived != 18 || v.Kept != 6 || v.RevivedRMS != 0.5 || v.KeptRMS != 2 || v.ChangeRMS != 1 {
		t.Fatalf("%+v", v)
	}
	for i, edge := range v.Edges {
		revived, kept, change := int64(0), int64(0), int64(0)
		switch edge {
		case 0.25:
			revived = 18
		case 0.5:
			change = 6
		case 1:
			kept = 6
		}
		if v.RevivedBin[i] != revived || v.KeptBin[i] != kept || v.ChangeBin[i] != change {
			t.Errorf("bin from %g: %d, %d, %d, want %d, %d, %d", edge, v.RevivedBin[i], v.KeptBin[i], v.ChangeBin[i], revived, kept, change)
		}
	}
	mask.In, mask.Bits = 5, mask.Bits[:4]
	if _, err := analysis.Drift(a, b, set, false); err == nil || !strings.Contains(err.Error(), "is (4, 5), the matrix is (4, 6)") {
		t.Errorf("mask of another shape: %v", err)
	}
}

func TestOverlaps(t *testing.T) {
	set := func(names string, columns ...int) *masks.Set {
		m := masks.New(names, "", 2, 4)
		for _, j := range columns {
			m.Put(0, j, true)
			m.Put(1, j, true)
		}
		s, err := masks.NewSet([]*masks.Mask{m}, masks.Recipe{}, 0)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	rows, err := analysis.Overlaps(set("w", 0, 1), set("w", 1, 2))
	if err != nil {
		t.Fatal(err)
	}
	want := analysis.MaskOverlap{Name: "w", Total: 8, Both: 2, OnlyA: 2, OnlyB: 2, Jaccard: 2.0 / 6, Chance: 2.0 / 6}
	if len(rows) != 2 || rows[0] != want || rows[1].Name != "all" || rows[1].Both != 2 {
		t.Errorf("%+v, want %+v", rows, want)
	}
	if _, err := analysis.Overlaps(set("w", 0), set("x", 0)); err == nil || !strings.Contains(err.Error(), `mask "w" is in the first set only`) {
		t.Errorf("two names: %v", err)
	}
}

func TestHeadSparsities(t *testing.T) {
	q := masks.New("h.0.attn.c_attn.weight", "q", 4, 4)
	proj := masks.New("h.0.attn.c_proj.weight", "", 4, 4)
	for j := range 4 {
		q.Put(0, j, true)    // head 0: one of two rows
		proj.Put(j, 3, true) // head 1: one of two columns
	}
	set, err := masks.NewSet([]*masks.Mask{q, proj}, masks.Recipe{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := analysis.HeadSparsities(set, 2)
	if err != nil {
		t.Fatal(err)
	}
	want := []analysis.HeadSparsity{
		{Head: 0, Kind: analysis.KindQuery, Kept: 4, Total: 8, Sparsity: 0.5}, {Head: 1, Kind: analysis.KindQuery, Total: 8, Sparsity: 1},
		{Head: 0, Kind: analysis.KindProj, Total: 8, Sparsity: 1}, {Head: 1, Kind: analysis.KindProj, Kept: 4, Total: 8, Sparsity: 0.5},
	}
	if len(rows) != len(want) {
		t.Fatalf("%+v", rows)
	}
	for i := range want {
		if rows[i] != want[i] {
			t.Errorf("%+v, want %+v", rows[i], want[i])
		}
	}
	if _, err := analysis.HeadSparsities(set, 3); err == nil || !strings.Contains(err.Error(), "width 4 is not a multiple of 3 heads") {
		t.Errorf("three heads: %v", err)
	}
}
