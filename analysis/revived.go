package analysis

import (
	"fmt"
	"math"

	"github.com/spdfctl/spdfctl/masks"
)

// histogramBins halve from 4 times the root mean square downwards.
const histogramBins = 12

// fate collects what became of pruned and of kept weights.
type fate struct {
	revived, kept, change []float32 // magnitudes
}

// add takes one matrix and returns the root mean squares of its revived
// weights, its kept ones and their change.
func (f *fate) add(mask *masks.Mask, before, after []float32) (revived, kept, change *float64) {
	r0, k0, c0 := len(f.revived), len(f.kept), len(f.change)
	for i := range mask.Out {
		for j := range mask.In {
			x, y := before[i*mask.In+j], after[i*mask.In+j]
			if mask.Keep(i, j) {
				f.kept = append(f.kept, abs(y))
				f.change = append(f.change, abs(y-x))
			} else {
				f.revived = append(f.revived, abs(y))
			}
		}
	}
	a, b, c := rms(f.revived[r0:]), rms(f.kept[k0:]), rms(f.change[c0:])
	return &a, &b, &c
}

func abs(x float32) float32 { return float32(math.Abs(float64(x))) }

func rms(x []float32) float64 {
	var sum float64
	for _, v := range x {
		sum += float64(v) * float64(v)
	}
	return math.Sqrt(sum / float64(max(1, len(x))))
}

// report counts the magnitudes into bins; nil if no matrix had a mask.
func (f *fate) report() *Revived {
	if len(f.revived)+len(f.kept) == 0 {
		return nil
	}
	r := &Revived{
		Revived: int64(len(f.revived)), Kept: int64(len(f.kept)),
		RevivedRMS: rms(f.revived), KeptRMS: rms(f.kept), ChangeRMS: rms(f.change),
		Edges: make([]float64, histogramBins),
	}
	for i := 1; i < histogramBins; i++ {
		r.Edges[i] = math.Ldexp(1, i-histogramBins+3)
	}
	scale := r.KeptRMS
	if scale == 0 {
		scale = 1
	}
	count := func(list []float32) []int64 {
		bins := make([]int64, histogramBins)
		for _, x := range list {
			i := histogramBins - 1
			for i > 0 && float64(x)/scale < r.Edges[i] {
				i--
			}
			bins[i]++
		}
		return bins
	}
	r.RevivedBin, r.KeptBin, r.ChangeBin = count(f.revived), count(f.kept), count(f.change)
	return r
}

// MaskOverlap compares one matrix of two sets of masks.
type MaskOverlap struct {
	Name    string  `json:"name"`
	Total   int     `json:"total"`
	Both    int     `json:"both"` // kept in both
	OnlyA   int     `json:"only_a"`
	OnlyB   int     `json:"only_b"`
	Jaccard float64 `json:"jaccard"` // both / kept in any
	Chance  float64 `json:"chance"`  // the Jaccard index of two random masks of these counts, expected counts
}

// Overlaps compares the masks of two sets matrix by matrix, and adds a last
// row, "all". It returns an error if a mask is in one set only or the shapes
// differ.
func Overlaps(a, b *masks.Set) ([]MaskOverlap, error) {
	if len(a.Masks) != len(b.Masks) {
		return nil, fmt.Errorf("analysis: overlap: %d masks against %d", len(a.Masks), len(b.Masks))
	}
	all := MaskOverlap{Name: "all"}
	var expected float64
	var out []MaskOverlap
	for _, m := range a.Masks {
		o := b.Find(m.Name, m.Part)
		switch {
		case o == nil:
			return nil, fmt.Errorf("analysis: overlap: mask %q is in the first set only", m.Key())
		case m.Out != o.Out || m.In != o.In:
			return nil, fmt.Errorf("analysis: overlap: mask %q is (%d, %d) and (%d, %d)", m.Key(), m.Out, m.In, o.Out, o.In)
		}
		x := MaskOverlap{Name: m.Key(), Total: m.Total()}
		x.Both, x.OnlyA, x.OnlyB = m.Overlap(o)
		shared := float64(m.Kept()) * float64(o.Kept()) / float64(m.Total())
		x.Jaccard, x.Chance = x.jaccard(), chance(shared, m.Kept()+o.Kept())
		out = append(out, x)
		all.Total += x.Total
		all.Both += x.Both
		all.OnlyA += x.OnlyA
		all.OnlyB += x.OnlyB
		expected += shared
	}
	all.Jaccard, all.Chance = all.jaccard(), chance(expected, 2*all.Both+all.OnlyA+all.OnlyB)
	return append(out, all), nil
}

func (x MaskOverlap) jaccard() float64 {
	if n := x.Both + x.OnlyA + x.OnlyB; n > 0 {
		return float64(x.Both) / float64(n)
	}
	return 0
}

// chance returns shared / (kept - shared).
func chance(shared float64, kept int) float64 {
	if any := float64(kept) - shared; any > 0 {
		return shared / any
	}
	return 0
}

// HeadSparsity is pruned / total of the part of an attention matrix that
// belongs to one head: rows of q, k and v, columns of the projection.
type HeadSparsity struct {
	Layer    int     `json:"layer"`
	Head     int     `json:"head"`
	Kind     string  `json:"kind"`
	Kept     int     `json:"kept"`
	Total    int     `json:"total"`
	Sparsity float64 `json:"sparsity"`
}

// HeadSparsities splits the attention masks of set by head, for a model of
// heads heads. It returns an error if a width is no multiple of heads.
func HeadSparsities(set *masks.Set, heads int) ([]HeadSparsity, error) {
	var out []HeadSparsity
	for _, m := range set.Masks {
		kind := kindOf(m.Target())
		if kind == KindFC || kind == KindOut {
			continue
		}
		width := m.Out
		if kind == KindProj {
			width = m.In
		}
		if heads < 1 || width%heads != 0 {
			return nil, fmt.Errorf("analysis: heads: %q: width %d is not a multiple of %d heads", m.Key(), width, heads)
		}
		size := width / heads
		kept := make([]int, heads)
		for i := range m.Out {
			for j := range m.In {
				if m.Keep(i, j) {
					at := i
					if kind == KindProj {
						at = j
					}
					kept[at/size]++
				}
			}
		}
		total := m.Total() / heads
		for h, n := range kept {
			out = append(out, HeadSparsity{layerOf(m.Name), h, kind, n, total, float64(total-n) / float64(total)})
		}
	}
	return out, nil
}
