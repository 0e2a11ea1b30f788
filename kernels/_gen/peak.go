package main

import (
	op "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// peakAccumulators hides the latency of a multiply-add (4 or 5 cycles, two a
// cycle) and leaves registers for the operands: 12 of 16, as 6×2 sums.
const peakAccumulators = 12

// emitPeak writes the loops that measure what a core can do at most.
func emitPeak(g *gen) {
	g.eachWidth(func(s *simd) {
		name := "fmaLoop" + s.suffix
		s.function(name, "func(n int)",
			name+" is Set.FMALoop: n trips of "+itoa(peakAccumulators)+" multiply-adds of "+itoa(s.lanes)+" lanes.")
		n := s.integer("n")
		a, b := s.zero(), s.zero()
		acc := make([]reg.VecVirtual, peakAccumulators)
		for i := range acc {
			acc[i] = s.zero()
		}
		s.note("for ; n > 0; n-- {")
		s.Label("loop")
		for i := range acc {
			s.VFMADD231PS(a, b, acc[i])
		}
		s.SUBQ(op.U8(1), n)
		s.JGT(op.LabelRef("loop"))
		s.done()
	})
}
