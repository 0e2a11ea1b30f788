//go:build linux && amd64 && !noasm

package kernels_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/spdfctl/spdfctl/kernels"
)

func TestTileAMD64(t *testing.T) {
	eachSIMD(t, func(t *testing.T, set, _ *kernels.Set) {
		rng := rand.New(rand.NewPCG(1, 2))
		mr, nr := set.MR, set.NR
		fc, fa, fb := newFence(t, 4*mr*(nr+5)), newFence(t, 4*mr*131), newFence(t, 4*nr*131)
		sides(func(s side) {
			for kc := range 131 {
				ldc := nr + kc%5
				c := filled(fc, s, (mr-1)*ldc+nr, rng)
				a, b := filled(fa, s, mr*kc, rng), filled(fb, s, nr*kc, rng)
				before := append([]float32(nil), c...)
				add := kc%2 == 0
				set.Tile(c, ldc, a, b, kc, add)
				for i, got := range c {
					row, col := i/ldc, i%ldc
					want, mass := float64(before[i]), math.Abs(float64(before[i]))
					if col < nr {
						if !add {
							want, mass = 0, 0
						}
						for p := range kc {
							v := float64(a[p*mr+row]) * float64(b[p*nr+col])
							want += v
							mass += math.Abs(v)
						}
					} else {
						mass = 0 // between the rows: nothing may change
					}
					near(t, fmt.Sprintf("kc %d, c[%d,%d]", kc, row, col), float64(got), want, mass, kc+2)
				}
			}
		})
	})
}

// panelCase is one call of the sparse micro-kernels.
type panelCase struct {
	rows, features int
	lo, hi         []int32
	idx            []uint16
	x, y, w        []float32
}

// panelCases calls f with every count of kept weights from 0 to 130 in a row,
// and gaps in idx between the rows.
func panelCases(t *testing.T, f func(c panelCase)) {
	rng := rand.New(rand.NewPCG(3, 4))
	const maxRows, features = 7, 140
	total := maxRows * 140
	flo, fhi := newFence(t, 4*maxRows), newFence(t, 4*maxRows)
	fi, fw := newFence(t, 2*total), newFence(t, 4*total)
	fx, fy := newFence(t, 256*features), newFence(t, 256*maxRows)
	sides(func(s side) {
		for count := range 131 {
			rows := count % (maxRows + 1)
			var lo, hi []int32
			k := int32(count % 3)
			for r := range rows {
				n := int32(count)
				if r%2 == 1 {
					n = int32(rng.IntN(count + 1))
				}
				lo, hi = append(lo, k), append(hi, k+n)
				k += n
				if r+1 < rows {
					k += int32(rng.IntN(3)) // places that belong to another slab
				}
			}
			c := panelCase{rows: rows, features: features}
			c.lo, c.hi = fenced[int32](flo, s, rows), fenced[int32](fhi, s, rows)
			copy(c.lo, lo)
			copy(c.hi, hi)
			c.idx = fenced[uint16](fi, s, int(k))
			for i := range c.idx {
				c.idx[i] = uint16(rng.IntN(features))
			}
			c.w = filled(fw, s, int(k), rng)
			c.x = filled(fx, s, features*kernels.PanelTokens, rng)
			c.y = filled(fy, s, rows*kernels.PanelTokens, rng)
			f(c)
		}
	})
}

func TestPanelSpMMAMD64(t *testing.T) {
	eachSIMD(t, func(t *testing.T, set, _ *kernels.Set) {
		panelCases(t, func(c panelCase) {
			before := append([]float32(nil), c.y...)
			set.PanelSpMM(c.y, c.x, c.lo, c.hi, c.idx, c.w)
			for r := range c.rows {
				for j := range kernels.PanelTokens {
					want := float64(before[r*kernels.PanelTokens+j])
					mass := math.Abs(want)
					for k := c.lo[r]; k < c.hi[r]; k++ {
						v := float64(c.w[k]) * float64(c.x[int(c.idx[k])*kernels.PanelTokens+j])
						want += v
						mass += math.Abs(v)
					}
					near(t, fmt.Sprintf("row %d of %d, %d kept, token %d", r, c.rows, c.hi[r]-c.lo[r], j),
						float64(c.y[r*kernels.PanelTokens+j]), want, mass, int(c.hi[r]-c.lo[r])+2)
				}
			}
		})
	})
}

func TestPanelSDDMMAMD64(t *testing.T) {
	eachSIMD(t, func(t *testing.T, set, _ *kernels.Set) {
		panelCases(t, func(c panelCase) {
			before := append([]float32(nil), c.w...)
			set.PanelSDDMM(c.w, c.y, c.x, c.lo, c.hi, c.idx)
			next := int32(0)
			for r := range c.rows {
				for ; next < c.lo[r]; next++ {
					near(t, "between the rows", float64(c.w[next]), float64(before[next]), 0, 1)
				}
				for k := c.lo[r]; k < c.hi[r]; k++ {
					want := float64(before[k])
					mass := math.Abs(want)
					for j := range kernels.PanelTokens {
						v := float64(c.y[r*kernels.PanelTokens+j]) * float64(c.x[int(c.idx[k])*kernels.PanelTokens+j])
						want += v
						mass += math.Abs(v)
					}
					near(t, fmt.Sprintf("row %d, place %d of %d", r, k-c.lo[r], c.hi[r]-c.lo[r]),
						float64(c.w[k]), want, mass, kernels.PanelTokens+2)
				}
				next = c.hi[r]
			}
		})
	})
}

func TestTransposeAMD64(t *testing.T) {
	eachSIMD(t, func(t *testing.T, set, _ *kernels.Set) {
		rng := rand.New(rand.NewPCG(5, 6))
		fs, fd := newFence(t, 4*131*140), newFence(t, 4*131*140)
		for rows := range 131 {
			// Near the block sizes every number of columns, elsewhere some.
			for cols := range 131 {
				if rows > 36 && cols > 36 && (rows+cols)%7 != 0 {
					continue
				}
				s := side((rows+cols)%2 == 0)
				lds, ldd := cols+rows%4, rows+cols%4
				src := filled(fs, s, max(0, (rows-1)*lds+cols), rng)
				dst := fenced[float32](fd, s, max(0, (cols-1)*ldd+rows))
				for i := range dst {
					dst[i] = -99
				}
				if rows == 0 || cols == 0 {
					src, dst = nil, nil
				}
				set.Transpose(dst, ldd, src, lds, rows, cols)
				for i, got := range dst {
					want := float32(-99)
					if c, r := i/ldd, i%ldd; r < rows {
						want = src[r*lds+c]
					}
					if got != want {
						t.Fatalf("%d rows, %d columns: dst[%d,%d] = %g, want %g", rows, cols, i/ldd, i%ldd, got, want)
					}
				}
			}
		}
	})
}
