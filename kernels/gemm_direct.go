package kernels

// Products with a handful of rows read B once, where it lies: decoding is
// bound by the memory that holds the weights.

// directChunk is the number of columns of C that one task computes.
const directChunk = 256

// directArgs are the operands of a product that packs nothing.
type directArgs struct {
	set        *Set
	dst        []float32
	ldd        int
	a, b       matrix
	m, k       int
	accumulate bool
	then       Epilogue
}

var directCalls calls[directArgs]

// gemmDot computes dst (+)= a bᵀ with rows of b contiguous.
func gemmDot(set *Set, dst []float32, ldd int, a, b matrix, m, n, k int, accumulate bool, then Epilogue) {
	chunk := max(8, min(directChunk, 16*elementChunk/k))
	directCalls.chunks(n, chunk, directArgs{set, dst, ldd, a, b, m, k, accumulate, then}, (*directArgs).dot)
}

// dot computes columns lo to hi.
func (x *directArgs) dot(lo, hi int) {
	denseWork.add(x.m*(hi-lo)*x.k, x.m*(hi-lo)*x.k)
	for j := lo; j < hi; j++ {
		y := x.b.data[j*x.b.ld:][:x.k]
		for i := range x.m {
			s := x.set.Dot(x.a.data[i*x.a.ld:][:x.k], y)
			if x.accumulate {
				s += x.dst[i*x.ldd+j]
			}
			x.dst[i*x.ldd+j] = s
		}
	}
	x.finish(lo, hi)
}

// gemmAxpy computes dst (+)= a b with columns of b contiguous.
func gemmAxpy(set *Set, dst []float32, ldd int, a, b matrix, m, n, k int, accumulate bool, then Epilogue) {
	directCalls.chunks(n, directChunk, directArgs{set, dst, ldd, a, b, m, k, accumulate, then}, (*directArgs).axpy)
}

// axpy computes columns lo to hi.
func (x *directArgs) axpy(lo, hi int) {
	denseWork.add(x.m*(hi-lo)*x.k, x.m*(hi-lo)*x.k)
	stepI, stepP := x.a.ld, 1
	if x.a.sumMajor {
		stepI, stepP = 1, x.a.ld
	}
	if !x.accumulate {
		clearRows(x.dst[lo:], x.ldd, x.m, hi-lo)
	}
	for p := range x.k {
		row := x.b.data[p*x.b.ld:][lo:hi]
		for i := range x.m {
			x.set.Axpy(x.dst[i*x.ldd:][lo:hi], row, x.a.data[i*stepI+p*stepP])
		}
	}
	x.finish(lo, hi)
}

// finish does what follows to columns lo to hi.
func (x *directArgs) finish(lo, hi int) {
	then := x.then.from(0, lo, x.ldd)
	then.apply(x.set, x.dst[lo:], x.ldd, x.m, hi-lo)
}
