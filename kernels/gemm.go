package kernels

// Blocking of the dense products, as in Goto, van de Geijn, "Anatomy of
// High-Performance Matrix Multiplication", 2008, with the roles of A and B
// exchanged: an A panel of gemmKC × MR stays in the first-level cache, a block of
// B in the second, the packed operands in the last. gemmKC is part of the result's definition, because each block of k
// is summed apart; the other sizes are not.
const (
	gemmKC = 256  // summed indices per block
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
	must(holds(a, lda, m, k), "kernels: GemmNN: a does not hold m × k")
	must(holds(b, ldb, k, n), "kernels: GemmNN: b does not hold k × n")
	must(holds(dst, ldd, m, n), "kernels: GemmNN: dst does not hold m × n")
	gemm(current, dst, ldd, matrix{a, lda, false}, matrix{b, ldb, true}, m, n, k, accumulate)
}

// GemmNT computes the product of a (m, k) and the transpose of b (n, k):
//
//	dst[i,j] (+)= sum over p of a[i,p]*b[j,p]
//
// The rest is as for GemmNN.
func GemmNT(dst []float32, ldd int, a []float32, lda int, b []float32, ldb int, m, n, k int, accumulate bool) {
	must(holds(a, lda, m, k), "kernels: GemmNT: a does not hold m × k")
	must(holds(b, ldb, n, k), "kernels: GemmNT: b does not hold n × k")
	must(holds(dst, ldd, m, n), "kernels: GemmNT: dst does not hold m × n")
	gemm(current, dst, ldd, matrix{a, lda, false}, matrix{b, ldb, false}, m, n, k, accumulate)
}

// GemmTN computes the product of the transpose of a (k, m) and b (k, n):
//
//	dst[i,j] (+)= sum over p of a[p,i]*b[p,j]
//
// The rest is as for GemmNN.
func GemmTN(dst []float32, ldd int, a []float32, lda int, b []float32, ldb int, m, n, k int, accumulate bool) {
	must(holds(a, lda, k, m), "kernels: GemmTN: a does not hold k × m")
	must(holds(b, ldb, k, n), "kernels: GemmTN: b does not hold k × n")
	must(holds(dst, ldd, m, n), "kernels: GemmTN: dst does not hold m × n")
	gemm(current, dst, ldd, matrix{a, lda, true}, matrix{b, ldb, true}, m, n, k, accumulate)
}

// gemm computes dst (+)= a b, a and b seen as (m, k) and (n, k).
func gemm(set *Set, dst []float32, ldd int, a, b matrix, m, n, k int, accumulate bool) {
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
	mr, nr := set.MR, set.NR
	stepM, stepN := roundUp(min(m, gemmM), mr), roundUp(min(n, gemmN), nr)
	kcMax := min(k, gemmKC)
	packed := borrow((stepM + stepN) * kcMax)
	defer packed.giveBack()
	for j0 := 0; j0 < n; j0 += stepN {
		nb := min(stepN, n-j0)
		for p0 := 0; p0 < k; p0 += gemmKC {
			kc := min(gemmKC, k-p0)
			packedB := packed.data[:packedLen(nb, nr, kc)]
			for i0 := 0; i0 < m; i0 += stepM {
				mb := min(stepM, m-i0)
				packedA := packed.data[stepN*kcMax:][:packedLen(mb, mr, kc)]
				packBoth(set, packedA, packedB, a, b, i0, mb, j0, nb, p0, kc, i0 == 0)
				multiplyBlock(set, dst[i0*ldd+j0:], ldd, packedA, packedB, mb, nb, kc, p0 == 0 && !accumulate)
			}
		}
	}
}

// packBoth packs one block of A and, if withB, of B, in parallel.
func packBoth(set *Set, packedA, packedB []float32, a, b matrix, i0, mb, j0, nb, p0, kc int, withB bool) {
	// One task packs about 128 KiB: drawing it costs little, and rows are read
	// in long runs.
	perA, perB := max(1, packChunk/(set.MR*kc)), max(1, packChunk/(set.NR*kc))
	wa, wb := perA*set.MR, perB*set.NR
	tasksA := ceilDiv(mb, wa)
	tasks := tasksA
	if withB {
		tasks += ceilDiv(nb, wb)
	}
	Parallel(tasks, func(t int) {
		if t < tasksA {
			pack(set, packedA[t*wa*kc:], set.MR, a, i0+t*wa, min(wa, mb-t*wa), p0, kc)
			return
		}
		t -= tasksA
		pack(set, packedB[t*wb*kc:], set.NR, b, j0+t*wb, min(wb, nb-t*wb), p0, kc)
	})
}

// multiplyBlock adds the product of packed operands to c (m, n), in parallel,
// or, if first, overwrites c. The tiles lie on a fixed grid, so it does not
// matter for the result which task computes which.
func multiplyBlock(set *Set, c []float32, ldc int, a, b []float32, m, n, kc int, first bool) {
	mr, nr := set.MR, set.NR
	hm, hn := roundUp(min(m, gemmMB), mr), roundUp(min(n, gemmNB), nr)
	// Four tasks a thread even out their ends.
	want := 4 * Threads()
	for ceilDiv(m, hm)*ceilDiv(n, hn) < want && hn > 4*nr {
		hn = roundUp(hn/2, nr)
	}
	for ceilDiv(m, hm)*ceilDiv(n, hn) < want && hm > 2*mr {
		hm = roundUp(hm/2, mr)
	}
	across := ceilDiv(n, hn)
	Parallel(ceilDiv(m, hm)*across, func(t int) {
		i, j := t/across*hm, t%across*hn
		mb, nb := min(hm, m-i), min(hn, n-j)
		block := c[i*ldc+j:]
		edge := borrow(mr * nr)
		multiplyPacked(set, block, ldc, a[i*kc:], b[j*kc:], kc, mb, nb, kc, !first, edge.data)
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
