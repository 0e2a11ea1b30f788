package kerneltest

import (
	"fmt"
	"math"

	"github.com/spdfctl/spdfctl/kernels"
)

// dot64 returns the sum of x[i]*y[i] and of their absolute values.
func dot64(x, y []float32) (sum, mass float64) {
	for i, v := range x {
		p := float64(v) * float64(y[i])
		sum += p
		mass += math.Abs(p)
	}
	return sum, mass
}

func checkDot(set *kernels.Set, short bool) error {
	rng := newRand(1)
	err := lengths(short, func(n, offset int) error {
		x := newGuarded("x", n, offset, func(s []float32) { fill(rng, s) })
		y := newGuarded("y", n, (offset+n)%16, func(s []float32) { fill(rng, s) })
		got := set.Dot(x.s, y.s)
		want, mass := dot64(x.s, y.s)
		return first(agree(got, want, mass, n+1), x.unchanged(), y.unchanged())
	})
	if err != nil {
		return err
	}
	for _, n := range []int{1, 7, 16, 33, 100} {
		for _, special := range specials {
			for i := range n {
				x, y := random(rng, n), random(rng, n)
				x[i] = special
				want, mass := dot64(x, y)
				if math.IsNaN(float64(special)) || math.IsInf(float64(special), 0) {
					mass = 0
				}
				if err := agree(set.Dot(x, y), want, mass, n+1); err != nil {
					return fmt.Errorf("length %d with %g at %d: %w", n, special, i, err)
				}
			}
		}
	}
	// A zero does not swallow what it multiplies.
	for i := range 43 {
		x, y := make([]float32, 43), make([]float32, 43)
		y[i] = float32(math.Inf(1))
		if got := set.Dot(x, y); got == got {
			return fmt.Errorf("0*Inf at %d: got %g, want NaN", i, got)
		}
	}
	return nil
}

func checkAxpy(set *kernels.Set, short bool) error {
	rng := newRand(2)
	return lengths(short, func(n, offset int) error {
		dst := newGuarded("dst", n, offset, func(s []float32) { fill(rng, s) })
		x := newGuarded("x", n, (offset+n)%16, func(s []float32) { fill(rng, s) })
		alpha := float32(rng.NormFloat64())
		if n > 3 {
			x.s[rng.IntN(n)] = specials[rng.IntN(len(specials))]
			x.before = append(x.before[:0], x.all...)
		}
		set.Axpy(dst.s, x.s, alpha)
		for i, old := range dst.old() {
			p := float64(alpha) * float64(x.s[i])
			mass := math.Abs(p) + math.Abs(float64(old))
			if err := agree(dst.s[i], float64(old)+p, mass, 2); err != nil {
				return fmt.Errorf("element %d: %w", i, err)
			}
		}
		return first(dst.intact(), x.unchanged())
	})
}

// exactly checks a function whose elements have one right value, all bits.
func exactly(got, want []float32) error {
	for i, v := range want {
		if v != v && got[i] != got[i] {
			continue // any NaN is right
		}
		if math.Float32bits(got[i]) != math.Float32bits(v) {
			return fmt.Errorf("element %d: got %g (%#08x), want %g (%#08x)", i,
				got[i], math.Float32bits(got[i]), v, math.Float32bits(v))
		}
	}
	return nil
}

// spiced writes normal deviates with a special value here and there.
func spiced(rng interface {
	NormFloat64() float64
	IntN(int) int
}) func([]float32) {
	return func(x []float32) {
		for i := range x {
			x[i] = float32(rng.NormFloat64())
			if rng.IntN(8) == 0 {
				x[i] = specials[rng.IntN(len(specials))]
			}
		}
	}
}

func checkAdd(set *kernels.Set, short bool) error {
	rng := newRand(3)
	return lengths(short, func(n, offset int) error {
		dst := newGuarded("dst", n, offset, spiced(rng))
		a := newGuarded("a", n, (offset+n)%16, spiced(rng))
		b := newGuarded("b", n, (3*offset+1)%16, spiced(rng))
		want := make([]float32, n)
		for i := range want {
			want[i] = a.s[i] + b.s[i]
		}
		set.Add(dst.s, a.s, b.s)
		if err := first(exactly(dst.s, want), dst.intact(), a.unchanged(), b.unchanged()); err != nil {
			return err
		}
		set.Add(a.s, a.s, b.s) // in place
		return first(exactly(a.s, want), a.intact(), b.unchanged())
	})
}

func checkScale(set *kernels.Set, short bool) error {
	rng := newRand(4)
	return lengths(short, func(n, offset int) error {
		x := newGuarded("x", n, offset, spiced(rng))
		s := float32(rng.NormFloat64())
		want := make([]float32, n)
		for i, v := range x.s {
			want[i] = v * s
		}
		set.Scale(x.s, s)
		return first(exactly(x.s, want), x.intact())
	})
}

func checkClear(set *kernels.Set, short bool) error {
	rng := newRand(55)
	for _, n := range []int{0, 1, 1000, 1<<19 + 3} { // the last takes three tasks
		x := newGuarded("x", n, n%16, spiced(rng))
		kernels.Clear(x.s)
		if err := first(exactly(x.s, make([]float32, n)), x.intact()); err != nil {
			return fmt.Errorf("%d elements: %w", n, err)
		}
	}
	return nil
}

func checkSumSquares(set *kernels.Set, short bool) error {
	rng := newRand(5)
	err := lengths(short, func(n, offset int) error {
		x := newGuarded("x", n, offset, func(s []float32) { fill(rng, s) })
		var want float64
		for _, v := range x.s {
			want += float64(v) * float64(v)
		}
		got := set.SumSquares(x.s)
		if diff := math.Abs(got - want); diff > float64(2*n)*epsilon64*want {
			return fmt.Errorf("got %.17g, want %.17g", got, want)
		}
		return x.unchanged()
	})
	if err != nil {
		return err
	}
	// Squares beyond the range of float32 are finite in float64.
	for _, v := range []float32{math.MaxFloat32, 0x1p-149} {
		x := make([]float32, 37)
		x[20] = v
		if got, want := set.SumSquares(x), float64(v)*float64(v); got != want {
			return fmt.Errorf("of %g: got %g, want %g", v, got, want)
		}
	}
	x := make([]float32, 37)
	x[36] = float32(math.NaN())
	if got := set.SumSquares(x); !math.IsNaN(got) {
		return fmt.Errorf("of NaN: got %g", got)
	}
	return nil
}

func checkMax(set *kernels.Set, short bool) error {
	rng := newRand(6)
	err := lengths(short, func(n, offset int) error {
		if n == 0 {
			return nil
		}
		x := newGuarded("x", n, offset, func(s []float32) {
			fill(rng, s)
			for i := range s {
				s[i] -= 5 // a stray zero would be the largest
			}
		})
		want := x.s[0]
		for _, v := range x.s {
			want = max(want, v)
		}
		if got := set.Max(x.s); got != want {
			return fmt.Errorf("got %g, want %g", got, want)
		}
		return x.unchanged()
	})
	if err != nil {
		return err
	}
	for n := 1; n <= 70; n++ {
		for at := range n {
			x := make([]float32, n)
			for i := range x {
				x[i] = float32(math.Inf(-1))
			}
			if got := set.Max(x); !math.IsInf(float64(got), -1) {
				return fmt.Errorf("of %d times -Inf: got %g", n, got)
			}
			x[at] = float32(math.Inf(1))
			if got := set.Max(x); !math.IsInf(float64(got), 1) {
				return fmt.Errorf("+Inf at %d of %d: got %g", at, n, got)
			}
		}
	}
	return nil
}
