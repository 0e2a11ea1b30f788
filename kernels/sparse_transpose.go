package kernels

// Transpose writes the values in the order that BackwardInput and Backward
// read, which depends on the mask only:
//
//	dst[transposed k] = w[k]
//
// It is called once after every change of w. It panics if a slice is too short.
func (s *Sparse) Transpose(dst, w []float32) {
	must(len(dst) >= s.Kept() && len(w) >= s.Kept(), "kernels: Sparse.Transpose: dst or w is shorter than the kept weights")
	if s.order != nil {
		transposeCalls.parallel(len(s.cols.tiles)-1, transposeArgs{s, dst, w}, (*transposeArgs).tile)
		return
	}
	transposeCalls.parallel(s.rows.blocks()*s.cols.blocks(), transposeArgs{s, dst, w}, (*transposeArgs).square)
}

// transposeArgs are the arguments of Transpose.
type transposeArgs struct {
	s      *Sparse
	dst, w []float32
}

var transposeCalls calls[transposeArgs]

// orderSlab is the widest slab of which an order is kept: the values of a tile of
// 384 × 96 have numbers below 65536. The code of wider ones, which keep less than a
// twentieth, takes so much memory by itself that their values go through a dense
// square.
const orderSlab = 96

// newOrder returns for every value of the walk of Wᵀ its number within the tile of
// the walk of W that holds it. The tile is known by the row of Wᵀ.
func newOrder(rows, cols *walk) []uint16 {
	order := make([]uint16, cols.kept())
	across, perBlock := cols.blocks(), blockRows/rows.slab
	Parallel(rows.blocks()*across, func(n int) {
		r, c := n/across, n%across
		square := make([]uint16, blockRows*blockRows) // by the rows of W
		for i := range min(perBlock, rows.slabs()-c*perBlock) {
			code, _, _ := rows.tile(r, c*perBlock+i)
			k := uint16(0)
			eachPlace(code, func(row, col int) {
				square[row*blockRows+i*rows.slab+col] = k
				k++
			})
		}
		for i := range min(perBlock, cols.slabs()-r*perBlock) {
			code, lo, _ := cols.tile(c, r*perBlock+i)
			k := lo
			eachPlace(code, func(row, col int) {
				order[k] = square[(i*cols.slab+col)*blockRows+row]
				k++
			})
		}
	})
	return order
}

// tile gathers the values of a tile of Wᵀ, pair by pair: those of a row lie in
// one tile of W.
func (a *transposeArgs) tile(n int) {
	s := a.s
	slab, slabs := s.cols.slab, s.cols.slabs()
	c, i := n/slabs, n%slabs
	code, lo, hi := s.cols.tile(c, i)
	dst, from := a.dst[lo:hi], s.order[lo:hi]
	first := i*slab/blockRows*s.rows.slabs() + c*(blockRows/slab) // of the tiles of W
	source := func(row uint16) []float32 {
		t := first + int(row)/slab
		return a.w[s.rows.tiles[t].value:s.rows.tiles[t+1].value]
	}
	for len(code) > 0 {
		x, y := source(code[0]), source(code[1])
		shared, own, left := int(code[2]), int(code[3]), int(code[4])
		code = code[pairHeader+codeLen(shared, own, left):]
		both := 2 * (shared + own)
		to, at := dst[:both], from[:both]
		for k := 1; k < len(to) && k < len(at); k += 2 {
			to[k-1], to[k] = x[at[k-1]], y[at[k]]
		}
		for k, at := range from[both:][:left] {
			dst[both+k] = x[at]
		}
		dst, from = dst[both+left:], from[both+left:]
	}
}

// square moves the values of one square of blockRows × blockRows through a dense
// scratch, which needs no stored order.
func (a *transposeArgs) square(n int) {
	s := a.s
	across, perBlock := s.cols.blocks(), blockRows/s.rows.slab
	r, c := n/across, n%across
	square := borrow(blockRows * blockRows)
	for i := range min(perBlock, s.rows.slabs()-c*perBlock) {
		code, lo, hi := s.rows.tile(r, c*perBlock+i)
		scatterTile(square.data[i*s.rows.slab:], a.w[lo:hi], blockRows, 1, code)
	}
	for i := range min(perBlock, s.cols.slabs()-r*perBlock) {
		code, lo, hi := s.cols.tile(c, r*perBlock+i)
		gatherTile(a.dst[lo:hi], square.data[i*s.rows.slab*blockRows:], 1, blockRows, code)
	}
	square.giveBack()
}
