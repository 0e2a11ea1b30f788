package kernels

// Blocking of the dense products, as in Goto, van de Geijn, "Anatomy of
// High-Performance Matrix Multiplication", 2008, with the roles of A and B
// exchanged: an A panel of gemmKC × MR stays in the first-level cache, a block of
// B in the second, packed A in the last. gemmKC is part of the result's
// definition, because each block of k is summed apart; the other sizes are not. A
// word is one number, or two of bf16.
const (
	gemmKC = 256  // words of the sum per block
	gemmK  = 2048 // words packed at a time, a multiple of gemmKC
	gemmM  = 2048 // rows of A packed at a time

	// Rows and columns of C that one task computes, at least and at most.
	gemmRowsMin, gemmRowsMax = 128, 512
	gemmColsMin, gemmColsMax = 96, 128

	packChunk = 32768 // elements of A that one task packs

	// directM is the number of rows up to which packing B costs more than it
	// saves, as in decoding.
	directM = 4
)

// GemmNN computes the product of a (m, k) and b (k, n):
//
//	dst[i,j] (+)= sum over p of a[i,p]*b[p,j]
//
// dst (m, n) is overwritten, or added to if accumulate. ldd, lda and ldb are
// row strides. dst must not overlap a or b. It panics if a slice is too short.
func GemmNN(dst []float32, ldd int, a []float32, lda int, b []float32, ldb int, m, n, k int, accumulate bool) {
	F32.GemmNN(dst, ldd, a, lda, b, ldb, m, n, k, accumulate)
}

// GemmNT computes the product of a (m, k) and the transpose of b (n, k):
//
//	dst[i,j] (+)= sum over p of a[i,p]*b[j,p]
//
// The rest is as for GemmNN.
func GemmNT(dst []float32, ldd int, a []float32, lda int, b []float32, ldb int, m, n, k int, accumulate bool) {
	F32.GemmNT(dst, ldd, a, lda, b, ldb, m, n, k, accumulate)
}

// GemmTN computes the product of the transpose of a (k, m) and b (k, n):
//
//	dst[i,j] (+)= sum over p of a[p,i]*b[p,j]
//
// The rest is as for GemmNN.
func GemmTN(dst []float32, ldd int, a []float32, lda int, b []float32, ldb int, m, n, k int, accumulate bool) {
	F32.GemmTN(dst, ldd, a, lda, b, ldb, m, n, k, accumulate)
}

// gemm computes dst (+)= a b, a and b seen as (m, k) and (n, k), and what follows.
func gemm(set *Set, precision Precision, dst []float32, ldd int, a, b matrix, m, n, k int, accumulate bool, then Epilogue) {
	switch {
	case m == 0 || n == 0:
		return
	case k == 0:
		if !accumulate {
			clearRows(dst, ldd, m, n)
		}
		then.apply(set, dst, ldd, m, n)
		return
	case m <= directM && b.sumMajor:
		gemmAxpy(set, dst, ldd, a, b, m, n, k, accumulate, then)
		return
	case m <= directM && !a.sumMajor:
		gemmDot(set, dst, ldd, a, b, m, n, k, accumulate, then)
		return
	}
	x := gemmArgs{tiling: set.tiling(precision), c: dst, ldc: ldd, b: b, n: n, then: then}
	words := ceilDiv(k, x.per)
	stepM, stepK := roundUp(min(m, gemmM), x.mr), min(words, gemmK)
	packed := borrow(stepM * stepK)
	defer packed.giveBack()
	x.packed = packed.data
	for p0 := 0; p0 < words; p0 += stepK {
		// Of k, whose last word may be half full.
		x.p0 = p0 * x.per
		x.k = min(stepK*x.per, k-x.p0)
		x.add = p0 > 0 || accumulate
		x.last = p0+stepK >= words
		for i0 := 0; i0 < m; i0 += stepM {
			x.m = min(stepM, m-i0)
			x.packA(a, i0)
			part := x
			part.c, part.then = dst[i0*ldd:], then.from(i0, 0, ldd)
			part.run()
		}
	}
}

// gemmArgs are the operands of the product of a packed block of A, m rows, with
// k summed indices of B from p0 on, cut into down × across tasks.
type gemmArgs struct {
	tiling
	c            []float32
	ldc          int
	packed       []float32 // A
	b            matrix
	m, n, k, p0  int
	add, last    bool // add to c; the last summed indices
	then         Epilogue
	down, across int
}

// gemmPackArgs are the operands of packA.
type gemmPackArgs struct {
	tiling
	dst                 []float32
	a                   matrix
	first, count, share int // rows, and how many of them a task packs
	p0, k               int
}

var (
	gemmPackCalls calls[gemmPackArgs]
	gemmCalls     calls[gemmArgs]
)

// packA packs the block of A from row i0 on, in parallel: all panels for every
// gemmKC words of the sum.
func (x *gemmArgs) packA(a matrix, i0 int) {
	words := ceilDiv(x.k, x.per)
	y := gemmPackArgs{tiling: x.tiling, dst: x.packed, a: a, first: i0, count: x.m, p0: x.p0, k: x.k}
	y.share = max(1, packChunk/(x.mr*min(words, gemmKC))) * x.mr
	gemmPackCalls.parallel(ceilDiv(x.m, y.share)*ceilDiv(words, gemmKC), y, (*gemmPackArgs).task)
}

// task packs gemmKC words of the rows of one share.
func (x *gemmPackArgs) task(task int) {
	tasks := ceilDiv(x.count, x.share)
	p, i := task/tasks*gemmKC, task%tasks*x.share
	from, kc := p*x.per, min(gemmKC, ceilDiv(x.k, x.per)-p)
	numbers, end := min(kc*x.per, x.k-from), min(x.count, i+x.share)
	dst := x.dst[roundUp(x.count, x.mr)*p+i*kc:]
	x.pack(dst, x.mr, x.a, x.first+i, end-i, x.p0+from, numbers)
}

// run multiplies, in parallel.
func (x *gemmArgs) run() {
	panels, threads := ceilDiv(x.n, x.nr), Threads()
	x.down = ceilDiv(x.m, gemmRowsMax)
	// Four tasks a thread, of columns that are read for many multiply-adds each.
	x.across = ceilDiv(panels, min(ceilDiv(gemmColsMax, x.nr), max(ceilDiv(gemmColsMin, x.nr), panels*x.down/(4*threads))))
	// If those are few, the rows are cut, and B is packed more than once, so that
	// eight tasks a thread even out their ends.
	x.down = max(x.down, min(ceilDiv(8*threads, x.across), x.m/gemmRowsMin))
	gemmCalls.parallel(x.down*x.across, *x, (*gemmArgs).task)
}

// task computes one part of c for all k, gemmKC words at a time, while it and the
// block of B at hand, which the task packs itself, stay in the second-level
// cache; then what follows. The tiles lie on a fixed grid, so it does not matter
// for the result which task computes which.
func (x *gemmArgs) task(task int) {
	mr, nr := x.mr, x.nr
	panelsA, panelsB, words := ceilDiv(x.m, mr), ceilDiv(x.n, nr), ceilDiv(x.k, x.per)
	row, col := task%x.down, task/x.down
	i, j := row*panelsA/x.down*mr, col*panelsB/x.across*nr
	mb := min((row+1)*panelsA/x.down*mr, x.m) - i
	nb := min((col+1)*panelsB/x.across*nr, x.n) - j
	denseWork.add(mb*nb*x.k, roundUp(mb, mr)*roundUp(nb, nr)*words*x.per)
	scratch := borrow(mr*nr + roundUp(nb, nr)*min(words, gemmKC))
	defer scratch.giveBack()
	edge, packed := scratch.data[:mr*nr], scratch.data[mr*nr:]
	c := x.c[i*x.ldc+j:]
	for p := 0; p < words; p += gemmKC {
		kc, from := min(gemmKC, words-p), p*x.per
		x.pack(packed, nr, x.b, j, nb, x.p0+from, min(kc*x.per, x.k-from))
		x.multiply(c, x.ldc, x.packed[panelsA*mr*p+i*kc:], packed, kc, mb, nb, kc, p > 0 || x.add, edge)
	}
	if x.last {
		then := x.then.from(i, j, x.ldc)
		then.apply(x.set, c, x.ldc, mb, nb)
	}
}

func clearRows(dst []float32, ld, rows, cols int) {
	for i := range rows {
		clear(dst[i*ld:][:cols])
	}
}

// roundUp returns the smallest multiple of step that is at least n.
func roundUp(n, step int) int { return ceilDiv(n, step) * step }
