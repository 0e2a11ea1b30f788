package gpt

import "github.com/spdfctl/spdfctl/kernels"

// sparsePart is what the products of a masked part need besides its values.
type sparsePart struct {
	*kernels.Sparse
	wt    []float32 // the values as the transpose walks them; nil before the first backward pass
	stale bool      // the weights may have changed since
}

// backward writes or adds dx, which then follows, and adds to grad unless it is
// nil.
func (s *sparsePart) backward(dx, grad, dy, x, w []float32, width, tokens int, at layout, accumulate bool, then kernels.Epilogue) {
	lddx, ldy := stride(at.dIn, s.In), stride(at.out, width)
	if s.wt == nil || s.stale {
		if s.wt == nil {
			s.wt = make([]float32, s.Kept())
		}
		s.Transpose(s.wt, w)
		s.stale = false
	}
	if grad == nil {
		s.BackwardInputThen(dx, lddx, dy, ldy, s.wt, tokens, accumulate, then)
		return
	}
	s.BackwardThen(dx, lddx, grad, dy, ldy, x, stride(at.in, s.In), s.wt, tokens, accumulate, then)
}

// weightsChanged tells p that W may have been written to since the last
// backward pass.
func (p *Param) weightsChanged() {
	for i := range p.Parts {
		if s := p.Parts[i].sparse; s != nil {
			s.stale = true
		}
	}
}

// RowMajor writes values, which has the layout of p.W, to dst with the kept
// weights of every masked part in row-major (out, in) order, which is the
// order for files. It panics if the lengths differ from len(p.W).
func (p *Param) RowMajor(dst, values []float32) {
	p.reorder(dst, values, (*kernels.Sparse).RowMajor)
}

// FromRowMajor is the inverse of RowMajor.
func (p *Param) FromRowMajor(dst, values []float32) {
	p.reorder(dst, values, (*kernels.Sparse).FromRowMajor)
}

// reorder copies values part by part, those of masked parts through f.
func (p *Param) reorder(dst, values []float32, f func(s *kernels.Sparse, dst, values []float32)) {
	if len(dst) != len(p.W) || len(values) != len(p.W) {
		panic("gpt: RowMajor: length mismatch")
	}
	copy(dst, values)
	for i := range p.Parts {
		if q := &p.Parts[i]; q.sparse != nil {
			f(q.sparse.Sparse, dst[q.Lo:q.Hi], values[q.Lo:q.Hi])
		}
	}
}
