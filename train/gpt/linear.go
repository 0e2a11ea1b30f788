package gpt

import "github.com/spdfctl/spdfctl/kernels"

// layout says what of a linear layer lies in panels of kernels: its input, the
// gradient of that, its output with the gradient. See inPanels.
type layout struct{ in, dIn, out bool }

// stride returns the row stride of a matrix of width columns.
func stride(panels bool, width int) int {
	if panels {
		return kernels.InPanels
	}
	return width
}

// inPanels reports whether p can read and write activations in panels.
func (p *Param) inPanels() bool {
	return p.wholeMasked() && p.Full == nil
}

// rows returns the number of rows that n tokens of the input take.
func (l layout) rows(n int) int {
	if l.in {
		return kernels.PanelLen(n, 1)
	}
	return n
}

// blockLayout is where the activations of a block lie in panels.
type blockLayout struct{ qkv, fc, out layout }

// layoutOf returns the layout of a block's activations for a pass of n tokens:
// in panels what only sparse products and functions of single elements read.
// Passes of fewer tokens than a whole panel's, such as decoding, stay row-major.
func (p *block) layoutOf(n int) (l blockLayout) {
	if n < kernels.PanelTokens {
		return l
	}
	l.qkv.in, l.fc.in = p.attnW.inPanels(), p.fcW.inPanels()
	l.out.in = l.fc.in && p.outW.inPanels()
	l.out.dIn, l.fc.out = l.out.in, l.out.in
	return l
}

// any reports whether anything lies in panels.
func (l blockLayout) any() bool { return l.qkv.in || l.fc.in }

// linear computes dst = x·W + bias for n tokens, and the rest of then.
func linear(dst, x []float32, w, bias *Param, n int, at layout, then kernels.Epilogue) {
	in, width := w.Shape[0], w.Shape[1]
	switch {
	case w.whole():
		then.Bias = bias.W
		w.precision.GemmNNThen(dst, width, x, in, w.W, width, n, width, in, then)
		return
	case w.wholeMasked():
		then.Bias = bias.W
		w.Parts[0].sparse.ForwardThen(dst, stride(at.out, width), x, stride(at.in, in), w.W, n, then)
		return
	}
	w.forward(dst, x, n)
	kernels.AddBias(dst, width, bias.W, n, width)
	if then.Residual != nil {
		kernels.Add(dst[:n*width], then.Residual[:n*width], dst[:n*width])
	}
	if then.GELU != nil {
		kernels.GELUForward(then.GELU[:n*width], dst[:n*width])
	}
}

// whole reports whether x·W is one dense product.
func (p *Param) whole() bool {
	return len(p.Parts) == 1 && p.Parts[0].sparse == nil && len(p.adapters) == 0
}

// wholeMasked reports whether x·W is one sparse product.
func (p *Param) wholeMasked() bool {
	return len(p.Parts) == 1 && p.Parts[0].sparse != nil && len(p.adapters) == 0
}

// linearBackward writes dx and adds the gradients of the weight and the bias. If
// x is GELU(before), dx is the gradient of before; otherwise before is nil.
func linearBackward(dx, dy, x []float32, w, bias *Param, n int, at layout, before []float32) {
	switch {
	case bias.Grad == nil:
	case at.out:
		kernels.BiasBackwardPanels(bias.Grad, dy, n, w.Shape[1])
	default:
		kernels.BiasBackward(bias.Grad, dy, w.Shape[1], n, w.Shape[1])
	}
	if w.whole() {
		in, width := w.Shape[0], w.Shape[1]
		w.precision.GemmNTThen(dx, in, dy, width, w.W, width, n, in, width, kernels.Epilogue{GELUInput: before})
		if w.Grad != nil {
			w.precision.GemmTN(w.Grad, width, x, in, dy, width, in, width, n, true)
		}
		return
	}
	var then kernels.Epilogue
	if w.wholeMasked() {
		then.GELUInput, before = before, nil
	}
	w.backward(dx, dy, x, n, at, then)
	if before != nil {
		kernels.GELUBackward(dx, dx, before)
	}
}
