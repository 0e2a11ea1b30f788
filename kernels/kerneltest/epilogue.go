package kerneltest

import (
	"fmt"
	"math/rand/v2"

	"github.com/spdfctl/spdfctl/kernels"
)

// fusedProduct is a dense product with an epilogue.
type fusedProduct struct {
	product
	then func(dst []float32, ldd int, a []float32, lda int, b []float32, ldb int, m, n, k int, then kernels.Epilogue)
}

// checkEpilogue demands of every product with an epilogue the bits of the same
// steps one after the other.
func checkEpilogue(set *kernels.Set, short bool) error {
	forms := []fusedProduct{{products[0], kernels.F32.GemmNNThen}, {products[1], kernels.F32.GemmNTThen}}
	if set.BF16 != nil {
		forms = append(forms, fusedProduct{bf16Products[0], kernels.BF16.GemmNNThen}, fusedProduct{bf16Products[1], kernels.BF16.GemmNTThen})
	}
	// One and four rows are multiplied unpacked; the others cross tiles, and the
	// last three blocks of m, n and k.
	shapes := [][3]int{{1, 70, 33}, {4, 300, 20}, {5, 1, 0}, {2*set.MR + 3, 2*set.NR + 5, 300}, {130, 530, 40}, {2060, 70, 9}, {33, 2100, 9}, {20, 70, 4200}}
	if short {
		shapes = shapes[:5]
	}
	rng := newRand(53)
	for _, p := range forms {
		for _, s := range shapes {
			for parts := range 1 << 4 {
				if err := epilogueCase(p, rng, s[0], s[1], s[2], parts); err != nil {
					return fmt.Errorf("%s m=%d n=%d k=%d parts=%04b: %w", p.name, s[0], s[1], s[2], parts, err)
				}
			}
		}
	}
	return nil
}

// epilogueCase tries the epilogue of those of its four parts whose bits are set.
func epilogueCase(p fusedProduct, rng *rand.Rand, m, n, k, parts int) error {
	a, b, ldb := random(rng, m*k), random(rng, k*n), n
	if p.transB {
		ldb = k
	}
	dst, ldd := strided("dst", rng, m, n, 3)
	residual, _ := strided("Residual", rng, m, n, 3)
	gelu, _ := strided("GELU", rng, m, n, 3)
	input, _ := strided("GELUInput", rng, m, n, 3)
	bias := random(rng, n)
	sum, active := make([]float32, m*ldd), clone(gelu.s)
	p.call(sum, ldd, a, k, b, ldb, m, n, k, false)
	then := epilogueOf(parts, kernels.Epilogue{Bias: bias, Residual: residual.s, GELU: gelu.s, GELUInput: input.s})
	stepByStep(sum, active, ldd, m, n, then)
	p.then(dst.s, ldd, a, k, b, ldb, m, n, k, then)
	for i := range m {
		for _, x := range []struct {
			name      string
			got, want []float32
		}{{"dst", dst.s, sum}, {"GELU", gelu.s, active}} {
			if j := sameBits(x.got[i*ldd:][:n], x.want[i*ldd:][:n]); j >= 0 {
				return fmt.Errorf("%s (%d,%d): got %g, step by step %g", x.name, i, j, x.got[i*ldd+j], x.want[i*ldd+j])
			}
		}
	}
	return first(gapsIntact(dst, ldd, n), gapsIntact(gelu, ldd, n), residual.unchanged(), input.unchanged())
}

// epilogueOf returns those of the four parts of all whose bits are set.
func epilogueOf(parts int, all kernels.Epilogue) (then kernels.Epilogue) {
	for i, p := range []struct{ to, from *[]float32 }{
		{&then.Bias, &all.Bias}, {&then.Residual, &all.Residual}, {&then.GELU, &all.GELU}, {&then.GELUInput, &all.GELUInput},
	} {
		if parts>>i&1 != 0 {
			*p.to = *p.from
		}
	}
	return then
}

// stepByStep does to sum (m, n), row-major, what then says, by the functions for
// it; what belongs in then.GELU goes to active.
func stepByStep(sum, active []float32, ld, m, n int, then kernels.Epilogue) {
	if then.Bias != nil {
		kernels.AddBias(sum, ld, then.Bias, m, n)
	}
	for i := range m {
		row := func(s []float32) []float32 { return s[i*ld:][:n] }
		if then.Residual != nil {
			kernels.Add(row(sum), row(then.Residual), row(sum))
		}
		if then.GELU != nil {
			kernels.GELUForward(row(active), row(sum))
		}
		if then.GELUInput != nil {
			kernels.GELUBackward(row(sum), row(sum), row(then.GELUInput))
		}
	}
}

// checkSparseEpilogue demands of the sparse products with an epilogue, row-major and
// in panels, the bits of the same steps one after the other.
func checkSparseEpilogue(set *kernels.Set, short bool) error {
	// Few tokens are multiplied unpacked; the others need a narrow panel, two
	// panels and two groups of them.
	lengths := []int{1, 2, 19, 130, 1100}
	if short {
		lengths = lengths[:4]
	}
	rng := newRand(54)
	for _, sparsity := range []float64{0.75, 1} {
		m := newMask(rng, 390, 70, sparsity)
		s := kernels.NewSparse(m.out, m.in, m.bits)
		for _, tokens := range lengths {
			for _, panels := range []bool{false, true} {
				for parts := range 1 << 4 {
					if tokens > 200 && parts != 15 {
						continue
					}
					if err := sparseEpilogueCase(rng, s, tokens, panels, parts); err != nil {
						return fmt.Errorf("sparsity %g, %d tokens, in panels %t, parts=%04b: %w", sparsity, tokens, panels, parts, err)
					}
				}
			}
		}
	}
	return nil
}

// sparseEpilogueCase tries those of the four parts of an epilogue whose bits are set
// behind both products.
func sparseEpilogueCase(rng *rand.Rand, s *kernels.Sparse, tokens int, panels bool, parts int) error {
	w := random(rng, s.Kept())
	wt := transposed(s, w)
	for _, p := range []struct {
		name  string
		in, n int
		call  func(dst []float32, ldd int, x []float32, then kernels.Epilogue)
	}{
		{"forward", s.In, s.Out, func(dst []float32, ldd int, x []float32, then kernels.Epilogue) {
			s.ForwardThen(dst, ldd, x, s.In, w, tokens, then)
		}},
		{"input gradient", s.Out, s.In, func(dst []float32, ldd int, x []float32, then kernels.Epilogue) {
			s.BackwardInputThen(dst, ldd, x, s.Out, wt, tokens, true, then)
		}},
	} {
		n := p.n
		x, old, bias := random(rng, tokens*p.in), random(rng, tokens*n), random(rng, n)
		residual, input := random(rng, tokens*n), random(rng, tokens*n)
		ldd, length := n, tokens*n
		lay := func(x []float32) []float32 { return clone(x) }
		if panels {
			ldd, length = kernels.InPanels, kernels.PanelLen(tokens, n)
			lay = func(x []float32) []float32 {
				y := make([]float32, length)
				kernels.PackPanels(y, x, n, tokens, n)
				return y
			}
		}
		got, active := lay(old), make([]float32, length)
		sum, wantActive := lay(old), make([]float32, tokens*n)
		p.call(sum, ldd, x, kernels.Epilogue{})
		want := make([]float32, tokens*n)
		eachElement(tokens, n, panels, func(row, laid int) { want[row] = sum[laid] })
		stepByStep(want, wantActive, n, tokens, n,
			epilogueOf(parts, kernels.Epilogue{Bias: bias, Residual: residual, GELU: wantActive, GELUInput: input}))
		then := epilogueOf(parts, kernels.Epilogue{Bias: bias, Residual: lay(residual), GELU: active, GELUInput: lay(input)})
		p.call(got, ldd, x, then)
		var wrong error
		eachElement(tokens, n, panels, func(row, laid int) {
			if a, b := got[laid], want[row]; sameBits([]float32{a}, []float32{b}) >= 0 {
				wrong = fmt.Errorf("%s: dst (%d,%d): got %g, step by step %g", p.name, row/n, row%n, a, b)
			}
			if a, b := active[laid], wantActive[row]; sameBits([]float32{a}, []float32{b}) >= 0 {
				wrong = fmt.Errorf("%s: GELU (%d,%d): got %g, step by step %g", p.name, row/n, row%n, a, b)
			}
		})
		if wrong != nil {
			return wrong
		}
	}
	return nil
}

// eachElement calls f with the number of every element of (tokens, n), row-major and
// as it is laid.
func eachElement(tokens, n int, panels bool, f func(row, laid int)) {
	for t := range tokens {
		t0 := t / kernels.PanelTokens * kernels.PanelTokens
		width := kernels.PanelLen(min(kernels.PanelTokens, tokens-t0), 1)
		for i := range n {
			laid := t*n + i
			if panels {
				laid = t0*n + i*width + t - t0
			}
			f(t*n+i, laid)
		}
	}
}
