package kernels

// Products with a handful of rows read B once, where it lies: decoding is
// bound by the memory that holds the weights.

// directChunk is the number of columns of C that one task computes.
const directChunk = 256

// gemmDot computes dst (+)= a bᵀ with rows of b contiguous.
func gemmDot(set *Set, dst []float32, ldd int, a, b matrix, m, n, k int, accumulate bool) {
	chunk := max(8, min(directChunk, 16*elementChunk/k))
	parallelChunks(n, chunk, func(lo, hi int) {
		denseWork.add(m*(hi-lo)*k, m*(hi-lo)*k)
		for j := lo; j < hi; j++ {
			y := b.data[j*b.ld:][:k]
			for i := range m {
				s := set.Dot(a.data[i*a.ld:][:k], y)
				if accumulate {
					s += dst[i*ldd+j]
				}
				dst[i*ldd+j] = s
			}
		}
	})
}

// gemmAxpy computes dst (+)= a b with columns of b contiguous.
func gemmAxpy(set *Set, dst []float32, ldd int, a, b matrix, m, n, k int, accumulate bool) {
	stepI, stepP := a.ld, 1
	if a.sumMajor {
		stepI, stepP = 1, a.ld
	}
	parallelChunks(n, directChunk, func(lo, hi int) {
		denseWork.add(m*(hi-lo)*k, m*(hi-lo)*k)
		if !accumulate {
			clearRows(dst[lo:], ldd, m, hi-lo)
		}
		for p := range k {
			row := b.data[p*b.ld:][lo:hi]
			for i := range m {
				set.Axpy(dst[i*ldd:][lo:hi], row, a.data[i*stepI+p*stepP])
			}
		}
	})
}
