package kernels

// elementChunk is the number of elements that one thread handles at a time:
// three slices of 16 KiB stay in the second-level cache. Reductions combine
// chunks in order, so it is part of their definition.
const elementChunk = 4096

// Add writes the sum of two slices: dst[i] = a[i] + b[i]. dst may alias a or b.
// It panics if the lengths differ.
func Add(dst, a, b []float32) {
	n := len(dst)
	must(len(a) == n && len(b) == n, "kernels: Add: lengths differ")
	elementCalls.chunks(n, elementChunk, elementArgs{set: current, dst: dst, a: a, b: b}, func(e *elementArgs, lo, hi int) {
		e.set.Add(e.dst[lo:hi], e.a[lo:hi], e.b[lo:hi])
	})
}

// elementArgs are the operands of a function of single elements.
type elementArgs struct {
	set       *Set
	dst, a, b []float32
	s         float32
	sums      []float64
}

var elementCalls calls[elementArgs]

// clearChunk is the number of elements that one thread sets to zero at a time.
const clearChunk = 1 << 18

// Clear sets x to zero.
func Clear(x []float32) {
	elementCalls.chunks(len(x), clearChunk, elementArgs{dst: x}, func(e *elementArgs, lo, hi int) {
		clear(e.dst[lo:hi])
	})
}

// Scale multiplies x by s in place.
func Scale(x []float32, s float32) {
	elementCalls.chunks(len(x), elementChunk, elementArgs{set: current, dst: x, s: s}, func(e *elementArgs, lo, hi int) {
		e.set.Scale(e.dst[lo:hi], e.s)
	})
}

// SumSquares returns the sum of x[i]*x[i] in float64. Chunks of 4096 elements
// are summed apart and their sums added in order.
func SumSquares(x []float32) float64 {
	n := len(x)
	if n <= elementChunk {
		return current.SumSquares(x)
	}
	sums := borrow64(ceilDiv(n, elementChunk))
	defer sums.giveBack()
	elementCalls.chunks(n, elementChunk, elementArgs{set: current, a: x, sums: sums.data}, func(e *elementArgs, lo, hi int) {
		e.sums[lo/elementChunk] = e.set.SumSquares(e.a[lo:hi])
	})
	var s float64
	for _, p := range sums.data {
		s += p
	}
	return s
}
