package kerneltest

import (
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/spdfctl/spdfctl/kernels"
)

// Declared errors of the approximated functions.
const (
	// expUlps bounds the relative error of ExpSum's exponentials where the
	// result is a normal number; below, a result may be off by the smallest
	// normal number, so that a set may flush to zero.
	expUlps = 4
	// geluUlps bounds |got-want| / (|x| * 2^-24): GELU cancels in its negative
	// tail, where only the error relative to x matters to what follows.
	geluUlps = 8
	// geluGradUlps bounds |got-want| / (|dy| * 2^-24). Its terms reach 1.6.
	geluGradUlps = 32
)

func gelu64(x float64) float64 {
	return 0.5 * x * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x)))
}

func geluGrad64(x float64) float64 {
	t := math.Tanh(math.Sqrt(2/math.Pi) * (x + 0.044715*x*x*x))
	return 0.5*(1+t) + 0.5*x*(1-t*t)*math.Sqrt(2/math.Pi)*(1+3*0.044715*x*x)
}

// wide writes numbers of all magnitudes from 1e-6 to limit, both signs.
func wide(rng *rand.Rand, limit float64) func([]float32) {
	return func(x []float32) {
		for i := range x {
			v := math.Pow(10, -6+rng.Float64()*(6+math.Log10(limit)))
			if rng.IntN(2) == 0 {
				v = -v
			}
			x[i] = float32(v)
		}
	}
}

// expSumCase checks one call and the same in place.
func expSumCase(set *kernels.Set, x []float32, offset int, shift float32) error {
	n := len(x)
	dst := newGuarded("dst", n, offset, func(s []float32) { clear(s) })
	in := newGuarded("x", n, (offset+n)%16, values(x))
	sum := set.ExpSum(dst.s, in.s, shift)
	var total float64
	for i, v := range x {
		d := v - shift
		want := math.Exp(float64(d))
		total += float64(dst.s[i])
		bound := expUlps*epsilon*want + tiny
		got := float64(dst.s[i])
		switch {
		case math.IsNaN(want) && math.IsNaN(got), got == want:
		case math.Abs(got-want) <= bound:
		case math.IsInf(got, 1) && want > math.MaxFloat32*(1-expUlps*epsilon):
		default:
			return fmt.Errorf("exp(%g) at %d: got %g, want %g", d, i, got, want)
		}
	}
	if err := agree(sum, total, total, n+1); err != nil {
		return fmt.Errorf("sum: %w", err)
	}
	if err := first(dst.intact(), in.unchanged()); err != nil {
		return err
	}
	again := set.ExpSum(in.s, in.s, shift)
	return first(exactly(in.s, dst.s), exactly([]float32{again}, []float32{sum}), in.intact())
}

func checkExpSum(set *kernels.Set, short bool) error {
	rng := newRand(7)
	one := func(x []float32, offset int, shift float32) error { return expSumCase(set, x, offset, shift) }
	err := lengths(short, func(n, offset int) error {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(-20 * rng.Float64())
		}
		return one(x, offset, float32(-rng.Float64()))
	})
	if err != nil {
		return err
	}
	// The whole range, where the result overflows, underflows and rounds.
	dense := 100000
	if short {
		dense = 5000
	}
	x := make([]float32, dense)
	for i := range x {
		x[i] = float32(-110 + 205*rng.Float64())
	}
	for lo := 0; lo < dense; lo += 100 {
		part := append([]float32(nil), x[lo:lo+100]...)
		for i, v := range part {
			if v > 84 { // keeps the sum of a hundred finite
				part[i] = -v
			}
		}
		if err := one(part, 0, 0); err != nil {
			return err
		}
	}
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	for _, v := range []float32{inf, -inf, nan, 88.7, 88.72283, 88.73, 1000, -1000, -87.3, -88, -103.9, -104.1,
		math.MaxFloat32, -math.MaxFloat32, 0, 0x1p-149} {
		for i := range 35 {
			x := make([]float32, 35)
			for k := range x {
				x[k] = -3
			}
			x[i] = v
			if err := one(x, 0, 0); err != nil {
				return err
			}
		}
	}
	return one([]float32{-inf, 0, -inf}, 0, 5)
}

func checkGELU(set *kernels.Set, short bool) error {
	rng := newRand(8)
	err := lengths(short, func(n, offset int) error {
		dst := newGuarded("dst", n, offset, func(s []float32) { fill(rng, s) })
		x := newGuarded("x", n, (offset+n)%16, wide(rng, 30))
		set.GELU(dst.s, x.s)
		for i, v := range x.s {
			want := gelu64(float64(v))
			if err := agree(dst.s[i], want, math.Abs(float64(v)), geluUlps); err != nil {
				return fmt.Errorf("gelu(%g): %w", v, err)
			}
		}
		if err := first(dst.intact(), x.unchanged()); err != nil {
			return err
		}
		set.GELU(x.s, x.s) // in place
		return first(exactly(x.s, dst.s), x.intact())
	})
	if err != nil {
		return err
	}
	return geluLimits(func(x float32) float32 {
		v := make([]float32, 20)
		for i := range v {
			v[i] = 1
		}
		v[11] = x
		set.GELU(v, v)
		return v[11]
	}, func(x float32) float32 { return max(x, 0) }, "gelu")
}

// geluLimits checks f at huge arguments, infinities and NaN. At a huge one a
// clamped exponential may leave 1e-37 times x or 1; at an infinity the formula
// is NaN on one side, and the limit is right too.
func geluLimits(f, limit func(x float32) float32, name string) error {
	inf := float32(math.Inf(1))
	for _, x := range []float32{1e3, -1e3, 1e12, -1e12, 1e30, -1e30, math.MaxFloat32, -math.MaxFloat32} {
		got, want := f(x), limit(x)
		if diff := math.Abs(float64(got) - float64(want)); !(diff <= 1e-30*max(1, math.Abs(float64(x)))) {
			return fmt.Errorf("%s(%g): got %g, want %g", name, x, got, want)
		}
	}
	for _, x := range []float32{inf, -inf} {
		if got, want := f(x), limit(x); got == got && got != want {
			return fmt.Errorf("%s(%g): got %g, want %g or NaN", name, x, got, want)
		}
	}
	if got := f(float32(math.NaN())); got == got {
		return fmt.Errorf("%s(NaN): got %g", name, got)
	}
	return nil
}

func checkGELUGrad(set *kernels.Set, short bool) error {
	rng := newRand(9)
	err := lengths(short, func(n, offset int) error {
		dx := newGuarded("dx", n, offset, func(s []float32) { fill(rng, s) })
		dy := newGuarded("dy", n, (3*offset+1)%16, func(s []float32) { fill(rng, s) })
		x := newGuarded("x", n, (offset+n)%16, wide(rng, 30))
		set.GELUGrad(dx.s, dy.s, x.s)
		for i, v := range x.s {
			d := float64(dy.s[i])
			if err := agree(dx.s[i], d*geluGrad64(float64(v)), math.Abs(d), geluGradUlps); err != nil {
				return fmt.Errorf("gelu'(%g)*%g: %w", v, d, err)
			}
		}
		if err := first(dx.intact(), dy.unchanged(), x.unchanged()); err != nil {
			return err
		}
		set.GELUGrad(dy.s, dy.s, x.s) // in place of dy
		return first(exactly(dy.s, dx.s), dy.intact(), x.unchanged())
	})
	if err != nil {
		return err
	}
	return geluLimits(func(x float32) float32 {
		v, dy := make([]float32, 20), make([]float32, 20)
		for i := range v {
			v[i], dy[i] = 1, 1
		}
		v[11] = x
		set.GELUGrad(dy, dy, v)
		return dy[11]
	}, func(x float32) float32 {
		if x > 0 {
			return 1
		}
		return 0
	}, "gelu'")
}
