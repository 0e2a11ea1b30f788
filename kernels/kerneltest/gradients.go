package kerneltest

import (
	"fmt"
	"math"

	"github.com/spdfctl/spdfctl/kernels"
)

// Central differences in float64 with step h are off by about h² of the third
// derivative and by 1e-16/h; the float32 gradient by some 1e-6. The tolerance
// is relative to the largest element of a gradient.
const (
	gradientStep      = 1e-5
	gradientTolerance = 2e-5
)

// numeric returns the gradient of loss at x by central differences.
func numeric(x []float64, loss func(x []float64) float64) []float64 {
	g := make([]float64, len(x))
	for i, v := range x {
		x[i] = v + gradientStep
		up := loss(x)
		x[i] = v - gradientStep
		g[i] = (up - loss(x)) / (2 * gradientStep)
		x[i] = v
	}
	return g
}

// compareGradient checks a gradient against central differences.
func compareGradient(name string, got []float32, want []float64) error {
	var top float64
	for _, v := range want {
		top = math.Max(top, math.Abs(v))
	}
	for i, v := range want {
		if diff := math.Abs(float64(got[i]) - v); !(diff <= gradientTolerance*top) {
			return fmt.Errorf("%s[%d]: got %g, central differences give %g", name, i, got[i], v)
		}
	}
	return nil
}

func to64(x []float32) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}

// checkGradients compares every backward function with central differences of
// its forward formula, written here once more in float64.
func checkGradients(set *kernels.Set, short bool) error {
	return first(gradientGELU(), gradientLayerNorm(), gradientCrossEntropy(), gradientAttention())
}

func gradientGELU() error {
	rng := newRand(29)
	x, dy := random(rng, 40), random(rng, 40)
	dx := make([]float32, 40)
	kernels.GELUBackward(dx, dy, x)
	return compareGradient("gelu dx", dx, numeric(to64(x), func(x []float64) float64 {
		var l float64
		for i, v := range x {
			l += float64(dy[i]) * gelu64(v)
		}
		return l
	}))
}

func gradientLayerNorm() error {
	rng := newRand(30)
	const rows, c, eps = 3, 7, 1e-5
	x, dy, weight, bias := random(rng, rows*c), random(rng, rows*c), random(rng, c), random(rng, c)
	y, mean, rstd := make([]float32, rows*c), make([]float32, rows), make([]float32, rows)
	kernels.LayerNormForward(y, mean, rstd, x, weight, bias, rows, c, eps)
	dx, dweight, dbias := make([]float32, rows*c), make([]float32, c), make([]float32, c)
	kernels.LayerNormBackward(dx, dweight, dbias, dy, x, weight, mean, rstd, rows, c)
	loss := func(x, w, b []float64) float64 {
		var l float64
		for i := range rows {
			row := x[i*c : (i+1)*c]
			var mu, va float64
			for _, v := range row {
				mu += v / c
			}
			for _, v := range row {
				va += (v - mu) * (v - mu) / c
			}
			for j, v := range row {
				l += float64(dy[i*c+j]) * ((v-mu)/math.Sqrt(va+eps)*w[j] + b[j])
			}
		}
		return l
	}
	x64, w64, b64 := to64(x), to64(weight), to64(bias)
	return first(
		compareGradient("layernorm dx", dx, numeric(x64, func(v []float64) float64 { return loss(v, w64, b64) })),
		compareGradient("layernorm dweight", dweight, numeric(w64, func(v []float64) float64 { return loss(x64, v, b64) })),
		compareGradient("layernorm dbias", dbias, numeric(b64, func(v []float64) float64 { return loss(x64, w64, v) })),
	)
}

func gradientCrossEntropy() error {
	rng := newRand(31)
	const rows, v = 3, 9
	logits := random(rng, rows*v)
	targets := []int32{4, -1, 0}
	want := numeric(to64(logits), func(x []float64) float64 {
		var l float64
		for i, t := range targets {
			if t < 0 {
				continue
			}
			var s float64
			for _, e := range x[i*v : (i+1)*v] {
				s += math.Exp(e)
			}
			l += 0.5 * (math.Log(s) - x[i*v+int(t)])
		}
		return l
	})
	kernels.SoftmaxCrossEntropy(make([]float32, rows), logits, targets, rows, v, 0.5)
	return compareGradient("cross entropy", logits, want)
}

func gradientAttention() error {
	rng := newRand(32)
	const b, t, nh, hs = 2, 5, 2, 3
	const c = nh * hs
	qkv, dout := random(rng, b*t*3*c), random(rng, b*t*c)
	out, lse, dqkv := make([]float32, b*t*c), make([]float32, b*nh*t), make([]float32, b*t*3*c)
	kernels.AttentionForward(out, lse, qkv, b, t, nh, hs)
	kernels.AttentionBackward(dqkv, dout, qkv, out, lse, b, t, nh, hs)
	return compareGradient("attention dqkv", dqkv, numeric(to64(qkv), func(x []float64) float64 {
		var l float64
		for seq := range b {
			for h := range nh {
				row := func(i, which int) []float64 { return x[(seq*t+i)*3*c+which*c+h*hs:][:hs] }
				for i := range t {
					var e [t]float64
					var sum float64
					for j := range i + 1 {
						var s float64
						for n, q := range row(i, 0) {
							s += q * row(j, 1)[n]
						}
						e[j] = math.Exp(s / math.Sqrt(hs))
						sum += e[j]
					}
					for j := range i + 1 {
						for n, v := range row(j, 2) {
							l += float64(dout[(seq*t+i)*c+h*hs+n]) * e[j] / sum * v
						}
					}
				}
			}
		}
		return l
	}))
}
