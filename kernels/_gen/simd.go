package main

import (
	"fmt"
	"math"
	"slices"

	"github.com/mmcloughlin/avo/attr"
	op "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// simd emits the same loop for either register width.
type simd struct {
	*gen
	suffix string // of function names
	wide   bool   // 512 bits, otherwise 256
	width  int    // bytes of a vector
	lanes  int    // float32 of a vector
	labels int
}

// eachWidth calls f for AVX2 and AVX-512.
func (g *gen) eachWidth(f func(s *simd)) {
	f(&simd{gen: g, suffix: "AVX2", width: 32, lanes: 8})
	f(&simd{gen: g, suffix: "AVX512", wide: true, width: 64, lanes: 16})
}

// mask selects the lanes of a tail; nil is all lanes.
type mask reg.Register

// vec returns a fresh vector register.
func (s *simd) vec() reg.VecVirtual {
	if s.wide {
		return s.ZMM()
	}
	return s.YMM()
}

// zero returns a vector of zeros.
func (s *simd) zero() reg.VecVirtual {
	v := s.vec()
	if s.wide {
		s.zero512(v)
	} else {
		s.zero256(v)
	}
	return v
}

// load fetches a vector; lanes outside the mask are not touched and read as 0.
func (s *simd) load(m op.Mem, k mask) reg.VecVirtual {
	v := s.vec()
	switch {
	case k == nil:
		s.VMOVUPS(m, v)
	case s.wide:
		s.VMOVUPS_Z(m, k, v)
	default:
		s.VMASKMOVPS(m, k, v)
	}
	return v
}

// store writes the lanes of the mask.
func (s *simd) store(v reg.VecVirtual, m op.Mem, k mask) {
	switch {
	case k == nil:
		s.VMOVUPS(v, m)
	case s.wide:
		s.VMOVUPS(v, k, m)
	default:
		s.VMASKMOVPS(v, k, m)
	}
}

// keep clears the lanes of v outside the mask.
func (s *simd) keep(v reg.VecVirtual, k mask) {
	switch {
	case k == nil:
	case s.wide:
		s.VMOVAPS_Z(v, k, v)
	default:
		s.VANDPS(k, v, v)
	}
}

// scalar loads a float32 argument into all lanes.
func (s *simd) scalar(name string) reg.VecVirtual {
	v := s.vec()
	s.VBROADCASTSS(s.argument(name), v)
	return v
}

// argument is the memory of an argument.
func (s *simd) argument(name string) op.Mem {
	b, err := s.Param(name).Resolve()
	if err != nil {
		panic(err)
	}
	return b.Addr
}

// result is the memory of a result.
func (s *simd) result(i int) op.Mem {
	b, err := s.ReturnIndex(i).Resolve()
	if err != nil {
		panic(err)
	}
	return b.Addr
}

// f32 is a constant in every lane, in memory.
func (g *gen) f32(name string, value float64) op.Mem {
	return g.table(name, math.Float32bits(float32(value)))
}

// table is a 32-bit constant in every lane, in memory.
func (g *gen) table(name string, word uint32) op.Mem {
	return g.words(name, slices.Repeat([]uint32{word}, 16)...)
}

// words are 32-bit constants in memory.
func (g *gen) words(name string, words ...uint32) op.Mem {
	if m, ok := g.tables[name]; ok {
		return m
	}
	m := g.StaticGlobal(name)
	g.DataAttributes(attr.RODATA | attr.NOPTR)
	for i := 0; i < len(words); i += 2 {
		g.AddDatum(4*i, op.U64(uint64(words[i+1])<<32|uint64(words[i])))
	}
	if g.tables == nil {
		g.tables = map[string]op.Mem{}
	}
	g.tables[name] = m
	return m
}

// constant is f32 in a register.
func (s *simd) constant(name string, value float64) reg.VecVirtual {
	v := s.vec()
	s.VMOVUPS(s.f32(name, value), v)
	return v
}

// loop runs body over n elements: unroll vectors at a time, then one, then the
// rest under a mask. off is the byte offset of the first element of the trip;
// body(disp, u, k) handles the vector at off+disp, the u-th of the trip.
func (s *simd) loop(n, off reg.GPVirtual, unroll int, body func(disp, u int, k mask)) {
	s.labels++
	label := func(name string) string { return fmt.Sprintf("%s%d", name, s.labels) }
	left := s.GP64()
	s.XORQ(off, off)
	s.MOVQ(n, left)
	run := func(name, next string, unroll int) {
		step := unroll * s.lanes
		s.note("for ; left >= %d; left, off = left-%d, off+%d {", step, step, 4*step)
		s.SUBQ(op.I32(int32(step)), left)
		s.JLT(op.LabelRef(label(next)))
		s.Label(label(name))
		for u := range unroll {
			body(u*s.width, u, nil)
		}
		s.ADDQ(op.I32(int32(4*step)), off)
		s.SUBQ(op.I32(int32(step)), left)
		s.JGE(op.LabelRef(label(name)))
		s.Label(label(next))
		s.ADDQ(op.I32(int32(step)), left)
	}
	if unroll > 1 {
		run("unrolled", "single", unroll)
	}
	run("vector", "rest", 1)
	s.note("if left > 0 { the same with the first left lanes")
	s.JEQ(op.LabelRef(label("done")))
	body(0, 0, s.firstLanes(left))
	s.Label(label("done"))
}

// firstLanes is the mask of the first left lanes, 0 < left < lanes.
func (s *simd) firstLanes(left reg.GPVirtual) mask {
	t := s.GP64()
	if s.wide {
		k := s.K()
		s.note("k = 1<<left - 1")
		s.MOVQ(op.I32(-1), t)
		s.BZHIL(left.As32(), t.As32(), t.As32())
		s.KMOVW(t.As32(), k)
		return k
	}
	k := s.YMM()
	s.note("k = laneMask[8-left:]")
	s.LEAQ(maskTable(s.gen), t)
	s.SHLQ(op.U8(2), left)
	s.SUBQ(left, t)
	s.VMOVUPS(at(t, 32), k)
	return k
}

// widen returns the lower and the upper half of v as float64.
func (s *simd) widen(v reg.VecVirtual) (lo, hi reg.VecVirtual) {
	lo, hi = s.vec(), s.vec()
	if s.wide {
		s.VEXTRACTF64X4(op.U8(1), v, hi.AsY())
		s.VCVTPS2PD(v.AsY(), lo)
		s.VCVTPS2PD(hi.AsY(), hi)
	} else {
		s.VEXTRACTF128(op.U8(1), v, hi.AsX())
		s.VCVTPS2PD(v.AsX(), lo)
		s.VCVTPS2PD(hi.AsX(), hi)
	}
	return lo, hi
}

// fold halves v until one 128-bit register is left.
func (s *simd) fold(v reg.VecVirtual, add func(a, b reg.Register)) reg.Register {
	t := s.vec()
	if s.wide {
		s.VEXTRACTF64X4(op.U8(1), v, t.AsY())
		add(t.AsY(), v.AsY())
	}
	s.VEXTRACTF128(op.U8(1), v.AsY(), t.AsX())
	add(t.AsX(), v.AsX())
	return v.AsX()
}

// sum32 reduces the float32 lanes of v to its first lane.
func (s *simd) sum32(v reg.VecVirtual) reg.Register {
	s.note("the sum of the lanes, halves first")
	return s.reduce32(v, func(a, b reg.Register) { s.VADDPS(a, b, b) })
}

// reduce32 reduces the float32 lanes of v to its first lane with f(a, b): b = f.
func (s *simd) reduce32(v reg.VecVirtual, f func(a, b reg.Register)) reg.Register {
	x := s.fold(v, f)
	t := s.XMM()
	s.VPERMILPS(op.U8(0x4E), x, t)
	f(t, x)
	s.VPERMILPS(op.U8(0xB1), x, t)
	f(t, x)
	return x
}

// sum64 reduces the float64 lanes of v to its first lane.
func (s *simd) sum64(v reg.VecVirtual) reg.Register {
	s.note("the sum of the lanes, halves first")
	x := s.fold(v, func(a, b reg.Register) { s.VADDPD(a, b, b) })
	t := s.XMM()
	s.VPERMILPD(op.U8(1), x, t)
	s.VADDPD(t, x, x)
	return x
}

// done ends a function.
func (s *simd) done() {
	s.VZEROUPPER()
	s.RET()
}
