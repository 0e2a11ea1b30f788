package kernels

// Blocking of the dense products, as in Goto, van de Geijn, "Anatomy of
// High-Performance Matrix Multiplication", 2008, with the roles of A and B
// exchanged: an A panel of gemmKC × MR stays in the first-level cache, a block of
// B in the second, the packed operands in the last. gemmKC is part of the
// result's definition, because each block of k is summed apart; the other sizes
// are not. A word is one number, or two of bf16.
const (
	gemmKC = 256  // words of the sum per block
	gemmK  = 2048 // words packed at a time, a multiple of gemmKC
	gemmM  = 2048 // rows of A packed at a time
	gemmN  = 2048 // columns of B packed at a time
	gemmMB = 128  // rows of C that one task computes
	gemmNB = 512  // columns of C that one task computes

	packChunk = 32768 // elements that one task packs

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
	t := set.tiling(precision)
	words := ceilDiv(k, t.per)
	// Long blocks save barriers; one thread has none, and keeps what it packs in
	// the nearer caches.
	most := gemmK
	if Threads() == 1 {
		most = gemmKC
	}
	stepM, stepN, stepK := roundUp(min(m, gemmM), t.mr), roundUp(min(n, gemmN), t.nr), min(words, most)
	packed := borrow((stepM + stepN) * stepK)
	defer packed.giveBack()
	packedB, packedA := packed.data[:stepN*stepK], packed.data[stepN*stepK:]
	for j0 := 0; j0 < n; j0 += stepN {
		nb := min(stepN, n-j0)
		for p0 := 0; p0 < words; p0 += stepK {
			// Of k, whose last word may be half full.
			first := p0 * t.per
			kb := min(stepK*t.per, k-first)
			for i0 := 0; i0 < m; i0 += stepM {
				mb := min(stepM, m-i0)
				t.packBoth(packedA, packedB, a, b, i0, mb, j0, nb, first, kb, i0 == 0)
				var last Epilogue
				if p0+stepK >= words {
					last = then.from(i0, j0, ldd)
				}
				t.multiplyBlock(dst[i0*ldd+j0:], ldd, packedA, packedB, mb, nb, kb, p0 == 0 && !accumulate, last)
			}
		}
	}
}

// packBoth packs one block of A and, if withB, of B, in parallel: for every
// gemmKC words of the sum all panels.
func (t tiling) packBoth(packedA, packedB []float32, a, b matrix, i0, mb, j0, nb, p0, kb int, withB bool) {
	// One task packs about 128 KiB: drawing it costs little, and rows are read
	// in long runs.
	words := ceilDiv(kb, t.per)
	kc := min(words, gemmKC)
	wa, wb := max(1, packChunk/(t.mr*kc))*t.mr, max(1, packChunk/(t.nr*kc))*t.nr
	x := gemmPackArgs{tiling: t, p0: p0, kb: kb,
		a: gemmPackSide{packedA, a, t.mr, i0, mb, wa, ceilDiv(mb, wa)},
		b: gemmPackSide{packedB, b, t.nr, j0, nb, wb, ceilDiv(nb, wb)},
	}
	if !withB {
		x.b.tasks = 0
	}
	gemmPackCalls.parallel((x.a.tasks+x.b.tasks)*ceilDiv(words, gemmKC), x, gemmPackTask)
}

// gemmPackArgs are the operands of one packBoth: kb summed indices from p0 on.
type gemmPackArgs struct {
	tiling
	a, b   gemmPackSide
	p0, kb int
}

// gemmPackSide is one operand: count rows of m from first on go to dst, in panels
// of width; each of tasks packs share rows.
type gemmPackSide struct {
	dst                               []float32
	m                                 matrix
	width, first, count, share, tasks int
}

var gemmPackCalls calls[gemmPackArgs]

// gemmPackTask packs what task stands for: gemmKC words of the rows of one share.
func gemmPackTask(x *gemmPackArgs, task int) {
	side, tasks := &x.a, x.a.tasks+x.b.tasks
	p := task / tasks * gemmKC
	if task %= tasks; task >= x.a.tasks {
		side, task = &x.b, task-x.a.tasks
	}
	kc := min(gemmKC, ceilDiv(x.kb, x.per)-p)
	from := p * x.per
	i := task * side.share
	x.pack(side.dst[roundUp(side.count, side.width)*p+i*kc:], side.width,
		side.m, side.first+i, min(side.share, side.count-i), x.p0+from, min(kc*x.per, x.kb-from))
}

// multiplyBlock adds the product of packed operands to c (m, n), in parallel,
// or, if first, overwrites c. A task computes its part of c for all k, gemmKC
// words at a time, and what follows, while it stays in the second-level cache. The
// tiles lie on a fixed grid, so it does not matter for the result which task computes which.
func (t tiling) multiplyBlock(c []float32, ldc int, a, b []float32, m, n, k int, first bool, then Epilogue) {
	x := gemmBlockArgs{tiling: t, c: c, ldc: ldc, a: a, b: b, m: m, n: n, k: k, first: first, then: then,
		down: ceilDiv(m, gemmMB), across: ceilDiv(n, gemmNB)}
	// Eight tasks a thread even out their ends.
	want := 8 * Threads()
	for x.down*x.across < want && ceilDiv(n, t.nr) >= 16*x.across {
		x.across *= 2
	}
	for x.down*x.across < want && ceilDiv(m, t.mr) >= 8*x.down {
		x.down *= 2
	}
	gemmBlockCalls.parallel(x.down*x.across, x, gemmBlockTask)
}

// gemmBlockArgs are the operands of one multiplyBlock, cut into down × across tasks.
type gemmBlockArgs struct {
	tiling
	c            []float32
	ldc          int
	a, b         []float32
	m, n, k      int
	first        bool
	then         Epilogue
	down, across int
}

var gemmBlockCalls calls[gemmBlockArgs]

// gemmBlockTask computes one part of c.
func gemmBlockTask(x *gemmBlockArgs, task int) {
	mr, nr := x.mr, x.nr
	panelsA, panelsB, words := ceilDiv(x.m, mr), ceilDiv(x.n, nr), ceilDiv(x.k, x.per)
	row, col := task/x.across, task%x.across
	i, j := row*panelsA/x.down*mr, col*panelsB/x.across*nr
	mb := min((row+1)*panelsA/x.down*mr, x.m) - i
	nb := min((col+1)*panelsB/x.across*nr, x.n) - j
	denseWork.add(mb*nb*x.k, roundUp(mb, mr)*roundUp(nb, nr)*words*x.per)
	edge := borrow(mr * nr)
	for p := 0; p < words; p += gemmKC {
		kc := min(gemmKC, words-p)
		x.multiply(x.c[i*x.ldc+j:], x.ldc, x.a[panelsA*mr*p+i*kc:], x.b[panelsB*nr*p+j*kc:], kc, mb, nb, kc, p > 0 || !x.first, edge.data)
	}
	edge.giveBack()
	then := x.then.from(i, j, x.ldc)
	then.apply(x.set, x.c[i*x.ldc+j:], x.ldc, mb, nb)
}

func clearRows(dst []float32, ld, rows, cols int) {
	for i := range rows {
		clear(dst[i*ld:][:cols])
	}
}

// roundUp returns the smallest multiple of step that is at least n.
func roundUp(n, step int) int { return ceilDiv(n, step) * step }
