package kernels

import (
	"math"
	"math/bits"
	"slices"
	"sort"
)

// sparseMax is the largest number of rows or columns: indices are uint16.
const sparseMax = 1 << 16

// A slab is the features of a panel that are walked together, few enough to
// stay in the first-level cache: 128 × 64 tokens × 4 bytes are 32 KiB. A sparser
// matrix has little to do per slab and touches fewer of its features, so its
// slabs are wider. Cost, one thread of a Zen 5, AVX-512, 768 × 3072: density
// 0.5 ran at 115 GFLOP/s with 128 and 102 with 192, density 0.1 at 94 and 108.
const (
	slabDense  = 128
	slabSparse = 192
	slabLimit  = 0.3 // density from which slabs have slabDense features
)

// Sparse is the structure of a sparse weight matrix W (Out, In): which places
// are kept. The values live with the caller, one float32 per kept weight in
// row-major order. It is read-only after NewSparse.
//
// Memory: 2 bytes per kept weight for each of the two orientations, plus 4
// bytes per row and slab (128 or 192 features) of each.
type Sparse struct {
	Out, In int
	rows    walk // W, for Forward and BackwardWeight
	cols    walk // Wᵀ, for BackwardInput
}

// walk is one orientation of the kept places.
type walk struct {
	n, width int
	slab     int      // features of a slab
	idx      []uint16 // column of each kept place
	// Row r keeps the places bounds[s*n+r] <= k < bounds[s*n+r+next] of slab s.
	// With next = n the places are row-major, as the caller's values are: what
	// ends a row in one slab starts it in the following one. With next = 1 they
	// are slab-major, so that a slab is read without gaps.
	bounds []int32
	next   int
}

// NewSparse builds the structure of a mask: bits is (out, ceil(in/8)), bit j%8
// of byte j/8 of a row is 1 if column j is kept; padding bits are ignored.
// It panics if out or in is above 65536, if bits is too short, or if more than
// 2³¹-1 weights are kept.
func NewSparse(out, in int, bits []byte) *Sparse {
	must(out >= 0 && in >= 0 && out <= sparseMax && in <= sparseMax, "kernels: NewSparse: out or in is outside 0 to 65536")
	stride := (in + 7) / 8
	must(len(bits) >= out*stride, "kernels: NewSparse: bits do not hold out × in")
	s := &Sparse{Out: out, In: in}
	s.rows = newWalk(out, in, bits[:out*stride], stride)
	s.cols = s.rows.transposed()
	return s
}

// newWalk lists the set bits of every row.
func newWalk(n, width int, mask []byte, stride int) walk {
	kept := 0
	for r := range n {
		kept += countBits(mask[r*stride:(r+1)*stride], width)
	}
	must(kept <= math.MaxInt32, "kernels: NewSparse: more than 2147483647 weights are kept")
	w := walk{n: n, width: width, slab: slabFor(kept, n*width), idx: make([]uint16, 0, kept), next: n}
	starts := make([]int32, n+1)
	for r := range n {
		row := mask[r*stride : (r+1)*stride]
		for b, v := range row {
			for v != 0 {
				j := b*8 + bits.TrailingZeros8(v)
				v &= v - 1
				if j < width {
					w.idx = append(w.idx, uint16(j))
				}
			}
		}
		starts[r+1] = int32(len(w.idx))
	}
	w.setBounds(starts)
	return w
}

func countBits(row []byte, width int) int {
	n := 0
	for b, v := range row {
		if rest := width - 8*b; rest < 8 {
			v &= 1<<rest - 1
		}
		n += bits.OnesCount8(v)
	}
	return n
}

// slabFor chooses the features of a slab by the density.
func slabFor(kept, total int) int {
	if float64(kept) < slabLimit*float64(total) {
		return slabSparse
	}
	return slabDense
}

// setBounds cuts every row at the slabs, row-major.
func (w *walk) setBounds(starts []int32) {
	slabs := w.slabs()
	w.bounds = make([]int32, (slabs+1)*w.n)
	for r := range w.n {
		k, end := starts[r], starts[r+1]
		for s := range slabs {
			w.bounds[s*w.n+r] = k
			limit := (s + 1) * w.slab
			for k < end && int(w.idx[k]) < limit {
				k++
			}
		}
		w.bounds[slabs*w.n+r] = end
	}
}

// slabs is the number of slabs, at least one, so that the rows have bounds.
func (w *walk) slabs() int { return max(1, ceilDiv(w.width, w.slab)) }

// row returns where row r of a row-major walk starts and ends.
func (w *walk) row(r int) (start, end int32) {
	return w.bounds[r], w.bounds[w.slabs()*w.n+r]
}

// ranges returns the bounds of rows r0 to r1 in slab s.
func (w *walk) ranges(s, r0, r1 int) (lo, hi []int32) {
	at := s * w.n
	return w.bounds[at+r0 : at+r1], w.bounds[at+r0+w.next : at+r1+w.next]
}

// transposed returns the slab-major walk of the transpose of a row-major walk.
func (w *walk) transposed() walk {
	t := walk{n: w.width, width: w.n, slab: w.slab, idx: make([]uint16, len(w.idx)), next: 1}
	slabs := t.slabs()
	t.bounds = make([]int32, slabs*t.n+1)
	for r := range w.n {
		lo, hi := w.row(r)
		at := r / t.slab * t.n
		for _, j := range w.idx[lo:hi] {
			t.bounds[at+int(j)+1]++
		}
	}
	for i := range slabs * t.n {
		t.bounds[i+1] += t.bounds[i]
	}
	next := slices.Clone(t.bounds)
	for r := range w.n {
		lo, hi := w.row(r)
		at := r / t.slab * t.n
		for _, j := range w.idx[lo:hi] {
			k := &next[at+int(j)]
			t.idx[*k] = uint16(r)
			*k++
		}
	}
	return t
}

// split cuts the rows into at most parts ranges of nearly equal numbers of
// kept places: range i is rows cut[i] to cut[i+1].
func (w *walk) split(parts int) (cut []int) {
	parts = max(1, min(parts, w.n))
	cut = make([]int, 0, parts+1)
	cut = append(cut, 0)
	for i := 1; i < parts; i++ {
		want := int32(int64(len(w.idx)) * int64(i) / int64(parts))
		r := sort.Search(w.n, func(r int) bool { return w.bounds[r] >= want })
		if r > cut[len(cut)-1] && r < w.n {
			cut = append(cut, r)
		}
	}
	return append(cut, w.n)
}

// Kept returns the number of kept weights, which is the length of the values.
func (s *Sparse) Kept() int { return len(s.rows.idx) }

// Gather reads the kept values out of a dense matrix:
//
//	dst[k] = dense[i*rowStride + j*colStride]  for the k-th kept place (i, j)
//
// The strides let it read W (In, 1) as well as its transpose (1, Out), which is
// how GPT-2's Conv1D is stored. It panics if a slice is too short.
func (s *Sparse) Gather(dst, dense []float32, rowStride, colStride int) {
	must(len(dst) >= s.Kept(), "kernels: Sparse.Gather: dst is shorter than the kept weights")
	must(s.spans(dense, rowStride, colStride), "kernels: Sparse.Gather: dense does not hold out × in")
	s.eachRow(func(r int, lo, hi int32) {
		d := dst[lo:hi]
		base := r * rowStride
		for k, j := range s.rows.idx[lo:hi] {
			d[k] = dense[base+int(j)*colStride]
		}
	})
}

// Scatter writes the kept values to their places in a dense matrix and leaves
// the rest of it alone; it is the inverse of Gather.
func (s *Sparse) Scatter(dense []float32, src []float32, rowStride, colStride int) {
	must(len(src) >= s.Kept(), "kernels: Sparse.Scatter: src is shorter than the kept weights")
	must(s.spans(dense, rowStride, colStride), "kernels: Sparse.Scatter: dense does not hold out × in")
	s.eachRow(func(r int, lo, hi int32) {
		v := src[lo:hi]
		base := r * rowStride
		for k, j := range s.rows.idx[lo:hi] {
			dense[base+int(j)*colStride] = v[k]
		}
	})
}

// eachRow calls f for every row, in parallel by ranges of rows.
func (s *Sparse) eachRow(f func(r int, lo, hi int32)) {
	if s.Out == 0 || s.In == 0 {
		return
	}
	cut := s.rows.split(4 * Threads())
	Parallel(len(cut)-1, func(i int) {
		for r := cut[i]; r < cut[i+1]; r++ {
			lo, hi := s.rows.row(r)
			f(r, lo, hi)
		}
	})
}

// spans reports whether a dense matrix with these strides lies within dense.
func (s *Sparse) spans(dense []float32, rowStride, colStride int) bool {
	if s.Out == 0 || s.In == 0 {
		return true
	}
	return rowStride >= 0 && colStride >= 0 && (s.Out-1)*rowStride+(s.In-1)*colStride < len(dense)
}
