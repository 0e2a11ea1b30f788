package kernels

// Sums over rows (bias and LayerNorm gradients) cut the rows into blocks that
// depend on the number of rows only: at least rowBlockMin rows each, at most
// rowBlocksMax blocks. Each block sums into its own partial, and the partials
// are added in order.
const (
	rowBlockMin  = 32
	rowBlocksMax = 64
)

// rowSums are the sums over rows of one kernel.
type rowSums[T any] struct {
	blocks calls[blockArgs[T]]
	block  func(b *blockArgs[T], i int) // (*blockArgs[T]).block, which each mention would allocate
}

func newRowSums[T any]() *rowSums[T] { return &rowSums[T]{block: (*blockArgs[T]).block} }

// blockArgs are what the blocks of a sum share.
type blockArgs[T any] struct {
	args              T
	parts             []float32
	rows, size, width int
	body              func(a *T, part []float32, lo, hi int)
}

// run calls body(&args, part, lo, hi) for every block of rows, part being
// len(first) + len(second) zeros, and adds the parts to first and second in
// block order. The two parts of one block lie behind each other.
func (r *rowSums[T]) run(set *Set, rows int, first, second []float32, args T, body func(a *T, part []float32, lo, hi int)) {
	width := len(first) + len(second)
	size := max(rowBlockMin, ceilDiv(rows, rowBlocksMax))
	blocks := ceilDiv(rows, size)
	parts := borrow(blocks * width)
	defer parts.giveBack()
	r.blocks.parallel(blocks, blockArgs[T]{args, parts.data, rows, size, width, body}, r.block)
	foldCalls.chunks(len(first), elementChunk, foldArgs{set, first, parts.data, width, blocks}, (*foldArgs).chunk)
	foldCalls.chunks(len(second), elementChunk, foldArgs{set, second, parts.data[len(first):], width, blocks}, (*foldArgs).chunk)
}

// block sums block i into its part.
func (b *blockArgs[T]) block(i int) {
	part := b.parts[i*b.width : (i+1)*b.width]
	clear(part)
	b.body(&b.args, part, i*b.size, min(b.rows, (i+1)*b.size))
}

// foldArgs are partial sums, width apart, and what they are added to.
type foldArgs struct {
	set           *Set
	dst, parts    []float32
	width, blocks int
}

var foldCalls calls[foldArgs]

func (a *foldArgs) chunk(lo, hi int) {
	d := a.dst[lo:hi]
	for i := range a.blocks {
		a.set.Add(d, d, a.parts[i*a.width:][lo:hi])
	}
}
