package kerneltest

import (
	"fmt"
	"math"
	"slices"

	"github.com/spdfctl/spdfctl/kernels"
)

// checkThreads demands the same bits for 1, 2, 3 and 7 threads.
func checkThreads(set *kernels.Set, short bool) error {
	before := kernels.Threads()
	defer kernels.SetThreads(before)
	for _, c := range threadCases(set, short) {
		var want []float32
		for _, n := range []int{1, 2, 3, 7} {
			kernels.SetThreads(n)
			got := c.run()
			if n == 1 {
				want = got
				continue
			}
			if i := sameBits(got, want); i >= 0 {
				return fmt.Errorf("%s: element %d is %g with %d threads, %g with 1", c.name, i, got[i], n, want[i])
			}
		}
	}
	return nil
}

type threadCase struct {
	name string
	run  func() []float32
}

func threadCases(set *kernels.Set, short bool) []threadCase {
	rng := newRand(33)
	m, n, k := 150, 530, 300
	a, b, dst := random(rng, m*k), random(rng, n*k), random(rng, m*n)
	sp := newMask(rng, 300, 200, 0.75)
	s := kernels.NewSparse(sp.out, sp.in, sp.bits)
	w := random(rng, s.Kept())
	tokens := 200
	if !short {
		tokens = 1100
	}
	x, dy := random(rng, tokens*sp.in), random(rng, tokens*sp.out)
	cases := []threadCase{
		{"GemmNNThen", func() []float32 {
			d, g := make([]float32, m*n), make([]float32, m*n)
			kernels.F32.GemmNNThen(d, n, a, k, b, n, m, n, k, kernels.Epilogue{Bias: b, Residual: dst, GELU: g, GELUInput: dst})
			return append(d, g...)
		}},
		{"AddBias", func() []float32 { d := clone(dst); kernels.AddBias(d, n, b, m, n); return d }},
		{"BiasBackward", func() []float32 { d := clone(b[:n]); kernels.BiasBackward(d, dst, n, m, n); return d }},
		{"BiasBackwardPanels", func() []float32 { d := clone(b[:n]); kernels.BiasBackwardPanels(d, dst, m-10, n); return d }},
		{"PackPanels", func() []float32 {
			d := make([]float32, kernels.PanelLen(tokens, sp.in))
			kernels.PackPanels(d, x, sp.in, tokens, sp.in)
			return d
		}},
		{"GELUForward", func() []float32 { d := make([]float32, len(dst)); kernels.GELUForward(d, dst); return d }},
		{"GELUBackward", func() []float32 { d := clone(dst); kernels.GELUBackward(d, d, dst); return d }},
		{"Add", func() []float32 { d := clone(dst); kernels.Add(d, d, dst); return d }},
		{"Scale", func() []float32 { d := clone(dst); kernels.Scale(d, 0.3); return d }},
		{"SumSquares", func() []float32 {
			bits := math.Float64bits(kernels.SumSquares(dst))
			return []float32{math.Float32frombits(uint32(bits)), math.Float32frombits(uint32(bits >> 32))}
		}},
		{"AdamW", func() []float32 {
			w, m, v := clone(dst), clone(dst), make([]float32, len(dst))
			kernels.AdamW(w, dst, m, v, kernels.AdamWParams{LR: 1e-3, Beta1: 0.9, Beta2: 0.99, Eps: 1e-8, C1: 0.1, C2: 0.01})
			return append(w, append(m, v...)...)
		}},
		{"Sparse.Gather", func() []float32 {
			d := make([]float32, s.Kept())
			s.Gather(d, dst, sp.in, 1)
			return d
		}},
		{"CrossEntropy", func() []float32 {
			losses, targets := make([]float32, m), make([]int32, m)
			kernels.CrossEntropy(losses, dst, targets, m, n)
			return losses
		}},
		{"SoftmaxCrossEntropy", func() []float32 {
			d, losses, targets := clone(dst), make([]float32, m), make([]int32, m)
			kernels.SoftmaxCrossEntropy(losses, d, targets, m, n, 0.1)
			return append(d, losses...)
		}},
		{"LayerNorm", func() []float32 {
			mean, rstd := make([]float32, m), make([]float32, m)
			y, dx, dw := make([]float32, m*n), clone(dst), make([]float32, 2*n)
			kernels.LayerNormForward(y, mean, rstd, dst, b, b[n:], m, n, 1e-5)
			kernels.LayerNormBackward(dx, dw[:n], dw[n:], y, dst, b, mean, rstd, m, n)
			return append(dx, dw...)
		}},
		{"Embedding", func() []float32 {
			const c, t = 50, 30
			ids := make([]int32, 120)
			for i := range ids {
				ids[i] = int32(i * i % 17)
			}
			d, de := make([]float32, len(ids)*c), make([]float32, 17*c+t*c)
			kernels.EmbeddingForward(d, ids, a[:17*c], b[:t*c], t, c)
			kernels.EmbeddingBackward(de[:17*c], de[17*c:], d, ids, t, c)
			return append(d, de...)
		}},
		{"Attention", func() []float32 {
			const bs, t, nh, hs = 2, 100, 3, 16
			const c = nh * hs
			qkv := dst[:bs*t*3*c]
			out, lse, dqkv := make([]float32, bs*t*c), make([]float32, bs*nh*t), make([]float32, bs*t*3*c)
			kernels.AttentionForward(out, lse, qkv, bs, t, nh, hs)
			kernels.AttentionBackward(dqkv, b[:bs*t*c], qkv, out, lse, bs, t, nh, hs)
			return append(dqkv, append(out, lse...)...)
		}},
		{"AttentionDecode", func() []float32 {
			d := make([]float32, 48)
			kernels.AttentionDecode(d, a, b[:100*48], dst[:100*48], 100, 3, 16)
			return d
		}},
	}
	forms := products
	if set.BF16 != nil {
		forms = slices.Concat(products, bf16Products)
	}
	for _, p := range forms {
		lda, ldb := k, n
		if p.transA {
			lda = m
		}
		if p.transB {
			ldb = k
		}
		for _, rows := range []int{2, m} {
			cases = append(cases, threadCase{"Gemm" + p.name, func() []float32 {
				d := clone(dst)
				p.call(d, n, a, lda, b, ldb, rows, n, k, true)
				return d
			}})
		}
	}
	for _, t := range []int{1, 2, 3, 9, 33, 70, 127, 130, tokens} {
		cases = append(cases,
			threadCase{"Sparse.Forward", func() []float32 {
				y := make([]float32, t*sp.out)
				s.Forward(y, sp.out, x, sp.in, w, t)
				return y
			}},
			threadCase{"Sparse.BackwardInput", func() []float32 {
				dx := clone(x[:t*sp.in])
				s.BackwardInput(dx, sp.in, dy, sp.out, transposed(s, w), t, true)
				return dx
			}},
			threadCase{"Sparse.BackwardWeight", func() []float32 {
				dw := clone(w)
				s.BackwardWeight(dw, dy, sp.out, x, sp.in, t)
				return dw
			}})
	}
	return cases
}
