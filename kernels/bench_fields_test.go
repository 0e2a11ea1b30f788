package kernels_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/spdfctl/spdfctl/kernels"
	"github.com/spdfctl/spdfctl/kernels/kerneltest"
)

// The benchmarks of this file time the fields of each set by themselves, in
// one thread, so that what the drivers lose can be told from what the
// micro-kernels reach.

// deviates returns n normal deviates.
func deviates(seed uint64, n int) []float32 {
	rng := rand.New(rand.NewPCG(seed, 1))
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	return x
}

func BenchmarkTile(b *testing.B) {
	eachSet(b, func(b *testing.B, set *kernels.Set) {
		const kc = 256
		a, bb, c := deviates(1, kc*set.MR), deviates(2, kc*set.NR), make([]float32, set.MR*set.NR)
		timed(b, fmt.Sprintf("m=%d/n=%d/k=%d", set.MR, set.NR, kc), float64(2*set.MR*set.NR*kc), func() {
			set.Tile(c, set.NR, a, bb, kc, true, bb)
		})
	})
}

func BenchmarkBF16(b *testing.B) {
	eachSet(b, func(b *testing.B, set *kernels.Set) {
		t := set.BF16
		if t == nil {
			return
		}
		const kc, rows, cols = 256, 64, 768
		a, bb, c := make([]float32, kc*t.MR), make([]float32, kc*t.NR), make([]float32, t.MR*t.NR)
		timed(b, fmt.Sprintf("tile/m=%d/n=%d/k=%d", t.MR, t.NR, 2*kc), float64(4*t.MR*t.NR*kc), func() {
			t.Tile(c, t.NR, a, bb, kc, true, bb)
		})
		timed(b, "peak", float64(2*t.DotLoopAdds*1000), func() { t.DotLoop(1000) })
		src, dst := deviates(10, rows*cols), make([]float32, rows*cols)
		perElement(b, "PairRows64x768", rows*cols, 6, func() { t.PairRows(dst, cols, src, cols, rows, cols) })
		perElement(b, "PairColumns32x1536", rows*cols, 6, func() { t.PairColumns(dst, 32, src, 1536, 32, 1536) })
	})
}

func BenchmarkPanel(b *testing.B) {
	const rows, features = 384, 64
	eachSet(b, func(b *testing.B, set *kernels.Set) {
		for _, sparsity := range []float64{0, 0.5, 0.75, 0.9} {
			p := kerneltest.NewPattern(rand.New(rand.NewPCG(3, 1)), rows, features, 1-sparsity)
			x, y, w := deviates(4, features*kernels.PanelTokens), make([]float32, rows*kernels.PanelTokens), deviates(5, len(p.Places))
			at := fmt.Sprintf("/s=%g/rows=%d/features=%d/tokens=", sparsity, rows, features)
			flops := func(tokens int) float64 { return float64(2 * tokens * len(p.Places)) }
			for tokens := 1; tokens <= 2; tokens++ {
				timed(b, fmt.Sprintf("kernel=few%s%d", at, tokens), flops(tokens), func() {
					set.FewSpMM(y, rows, x, features, features, tokens, p.Code, w)
				})
			}
			for i, tokens := range kernels.PanelWidths {
				timed(b, fmt.Sprintf("kernel=spmm%s%d", at, tokens), flops(tokens), func() {
					set.Panels[i].SpMM(y, x, p.Code, w, nil)
				})
				clear(y)
				timed(b, fmt.Sprintf("kernel=sddmm%s%d", at, tokens), flops(tokens), func() {
					set.Panels[i].SDDMM(w, y, x, p.Code, nil, nil)
				})
			}
		}
	})
}

// perElement runs f, which handles n elements, and reports nanoseconds and
// bytes of each.
func perElement(b *testing.B, name string, n, bytes int, f func()) {
	b.Run(name, func(b *testing.B) {
		b.SetBytes(int64(n * bytes))
		for b.Loop() {
			f()
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/element")
	})
}

func BenchmarkField(b *testing.B) {
	const n = 3072
	eachSet(b, func(b *testing.B, set *kernels.Set) {
		x, y, z, u := deviates(6, n), deviates(7, n), deviates(8, n), deviates(9, n)
		v, w := make([]float32, n), make([]float32, n)
		p := kernels.AdamWParams{LR: 1e-4, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, WeightDecay: 0.1, C1: 0.5, C2: 0.5}
		perElement(b, "Dot", n, 8, func() { set.Dot(x, y) })
		perElement(b, "Axpy", n, 12, func() { set.Axpy(v, x, 1e-9) })
		perElement(b, "Add", n, 12, func() { set.Add(v, x, y) })
		perElement(b, "Scale", n, 8, func() { set.Scale(v, 1) })
		perElement(b, "SumSquares", n, 4, func() { set.SumSquares(x) })
		perElement(b, "Max", n, 4, func() { set.Max(x) })
		perElement(b, "ExpSum", n, 8, func() { set.ExpSum(v, x, 4) })
		perElement(b, "GELU", n, 8, func() { set.GELU(v, x) })
		perElement(b, "GELUGrad", n, 12, func() { set.GELUGrad(v, y, x) })
		perElement(b, "NormRow", n, 16, func() { set.NormRow(v, x, y, z, 1e-5) })
		perElement(b, "NormRowGrad", n, 36, func() { set.NormRowGrad(v, w, u, z, x, y, 0.1, 1) })
		clear(v)
		perElement(b, "AdamW", n, 28, func() { set.AdamW(w, y, z, v, p) })
		const rows, cols = 64, 768
		src, dst := deviates(10, rows*cols), make([]float32, rows*cols)
		perElement(b, "Transpose64x768", rows*cols, 8, func() { set.Transpose(dst, rows, src, cols, rows, cols) })
		perElement(b, "Transpose768x64", rows*cols, 8, func() { set.Transpose(dst, cols, src, rows, cols, rows) })
	})
}
