package kernels

// Sums over rows (bias and LayerNorm gradients) cut the rows into blocks that
// depend on the number of rows only: at least rowBlockMin rows each, at most
// rowBlocksMax blocks. Each block sums into its own partial, and the partials
// are added in order.
const (
	rowBlockMin  = 32
	rowBlocksMax = 64
)

// sumOverRows calls f(part, lo, hi) for every block of rows, part being width
// zeros, and adds the parts to the destinations in block order. The parts of
// one block lie behind each other, len(dst[0]) and so on.
func sumOverRows(set *Set, rows int, dst [][]float32, f func(part []float32, lo, hi int)) {
	width := 0
	for _, d := range dst {
		width += len(d)
	}
	size := max(rowBlockMin, ceilDiv(rows, rowBlocksMax))
	blocks := ceilDiv(rows, size)
	parts := borrow(blocks * width)
	defer parts.giveBack()
	Parallel(blocks, func(i int) {
		part := parts.data[i*width : (i+1)*width]
		clear(part)
		f(part, i*size, min(rows, (i+1)*size))
	})
	off := 0
	for _, d := range dst {
		base := off
		parallelChunks(len(d), elementChunk, func(lo, hi int) {
			for i := range blocks {
				p := parts.data[i*width+base:]
				set.Add(d[lo:hi], d[lo:hi], p[lo:hi])
			}
		})
		off += len(d)
	}
}
