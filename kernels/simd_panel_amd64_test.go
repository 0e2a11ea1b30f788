//go:build linux && amd64 && !noasm

package kernels_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/spdfctl/spdfctl/kernels"
	"github.com/spdfctl/spdfctl/kernels/kerneltest"
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
				set.Tile(c, ldc, a, b, kc, add, a)
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
	rows    int
	code    []uint16
	places  [][2]int
	x, y, w []float32
}

// panelCases calls f with every count of shared, own and left columns from 0
// to 5 in a pair, with many of each, and with a row alone.
func panelCases(t *testing.T, tokens, features int, f func(c panelCase)) {
	rng := rand.New(rand.NewPCG(3, 4))
	const most = 4000
	fcode, fw := newFence(t, 2*most), newFence(t, 4*most)
	fx, fy := newFence(t, 4*tokens*features), newFence(t, 4*tokens*3)
	columns := func(n int) []int { return rng.Perm(features)[:min(n, features)] }
	sides(func(s side) {
		run := func(pairs ...[3]int) {
			p := kerneltest.NewPattern(rng, 3, features, 0)
			for i, n := range pairs {
				b := i % 2
				if n[0]+n[1] == 0 {
					b = 2
				}
				p.Pair(2, b, columns(n[0]), columns(n[1]), columns(n[1]), columns(n[2]))
			}
			c := panelCase{rows: 3, places: p.Places}
			c.code = fenced[uint16](fcode, s, len(p.Code))
			copy(c.code, p.Code)
			c.w = filled(fw, s, len(p.Places), rng)
			c.x = filled(fx, s, features*tokens, rng)
			c.y = filled(fy, s, 3*tokens, rng)
			f(c)
		}
		run()
		for n := range 6 * 6 * 6 {
			run([3]int{n % 6, n / 6 % 6, n / 36})
		}
		for n := range 20 {
			run([3]int{n, max(0, features-10-6*n), 7 * n}, [3]int{7 * n, n, 2 * n}, [3]int{0, 0, n + 1})
		}
	})
}

// eachPanel runs f for every width of a panel of every set in assembly.
func eachPanel(t *testing.T, f func(t *testing.T, of kernels.PanelKernels, P int)) {
	eachSIMD(t, func(t *testing.T, set, _ *kernels.Set) {
		for i, P := range kernels.PanelWidths {
			t.Run(fmt.Sprintf("P=%d", P), func(t *testing.T) { f(t, set.Panels[i], P) })
		}
	})
}

func TestPanelSpMMAMD64(t *testing.T) {
	eachPanel(t, func(t *testing.T, of kernels.PanelKernels, P int) {
		panelCases(t, P, 140, func(c panelCase) {
			want, mass := c.want(P)
			of.SpMM(c.y, c.x, c.code, c.w, c.x)
			for i, got := range c.y {
				if !isNear(float64(got), want[i], mass[i], len(c.places)+2) {
					t.Fatalf("code %v, row %d, token %d: got %g, want %g", c.code, i/P, i%P, got, want[i])
				}
			}
		})
	})
}

// TestFewSpMMAMD64 lets the tokens of the cases be one and two rows.
func TestFewSpMMAMD64(t *testing.T) {
	eachSIMD(t, func(t *testing.T, set, _ *kernels.Set) {
		for n := range 6 {
			tokens, features := 1+n%2, []int{50, 64, 140}[n/2]
			panelCases(t, tokens, features, func(c panelCase) {
				want, mass := c.want(tokens)
				// A token's columns, and outputs, behind those of the other.
				x, y := append([]float32(nil), c.x...), append([]float32(nil), c.y...)
				for i, v := range x {
					c.x[i%tokens*features+i/tokens] = v
				}
				for i, v := range y {
					c.y[i%tokens*c.rows+i/tokens] = v
				}
				set.FewSpMM(c.y, c.rows, c.x, features, features, tokens, c.code, c.w)
				for i := range c.y {
					got := float64(c.y[i%tokens*c.rows+i/tokens])
					near(t, fmt.Sprintf("%d tokens, code %v, row %d, token %d", tokens, c.code, i/tokens, i%tokens), got, want[i], mass[i], len(c.places)+2)
				}
			})
		}
	})
}

// want returns what SpMM makes of y, and the sums of the absolute terms.
func (c panelCase) want(P int) (want, mass []float64) {
	want, mass = make([]float64, len(c.y)), make([]float64, len(c.y))
	for i, v := range c.y {
		want[i], mass[i] = float64(v), math.Abs(float64(v))
	}
	for k, at := range c.places {
		for j := range P {
			v := float64(c.w[k]) * float64(c.x[at[1]*P+j])
			want[at[0]*P+j] += v
			mass[at[0]*P+j] += math.Abs(v)
		}
	}
	return want, mass
}

func TestPanelSDDMMAMD64(t *testing.T) {
	eachPanel(t, func(t *testing.T, of kernels.PanelKernels, P int) {
		panelCases(t, P, 140, func(c panelCase) {
			before := append([]float32(nil), c.w...)
			of.SDDMM(c.w, c.y, c.x, c.code, c.x, c.y)
			for k, at := range c.places {
				want := float64(before[k])
				mass := math.Abs(want)
				for j := range P {
					v := float64(c.y[at[0]*P+j]) * float64(c.x[at[1]*P+j])
					want += v
					mass += math.Abs(v)
				}
				if !isNear(float64(c.w[k]), want, mass, P+2) {
					t.Fatalf("code %v, place %d: got %g, want %g", c.code, k, c.w[k], want)
				}
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
