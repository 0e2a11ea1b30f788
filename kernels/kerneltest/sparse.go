package kerneltest

import (
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/spdfctl/spdfctl/kernels"
)

// mask is a sparse matrix in both forms: bits and a list of kept places.
type mask struct {
	out, in int
	bits    []byte
	kept    [][2]int // (i, j) in row-major order, or as arrange left it
}

// newMask keeps each place with probability 1-sparsity. Row 1 and column 1 of
// a larger mask are pruned whole.
func newMask(rng *rand.Rand, out, in int, sparsity float64) *mask {
	m := &mask{out: out, in: in}
	stride := (in + 7) / 8
	m.bits = make([]byte, out*stride)
	for i := range out {
		for j := range in {
			if rng.Float64() < sparsity || (out > 2 && i == 1) || (in > 2 && j == 1) {
				continue
			}
			m.bits[i*stride+j/8] |= 1 << (j % 8)
			m.kept = append(m.kept, [2]int{i, j})
		}
	}
	return m
}

// structure returns the kernels' structure of m and puts the kept places in the
// order of its values. It returns an error if the order leaves one out.
func (m *mask) structure() (*kernels.Sparse, error) {
	s := kernels.NewSparse(m.out, m.in, m.bits)
	if s.Kept() != len(m.kept) || s.Out != m.out || s.In != m.in {
		return nil, fmt.Errorf("%d kept of %d × %d, want %d of %d × %d", s.Kept(), s.Out, s.In, len(m.kept), m.out, m.in)
	}
	numbers := make([]float32, m.out*m.in) // 1 + the place in row-major order
	for k, at := range m.kept {
		numbers[at[0]*m.in+at[1]] = float32(k + 1)
	}
	order := make([]float32, s.Kept())
	s.Gather(order, numbers, m.in, 1)
	kept, seen := make([][2]int, len(m.kept)), make([]bool, len(m.kept)+1)
	for k, n := range order {
		if n == 0 || seen[int(n)] {
			return nil, fmt.Errorf("value %d of the order is place %g, pruned or there twice", k, n)
		}
		seen[int(n)] = true
		kept[k] = m.kept[int(n)-1]
	}
	m.kept = kept
	back := make([]float32, s.Kept())
	s.RowMajor(back, order)
	for i, n := range back {
		if int(n) != i+1 {
			return nil, fmt.Errorf("RowMajor: value %d is place %g", i, n)
		}
	}
	s.FromRowMajor(back, append([]float32(nil), back...))
	if i := sameBits(back, order); i >= 0 {
		return nil, fmt.Errorf("FromRowMajor: value %d is place %g, want %g", i, back[i], order[i])
	}
	return s, nil
}

// dense returns the values as a dense (out, in) matrix with zeros.
func (m *mask) dense(w []float32) []float32 {
	d := make([]float32, m.out*m.in)
	for k, at := range m.kept {
		d[at[0]*m.in+at[1]] = w[k]
	}
	return d
}

// sparsities of the suite.
var sparsities = []float64{0, 0.5, 0.75, 0.99, 1}

func checkSparseStructure(set *kernels.Set, short bool) error {
	rng := newRand(21)
	for _, shape := range [][2]int{{0, 0}, {0, 5}, {5, 0}, {1, 1}, {3, 7}, {8, 8}, {17, 100}, {200, 97}} {
		for _, sparsity := range sparsities {
			m := newMask(rng, shape[0], shape[1], sparsity)
			for i := range m.out { // padding bits do not count
				if pad := m.in % 8; pad != 0 && i%2 == 0 {
					m.bits[(i+1)*((m.in+7)/8)-1] |= 0xff << pad
				}
			}
			s, err := m.structure()
			fail := func(format string, args ...any) error {
				return fmt.Errorf("%d × %d, sparsity %g: %s", m.out, m.in, sparsity, fmt.Sprintf(format, args...))
			}
			if err != nil {
				return fail("%v", err)
			}
			d := random(rng, m.out*m.in)
			for _, transposed := range []bool{false, true} {
				rowStride, colStride := m.in, 1
				if transposed {
					rowStride, colStride = 1, m.out
				}
				w := newGuarded("dst", s.Kept(), 3, func(x []float32) { fill(rng, x) })
				s.Gather(w.s, d, rowStride, colStride)
				back := random(rng, m.out*m.in)
				want := append([]float32(nil), back...)
				for k, at := range m.kept {
					p := at[0]*rowStride + at[1]*colStride
					if w.s[k] != d[p] {
						return fail("Gather: value %d is %g, want %g", k, w.s[k], d[p])
					}
					want[p] = d[p]
				}
				s.Scatter(back, w.s, rowStride, colStride)
				if i := sameBits(back, want); i >= 0 {
					return fail("Scatter: element %d is %g, want %g", i, back[i], want[i])
				}
				if err := w.intact(); err != nil {
					return fail("Gather: %v", err)
				}
			}
		}
	}
	return nil
}

func checkSparseProducts(set *kernels.Set, short bool) error {
	rng := newRand(22)
	shapes := [][2]int{{1, 1}, {3, 5}, {16, 96}, {97, 40}, {40, 200}, {300, 97}, {390, 70}, {70, 390}}
	tokens := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 17, 33, 65, 127, 128, 129, 130, 1100}
	if short {
		shapes, tokens = [][2]int{{3, 5}, {40, 200}}, []int{1, 2, 3, 40, 128, 140, 1100}
	}
	for _, shape := range shapes {
		for _, sparsity := range sparsities {
			m := newMask(rng, shape[0], shape[1], sparsity)
			s, err := m.structure()
			if err != nil {
				return err
			}
			for _, t := range tokens {
				if (t > 200 || t > 2 && t < 9 || t == 128 || t == 130) && m.out*m.in > 4000 {
					continue
				}
				if err := sparseCase(rng, m, s, t, (t+m.out)%2*3); err != nil {
					return fmt.Errorf("%d × %d, sparsity %g, %d tokens: %w", m.out, m.in, sparsity, t, err)
				}
			}
		}
	}
	return nil
}

func sparseCase(rng *rand.Rand, m *mask, s *kernels.Sparse, tokens, gap int) error {
	w := random(rng, s.Kept())
	dense := m.dense(w)
	x, ldx := strided("x", rng, tokens, m.in, gap)
	dy, ldy := strided("dy", rng, tokens, m.out, gap)
	y, ldd := strided("dst", rng, tokens, m.out, gap+1)
	s.Forward(y.s, ldd, x.s, ldx, w, tokens)
	sum, mass := make([]float64, tokens*m.out), make([]float64, tokens*m.out)
	dsum, dmass := make([]float64, tokens*m.in), make([]float64, tokens*m.in)
	gsum, gmass := make([]float64, len(w)), make([]float64, len(w))
	for k, at := range m.kept {
		i, j := at[0], at[1]
		for t := range tokens {
			xv, dv, wv := float64(x.s[t*ldx+j]), float64(dy.s[t*ldy+i]), float64(w[k])
			sum[t*m.out+i] += wv * xv
			mass[t*m.out+i] += math.Abs(wv * xv)
			dsum[t*m.in+j] += wv * dv
			dmass[t*m.in+j] += math.Abs(wv * dv)
			gsum[k] += dv * xv
			gmass[k] += math.Abs(dv * xv)
		}
	}
	for t := range tokens {
		for i := range m.out {
			if err := agree(y.s[t*ldd+i], sum[t*m.out+i], mass[t*m.out+i], m.in+2); err != nil {
				return fmt.Errorf("forward: token %d, output %d: %w", t, i, err)
			}
		}
	}
	if err := first(gapsIntact(y, ldd, m.out), x.unchanged()); err != nil {
		return fmt.Errorf("forward: %w", err)
	}
	// The dense product of the masked matrix is the same sum in another order.
	z := make([]float32, tokens*m.out)
	kernels.GemmNT(z, m.out, x.s, ldx, dense, m.in, tokens, m.out, m.in, false)
	for i, v := range z {
		got := float64(y.s[i/m.out*ldd+i%m.out])
		if bound := float64(2*m.in+4) * epsilon * mass[i] * 1.001; !(math.Abs(got-float64(v)) <= bound) {
			return fmt.Errorf("forward: token %d, output %d: sparse %g, dense %g, bound %.3g", i/m.out, i%m.out, got, v, bound)
		}
	}
	wt := transposed(s, w)
	for _, accumulate := range []bool{false, true} {
		dx, lddx := strided("dx", rng, tokens, m.in, gap+2)
		s.BackwardInput(dx.s, lddx, dy.s, ldy, wt, tokens, accumulate)
		for t := range tokens {
			for j := range m.in {
				want, bound := dsum[t*m.in+j], dmass[t*m.in+j]
				if accumulate {
					old := float64(dx.old()[t*lddx+j])
					want += old
					bound += math.Abs(old)
				}
				if err := agree(dx.s[t*lddx+j], want, bound, m.out+3); err != nil {
					return fmt.Errorf("BackwardInput, accumulate %t: token %d, input %d: %w", accumulate, t, j, err)
				}
			}
		}
		if err := first(gapsIntact(dx, lddx, m.in), dy.unchanged()); err != nil {
			return fmt.Errorf("BackwardInput: %w", err)
		}
	}
	dw := newGuarded("dw", len(w), 5, func(v []float32) { fill(rng, v) })
	s.BackwardWeight(dw.s, dy.s, ldy, x.s, ldx, tokens)
	for k, got := range dw.s {
		old := float64(dw.old()[k])
		if err := agree(got, gsum[k]+old, gmass[k]+math.Abs(old), tokens+3); err != nil {
			return fmt.Errorf("BackwardWeight: value %d: %w", k, err)
		}
	}
	if err := first(dw.intact(), dy.unchanged(), x.unchanged()); err != nil {
		return fmt.Errorf("BackwardWeight: %w", err)
	}
	// Backward is both, to the bit.
	dx, both := make([]float32, tokens*m.in), append([]float32(nil), dw.old()...)
	want := make([]float32, len(dx))
	s.BackwardInput(want, m.in, dy.s, ldy, wt, tokens, false)
	s.Backward(dx, m.in, both, dy.s, ldy, x.s, ldx, wt, tokens, false)
	if i := sameBits(dx, want); i >= 0 {
		return fmt.Errorf("products together: dx[%d] is %g, BackwardInput has %g", i, dx[i], want[i])
	}
	if i := sameBits(both, dw.s); i >= 0 {
		return fmt.Errorf("products together: dw[%d] is %g, BackwardWeight has %g", i, both[i], dw.s[i])
	}
	if tokens > 2 { // fewer are multiplied without panels
		return sparsePanels(s, w, wt, x.s, ldx, dy.s, ldy, y.s, ldd, want, dw, tokens)
	}
	return nil
}

// sparsePanels demands of operands in panels the bits of row-major ones.
func sparsePanels(s *kernels.Sparse, w, wt, x []float32, ldx int, dy []float32, ldy int, y []float32, ldd int, dx []float32, dw *guarded, tokens int) error {
	in := func(x []float32, ld, n int) []float32 {
		p := make([]float32, kernels.PanelLen(tokens, n))
		kernels.PackPanels(p, x, ld, tokens, n)
		return p
	}
	equal := func(name string, got, want []float32) error {
		if i := sameBits(got, want); i >= 0 {
			return fmt.Errorf("%s in panels: element %d is %g, row-major %g", name, i, got[i], want[i])
		}
		return nil
	}
	const panels = kernels.InPanels
	px, pdy, wantY, wantDX := in(x, ldx, s.In), in(dy, ldy, s.Out), in(y, ldd, s.Out), in(dx, s.In, s.In)
	gotY, gotDX, gotDW := make([]float32, len(wantY)), make([]float32, len(wantDX)), append([]float32(nil), dw.old()...)
	fillNaN(gotY)
	fillNaN(gotDX)
	s.Forward(gotY, panels, px, panels, w, tokens)
	s.Backward(gotDX, panels, gotDW, pdy, panels, px, panels, wt, tokens, false)
	if err := first(equal("Forward", gotY, wantY), equal("dx", gotDX, wantDX), equal("dw", gotDW, dw.s)); err != nil {
		return err
	}
	s.BackwardInput(gotDX, panels, dy, ldy, wt, tokens, true)
	s.BackwardInput(dx, s.In, pdy, panels, wt, tokens, true)
	return equal("dx added to", gotDX, in(dx, s.In, s.In))
}

// fillNaN fills x with what shows where it is read.
func fillNaN(x []float32) {
	for i := range x {
		x[i] = float32(math.NaN())
	}
}

// transposed returns the values in the order of the transpose.
func transposed(s *kernels.Sparse, w []float32) []float32 {
	wt := make([]float32, len(w))
	s.Transpose(wt, w)
	return wt
}

// checkSparseSpecial demands that NaN in an input reaches what is connected to
// it by a kept weight and nothing else.
func checkSparseSpecial(set *kernels.Set, short bool) error {
	rng := newRand(23)
	const out, in = 37, 110
	m := newMask(rng, out, in, 0.75)
	s, err := m.structure()
	if err != nil {
		return err
	}
	w := random(rng, s.Kept())
	isNaN := func(v float32) bool { return v != v }
	for _, tokens := range []int{1, 2, 3, 20, 70, 130} {
		x, dy := random(rng, tokens*in), random(rng, tokens*out)
		badToken, badIn, badOut := tokens/2, 1+rng.IntN(in-1), 1+rng.IntN(out-1)
		x[badToken*in+badIn] = float32(math.NaN())
		dy[badToken*out+badOut] = float32(math.NaN())
		byOut, byIn := make([]bool, out), make([]bool, in)
		for _, at := range m.kept {
			byOut[at[0]] = byOut[at[0]] || at[1] == badIn
			byIn[at[1]] = byIn[at[1]] || at[0] == badOut
		}
		y, dx, dw := make([]float32, tokens*out), make([]float32, tokens*in), make([]float32, s.Kept())
		s.Forward(y, out, x, in, w, tokens)
		s.BackwardInput(dx, in, dy, out, transposed(s, w), tokens, false)
		s.BackwardWeight(dw, dy, out, x, in, tokens)
		for i, v := range y {
			if want := i/out == badToken && byOut[i%out]; isNaN(v) != want {
				return fmt.Errorf("forward of %d tokens, NaN at input %d: output %d of token %d is %g", tokens, badIn, i%out, i/out, v)
			}
		}
		for i, v := range dx {
			if want := i/in == badToken && byIn[i%in]; isNaN(v) != want {
				return fmt.Errorf("BackwardInput of %d tokens, NaN at output %d: input %d of token %d is %g", tokens, badOut, i%in, i/in, v)
			}
		}
		for k, v := range dw {
			if want := m.kept[k][0] == badOut || m.kept[k][1] == badIn; isNaN(v) != want {
				return fmt.Errorf("BackwardWeight of %d tokens: value (%d,%d) is %g", tokens, m.kept[k][0], m.kept[k][1], v)
			}
		}
	}
	return nil
}
