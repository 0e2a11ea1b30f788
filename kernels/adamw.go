package kernels

import "math"

// AdamWParams are the numbers of one AdamW step, all computed in float64.
type AdamWParams struct {
	LR, Beta1, Beta2, Eps, WeightDecay float64
	// C1 and C2 are the bias corrections 1-Beta1^t and 1-Beta2^t of step t >= 1.
	C1, C2 float64
}

// AdamW takes one step of AdamW on w, in PyTorch's order of operations:
//
//	w *= 1 - lr*wd
//	m += (1-beta1) * (grad-m)
//	v  = v*beta2 + (1-beta2)*grad*grad
//	w -= lr/c1 * m / (sqrt(v)/sqrt(c2) + eps)
//
// All four slices have the same length. It panics if they do not.
//
// Source: Loshchilov, Hutter, "Decoupled Weight Decay Regularization", 2019,
// algorithm 2, as torch.optim.AdamW computes it on one float32 tensor.
func AdamW(w, grad, m, v []float32, p AdamWParams) {
	n := len(w)
	must(len(grad) == n && len(m) == n && len(v) == n, "kernels: AdamW: lengths differ")
	adamWCalls.chunks(n, elementChunk, adamWArgs{current, w, grad, m, v, p}, func(a *adamWArgs, lo, hi int) {
		a.set.AdamW(a.w[lo:hi], a.grad[lo:hi], a.m[lo:hi], a.v[lo:hi], a.p)
	})
}

type adamWArgs struct {
	set           *Set
	w, grad, m, v []float32
	p             AdamWParams
}

var adamWCalls calls[adamWArgs]

func adamWRef(w, grad, m, v []float32, p AdamWParams) {
	n := len(w)
	grad, m, v = grad[:n], m[:n], v[:n]
	decay, beta2, rest1, rest2, step, root, eps := p.float32s()
	for i, g := range grad {
		mi := m[i] + float32(rest1*(g-m[i]))
		vi := float32(v[i]*beta2) + float32(float32(rest2*g)*g)
		m[i], v[i] = mi, vi
		denom := float32(math.Sqrt(float64(vi)))/root + eps
		w[i] = float32(w[i]*decay) + float32(step*mi)/denom
	}
}

// float32s returns the scalars of a step as its loop uses them, each rounded
// once from float64: decay = 1-lr*wd, rest = 1-beta, step = -lr/c1, root = sqrt(c2).
func (p AdamWParams) float32s() (decay, beta2, rest1, rest2, step, root, eps float32) {
	return float32(1 - float64(p.LR*p.WeightDecay)), float32(p.Beta2), float32(1 - p.Beta1), float32(1 - p.Beta2),
		float32(-p.LR / p.C1), float32(math.Sqrt(p.C2)), float32(p.Eps)
}
