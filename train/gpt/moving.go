package gpt

import (
	"fmt"

	"github.com/spdfctl/spdfctl/masks"
)

// CollectFullGrad says whether the following passes add the gradients of
// pruned weights up too, in Param.Full. Turning it on clears them.
func (m *Model) CollectFullGrad(on bool) {
	for _, p := range m.Params {
		switch {
		case !on || !p.Masked():
			p.Full = nil
		case p.Full == nil:
			p.Full = make([]float32, p.Size())
		default:
			clear(p.Full)
		}
	}
}

// KeptWeights returns a copy of the weights that the mask k of m keeps, in
// row-major (out, in) order. It returns an error if k is not a mask of m.
func (m *Model) KeptWeights(k *masks.Mask) ([]float32, error) {
	p := m.Param(k.Name)
	if p == nil || m.Masks == nil || m.Masks.Find(k.Name, k.Part) != k {
		return nil, fmt.Errorf("gpt: mask %q: not one of the model's", k.Key())
	}
	lo := 0
	if k.Part != "" {
		for _, part := range fusedParts {
			if part == k.Part {
				break
			}
			if before := m.Masks.Find(k.Name, part); before != nil {
				lo += before.Kept()
			} else {
				lo += k.Total()
			}
		}
	}
	ordered := make([]float32, len(p.W))
	p.RowMajor(ordered, p.W)
	return ordered[lo : lo+k.Kept()], nil
}

// WithMasks returns a model with the weights of m under other masks: weights
// that set prunes are gone, those that m prunes start at +0.
func (m *Model) WithMasks(set *masks.Set) (*Model, error) {
	to, err := New(m.Config, set)
	if err != nil {
		return nil, err
	}
	to.Training = m.Training
	for i, p := range m.Params {
		to.Params[i].Take(to.Params[i].W, p, p.W)
	}
	return to, nil
}

// Take writes to dst, which has the layout of p.W, the values src, which has
// the layout of from.W, of the same tensor under other masks: weights or
// moments. What from prunes becomes +0.
func (p *Param) Take(dst []float32, from *Param, src []float32) {
	if !p.Masked() && !from.Masked() {
		copy(dst, src)
		return
	}
	dense := make([]float32, p.Size())
	from.Dense(dense, src)
	p.FromDense(dst, dense)
}
