package kernels

import "math"

// sparseMax is the largest number of rows or columns.
const sparseMax = 1 << 16

// blockRows is the number of rows among which partners are sought, and whose
// outputs one task computes: 384 × 128 tokens × 4 bytes are 192 KiB of the
// second-level cache. Every slab divides it.
const blockRows = 384

// Sparse is the structure of a sparse weight matrix W (Out, In): which places
// are kept. The values live with the caller, one float32 per kept weight, in
// the order of Gather, which depends on the mask only. It is read-only after
// NewSparse.
//
// Memory, both orientations together, in bytes per kept weight of a random
// mask: 5.0 at sparsity 0.5, 5.7 at 0.75, 6.3 at 0.9, 7.4 at 0.95, 6.1 at 0.99.
type Sparse struct {
	Out, In int
	rows    walk     // W, for Forward and the weight gradient
	cols    walk     // Wᵀ, for the input gradient
	order   []uint16 // of cols in rows, see newOrder; nil if slabs are wide
}

// walk is one orientation of the kept places: tiles of blockRows rows × slab
// columns, the tiles of a row block behind each other.
type walk struct {
	n, width int
	slab     int      // columns of a tile
	code     []uint16 // see PanelKernels
	tiles    []tile   // (blocks, slabs), and one that ends the last
}

// tile is where a tile starts in the code and in the values.
type tile struct{ code, value int }

// slabFor chooses the features of a slab by the density: few enough for the
// first-level cache where much is kept (64 × 128 tokens × 4 bytes are 32 KiB);
// wider where little is, since every visit of a row moves its outputs.
func slabFor(density float64) int {
	switch {
	case density >= 0.2:
		return 64
	case density >= 0.05:
		return 96
	case density >= 0.02:
		return 192
	}
	return 384
}

// NewSparse builds the structure of a mask, in parallel: bits is (out,
// ceil(in/8)), bit j%8 of byte j/8 of a row is 1 if column j is kept; padding
// bits are ignored. It panics if out or in is above 65536, if bits is too
// short, or if more than 2³¹-1 weights are kept.
func NewSparse(out, in int, bits []byte) *Sparse {
	must(out >= 0 && in >= 0 && out <= sparseMax && in <= sparseMax, "kernels: NewSparse: out or in is outside 0 to 65536")
	stride := ceilDiv(in, 8)
	must(len(bits) >= out*stride, "kernels: NewSparse: bits do not hold out × in")
	m := bitMatrix{n: out, width: in, bits: bits}
	kept := m.count()
	must(kept <= math.MaxInt32, "kernels: NewSparse: more than 2147483647 weights are kept")
	slab := slabFor(float64(kept) / float64(max(1, out*in)))
	s := &Sparse{Out: out, In: in, rows: newWalk(m, slab), cols: newWalk(m.transposed(), slab)}
	if slab <= orderSlab {
		s.order = newOrder(&s.rows, &s.cols)
	}
	return s
}

// newWalk pairs the rows of every tile and writes its code.
func newWalk(m bitMatrix, slab int) walk {
	w := walk{n: m.n, width: m.width, slab: slab}
	slabs := w.slabs()
	parts := make([][]uint16, w.blocks()*slabs)
	w.tiles = make([]tile, len(parts)+1)
	Parallel(len(parts), func(i int) {
		p := pairings.Get().(*pairing)
		parts[i] = p.encode(m, i/slabs*blockRows, i%slabs*slab, slab)
		w.tiles[i+1].value = p.kept
		pairings.Put(p)
	})
	for i, code := range parts {
		w.tiles[i+1].code = w.tiles[i].code + len(code)
		w.tiles[i+1].value += w.tiles[i].value
	}
	w.code = make([]uint16, w.tiles[len(parts)].code)
	Parallel(len(parts), func(i int) { copy(w.code[w.tiles[i].code:], parts[i]) })
	return w
}

// slabs and blocks are the tiles along a row and a column.
func (w *walk) slabs() int  { return ceilDiv(w.width, w.slab) }
func (w *walk) blocks() int { return ceilDiv(w.n, blockRows) }

// kept is the number of kept places.
func (w *walk) kept() int { return w.tiles[len(w.tiles)-1].value }

// tile returns the code of a tile and where its values start and end.
func (w *walk) tile(block, slab int) (code []uint16, lo, hi int) {
	i := block*w.slabs() + slab
	t, end := w.tiles[i], w.tiles[i+1]
	return w.code[t.code:end.code], t.value, end.value
}

// Kept returns the number of kept weights, which is the length of the values.
func (s *Sparse) Kept() int { return s.rows.kept() }

// Gather reads the kept values out of a dense matrix:
//
//	dst[k] = dense[i*rowStride + j*colStride]  for the k-th kept place (i, j)
//
// The strides let it read W (In, 1) as well as its transpose (1, Out), which is
// how GPT-2's Conv1D is stored. It panics if a slice is too short.
func (s *Sparse) Gather(dst, dense []float32, rowStride, colStride int) {
	must(len(dst) >= s.Kept(), "kernels: Sparse.Gather: dst is shorter than the kept weights")
	must(s.spans(dense, rowStride, colStride), "kernels: Sparse.Gather: dense does not hold out × in")
	s.rows.eachTile(func(code []uint16, lo, hi, r0, c0 int) {
		gatherTile(dst[lo:hi], dense[r0*rowStride+c0*colStride:], rowStride, colStride, code)
	})
}

// Scatter writes the kept values to their places in a dense matrix and leaves
// the rest of it alone; it is the inverse of Gather.
func (s *Sparse) Scatter(dense []float32, src []float32, rowStride, colStride int) {
	must(len(src) >= s.Kept(), "kernels: Sparse.Scatter: src is shorter than the kept weights")
	must(s.spans(dense, rowStride, colStride), "kernels: Sparse.Scatter: dense does not hold out × in")
	s.rows.eachTile(func(code []uint16, lo, hi, r0, c0 int) {
		scatterTile(dense[r0*rowStride+c0*colStride:], src[lo:hi], rowStride, colStride, code)
	})
}

// RowMajor writes values, which are in the order of Gather, in row-major order:
// the order for files, since it depends on nothing but the mask's definition.
// It panics if a slice is too short.
func (s *Sparse) RowMajor(dst, values []float32) {
	must(len(dst) >= s.Kept() && len(values) >= s.Kept(), "kernels: Sparse.RowMajor: dst or values is shorter than the kept weights")
	s.eachRowMajor(func(i, k int) { dst[i] = values[k] })
}

// FromRowMajor is the inverse of RowMajor.
func (s *Sparse) FromRowMajor(dst, values []float32) {
	must(len(dst) >= s.Kept() && len(values) >= s.Kept(), "kernels: Sparse.FromRowMajor: dst or values is shorter than the kept weights")
	s.eachRowMajor(func(i, k int) { dst[k] = values[i] })
}

// eachRowMajor calls f with every kept place's number in row-major order and
// in the order of the values, in parallel.
func (s *Sparse) eachRowMajor(f func(i, k int)) {
	Parallel(s.rows.blocks(), func(b int) {
		numbers := make([]int32, min(blockRows, s.Out-b*blockRows)*s.In) // 0: pruned
		first := s.rows.tiles[b*s.rows.slabs()].value
		k := first
		for slab := range s.rows.slabs() {
			code, _, _ := s.rows.tile(b, slab)
			eachPlace(code, func(row, col int) {
				k++
				numbers[row*s.In+slab*s.rows.slab+col] = int32(k)
			})
		}
		i := first
		for _, k := range numbers {
			if k > 0 {
				f(i, int(k)-1)
				i++
			}
		}
	})
}

// eachTile calls f for every tile that keeps something, in parallel.
func (w *walk) eachTile(f func(code []uint16, lo, hi, r0, c0 int)) {
	slabs := w.slabs()
	Parallel(w.blocks()*slabs, func(i int) {
		if code, lo, hi := w.tile(i/slabs, i%slabs); hi > lo {
			f(code, lo, hi, i/slabs*blockRows, i%slabs*w.slab)
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
