//go:build linux && amd64 && !noasm

package kernels_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/spdfctl/spdfctl/kernels"
)

// vectorLengths calls f for every length from 0 to 130 at both sides of a
// fence; get returns a slice of n fenced normal deviates on memory of its own.
func vectorLengths(t *testing.T, seed uint64, f func(n int, rng *rand.Rand, get func() []float32)) {
	rng := rand.New(rand.NewPCG(seed, 7))
	var fences []*fence
	sides(func(s side) {
		for n := range 131 {
			used := 0
			f(n, rng, func() []float32 {
				if used == len(fences) {
					fences = append(fences, newFence(t, 4*131))
				}
				used++
				return filled(fences[used-1], s, n, rng)
			})
		}
	})
}

// within fails unless every element is within the bound of the reference.
func within(t *testing.T, where string, got, want []float32, bound func(i int) float64) {
	t.Helper()
	for i, w := range want {
		g := got[i]
		if g == w || g != g && w != w {
			continue
		}
		if diff := math.Abs(float64(g) - float64(w)); !(diff <= bound(i)) {
			t.Fatalf("%s: element %d of %d: got %.9g, want %.9g: difference %.3g, bound %.3g", where, i, len(want), g, w, diff, bound(i))
		}
	}
}

// zeroBound demands equality.
func zeroBound(int) float64 { return 0 }

func clone(x []float32) []float32 { return append([]float32(nil), x...) }

func TestDotAMD64(t *testing.T) {
	eachSIMD(t, func(t *testing.T, set, ref *kernels.Set) {
		vectorLengths(t, 10, func(n int, _ *rand.Rand, get func() []float32) {
			x, y := get(), get()
			var mass float64
			for i := range x {
				mass += math.Abs(float64(x[i]) * float64(y[i]))
			}
			near(t, fmt.Sprintf("length %d", n), float64(set.Dot(x, y)), float64(ref.Dot(x, y)), mass, 2*n+2)
		})
	})
}

func TestAxpyAMD64(t *testing.T) {
	eachSIMD(t, func(t *testing.T, set, ref *kernels.Set) {
		vectorLengths(t, 11, func(_ int, rng *rand.Rand, get func() []float32) {
			dst, x, alpha := get(), get(), float32(rng.NormFloat64())
			want := clone(dst)
			mass := make([]float64, len(x))
			for i := range mass {
				mass[i] = math.Abs(float64(dst[i])) + math.Abs(float64(alpha)*float64(x[i]))
			}
			ref.Axpy(want, x, alpha)
			set.Axpy(dst, x, alpha)
			within(t, "axpy", dst, want, func(i int) float64 { return 3 * unitRoundoff * mass[i] })
		})
	})
}

func TestAddScaleAMD64(t *testing.T) {
	eachSIMD(t, func(t *testing.T, set, ref *kernels.Set) {
		vectorLengths(t, 12, func(n int, rng *rand.Rand, get func() []float32) {
			dst, a, b := get(), get(), get()
			want := make([]float32, n)
			ref.Add(want, a, b)
			set.Add(dst, a, b)
			within(t, "add", dst, want, zeroBound)
			s := float32(rng.NormFloat64())
			copy(want, a)
			ref.Scale(want, s)
			set.Scale(a, s)
			within(t, "scale", a, want, zeroBound)
		})
	})
}

func TestSumSquaresMaxAMD64(t *testing.T) {
	eachSIMD(t, func(t *testing.T, set, ref *kernels.Set) {
		vectorLengths(t, 13, func(n int, rng *rand.Rand, get func() []float32) {
			x := get()
			got, want := set.SumSquares(x), ref.SumSquares(x)
			if diff := math.Abs(got - want); diff > float64(2*n)*0x1p-53*want {
				t.Fatalf("sum of %d squares: got %.17g, want %.17g", n, got, want)
			}
			if n == 0 {
				return
			}
			for i := range x {
				x[i] -= 9 // a zero from outside would win
			}
			if got, want := set.Max(x), ref.Max(x); got != want {
				t.Fatalf("max of %d: got %g, want %g", n, got, want)
			}
			x[rng.IntN(n)] = float32(math.NaN())
			if got, want := set.Max(x), ref.Max(x); got != want && (got == got || want == want) {
				t.Fatalf("max of %d with a NaN: got %g, want %g", n, got, want)
			}
		})
	})
}

// approximations are the arguments at which exp and GELU are compared: both
// signs, magnitudes from subnormal to huge, and the limits.
func approximations(rng *rand.Rand, x []float32) {
	special := []float32{
		float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.NaN()), 0, float32(math.Copysign(0, -1)),
		0x1p-149, -0x1p-149, 0x1p-126, 1e-20, -1e-20, 88.7, 88.73, -87.4, -103.9, -104.1, 1e4, -1e4, 1e19, -1e19,
		1e30, -1e30, math.MaxFloat32, -math.MaxFloat32,
	}
	for i := range x {
		switch rng.IntN(4) {
		case 0:
			x[i] = special[rng.IntN(len(special))]
		case 1:
			x[i] = float32(-104 + 193*rng.Float64())
		default:
			x[i] *= 4
		}
	}
}

// expError and geluError are the declared errors of the assembly, relative
// to the result, to |x| and to |dy|, in units of 2^-24. The reference adds its own half ulp.
const (
	expError      = 4
	geluError     = 4
	geluGradError = 16
)

func TestExpSumAMD64(t *testing.T) {
	eachSIMD(t, func(t *testing.T, set, ref *kernels.Set) {
		vectorLengths(t, 14, func(n int, rng *rand.Rand, get func() []float32) {
			dst, x := get(), get()
			if n%2 == 0 {
				approximations(rng, x)
			}
			shift := float32(rng.NormFloat64())
			want := make([]float32, n)
			wantSum := ref.ExpSum(want, x, shift)
			sum := set.ExpSum(dst, x, shift)
			within(t, "exp", dst, want, func(i int) float64 {
				return expError*unitRoundoff*float64(want[i]) + 0x1p-149
			})
			near(t, fmt.Sprintf("sum of %d", n), float64(sum), float64(wantSum), float64(wantSum), expError+2)
		})
	})
}

// TestExpDenseAMD64 measures the error of exp against float64 on a grid finer
// than the reduction's cells, subnormal results included.
func TestExpDenseAMD64(t *testing.T) {
	eachSIMD(t, func(t *testing.T, set, _ *kernels.Set) {
		const n = 1 << 18
		x, dst := make([]float32, n), make([]float32, n)
		for i := range x {
			x[i] = -105 + 193.7*float32(i)/n
		}
		set.ExpSum(dst, x, 0)
		worst := 0.0
		for i, v := range x {
			want := math.Exp(float64(v))
			err := math.Abs(float64(dst[i]) - want)
			ulp := math.Max(0x1p-149, math.Ldexp(1, math.Ilogb(want)-23))
			worst = max(worst, err/ulp)
		}
		t.Logf("largest error %.3f ulp", worst)
		if worst > 2 {
			t.Errorf("largest error is %.3f ulp, declared 2", worst)
		}
	})
}

func TestGELUAMD64(t *testing.T) {
	eachSIMD(t, func(t *testing.T, set, ref *kernels.Set) {
		vectorLengths(t, 15, func(n int, rng *rand.Rand, get func() []float32) {
			dst, dy, x := get(), get(), get()
			if n%2 == 0 {
				approximations(rng, x)
			}
			want := make([]float32, n)
			ref.GELU(want, x)
			set.GELU(dst, x)
			within(t, "gelu", dst, want, func(i int) float64 {
				return geluError*unitRoundoff*math.Abs(float64(x[i])) + 0x1p-149
			})
			ref.GELUGrad(want, dy, x)
			set.GELUGrad(dst, dy, x)
			within(t, "gelu'", dst, want, func(i int) float64 {
				return geluGradError*unitRoundoff*math.Abs(float64(dy[i])) + 0x1p-149
			})
		})
	})
}

func TestNormRowAMD64(t *testing.T) {
	eachSIMD(t, func(t *testing.T, set, ref *kernels.Set) {
		vectorLengths(t, 16, func(n int, rng *rand.Rand, get func() []float32) {
			dst, x, weight, bias := get(), get(), get(), get()
			shift := float32(n % 3 * 50)
			for i := range x {
				x[i] += shift
			}
			want := make([]float32, n)
			mean, rstd := set.NormRow(dst, x, weight, bias, 1e-5)
			wantMean, wantRstd := ref.NormRow(want, x, weight, bias, 1e-5)
			// Both sum in float64, so they differ by one rounding at most.
			near(t, fmt.Sprintf("mean of %d", n), float64(mean), float64(wantMean), math.Abs(float64(wantMean)), 2)
			near(t, fmt.Sprintf("rstd of %d", n), float64(rstd), float64(wantRstd), float64(wantRstd), 2)
			within(t, "norm", dst, want, func(i int) float64 {
				xhat := math.Abs(float64(want[i]-bias[i])) + math.Abs(float64(x[i])*float64(wantRstd*weight[i]))
				return 8 * unitRoundoff * (xhat + math.Abs(float64(bias[i])))
			})
		})
	})
}

func TestNormRowGradAMD64(t *testing.T) {
	eachSIMD(t, func(t *testing.T, set, ref *kernels.Set) {
		vectorLengths(t, 17, func(_ int, _ *rand.Rand, get func() []float32) {
			dx, dweight, dbias := get(), get(), get()
			dy, x, weight := get(), get(), get()
			wx, ww, wb := clone(dx), clone(dweight), clone(dbias)
			var largest float64 = 1
			for i := range x {
				largest = max(largest, math.Abs(float64(dy[i]))*(1+math.Abs(float64(x[i])))*(1+math.Abs(float64(weight[i]))))
			}
			const mean, rstd = 0.3, 1.7
			ref.NormRowGrad(wx, ww, wb, dy, x, weight, mean, rstd)
			set.NormRowGrad(dx, dweight, dbias, dy, x, weight, mean, rstd)
			bound := func(int) float64 { return 16 * rstd * rstd * unitRoundoff * largest }
			within(t, "dx", dx, wx, func(i int) float64 { return bound(i) + 2*unitRoundoff*math.Abs(float64(wx[i])) })
			within(t, "dweight", dweight, ww, bound)
			within(t, "dbias", dbias, wb, zeroBound)
		})
	})
}

// TestAdamWAMD64 demands the reference's bits: no set may change a run.
func TestAdamWAMD64(t *testing.T) {
	eachSIMD(t, func(t *testing.T, set, ref *kernels.Set) {
		p := kernels.AdamWParams{LR: 3e-3, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, WeightDecay: 0.1, C1: 0.3, C2: 0.1}
		vectorLengths(t, 18, func(_ int, _ *rand.Rand, get func() []float32) {
			w, grad, m, v := get(), get(), get(), get()
			for i := range v {
				v[i] *= v[i]
				if i%7 == 3 {
					w[i], grad[i], m[i], v[i] = 0, 0, 0, 0
				}
			}
			ww, wm, wv := clone(w), clone(m), clone(v)
			ref.AdamW(ww, grad, wm, wv, p)
			set.AdamW(w, grad, m, v, p)
			within(t, "w", w, ww, zeroBound)
			within(t, "m", m, wm, zeroBound)
			within(t, "v", v, wv, zeroBound)
		})
	})
}
