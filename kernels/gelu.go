package kernels

// GELUForward writes the tanh form of GELU:
//
//	dst[i] = 0.5 * x[i] * (1 + tanh(sqrt(2/pi) * (x[i] + 0.044715*x[i]³)))
//
// dst may alias x. It panics if the lengths differ.
//
// Source: Hendrycks, Gimpel, "Gaussian Error Linear Units", 2016, section 2.
func GELUForward(dst, x []float32) {
	n := len(x)
	must(len(dst) == n, "kernels: GELUForward: lengths differ")
	set := current
	parallelChunks(n, elementChunk, func(lo, hi int) {
		set.GELU(dst[lo:hi], x[lo:hi])
	})
}

// GELUBackward writes dx[i] = dy[i] * gelu'(x[i]), for the x that GELUForward
// read. dx may alias dy. It panics if the lengths differ.
func GELUBackward(dx, dy, x []float32) {
	n := len(x)
	must(len(dx) == n && len(dy) == n, "kernels: GELUBackward: lengths differ")
	set := current
	parallelChunks(n, elementChunk, func(lo, hi int) {
		set.GELUGrad(dx[lo:hi], dy[lo:hi], x[lo:hi])
	})
}
