package kerneltest

import (
	"fmt"
	"math"
	"math/rand/v2"
)

const (
	epsilon   = 1.0 / (1 << 24) // unit roundoff of float32
	epsilon64 = 1.0 / (1 << 53) // unit roundoff of float64
	tiny      = 0x1p-126        // smallest normal float32: below it, relative bounds end
)

// newRand returns a generator whose numbers depend on the seed only.
func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0x5bd1e995)) }

// fill writes normal deviates.
func fill(rng *rand.Rand, x []float32) {
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
}

// random returns n normal deviates.
func random(rng *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	fill(rng, x)
	return x
}

// specials are the values that arithmetic treats apart.
var specials = []float32{
	float32(math.NaN()),
	float32(math.Inf(1)),
	float32(math.Inf(-1)),
	float32(math.Copysign(0, -1)),
	0x1p-149, -0x1p-149, 0x1p-130, // denormals
	math.MaxFloat32, -math.MaxFloat32,
}

// agree reports an error unless got is want within k roundings of mass, the
// sum of the absolute terms. NaN and infinities must agree exactly.
func agree(got float32, want, mass float64, k int) error {
	switch {
	case math.IsNaN(want):
		if got == got {
			return fmt.Errorf("got %g, want NaN", got)
		}
		return nil
	case math.IsInf(want, 0):
		if float64(got) != want {
			return fmt.Errorf("got %g, want %g", got, want)
		}
		return nil
	case mass > math.MaxFloat32/2:
		return nil // a partial sum may overflow
	}
	bound := float64(k)*epsilon*mass*1.001 + float64(k)*0x1p-149
	if diff := math.Abs(float64(got) - want); !(diff <= bound) {
		return fmt.Errorf("got %.9g, want %.9g: difference %.3g, bound %.3g", got, want, diff, bound)
	}
	return nil
}

// sameBits returns the first index at which two slices differ in a bit, or -1.
func sameBits(a, b []float32) int {
	if len(a) != len(b) {
		return min(len(a), len(b))
	}
	for i := range a {
		if math.Float32bits(a[i]) != math.Float32bits(b[i]) {
			return i
		}
	}
	return -1
}

// lengths yields the vector lengths and offsets of the suite: every length
// from 0 to 130 at every offset within a 64-byte vector, or a part of them.
func lengths(short bool, f func(n, offset int) error) error {
	for n := range 131 {
		step := 1
		if short {
			step = 5
		}
		for offset := 0; offset < 16; offset += step {
			if err := f(n, offset); err != nil {
				return fmt.Errorf("length %d, offset %d: %w", n, offset, err)
			}
		}
	}
	return nil
}
