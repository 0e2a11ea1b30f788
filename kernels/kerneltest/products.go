package kerneltest

import (
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/spdfctl/spdfctl/kernels"
)

// product is one dense product: names of the form and how its operands lie.
type product struct {
	name           string
	transA, transB bool // a is (k, m); b is (n, k)
	bf16           bool // factors are rounded where there are more than four rows
	call           func(dst []float32, ldd int, a []float32, lda int, b []float32, ldb int, m, n, k int, accumulate bool)
}

var products = []product{
	{"NN", false, false, false, kernels.GemmNN},
	{"NT", false, true, false, kernels.GemmNT},
	{"TN", true, false, false, kernels.GemmTN},
}

// strided is a matrix whose rows end in guard words.
func strided(name string, rng *rand.Rand, rows, cols, gap int) (*guarded, int) {
	ld := cols + gap
	n := 0
	if rows > 0 && cols > 0 {
		n = (rows-1)*ld + cols
	}
	return newGuarded(name, n, rng.IntN(16), func(s []float32) {
		for i := range s {
			s[i] = math.Float32frombits(guardBits)
			if i%ld < cols {
				s[i] = float32(rng.NormFloat64())
			}
		}
	}), ld
}

// gapsIntact reports an error if a word between the rows changed.
func gapsIntact(g *guarded, ld, cols int) error {
	for i, v := range g.s {
		if i%ld >= cols && math.Float32bits(v) != guardBits {
			return fmt.Errorf("%s: wrote between the rows, at row %d, column %d of %d", g.name, i/ld, i%ld, cols)
		}
	}
	return g.intact()
}

func checkGemm(set *kernels.Set, short bool) error {
	return checkForms(products, set.MR, set.NR, short)
}

// checkForms tries products of sizes around the tiles and the blocks.
func checkForms(forms []product, mr, nr int, short bool) error {
	rng := newRand(17)
	ms := []int{0, 1, 2, 3, 4, 5, mr - 1, mr, mr + 1, 2*mr + 3, 70}
	ns := []int{0, 1, 2, 5, nr - 1, nr, nr + 1, 2*nr + 3, 70}
	ks := []int{0, 1, 2, 17, 64, 255, 256, 257, 530}
	if short {
		ms, ns, ks = []int{1, 3, mr + 1, 2*mr + 3}, []int{1, nr, 2*nr + 3}, []int{0, 1, 17, 257}
	}
	for _, p := range forms {
		for _, m := range ms {
			for _, n := range ns {
				for _, k := range ks {
					accumulate := (m+n+k)%2 == 0
					if err := gemmCase(p, rng, max(m, 0), max(n, 0), k, (m+k)%3*2, accumulate); err != nil {
						return fmt.Errorf("%s m=%d n=%d k=%d accumulate=%t: %w", p.name, m, n, k, accumulate, err)
					}
				}
			}
		}
	}
	return nil
}

func gemmCase(p product, rng *rand.Rand, m, n, k, gap int, accumulate bool) error {
	var a, b *guarded
	var lda, ldb int
	if p.transA {
		a, lda = strided("a", rng, k, m, gap)
	} else {
		a, lda = strided("a", rng, m, k, gap)
	}
	if p.transB {
		b, ldb = strided("b", rng, n, k, gap+1)
	} else {
		b, ldb = strided("b", rng, k, n, gap+1)
	}
	dst, ldd := strided("dst", rng, m, n, gap+3)
	p.call(dst.s, ldd, a.s, lda, b.s, ldb, m, n, k, accumulate)
	x, y := make([]float32, k), make([]float32, k)
	for i := range m {
		for q := range k {
			if p.transA {
				x[q] = a.s[q*lda+i]
			} else {
				x[q] = a.s[i*lda+q]
			}
		}
		p.round(x, m)
		for j := range n {
			for q := range k {
				if p.transB {
					y[q] = b.s[j*ldb+q]
				} else {
					y[q] = b.s[q*ldb+j]
				}
			}
			p.round(y, m)
			want, mass := dot64(x, y)
			if accumulate {
				old := float64(dst.old()[i*ldd+j])
				want += old
				mass += math.Abs(old)
			}
			if err := agree(dst.s[i*ldd+j], want, mass, k+3); err != nil {
				return fmt.Errorf("element (%d,%d): %w", i, j, err)
			}
		}
	}
	return first(gapsIntact(dst, ldd, n), a.unchanged(), b.unchanged())
}

// checkGemmLarge multiplies matrices that cross every block of the blocking
// and compares (AB)v with A(Bv), both in float64.
func checkGemmLarge(set *kernels.Set, short bool) error {
	return checkLargeForms(products, short)
}

func checkLargeForms(forms []product, short bool) error {
	rng := newRand(18)
	shapes := [][3]int{{131, 2100, 300}, {2100, 67, 300}, {200, 600, 700}, {70, 70, 4100}}
	if short {
		shapes = [][3]int{{150, 530, 270}}
	}
	for _, s := range shapes {
		m, n, k := s[0], s[1], s[2]
		for _, p := range forms {
			a, b, dst := random(rng, m*k), random(rng, k*n), make([]float32, m*n)
			lda, ldb := k, n
			if p.transA {
				lda = m
			}
			if p.transB {
				ldb = k
			}
			p.call(dst, n, a, lda, b, ldb, m, n, k, false)
			p.round(a, m)
			p.round(b, m)
			v := random(rng, n)
			bv, mass := make([]float64, k), make([]float64, k)
			for q := range k {
				for j := range n {
					e := b[q*ldb%len(b)+j]
					if p.transB {
						e = b[j*ldb+q]
					}
					bv[q] += float64(e) * float64(v[j])
					mass[q] += math.Abs(float64(e) * float64(v[j]))
				}
			}
			for i := range m {
				var want, got, bound float64
				for q := range k {
					e := float64(a[i*lda%len(a)+q])
					if p.transA {
						e = float64(a[q*lda+i])
					}
					want += e * bv[q]
					bound += math.Abs(e) * mass[q]
				}
				for j := range n {
					got += float64(dst[i*n+j]) * float64(v[j])
				}
				bound *= float64(k+3) * epsilon
				if diff := math.Abs(got - want); !(diff <= bound) {
					return fmt.Errorf("%s m=%d n=%d k=%d: row %d times a vector: got %g, want %g, bound %.3g",
						p.name, m, n, k, i, got, want, bound)
				}
			}
		}
	}
	return nil
}

// checkGemmSpecial demands that NaN, Inf and 0*Inf reach exactly the row and
// column they belong to.
func checkGemmSpecial(set *kernels.Set, short bool) error {
	return checkSpecialForms(products, set.MR, set.NR)
}

func checkSpecialForms(forms []product, mr, nr int) error {
	rng := newRand(19)
	for _, p := range forms {
		for _, m := range []int{1, 3, 2*mr + 1} {
			n, k := nr+3, 300
			a, b, dst := random(rng, m*k), random(rng, k*n), make([]float32, m*n)
			row, col := rng.IntN(m), rng.IntN(n)
			const at = 280 // the index summed over
			lda, ldb := k, n
			atA, atB := row*k+at, at*n+col
			if p.transA {
				lda, atA = m, at*m+row
			}
			if p.transB {
				ldb, atB = k, col*k+at
			}
			a[atA] = float32(math.NaN())
			b[atB] = float32(math.Inf(1))
			for i := range m { // every other element of a at this index is 0
				if p.transA {
					if i != row {
						a[at*m+i] = 0
					}
				} else if i != row {
					a[i*k+at] = 0
				}
			}
			p.call(dst, n, a, lda, b, ldb, m, n, k, false)
			for i, got := range dst {
				want := i/n == row || i%n == col
				if (got != got) != want {
					return fmt.Errorf("%s m=%d: NaN in row %d, 0*Inf in column %d: element (%d,%d) is %g",
						p.name, m, row, col, i/n, i%n, got)
				}
			}
		}
	}
	return nil
}

func checkBias(set *kernels.Set, short bool) error {
	rng := newRand(20)
	for _, rows := range []int{0, 1, 5, 31, 32, 33, 100, 2100} {
		for _, n := range []int{1, 3, 64, 70} {
			dst, ldd := strided("dst", rng, rows, n, 2)
			bias, dbias := random(rng, n), random(rng, n)
			kernels.AddBias(dst.s, ldd, bias, rows, n)
			sums, mass := make([]float64, n), make([]float64, n)
			for i := range rows {
				for j := range n {
					at := i*ldd + j
					if got, want := dst.s[at], dst.old()[at]+bias[j]; got != want {
						return fmt.Errorf("AddBias of %d × %d: element (%d,%d): got %g, want %g", rows, n, i, j, got, want)
					}
					sums[j] += float64(dst.s[at])
					mass[j] += math.Abs(float64(dst.s[at]))
				}
			}
			before := append([]float32(nil), dbias...)
			kernels.BiasBackward(dbias, dst.s, ldd, rows, n)
			for j := range n {
				old := float64(before[j])
				if err := agree(dbias[j], old+sums[j], mass[j]+math.Abs(old), rows+2); err != nil {
					return fmt.Errorf("BiasBackward of %d × %d: column %d: %w", rows, n, j, err)
				}
			}
			if err := gapsIntact(dst, ldd, n); err != nil {
				return fmt.Errorf("AddBias of %d × %d: %w", rows, n, err)
			}
		}
	}
	return nil
}
