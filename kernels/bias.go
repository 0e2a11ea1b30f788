package kernels

// AddBias adds bias (n) to every row of dst (rows, n): dst[i,j] += bias[j].
// ldd is the row stride of dst. It panics if a slice is too short.
func AddBias(dst []float32, ldd int, bias []float32, rows, n int) {
	must(holds(dst, ldd, rows, n), "kernels: AddBias: dst does not hold rows × n")
	must(len(bias) >= n, "kernels: AddBias: bias is shorter than n")
	if rows == 0 || n == 0 {
		return
	}
	biasCalls.chunks(rows, max(1, elementChunk/n), biasArgs{current, dst, ldd, bias[:n]}, func(a *biasArgs, lo, hi int) {
		for i := lo; i < hi; i++ {
			row := a.x[i*a.ld:][:len(a.bias)]
			a.set.Add(row, row, a.bias)
		}
	})
}

// biasArgs are a matrix and a row that is added to its rows, or to which they
// are added.
type biasArgs struct {
	set  *Set
	x    []float32
	ld   int
	bias []float32
}

var (
	biasCalls calls[biasArgs]
	biasSums  = newRowSums[biasArgs]()
)

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
	biasSums.run(current, rows, dbias[:n], nil, biasArgs{set: current, x: dy, ld: ldy}, func(a *biasArgs, part []float32, lo, hi int) {
		for i := lo; i < hi; i++ {
			a.set.Add(part, part, a.x[i*a.ld:][:len(part)])
		}
	})
}
