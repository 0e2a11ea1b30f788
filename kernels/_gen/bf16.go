package main

import (
	"github.com/mmcloughlin/avo/attr"
	op "github.com/mmcloughlin/avo/operand"
)

// emitBF16 writes what multiplies bf16 numbers, two in a 32-bit word: the
// micro-kernel, the two ways of packing, and the loop that measures the peak.
func emitBF16(g *gen) {
	emitTileKernel(g, tileKernel{name: "tileBF16AVX512", mr: 14, nv: 2, width: 64, bf16: true})
	emitTransposeBlocks(g, "pairColumnsAVX512", 16, true)
	emitPairRows(g)
	emitDotLoop(g)
}

// Registers of the bf16 micro-kernel: two of b, two in turns for the broadcast
// of a, the rest accumulators.
const (
	bf16B   = 0
	bf16A   = 2
	bf16Acc = 4
)

// emitPairRows writes the packing of operands whose rows are summed over.
func emitPairRows(g *gen) {
	s := &simd{gen: g, suffix: "AVX512", wide: true, width: 64, lanes: 16}
	s.function("pairRowsAVX512", "func(dst []float32, ldd int, src []float32, lds int, rows, cols int)",
		"pairRowsAVX512 is BF16Kernels.PairRows.")
	dst, ldd, src, lds := s.base("dst"), s.integer("ldd"), s.base("src"), s.integer("lds")
	rows, cols, off, next, ones := s.integer("rows"), s.integer("cols"), s.GP64(), s.GP64(), s.GP64()
	s.SHLQ(op.U8(2), ldd)
	s.SHLQ(op.U8(2), lds)
	index := s.ZMM()
	s.VMOVUPS(s.interleave(), index)
	s.TESTQ(cols, cols)
	s.JLE(op.LabelRef("end"))
	s.TESTQ(rows, rows)
	s.JLE(op.LabelRef("end"))
	second := s.K()
	s.MOVQ(op.I32(-1), ones)
	s.KMOVW(ones.As32(), second)
	s.note("for ; rows > 0; dst, src, rows = dst[ldd:], src[2*lds:], rows-2 {")
	s.Label("row")
	s.note("next = src[lds:]; of the last of an odd number of rows, next reads as 0")
	s.MOVQ(src, next)
	s.ADDQ(lds, next)
	s.CMPQ(rows, op.I8(1))
	s.JNE(op.LabelRef("both"))
	s.KXORW(second, second, second)
	s.Label("both")
	s.loop(cols, off, 2, func(disp, u int, k mask) {
		s.note("dst[i] = bf16(src[i]) | bf16(next[i])<<16")
		lo, hi, out := 31-3*u, 30-3*u, 29-3*u
		if k == nil {
			s.VMOVUPS(atIndex(src, off, 1, disp), zmm[lo])
			s.VMOVUPS_Z(atIndex(next, off, 1, disp), second, zmm[hi])
		} else {
			s.VMOVUPS_Z(atIndex(src, off, 1, disp), k, zmm[lo])
			both := s.K()
			s.KANDW(k, second, both)
			s.VMOVUPS_Z(atIndex(next, off, 1, disp), both, zmm[hi])
		}
		s.bf16(vcvtne2ps2bf16, out, hi, lo)
		v := s.ZMM()
		s.VPERMW(zmm[out], index, v)
		s.store(v, atIndex(dst, off, 1, disp), k)
	})
	s.ADDQ(ldd, dst)
	s.ADDQ(lds, src)
	s.ADDQ(lds, src)
	s.SUBQ(op.U8(2), rows)
	s.JGT(op.LabelRef("row"))
	s.Label("end")
	s.done()
}

// interleave is the index of VPERMW that takes words 0, 16, 1, 17 and so on.
func (g *gen) interleave() op.Mem {
	m := g.StaticGlobal("interleave")
	g.DataAttributes(attr.RODATA | attr.NOPTR)
	for i := range 16 {
		g.AddDatum(4*i, op.U32(uint32(16+i)<<16|uint32(i)))
	}
	return m
}

// dotAccumulators hides the latency of VDPBF16PS, which 12 sums do not: they
// reach 88 % of what these do on a Zen 5.
const dotAccumulators = 24

// emitDotLoop writes the loop of VDPBF16PS on registers alone.
func emitDotLoop(g *gen) {
	s := &simd{gen: g, suffix: "AVX512", wide: true, width: 64, lanes: 16}
	s.function("dotLoopAVX512", "func(n int)",
		"dotLoopAVX512 is BF16Kernels.DotLoop: n trips of "+itoa(dotAccumulators)+" dot products of 16 pairs.")
	n := s.integer("n")
	for _, z := range zmm[:bf16Acc+dotAccumulators] {
		s.VPXORD(z, z, z)
	}
	s.note("for ; n > 0; n-- {")
	s.Label("loop")
	for i := range dotAccumulators {
		s.bf16(vdpbf16ps, bf16Acc+i, bf16B, bf16A)
	}
	s.SUBQ(op.U8(1), n)
	s.JGT(op.LabelRef("loop"))
	s.done()
}
