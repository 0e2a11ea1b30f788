package analysis

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"gonum.org/v1/gonum/mat"

	"github.com/spdfctl/spdfctl/masks"
	"github.com/spdfctl/spdfctl/train/gpt"
)

// DriftReport says how far the matrices of a model moved between two
// checkpoints.
type DriftReport struct {
	NLayer   int           `json:"n_layer"`
	Matrices []MatrixDrift `json:"matrices"` // block after block
	Modules  []ModuleDrift `json:"modules"`  // the same over all blocks

	// Revived compares the weights that a mask had pruned with those that it
	// had kept; nil without masks.
	Revived *Revived `json:"revived,omitempty"`
}

// MatrixDrift is the change of one matrix.
type MatrixDrift struct {
	Name     string  `json:"name"`
	Kind     string  `json:"kind"`
	Layer    int     `json:"layer"`    // block, from 0
	Distance float64 `json:"distance"` // 1 - cos(before, after)
	Relative float64 `json:"relative"` // |after - before| / |before|

	// With a mask: the root mean square of what revived weights became, of
	// the kept ones, and of the change of these.
	RevivedRMS *float64 `json:"revived_rms,omitempty"`
	KeptRMS    *float64 `json:"kept_rms,omitempty"`
	ChangeRMS  *float64 `json:"kept_change_rms,omitempty"`

	Spectrum *Spectrum `json:"spectrum,omitempty"` // of the change, if asked for
}

// ModuleDrift is one kind of matrices over all blocks.
type ModuleDrift struct {
	Kind    string  `json:"kind"`
	Mean    float64 `json:"mean_distance"`
	Largest float64 `json:"largest_distance"`
	Layer   int     `json:"layer"` // of the largest
}

// Spectrum is what the singular values of a change say about its rank.
type Spectrum struct {
	Singular      []float64 `json:"singular"`       // descending
	StableRank    float64   `json:"stable_rank"`    // |D|_F^2 / s1^2
	EffectiveRank float64   `json:"effective_rank"` // exp of the entropy of s_i / sum s
	Rank90        int       `json:"rank_90"`        // values that hold 90 % of |D|_F^2
}

// Revived is where the pruned weights of a mask went, over all matrices.
type Revived struct {
	Revived int64 `json:"revived"` // weights that the mask pruned
	Kept    int64 `json:"kept"`

	// Histograms of magnitudes over the root mean square of the kept weights
	// after: bin i holds edges[i] <= x < edges[i+1], the last one all above.
	Edges      []float64 `json:"edges"`
	RevivedBin []int64   `json:"revived_counts"`     // |after| of revived weights
	KeptBin    []int64   `json:"kept_counts"`        // |after| of kept weights
	ChangeBin  []int64   `json:"kept_change_counts"` // |after - before| of kept weights

	RevivedRMS float64 `json:"revived_rms"`
	KeptRMS    float64 `json:"kept_rms"`
	ChangeRMS  float64 `json:"kept_change_rms"`
}

// Drift compares the matrices of two models of one shape. The distance is
//
//	1 - <a, b> / (|a| |b|)
//
// over the entries of one logical matrix, computed in float64 as
// |a/|a| - b/|b||^2 / 2, which loses nothing where a and b are almost parallel.
// set, if not nil, are the masks of a. With spectrum the singular values of
// every change are computed, which takes the cube of the width.
//
// Source: Thangarasa et al., "SPDF", UAI 2023, Figs. 3 and 4; the paper prints
// no formula, this is the cosine distance that its text names.
func Drift(a, b *gpt.Model, set *masks.Set, spectrum bool) (*DriftReport, error) {
	if x, y := a.Config, b.Config; x.NLayer != y.NLayer || x.NEmbd != y.NEmbd || x.Inner() != y.Inner() {
		return nil, fmt.Errorf("analysis: drift: (%d blocks, width %d, inner %d) against (%d, %d, %d)",
			x.NLayer, x.NEmbd, x.Inner(), y.NLayer, y.NEmbd, y.Inner())
	}
	r := &DriftReport{NLayer: a.Config.NLayer}
	var fate fate
	for _, t := range gpt.MaskTargets(a.Config) {
		before, err := logical(a, t)
		if err != nil {
			return nil, err
		}
		after, err := logical(b, t)
		if err != nil {
			return nil, err
		}
		m := MatrixDrift{Name: t.Key(), Kind: kindOf(t), Layer: layerOf(t.Name)}
		m.Distance, m.Relative = distance(before, after)
		if set != nil {
			if mask := set.Find(t.Name, t.Part); mask != nil {
				if mask.Out != t.Out || mask.In != t.In {
					return nil, fmt.Errorf("analysis: mask %q is (%d, %d), the matrix is (%d, %d)", t.Key(), mask.Out, mask.In, t.Out, t.In)
				}
				m.RevivedRMS, m.KeptRMS, m.ChangeRMS = fate.add(mask, before, after)
			}
		}
		if spectrum {
			s, err := spectrumOf(before, after, t.Out, t.In)
			if err != nil {
				return nil, fmt.Errorf("analysis: drift: %q: %w", t.Key(), err)
			}
			m.Spectrum = s
		}
		r.Matrices = append(r.Matrices, m)
	}
	r.Modules = modules(r.Matrices)
	r.Revived = fate.report()
	return r, nil
}

// logical returns the matrix t of m, (out, in).
func logical(m *gpt.Model, t masks.Target) ([]float32, error) {
	p := m.Param(t.Name)
	if p == nil {
		return nil, fmt.Errorf("analysis: drift: the model has no %q", t.Name)
	}
	_, place, err := gpt.StoredTarget(t)
	if err != nil {
		return nil, err
	}
	stored := p.W
	if p.Masked() {
		stored = make([]float32, p.Size())
		p.Dense(stored, p.W)
	}
	out := make([]float32, t.Total())
	for i := range t.Out {
		for j := range t.In {
			out[i*t.In+j] = stored[place.Offset+i*place.RowStride+j*place.ColStride]
		}
	}
	return out, nil
}

// layerOf returns the block of a tensor called "h.3.…".
func layerOf(name string) int {
	rest, _, _ := strings.Cut(strings.TrimPrefix(name, "h."), ".")
	n, err := strconv.Atoi(rest)
	if err != nil {
		return -1
	}
	return n
}

// distance returns 1 - cos(a, b) and |b-a| / |a|. Two zero vectors are 0 apart,
// a zero and another one 1.
func distance(a, b []float32) (cosine, relative float64) {
	var aa, bb, dd float64
	for i, x := range a {
		x, y := float64(x), float64(b[i])
		aa += x * x
		bb += y * y
		dd += (y - x) * (y - x)
	}
	switch {
	case aa == 0 && bb == 0:
		return 0, 0
	case aa == 0 || bb == 0:
		return 1, math.Sqrt(dd / max(aa, bb))
	}
	na, nb := math.Sqrt(aa), math.Sqrt(bb)
	var sum float64
	for i, x := range a {
		d := float64(x)/na - float64(b[i])/nb
		sum += d * d
	}
	return sum / 2, math.Sqrt(dd / aa)
}

// spectrumOf returns the singular values of after - before, (out, in).
func spectrumOf(before, after []float32, out, in int) (*Spectrum, error) {
	d := mat.NewDense(out, in, nil)
	var frobenius float64
	for i := range before {
		v := float64(after[i]) - float64(before[i])
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, fmt.Errorf("weight %d changes by %g", i, v)
		}
		d.Set(i/in, i%in, v)
		frobenius += v * v
	}
	var svd mat.SVD
	if !svd.Factorize(d, mat.SVDNone) {
		return nil, fmt.Errorf("the singular values did not converge")
	}
	s := &Spectrum{Singular: svd.Values(nil)}
	if frobenius == 0 {
		return s, nil
	}
	s.StableRank = frobenius / (s.Singular[0] * s.Singular[0])
	var sum, entropy, held float64
	for _, v := range s.Singular {
		sum += v
	}
	for i, v := range s.Singular {
		if p := v / sum; p > 0 {
			entropy -= p * math.Log(p)
		}
		if held < 0.9*frobenius {
			s.Rank90 = i + 1
		}
		held += v * v
	}
	s.EffectiveRank = math.Exp(entropy)
	return s, nil
}

// modules sums the matrices up by kind, in the order of the computation.
func modules(list []MatrixDrift) []ModuleDrift {
	var out []ModuleDrift
	for _, kind := range Kinds() {
		m := ModuleDrift{Kind: kind, Largest: -1}
		n := 0
		for _, x := range list {
			if x.Kind != kind {
				continue
			}
			n++
			m.Mean += x.Distance
			if x.Distance > m.Largest {
				m.Largest, m.Layer = x.Distance, x.Layer
			}
		}
		if n > 0 {
			m.Mean /= float64(n)
			out = append(out, m)
		}
	}
	return out
}
