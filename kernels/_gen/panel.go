package main

import (
	"github.com/mmcloughlin/avo/attr"
	op "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// panelShift is log2 of the bytes of one feature in a panel: 64 tokens of 4 bytes.
const panelShift = 8

// emitPanel writes the micro-kernels of the sparse products.
func emitPanel(g *gen) {
	emitPanelSpMM512(g)
	emitPanelSpMM256(g)
	emitPanelSDDMM512(g)
	emitPanelSDDMM256(g)
}

const spmmSignature = "func(dst, x []float32, lo, hi []int32, idx []uint16, w []float32)"

// prefetchRows is how many rows ahead the weights and indices are fetched: a
// slab uses a short piece of each row, which no hardware prefetcher follows.
const prefetchRows = 6

// emitPanelSpMM512 adds one row at a time. Loads are the limit: besides the
// four of x, four weights share one load of w and one of idx. Weights
// alternate between two sets of four accumulators, because one set would
// leave half of the FMA slots empty while each waits for its predecessor.
func emitPanelSpMM512(g *gen) {
	g.function("panelSpMMAVX512", spmmSignature, "panelSpMMAVX512 is Set.PanelSpMM.")
	dst, x, lo, hi, idx, w := g.base("dst"), g.base("x"), g.base("lo"), g.base("hi"), g.base("idx"), g.base("w")
	n := g.length("lo")
	k, left, q, t, far := g.GP64(), g.GP64(), g.GP64(), g.GP64(), g.GP64()
	acc := [2][]reg.VecVirtual{g.zmms(4), g.zmms(4)}
	g.TESTQ(n, n)
	g.JEQ(op.LabelRef("end"))
	g.note("far = &lo[n-1]")
	g.LEAQ(op.Mem{Base: lo, Index: n, Scale: 4, Disp: -4}, far)

	g.Label("row")
	g.prefetchRow(lo, far, idx, w, t)
	g.note("k, left = lo[0], hi[0]-lo[0]; acc0, acc1 = dst[:P], 0")
	g.MOVLQSX(at(lo, 0), k)
	g.MOVLQSX(at(hi, 0), left)
	g.SUBQ(k, left)
	for v := range 4 {
		g.VMOVUPS(at(dst, 64*v), acc[0][v])
		g.zero512(acc[1][v])
	}
	g.note("for ; left >= 4; k, left = k+4, left-4 {")
	g.SUBQ(op.U8(4), left)
	g.JLT(op.LabelRef("rest"))
	g.Label("four")
	g.note("acc[i%%2] += w[k+i] * x[idx[k+i]], i < 4")
	four := g.ZMM()
	g.VBROADCASTF32X4(atIndex(w, k, 4, 0), four)
	for i := range 4 {
		b := g.ZMM()
		g.featureOf(t, idx, k, q, i)
		g.VPERMILPS(op.U8(0x55*i), four, b)
		for v := range 4 {
			g.VFMADD231PS(atIndex(x, t, 1, 64*v), b, acc[i%2][v])
		}
	}
	g.ADDQ(op.U8(4), k)
	g.SUBQ(op.U8(4), left)
	g.JGE(op.LabelRef("four"))
	g.Label("rest")
	g.note("for ; left > 0; k, left = k+1, left-1 { acc0 += w[k] * x[idx[k]] }")
	g.ADDQ(op.U8(4), left)
	g.JEQ(op.LabelRef("store"))
	g.Label("one")
	b := g.ZMM()
	g.feature(t, idx, k)
	g.VBROADCASTSS(atIndex(w, k, 4, 0), b)
	for v := range 4 {
		g.VFMADD231PS(atIndex(x, t, 1, 64*v), b, acc[0][v])
	}
	g.INCQ(k)
	g.DECQ(left)
	g.JNE(op.LabelRef("one"))
	g.Label("store")
	g.note("dst[:P] = acc0 + acc1; dst, lo, hi = dst[P:], lo[1:], hi[1:]")
	for v := range 4 {
		g.VADDPS(acc[1][v], acc[0][v], acc[0][v])
		g.VMOVUPS(acc[0][v], at(dst, 64*v))
	}
	g.ADDQ(op.I32(1<<panelShift), dst)
	g.ADDQ(op.U8(4), lo)
	g.ADDQ(op.U8(4), hi)
	g.DECQ(n)
	g.JNE(op.LabelRef("row"))
	g.Label("end")
	g.VZEROUPPER()
	g.RET()
}

// prefetchRow fetches the weights and indices of the row prefetchRows ahead,
// or of the last one; far is the address of the last lo.
func (g *gen) prefetchRow(lo, far, idx, w, t reg.Register) {
	g.note("prefetch idx and w of row %d ahead, at most the last", prefetchRows)
	g.LEAQ(at(lo, 4*prefetchRows), t)
	g.CMPQ(t, far)
	g.CMOVQHI(far, t)
	g.MOVLQSX(at(t, 0), t)
	g.PREFETCHT0(atIndex(idx, t, 2, 0))
	g.PREFETCHT0(atIndex(idx, t, 2, 64))
	g.PREFETCHT0(atIndex(w, t, 4, 0))
	g.PREFETCHT0(atIndex(w, t, 4, 64))
}

// offset turns the feature number in t into its byte offset in a panel. It
// multiplies where a shift would do, and the offset is an index, not added to
// the base first: on Zen 5, loads whose address came out of a load a few cycles
// ago hold each other up, and of what was tried this was the fastest (a loop of
// 4 multiply-adds per address: 130 GFLOP/s with shift and add, 166 so, 206 with
// constant addresses).
func (g *gen) offset(t reg.Register) { g.IMUL3Q(op.I32(1<<panelShift), t, t) }

// feature sets t to the offset of feature idx[k].
func (g *gen) feature(t, idx, k reg.Register) {
	g.MOVWQZX(atIndex(idx, k, 2, 0), t)
	g.offset(t)
}

// featureOf sets t to the offset of feature idx[k+i], the i-th of a group
// whose indices are fetched four at a time into q.
func (g *gen) featureOf(t, idx, k, q reg.GPVirtual, i int) {
	if i%4 == 0 {
		g.MOVQ(atIndex(idx, k, 2, 2*i), q)
	}
	g.MOVWQZX(q.As16(), t)
	if i%4 < 3 {
		g.SHRQ(op.U8(16), q)
	}
	g.offset(t)
}

// emitPanelSpMM256 has eight accumulators for a row, which are enough.
func emitPanelSpMM256(g *gen) {
	g.function("panelSpMMAVX2", spmmSignature, "panelSpMMAVX2 is Set.PanelSpMM.")
	dst, x, lo, hi, idx, w := g.base("dst"), g.base("x"), g.base("lo"), g.base("hi"), g.base("idx"), g.base("w")
	n := g.length("lo")
	k, e, t, far := g.GP64(), g.GP64(), g.GP64(), g.GP64()
	acc := g.ymms(8)
	g.TESTQ(n, n)
	g.JEQ(op.LabelRef("end"))
	g.note("far = &lo[n-1]")
	g.LEAQ(op.Mem{Base: lo, Index: n, Scale: 4, Disp: -4}, far)
	g.Label("row")
	g.prefetchRow(lo, far, idx, w, t)
	g.note("acc = dst[:P]")
	for v := range acc {
		g.VMOVUPS(at(dst, 32*v), acc[v])
	}
	g.note("for k = lo[0]; k < hi[0]; k++ { acc += w[k] * x[idx[k]] }")
	g.MOVLQSX(at(lo, 0), k)
	g.MOVLQSX(at(hi, 0), e)
	g.CMPQ(k, e)
	g.JGE(op.LabelRef("store"))
	g.Label("weight")
	b := g.YMM()
	g.feature(t, idx, k)
	g.VBROADCASTSS(atIndex(w, k, 4, 0), b)
	for v := range acc {
		g.VFMADD231PS(atIndex(x, t, 1, 32*v), b, acc[v])
	}
	g.INCQ(k)
	g.CMPQ(k, e)
	g.JLT(op.LabelRef("weight"))
	g.Label("store")
	g.note("dst[:P] = acc; dst, lo, hi = dst[P:], lo[1:], hi[1:]")
	for v := range acc {
		g.VMOVUPS(acc[v], at(dst, 32*v))
	}
	g.ADDQ(op.I32(1<<panelShift), dst)
	g.ADDQ(op.U8(4), lo)
	g.ADDQ(op.U8(4), hi)
	g.DECQ(n)
	g.JNE(op.LabelRef("row"))
	g.Label("end")
	g.VZEROUPPER()
	g.RET()
}

const sddmmSignature = "func(dw, dy, x []float32, lo, hi []int32, idx []uint16)"

// sddmmLoop writes the loop over rows shared by both widths: fetch loads a row
// of dy, group(n) adds n dot products to dw at k, largest group first.
func (g *gen) sddmmLoop(groups []int, fetch func(d reg.GPVirtual), group func(n int, x, idx, k, out, t, q reg.GPVirtual)) {
	dw, dy, x, lo, hi, idx := g.base("dw"), g.base("dy"), g.base("x"), g.base("lo"), g.base("hi"), g.base("idx")
	n := g.length("lo")
	k, left, t, far, q := g.GP64(), g.GP64(), g.GP64(), g.GP64(), g.GP64()
	g.TESTQ(n, n)
	g.JEQ(op.LabelRef("end"))
	g.note("far = &lo[n-1]")
	g.LEAQ(op.Mem{Base: lo, Index: n, Scale: 4, Disp: -4}, far)
	g.Label("row")
	g.prefetchRow(lo, far, idx, dw, t)
	g.note("y = dy[:P]")
	fetch(dy)
	g.note("k, left = lo[0], hi[0]-lo[0]")
	g.MOVLQSX(at(lo, 0), k)
	g.MOVLQSX(at(hi, 0), left)
	g.SUBQ(k, left)
	for i, size := range groups {
		label := "group" + itoa(size)
		g.note("for ; left >= %d; left, k = left-%d, k+%d {", size, size, size)
		g.CMPQ(left, op.U8(size))
		g.JLT(op.LabelRef(label + "Done"))
		g.Label(label)
		group(size, x, idx, k, dw, t, q)
		g.ADDQ(op.U8(size), k)
		g.SUBQ(op.U8(size), left)
		if i == 0 || size == 1 {
			g.CMPQ(left, op.U8(size))
			g.JGE(op.LabelRef(label))
		}
		g.Label(label + "Done")
	}
	g.note("dy, lo, hi = dy[P:], lo[1:], hi[1:]")
	g.ADDQ(op.I32(1<<panelShift), dy)
	g.ADDQ(op.U8(4), lo)
	g.ADDQ(op.U8(4), hi)
	g.DECQ(n)
	g.JNE(op.LabelRef("row"))
	g.Label("end")
	g.VZEROUPPER()
	g.RET()
}

// emitPanelSDDMM512 holds a row of dy in four registers and reduces eight dot
// products together, which costs three instructions each instead of eight.
func emitPanelSDDMM512(g *gen) {
	g.function("panelSDDMMAVX512", sddmmSignature, "panelSDDMMAVX512 is Set.PanelSDDMM.")
	order := g.ZMM()
	g.note("order = {0, 4, 8, 12, 1, 5, 9, 13}: after the reduction lane l holds sums l and l+4")
	g.VMOVUPS(eightOrder(g), order)
	y := g.zmms(4)
	fetch := func(d reg.GPVirtual) {
		for v := range y {
			g.VMOVUPS(at(d, 64*v), y[v])
		}
	}
	group := func(n int, x, idx, k, out, t, q reg.GPVirtual) {
		s := g.zmms(n)
		g.note("s[i] = y * x[idx[k+i]], 16 partial sums each, i < %d", n)
		for i := range s {
			if n >= 4 {
				g.featureOf(t, idx, k, q, i)
			} else {
				g.feature(t, idx, k)
			}
			g.VMULPS(atIndex(x, t, 1, 0), y[0], s[i])
			for v := 1; v < 4; v++ {
				g.VFMADD231PS(atIndex(x, t, 1, 64*v), y[v], s[i])
			}
		}
		a, b := g.ZMM(), g.ZMM()
		halves := func(p, q reg.VecVirtual) {
			g.VINSERTF64X4(op.U8(1), q.AsY(), p, a)
			g.VSHUFF64X2(op.U8(0xEE), q, p, b)
			g.VADDPS(a, b, p)
		}
		quarters := func(p, q reg.VecVirtual) {
			g.VSHUFF32X4(op.U8(0x88), q, p, a)
			g.VSHUFF32X4(op.U8(0xDD), q, p, b)
			g.VADDPS(a, b, p)
		}
		swap := func(p reg.Register, q reg.Register, imm uint8) {
			g.VPERMILPS(op.U8(imm), p, q)
			g.VADDPS(p, q, p)
		}
		switch n {
		case 8:
			g.note("reduce: 512 to 256 bits in pairs, to 128 in fours, to 64 in eights")
			for i := 0; i < 8; i += 2 {
				halves(s[i], s[i+1])
			}
			quarters(s[0], s[2])
			quarters(s[4], s[6])
			g.VUNPCKLPS(s[4], s[0], a)
			g.VUNPCKHPS(s[4], s[0], b)
			g.VADDPS(a, b, a)
			swap(a, b, 0x4E)
			g.VPERMPS(a, order, a)
			g.note("dw[k:k+8] += sums")
			g.VADDPS(atIndex(out, k, 4, 0), a.AsY(), a.AsY())
			g.VMOVUPS(a.AsY(), atIndex(out, k, 4, 0))
		case 4:
			halves(s[0], s[1])
			halves(s[2], s[3])
			quarters(s[0], s[2])
			swap(s[0], a, 0x4E)
			swap(s[0], a, 0xB1)
			g.VPERMPS(s[0], order, a)
			g.note("dw[k:k+4] += sums")
			g.VADDPS(atIndex(out, k, 4, 0), a.AsX(), a.AsX())
			g.VMOVUPS(a.AsX(), atIndex(out, k, 4, 0))
		case 1:
			g.VEXTRACTF64X4(op.U8(1), s[0], a.AsY())
			g.VADDPS(s[0].AsY(), a.AsY(), s[0].AsY())
			g.VEXTRACTF128(op.U8(1), s[0].AsY(), a.AsX())
			g.VADDPS(s[0].AsX(), a.AsX(), s[0].AsX())
			swap(s[0].AsX(), a.AsX(), 0x4E)
			swap(s[0].AsX(), a.AsX(), 0xB1)
			g.note("dw[k] += sum")
			g.VADDSS(atIndex(out, k, 4, 0), s[0].AsX(), a.AsX())
			g.VMOVSS(a.AsX(), atIndex(out, k, 4, 0))
		}
	}
	g.sddmmLoop([]int{8, 4, 1}, fetch, group)
}

// eightOrder is the permutation that collects the eight sums of a group.
func eightOrder(g *gen) op.Mem {
	m := g.StaticGlobal("sddmmOrder")
	g.DataAttributes(attr.RODATA | attr.NOPTR)
	for i, v := range []uint32{0, 4, 8, 12, 1, 5, 9, 13, 0, 0, 0, 0, 0, 0, 0, 0} {
		g.AddDatum(4*i, op.U32(v))
	}
	return m
}

// emitPanelSDDMM256 holds a row of dy in eight registers and reduces four dot
// products together.
func emitPanelSDDMM256(g *gen) {
	g.function("panelSDDMMAVX2", sddmmSignature, "panelSDDMMAVX2 is Set.PanelSDDMM.")
	y := g.ymms(8)
	fetch := func(d reg.GPVirtual) {
		for v := range y {
			g.VMOVUPS(at(d, 32*v), y[v])
		}
	}
	group := func(n int, x, idx, k, out, t, q reg.GPVirtual) {
		s := g.ymms(n)
		g.note("s[i] = y * x[idx[k+i]], 8 partial sums each, i < %d", n)
		for i := range s {
			if n >= 4 {
				g.featureOf(t, idx, k, q, i)
			} else {
				g.feature(t, idx, k)
			}
			g.VMULPS(atIndex(x, t, 1, 0), y[0], s[i])
			for v := 1; v < 8; v++ {
				g.VFMADD231PS(atIndex(x, t, 1, 32*v), y[v], s[i])
			}
		}
		h := g.YMM()
		switch n {
		case 4:
			g.VHADDPS(s[1], s[0], s[0])
			g.VHADDPS(s[3], s[2], s[2])
			g.VHADDPS(s[2], s[0], s[0])
			g.VEXTRACTF128(op.U8(1), s[0], h.AsX())
			g.VADDPS(s[0].AsX(), h.AsX(), h.AsX())
			g.note("dw[k:k+4] += sums")
			g.VADDPS(atIndex(out, k, 4, 0), h.AsX(), h.AsX())
			g.VMOVUPS(h.AsX(), atIndex(out, k, 4, 0))
		case 1:
			g.VHADDPS(s[0], s[0], s[0])
			g.VHADDPS(s[0], s[0], s[0])
			g.VEXTRACTF128(op.U8(1), s[0], h.AsX())
			g.VADDPS(s[0].AsX(), h.AsX(), h.AsX())
			g.note("dw[k] += sum")
			g.VADDSS(atIndex(out, k, 4, 0), h.AsX(), h.AsX())
			g.VMOVSS(h.AsX(), atIndex(out, k, 4, 0))
		}
	}
	g.sddmmLoop([]int{4, 1}, fetch, group)
}
