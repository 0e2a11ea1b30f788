package kerneltest

import (
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/spdfctl/spdfctl/kernels"
)

// A set without bf16 has nothing to check here.

// directRows is the number of rows up to which no factor is rounded.
const directRows = 4

var bf16Products = []product{
	{"NN bf16", false, false, true, kernels.BF16.GemmNN},
	{"NT bf16", false, true, true, kernels.BF16.GemmNT},
	{"TN bf16", true, false, true, kernels.BF16.GemmTN},
}

// round rounds the factors of a product of m rows as the product does.
func (p product) round(x []float32, m int) {
	if !p.bf16 || m <= directRows {
		return
	}
	for i, v := range x {
		x[i] = nearestBF16(v)
	}
}

// nearestBF16 returns the nearest number of 8 significant bits, ties to even,
// and a zero for a denormal.
func nearestBF16(v float32) float32 {
	x := float64(v)
	switch {
	case math.IsNaN(x) || math.IsInf(x, 0):
		return v
	case math.Abs(x) < tiny:
		return float32(math.Copysign(0, x))
	}
	frac, exp := math.Frexp(x)
	return float32(math.Ldexp(math.RoundToEven(frac*(1<<8)), exp-8))
}

// bf16Word returns two rounded numbers in a word, the first in the lower half.
// A NaN keeps its upper bits and becomes quiet.
func bf16Word(first, second float32) float32 {
	half := func(v float32) uint32 {
		if v != v {
			return math.Float32bits(v)>>16 | 0x40
		}
		return math.Float32bits(nearestBF16(v)) >> 16
	}
	return math.Float32frombits(half(first) | half(second)<<16)
}

func checkBF16Pack(set *kernels.Set, short bool) error {
	if set.BF16 == nil {
		return nil
	}
	if err := bf16Roundings(set, short); err != nil {
		return err
	}
	return eachBlock(short, func(rng *rand.Rand, rows, cols, gap, offset int) error {
		lds := cols + gap
		source := func() *guarded {
			return newGuarded("src", max(0, (rows-1)*lds+cols), offset, spiced(rng))
		}
		at := func(src *guarded, i, j int) float32 {
			if i >= rows || j >= cols {
				return 0
			}
			return src.s[i*lds+j]
		}
		src, ldd, words := source(), cols+2*gap, (rows+1)/2
		dst := newGuarded("dst", max(0, (words-1)*ldd+cols), (offset+7)%16, spiced(rng))
		want := clone(dst.s) // gaps stay
		for i := range words {
			for j := range cols {
				want[i*ldd+j] = bf16Word(at(src, 2*i, j), at(src, 2*i+1, j))
			}
		}
		set.BF16.PairRows(dst.s, ldd, src.s, lds, rows, cols)
		if err := moved(dst, src, want); err != nil {
			return fmt.Errorf("PairRows: %w", err)
		}
		src, ldd, words = source(), rows+gap, (cols+1)/2
		dst = newGuarded("dst", max(0, (words-1)*ldd+rows), (offset+7)%16, spiced(rng))
		want = clone(dst.s)
		for i := range rows {
			for j := range words {
				want[j*ldd+i] = bf16Word(at(src, i, 2*j), at(src, i, 2*j+1))
			}
		}
		set.BF16.PairColumns(dst.s, ldd, src.s, lds, rows, cols)
		if err := moved(dst, src, want); err != nil {
			return fmt.Errorf("PairColumns: %w", err)
		}
		return nil
	})
}

// bf16Roundings packs numbers around every tie: all upper halves, or a part of
// them, with the lower halves that decide.
func bf16Roundings(set *kernels.Set, short bool) error {
	step := 1
	if short {
		step = 61
	}
	lower := []uint32{0, 1, 0x7fff, 0x8000, 0x8001, 0xffff}
	x, got := make([]float32, len(lower)), make([]float32, len(lower))
	for upper := 0; upper < 1<<16; upper += step {
		for i, l := range lower {
			x[i] = math.Float32frombits(uint32(upper)<<16 | l)
		}
		set.BF16.PairRows(got, len(x), x, len(x), 1, len(x))
		for i, v := range x {
			if want := bf16Word(v, 0); math.Float32bits(got[i]) != math.Float32bits(want) {
				return fmt.Errorf("%#08x is rounded to %#04x, want %#04x", math.Float32bits(v), math.Float32bits(got[i]), math.Float32bits(want))
			}
		}
	}
	return nil
}

func checkBF16Tile(set *kernels.Set, short bool) error {
	b := set.BF16
	if b == nil {
		return nil
	}
	rng := newRand(16)
	normal := func(s []float32) {
		for i := range s {
			s[i] = bf16Word(float32(rng.NormFloat64()), float32(rng.NormFloat64()))
		}
	}
	halves := func(w float32) (first, second float64) {
		bits := math.Float32bits(w)
		return float64(math.Float32frombits(bits << 16)), float64(math.Float32frombits(bits &^ 0xffff))
	}
	x := tiled{b.Tile, b.MR, b.NR, 2, func(a, b float32) (sum, mass float64) {
		a0, a1 := halves(a)
		b0, b1 := halves(b)
		return a0*b0 + a1*b1, math.Abs(a0*b0) + math.Abs(a1*b1)
	}}
	if err := tileCases(x, normal, short); err != nil {
		return err
	}
	// Products and sums below the smallest normal number may vanish, each of
	// them by less than that; those of one word may not add up to more.
	const kc = 40
	pa, pb, c := make([]float32, kc*b.MR), make([]float32, kc*b.NR), make([]float32, b.MR*b.NR)
	for _, s := range [][]float32{pa, pb} {
		for i := range s {
			s[i] = bf16Word(float32(rng.NormFloat64()*0x1p-63), float32(rng.NormFloat64()*0x1p-63))
		}
	}
	b.Tile(c, b.NR, pa, pb, kc, false, pb)
	for i, got := range c {
		var want float64
		for p := range kc {
			t, _ := x.multiply(pa[p*b.MR+i/b.NR], pb[p*b.NR+i%b.NR])
			want += t
		}
		// Two products and two sums a word; roundings are far below.
		if diff := math.Abs(float64(got) - want); !(diff <= 4*kc*tiny) {
			return fmt.Errorf("small numbers: element %d: got %g, want %g", i, got, want)
		}
	}
	return nil
}

func checkBF16Gemm(set *kernels.Set, short bool) error {
	b := set.BF16
	if b == nil {
		return nil
	}
	if err := checkForms(bf16Products, b.MR, b.NR, short); err != nil {
		return err
	}
	if err := checkLargeForms(bf16Products, short); err != nil {
		return err
	}
	return checkSpecialForms(bf16Products, b.MR, b.NR)
}
