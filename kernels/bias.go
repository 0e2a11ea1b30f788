package kernels

// AddBias adds bias (n) to every row of dst (rows, n): dst[i,j] += bias[j].
// ldd is the row stride of dst. It panics if a slice is too short.
func AddBias(dst []float32, ldd int, bias []float32, rows, n int) {
	must(holds(dst, ldd, rows, n), "kernels: AddBias: dst does not hold rows × n")
	must(len(bias) >= n, "kernels: AddBias: bias is shorter than n")
	if rows == 0 || n == 0 {
		return
	}
	set := current
	bias = bias[:n]
	parallelChunks(rows, max(1, elementChunk/n), func(lo, hi int) {
		for i := lo; i < hi; i++ {
			row := dst[i*ldd:][:n]
			set.Add(row, row, bias)
		}
	})
}

// BiasBackward adds the column sums of dy (rows, n) to dbias (n):
//
//	dbias[j] += sum over i of dy[i,j]
//
// ldy is the row stride of dy. Blocks of rows are summed apart and added in
// order. It panics if a slice is too short.
func BiasBackward(dbias []float32, dy []float32, ldy int, rows, n int) {
	must(holds(dy, ldy, rows, n), "kernels: BiasBackward: dy does not hold rows × n")
	must(len(dbias) >= n, "kernels: BiasBackward: dbias is shorter than n")
	if rows == 0 || n == 0 {
		return
	}
	set := current
	sumOverRows(set, rows, [][]float32{dbias[:n]}, func(part []float32, lo, hi int) {
		for i := lo; i < hi; i++ {
			set.Add(part, part, dy[i*ldy:][:n])
		}
	})
}
