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
	elementCalls.chunks(n, elementChunk, elementArgs{set: current, dst: dst, a: x}, func(e *elementArgs, lo, hi int) {
		e.set.GELU(e.dst[lo:hi], e.a[lo:hi])
	})
}

// GELUBackward writes dx[i] = dy[i] * gelu'(x[i]), for the x that GELUForward
// read. dx may alias dy. It panics if the lengths differ.
func GELUBackward(dx, dy, x []float32) {
	n := len(x)
	must(len(dx) == n && len(dy) == n, "kernels: GELUBackward: lengths differ")
	elementCalls.chunks(n, elementChunk, elementArgs{set: current, dst: dx, a: dy, b: x}, func(e *elementArgs, lo, hi int) {
		e.set.GELUGrad(e.dst[lo:hi], e.a[lo:hi], e.b[lo:hi])
	})
}
