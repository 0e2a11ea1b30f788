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
	set := current
	parallelChunks(n, elementChunk, func(lo, hi int) {
		set.Add(dst[lo:hi], a[lo:hi], b[lo:hi])
	})
}

// Scale multiplies x by s in place.
func Scale(x []float32, s float32) {
	set := current
	parallelChunks(len(x), elementChunk, func(lo, hi int) {
		set.Scale(x[lo:hi], s)
	})
}

// SumSquares returns the sum of x[i]*x[i] in float64. Chunks of 4096 elements
// are summed apart and their sums added in order.
func SumSquares(x []float32) float64 {
	set := current
	n := len(x)
	if n <= elementChunk {
		return set.SumSquares(x)
	}
	part := make([]float64, ceilDiv(n, elementChunk))
	parallelChunks(n, elementChunk, func(lo, hi int) {
		part[lo/elementChunk] = set.SumSquares(x[lo:hi])
	})
	var s float64
	for _, p := range part {
		s += p
	}
	return s
}
