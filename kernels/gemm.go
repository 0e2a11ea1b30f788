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

// gemm computes dst (+)= a b, a and b seen as (m, k) and (n, k).
func gemm(set *Set, precision Precision, dst []float32, ldd int, a, b matrix, m, n, k int, accumulate bool) {
	switch {
	case m == 0 || n == 0:
		return
	case k == 0:
		if !accumulate {
			clearRows(dst, ldd, m, n)
		}
		return
	case m <= directM && b.sumMajor:
		gemmAxpy(set, dst, ldd, a, b, m, n, k, accumulate)
		return
	case m <= directM && !a.sumMajor:
		gemmDot(set, dst, ldd, a, b, m, n, k, accumulate)
		return
	}
	t := set.tiling(precision)
	words := ceilDiv(k, t.per)
	stepM, stepN, stepK := roundUp(min(m, gemmM), t.mr), roundUp(min(n, gemmN), t.nr), min(words, gemmK)
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
				t.multiplyBlock(dst[i0*ldd+j0:], ldd, packedA, packedB, mb, nb, kb, p0 == 0 && !accumulate)
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
	tasksA, tasksB := ceilDiv(mb, wa), 0
	if withB {
		tasksB = ceilDiv(nb, wb)
	}
	heightA, heightB := roundUp(mb, t.mr), roundUp(nb, t.nr)
	Parallel((tasksA+tasksB)*ceilDiv(words, gemmKC), func(task int) {
		p := task / (tasksA + tasksB) * gemmKC
		kc := min(gemmKC, words-p)
		first := p * t.per
		count := min(kc*t.per, kb-first)
		task %= tasksA + tasksB
		if task < tasksA {
			t.pack(packedA[heightA*p+task*wa*kc:], t.mr, a, i0+task*wa, min(wa, mb-task*wa), p0+first, count)
			return
		}
		task -= tasksA
		t.pack(packedB[heightB*p+task*wb*kc:], t.nr, b, j0+task*wb, min(wb, nb-task*wb), p0+first, count)
	})
}

// multiplyBlock adds the product of packed operands to c (m, n), in parallel,
// or, if first, overwrites c. A task computes its part of c for all k, gemmKC
// words at a time, while it stays in the second-level cache. The tiles lie on a
// fixed grid, so it does not matter for the result which task computes which.
func (t tiling) multiplyBlock(c []float32, ldc int, a, b []float32, m, n, k int, first bool) {
	mr, nr := t.mr, t.nr
	panelsA, panelsB, words := ceilDiv(m, mr), ceilDiv(n, nr), ceilDiv(k, t.per)
	down, across := ceilDiv(m, gemmMB), ceilDiv(n, gemmNB)
	// Eight tasks a thread even out their ends.
	want := 8 * Threads()
	for down*across < want && panelsB >= 16*across {
		across *= 2
	}
	for down*across < want && panelsA >= 8*down {
		down *= 2
	}
	Parallel(down*across, func(task int) {
		i, j := task/across*panelsA/down*mr, task%across*panelsB/across*nr
		mb := min((task/across+1)*panelsA/down*mr, m) - i
		nb := min((task%across+1)*panelsB/across*nr, n) - j
		denseWork.add(mb*nb*k, roundUp(mb, mr)*roundUp(nb, nr)*words*t.per)
		block := c[i*ldc+j:]
		edge := borrow(mr * nr)
		for p := 0; p < words; p += gemmKC {
			kc := min(gemmKC, words-p)
			t.multiply(block, ldc, a[panelsA*mr*p+i*kc:], b[panelsB*nr*p+j*kc:], kc, mb, nb, kc, p > 0 || !first, edge.data)
		}
		edge.giveBack()
	})
}

func clearRows(dst []float32, ld, rows, cols int) {
	for i := range rows {
		clear(dst[i*ld:][:cols])
	}
}

// roundUp returns the smallest multiple of step that is at least n.
func roundUp(n, step int) int { return ceilDiv(n, step) * step }
