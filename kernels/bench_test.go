package kernels_test

import (
	"fmt"
	"testing"

	"github.com/spdfctl/spdfctl/kernels"
	"github.com/spdfctl/spdfctl/kernels/kerneltest"
)

// eachSet runs a benchmark once per kernel set.
func eachSet(b *testing.B, f func(b *testing.B, set *kernels.Set)) {
	for _, set := range kernels.Sets() {
		b.Run("set="+set.Name, func(b *testing.B) {
			before := kernels.Current().Name
			defer kernels.Use(before)
			if err := kernels.Use(set.Name); err != nil {
				b.Fatal(err)
			}
			f(b, set)
		})
	}
}

// timed runs f for the benchmark and reports executed GFLOP/s.
func timed(b *testing.B, name string, flops float64, f func()) {
	b.Run(name, func(b *testing.B) {
		for b.Loop() {
			f()
		}
		b.ReportMetric(flops*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
	})
}

func BenchmarkGemm(b *testing.B) {
	eachSet(b, func(b *testing.B, set *kernels.Set) {
		for _, s := range kerneltest.ModelShapes {
			w := kerneltest.NewWorkload(s, 0.9)
			at := fmt.Sprintf("/m=%d/n=%d/k=%d", s.Tokens, s.Out, s.In)
			timed(b, "form=NT"+at, s.FLOPs(1), w.DenseForward)
			timed(b, "form=NN"+at, s.FLOPs(1), w.DenseBackwardInput)
			timed(b, "form=TN"+at, s.FLOPs(1), w.DenseBackwardWeight)
		}
	})
}

func BenchmarkSparse(b *testing.B) {
	eachSet(b, func(b *testing.B, set *kernels.Set) {
		for _, s := range kerneltest.ModelShapes {
			for _, sparsity := range []float64{0.5, 0.75, 0.9} {
				w := kerneltest.NewWorkload(s, sparsity)
				at := fmt.Sprintf("/s=%g/m=%d/n=%d/k=%d", sparsity, s.Tokens, s.Out, s.In)
				timed(b, "pass=forward"+at, s.FLOPs(w.Density), w.SparseForward)
				timed(b, "pass=input"+at, s.FLOPs(w.Density), w.SparseBackwardInput)
				timed(b, "pass=weight"+at, s.FLOPs(w.Density), w.SparseBackwardWeight)
				perElement(b, "pass=transpose"+at, int(w.Density*float64(s.In*s.Out)), 8, w.SparseTranspose)
			}
		}
	})
}

// BenchmarkDecode is one token through a linear layer.
func BenchmarkDecode(b *testing.B) {
	eachSet(b, func(b *testing.B, set *kernels.Set) {
		s := kerneltest.Shape{Tokens: 1, In: 768, Out: 3072}
		w := kerneltest.NewWorkload(s, 0.75)
		timed(b, "dense/m=1/n=3072/k=768", s.FLOPs(1), w.DenseForward)
		timed(b, "sparse/s=0.75/m=1/n=3072/k=768", s.FLOPs(w.Density), w.SparseForward)
	})
}

func BenchmarkAttention(b *testing.B) {
	eachSet(b, func(b *testing.B, set *kernels.Set) {
		const bs, t, nh, hs = 1, 512, 12, 64
		const c = nh * hs
		qkv, dqkv := make([]float32, bs*t*3*c), make([]float32, bs*t*3*c)
		for i := range qkv {
			qkv[i] = float32(i%17)/17 - 0.5
		}
		out, dout, lse := make([]float32, bs*t*c), make([]float32, bs*t*c), make([]float32, bs*nh*t)
		// Half of t×t scores count: two products forward, five backward.
		pair := 2.0 * bs * nh * hs * t * (t + 1) / 2
		timed(b, "pass=forward/t=512/nh=12/hs=64", 2*pair, func() {
			kernels.AttentionForward(out, lse, qkv, bs, t, nh, hs)
		})
		copy(dout, out)
		timed(b, "pass=backward/t=512/nh=12/hs=64", 5*pair, func() {
			kernels.AttentionBackward(dqkv, dout, qkv, out, lse, bs, t, nh, hs)
		})
	})
}

func BenchmarkElementwise(b *testing.B) {
	eachSet(b, func(b *testing.B, set *kernels.Set) {
		const rows, c = 512, 768
		const n = 4 * rows * c
		x, y, z := make([]float32, n), make([]float32, n), make([]float32, n)
		for i := range x {
			x[i], z[i] = float32(i%31)/8-2, float32(i%7)
		}
		run := func(name string, bytes int64, f func()) {
			b.Run(name, func(b *testing.B) {
				b.SetBytes(bytes)
				for b.Loop() {
					f()
				}
			})
		}
		run("op=gelu", 8*n, func() { kernels.GELUForward(y, x) })
		run("op=gelu_grad", 12*n, func() { kernels.GELUBackward(y, z, x) })
		mean, rstd := make([]float32, rows), make([]float32, rows)
		run("op=layernorm", 8*rows*c, func() {
			kernels.LayerNormForward(y[:rows*c], mean, rstd, x[:rows*c], z, z, rows, c, 1e-5)
		})
		run("op=layernorm_grad", 12*rows*c, func() {
			kernels.LayerNormBackward(y[:rows*c], y[rows*c:][:c], y[rows*c+c:], z[:rows*c], x[:rows*c], z, mean, rstd, rows, c)
		})
		run("op=adamw", 28*n, func() {
			kernels.AdamW(y, x, y, z, kernels.AdamWParams{LR: 1e-9, Beta1: 0.9, Beta2: 0.99, Eps: 1e-8, C1: 1, C2: 1})
		})
		logits := make([]float32, 32*50257)
		losses, targets := make([]float32, 32), make([]int32, 32)
		run("op=cross_entropy", 4*32*50257, func() { kernels.CrossEntropy(losses, logits, targets, 32, 50257) })
	})
}
