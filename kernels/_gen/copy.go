package main

import op "github.com/mmcloughlin/avo/operand"

// emitCopy writes the copies of a block of rows, which packing needs in pieces
// of a panel's width: too short for the runtime's copy to pay.
func emitCopy(g *gen) {
	g.eachWidth(func(s *simd) {
		name := "copyRows" + s.suffix
		s.function(name, "func(dst []float32, ldd int, src []float32, lds int, rows, cols int)", name+" is Set.CopyRows.")
		dst, ldd, src, lds := s.base("dst"), s.integer("ldd"), s.base("src"), s.integer("lds")
		rows, cols, off := s.integer("rows"), s.integer("cols"), s.GP64()
		s.SHLQ(op.U8(2), ldd)
		s.SHLQ(op.U8(2), lds)
		s.TESTQ(cols, cols)
		s.JLE(op.LabelRef("end"))
		s.note("for ; rows > 0; dst, src, rows = dst[ldd:], src[lds:], rows-1 {")
		s.SUBQ(op.U8(1), rows)
		s.JLT(op.LabelRef("end"))
		s.Label("row")
		s.loop(cols, off, 2, func(disp, u int, k mask) {
			s.note("dst[i] = src[i]")
			s.store(s.load(atIndex(src, off, 1, disp), k), atIndex(dst, off, 1, disp), k)
		})
		s.ADDQ(ldd, dst)
		s.ADDQ(lds, src)
		s.SUBQ(op.U8(1), rows)
		s.JGE(op.LabelRef("row"))
		s.Label("end")
		s.done()
	})
}
