package kerneltest

import (
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/spdfctl/spdfctl/kernels"
)

func checkTranspose(set *kernels.Set, short bool) error {
	return eachBlock(short, func(rng *rand.Rand, rows, cols, gap, offset int) error {
		lds, ldd := cols+gap, rows+gap
		src := newGuarded("src", max(0, (rows-1)*lds+cols), offset, spiced(rng))
		dst := newGuarded("dst", max(0, (cols-1)*ldd+rows), (offset+7)%16, spiced(rng))
		want := append([]float32(nil), dst.s...) // gaps stay
		for i := range rows {
			for j := range cols {
				want[j*ldd+i] = src.s[i*lds+j]
			}
		}
		set.Transpose(dst.s, ldd, src.s, lds, rows, cols)
		return moved(dst, src, want)
	})
}

func checkCopyRows(set *kernels.Set, short bool) error {
	return eachBlock(short, func(rng *rand.Rand, rows, cols, gap, offset int) error {
		lds, ldd := cols+gap, cols+2*gap
		src := newGuarded("src", max(0, (rows-1)*lds+cols), offset, spiced(rng))
		dst := newGuarded("dst", max(0, (rows-1)*ldd+cols), (offset+7)%16, spiced(rng))
		want := append([]float32(nil), dst.s...) // gaps stay
		for i := range rows {
			copy(want[i*ldd:][:cols], src.s[i*lds:])
		}
		set.CopyRows(dst.s, ldd, src.s, lds, rows, cols)
		return moved(dst, src, want)
	})
}

// moved compares what a function that only moves numbers wrote.
func moved(dst, src *guarded, want []float32) error {
	if i := sameBits(dst.s, want); i >= 0 {
		return fmt.Errorf("dst[%d] is %g, want %g", i, dst.s[i], want[i])
	}
	return first(dst.intact(), src.unchanged())
}

// eachBlock calls f for blocks of many sizes, gaps and offsets.
func eachBlock(short bool, f func(rng *rand.Rand, rows, cols, gap, offset int) error) error {
	rng := newRand(13)
	sizes := []int{0, 1, 2, 3, 4, 5, 7, 8, 9, 12, 14, 15, 16, 17, 23, 24, 31, 32, 33, 63, 64, 65, 100, 130}
	if short {
		sizes = []int{0, 1, 3, 4, 8, 13, 16, 17, 33, 64}
	}
	for _, rows := range sizes {
		for _, cols := range sizes {
			for _, gap := range []int{0, 3} {
				offset := (rows + 3*cols + gap) % 16
				if err := f(rng, rows, cols, gap, offset); err != nil {
					return fmt.Errorf("%d × %d, gap %d, offset %d: %w", rows, cols, gap, offset, err)
				}
			}
		}
	}
	return nil
}

func checkTile(set *kernels.Set, short bool) error {
	rng := newRand(14)
	normal := func(s []float32) { fill(rng, s) }
	return tileCases(tiled{set.Tile, set.MR, set.NR, 1, func(a, b float32) (sum, mass float64) {
		t := float64(a) * float64(b)
		return t, math.Abs(t)
	}}, normal, short)
}

// tiled is a tile, whose packed words hold one number or more.
type tiled struct {
	tile     func(c []float32, ldc int, a, b []float32, kc int, add bool, next []float32)
	mr, nr   int
	per      int                                    // numbers in a word
	multiply func(a, b float32) (sum, mass float64) // the products of two words
}

// tileCases tries a tile on words that normal writes.
func tileCases(x tiled, normal func(s []float32), short bool) error {
	mr, nr := x.mr, x.nr
	err := lengths(short, func(kc, offset int) error {
		ldc := nr + offset%3*5
		a := newGuarded("a", kc*mr, offset, normal)
		b := newGuarded("b", kc*nr, (offset+kc)%16, normal)
		c := newGuarded("c", (mr-1)*ldc+nr, (offset+3)%16, func(s []float32) { fill(newRand(15), s) })
		add := (kc+offset)%2 == 0
		x.tile(c.s, ldc, a.s, b.s, kc, add, a.s)
		for i, got := range c.s {
			r, j := i/ldc, i%ldc
			old := float64(c.old()[i])
			if j >= nr {
				if float64(got) != old {
					return fmt.Errorf("wrote between the rows, at (%d,%d)", r, j)
				}
				continue
			}
			if !add {
				old = 0
			}
			want, mass := old, math.Abs(old)
			for p := range kc {
				t, size := x.multiply(a.s[p*mr+r], b.s[p*nr+j])
				want += t
				mass += size
			}
			if err := agree(got, want, mass, x.per*kc+2); err != nil {
				return fmt.Errorf("element (%d,%d): %w", r, j, err)
			}
		}
		return first(c.intact(), a.unchanged(), b.unchanged())
	})
	if err != nil {
		return err
	}
	// NaN and 0*Inf reach their row or column and no other element.
	for row := range mr {
		const kc = 9
		a, b, c := make([]float32, kc*mr), make([]float32, kc*nr), make([]float32, mr*nr)
		normal(b)
		a[5*mr+row] = float32(math.NaN())
		col := row % nr
		b[3*nr+col] = float32(math.Inf(-1))
		x.tile(c, nr, a, b, kc, true, b)
		for i, got := range c {
			want := i/nr == row || i%nr == col
			if (got != got) != want {
				return fmt.Errorf("NaN in row %d, 0*Inf in column %d: element (%d,%d) is %g", row, col, i/nr, i%nr, got)
			}
		}
	}
	return nil
}
