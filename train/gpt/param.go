package gpt

import (
	"fmt"
	"io"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/safetensors"
	"github.com/spdfctl/spdfctl/kernels"
	"github.com/spdfctl/spdfctl/masks"
)

// Param is one stored tensor of the model with its gradient.
//
// A dense parameter holds every weight in the stored order. A parameter with
// masks holds its parts one after the other: of a masked part only the kept
// weights, in the order of kernels.Sparse (see RowMajor), of a part without a
// mask the whole (in, out) block. Pruned weights, their gradients and their moments
// therefore do not exist, and read as exactly +0 wherever a dense tensor is
// asked for.
type Param struct {
	Name  string // GPT-2 name, as "h.3.attn.c_attn.weight"
	Shape []int  // as stored; Conv1D weights are (in, out)
	Decay bool   // weight decay applies: matrices and embeddings only
	Parts []Part // the matrices of a linear layer; nil for everything else

	W    []float32
	Grad []float32 // same layout as W; nil until training starts, and if frozen
	Full []float32 // gradient of every weight, pruned ones too, as stored; nil unless collected

	adapters  []*adapter        // updates of low rank
	precision kernels.Precision // of the dense products
}

// Part is one matrix product of a linear layer: the whole weight, or one
// logical matrix of a fused one (q, k or v).
type Part struct {
	In, Out int
	Offset  int         // first output column in the stored tensor
	Lo, Hi  int         // W[Lo:Hi] are its values
	sparse  *sparsePart // nil: dense
}

// Size returns the number of weights of the stored tensor, pruned ones included.
func (p *Param) Size() int {
	n := 1
	for _, d := range p.Shape {
		n *= d
	}
	return n
}

// Masked reports whether any part of p has a mask.
func (p *Param) Masked() bool {
	for i := range p.Parts {
		if p.Parts[i].sparse != nil {
			return true
		}
	}
	return false
}

// Dense writes values, which has the layout of p.W (weights, gradients or
// moments), to dst in the stored shape; pruned places become +0.
func (p *Param) Dense(dst, values []float32) {
	if len(dst) != p.Size() || len(values) != len(p.W) {
		panic("gpt: Dense: length mismatch")
	}
	if !p.Masked() {
		copy(dst, values)
		return
	}
	clear(dst)
	width := p.Shape[1]
	for i := range p.Parts {
		q := &p.Parts[i]
		v := values[q.Lo:q.Hi]
		if q.sparse != nil {
			q.sparse.Scatter(dst[q.Offset:], v, 1, width)
			continue
		}
		for r := range q.In {
			copy(dst[r*width+q.Offset:][:q.Out], v[r*q.Out:])
		}
	}
}

// FromDense is the inverse of Dense: it picks the values of dst, which has the
// layout of p.W, out of src in the stored shape. What src holds at pruned
// places is left out.
func (p *Param) FromDense(dst, src []float32) {
	if len(src) != p.Size() || len(dst) != len(p.W) {
		panic("gpt: FromDense: length mismatch")
	}
	p.weightsChanged()
	if !p.Masked() {
		copy(dst, src)
		return
	}
	width := p.Shape[1]
	for i := range p.Parts {
		q := &p.Parts[i]
		v := dst[q.Lo:q.Hi]
		if q.sparse != nil {
			q.sparse.Gather(v, src[q.Offset:], 1, width)
			continue
		}
		for r := range q.In {
			copy(v[r*q.Out:][:q.Out], src[r*width+q.Offset:])
		}
	}
}

// linearParam returns the weight of a linear layer with in inputs and out
// outputs, whose logical matrices of equal shape have the masks list, nil where
// one is dense.
func linearParam(name string, in, out int, list []*masks.Mask) (*Param, error) {
	p := &Param{Name: name, Shape: []int{in, out}, Decay: true}
	each := out / len(list)
	masked := 0
	for _, m := range list {
		if m == nil {
			continue
		}
		if m.Out != each || m.In != in {
			return nil, fmt.Errorf("gpt: %q: mask is (%d, %d), weight is (%d, %d)", m.Key(), m.Out, m.In, each, in)
		}
		masked++
	}
	n := 0
	add := func(offset, width int, bits []byte) {
		q := Part{In: in, Out: width, Offset: offset, Lo: n}
		if bits == nil {
			n += in * width
		} else {
			q.sparse = &sparsePart{Sparse: kernels.NewSparse(width, in, bits)}
			n += q.sparse.Kept()
		}
		q.Hi = n
		p.Parts = append(p.Parts, q)
	}
	switch masked {
	case 0:
		// One product for the fused weight is faster than one per part.
		add(0, out, nil)
	case len(list):
		// Likewise; the rows of the parts follow each other.
		var bits []byte
		for _, m := range list {
			bits = append(bits, m.Bits...)
		}
		add(0, out, bits)
	default:
		for i, m := range list {
			if m == nil {
				add(i*each, each, nil)
			} else {
				add(i*each, each, m.Bits)
			}
		}
	}
	p.W = make([]float32, n)
	return p, nil
}

// forward computes dst (tokens, out) = x (tokens, in) · W, without the bias.
func (p *Param) forward(dst, x []float32, tokens int) {
	width := p.Shape[1]
	for i := range p.Parts {
		q := &p.Parts[i]
		w := p.W[q.Lo:q.Hi]
		if q.sparse != nil {
			q.sparse.Forward(dst[q.Offset:], width, x, q.In, w, tokens)
			continue
		}
		p.precision.GemmNN(dst[q.Offset:], width, x, q.In, w, q.Out, tokens, q.Out, q.In, false)
	}
	for _, a := range p.adapters {
		a.forward(dst, x, width, tokens)
	}
}

// backward writes dx (tokens, in) = dy (tokens, out) · Wᵀ and adds to p.Grad,
// unless p is frozen. What then says follows dx if p is wholeMasked, of which
// alone activations may lie in panels.
func (p *Param) backward(dx, dy, x []float32, tokens int, at layout, then kernels.Epilogue) {
	width := p.Shape[1]
	for i := range p.Parts {
		q := &p.Parts[i]
		w := p.W[q.Lo:q.Hi]
		var grad []float32
		if p.Grad != nil {
			grad = p.Grad[q.Lo:q.Hi]
		}
		if q.sparse != nil {
			q.sparse.backward(dx, grad, dy[q.Offset:], x, w, width, tokens, at, i > 0, then)
			if grad != nil && p.Full != nil {
				p.precision.GemmTN(p.Full[q.Offset:], width, x, q.In, dy[q.Offset:], width, q.In, q.Out, tokens, true)
			}
			continue
		}
		p.precision.GemmNT(dx, q.In, dy[q.Offset:], width, w, q.Out, tokens, q.In, q.Out, i > 0)
		if grad != nil {
			p.precision.GemmTN(grad, q.Out, x, q.In, dy[q.Offset:], width, q.In, q.Out, tokens, true)
		}
	}
	for _, a := range p.adapters {
		a.backward(dx, dy, x, width, tokens)
	}
}

// tensor returns p as it is stored in a checkpoint: dense, with +0 where the
// mask prunes. The dense form is made when its turn to be written comes.
func (p *Param) tensor() safetensors.Tensor {
	if !p.Masked() {
		return safetensors.Float32s(hfPrefix+p.Name, p.Shape, p.W)
	}
	return safetensors.Tensor{
		Info: formats.Info{Name: hfPrefix + p.Name, DType: "F32", Shape: p.Shape},
		WriteTo: func(w io.Writer) error {
			dense := make([]float32, p.Size())
			p.Dense(dense, p.W)
			return safetensors.Float32s(p.Name, p.Shape, dense).WriteTo(w)
		},
	}
}
