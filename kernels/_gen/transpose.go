package main

import (
	"math/bits"

	"github.com/mmcloughlin/avo/attr"
	op "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

const transposeSignature = "func(dst []float32, ldd int, src []float32, lds int, rows, cols int)"

// emitTranspose writes the transposes: square blocks held in registers, and at
// the ragged edges the same block with only the rows and columns there are.
func emitTranspose(g *gen) {
	emitTransposeBlocks(g, "transposeAVX512", 16, false)
	emitTransposeBlocks(g, "transposeAVX2", 8, false)
}

// emitTransposeBlocks writes the transpose in blocks of side×side. With pairs it
// rounds every two numbers of a row to one word of bf16 first.
//
// The outer loop walks columns of src, so that rows of dst are finished one
// block row after the other.
func emitTransposeBlocks(g *gen, name string, side int, pairs bool) {
	field, wide := "Set.Transpose", 1 // numbers of a row that make one word
	if pairs {
		field, wide = "BF16Kernels.PairColumns", 2
	}
	g.function(name, transposeSignature, name+" is "+field+" in blocks of "+itoa(side)+" by "+itoa(side)+".")
	dst, ldd, src, lds := g.base("dst"), g.integer("ldd"), g.base("src"), g.integer("lds")
	rows, cols := g.integer("rows"), g.integer("cols")
	g.SHLQ(op.U8(2), ldd)
	g.SHLQ(op.U8(2), lds)
	s, d, i, t, c := g.GP64(), g.GP64(), g.GP64(), g.GP64(), g.GP64()
	numbers := cols // left in a row
	if pairs {
		g.note("cols = (numbers+1)/2, words of two")
		numbers = g.GP64()
		g.MOVQ(cols, numbers)
		g.INCQ(cols)
		g.SARQ(op.U8(1), cols)
	}

	g.note("for ; cols > 0; src, dst, cols = src[%d:], dst[%d*ldd:], cols-%d {", wide*side, side, side)
	g.TESTQ(rows, rows)
	g.JLE(op.LabelRef("end"))
	g.Label("columns")
	g.TESTQ(cols, cols)
	g.JLE(op.LabelRef("end"))
	g.note("s, d = src, dst; for i = rows; i > 0; i -= %d {", side)
	g.MOVQ(src, s)
	g.MOVQ(dst, d)
	g.MOVQ(rows, i)
	g.Label("rows")
	g.CMPQ(i, op.I8(int8(side)))
	g.JLT(op.LabelRef("ragged"))
	g.CMPQ(numbers, op.I8(int8(wide*side)))
	g.JLT(op.LabelRef("ragged"))

	block := func(load, store func(n int, v reg.VecVirtual)) {
		var in []reg.VecVirtual
		if side == 16 {
			in = g.zmms(16)
		} else {
			in = g.ymms(8)
		}
		for n, v := range in {
			load(n, v)
		}
		out := in
		if side == 16 {
			out = g.transpose16(in)
		} else {
			out = g.transpose8(in)
		}
		for n, v := range out {
			store(n, v)
		}
	}
	g.note("a whole block: d[c*ldd+r] = s[r*lds+c], r, c < %d", side)
	g.MOVQ(s, t)
	block(func(n int, v reg.VecVirtual) {
		if pairs {
			g.VMOVUPS(at(t, 0), zmm[31])
			g.VMOVUPS(at(t, 64), zmm[30])
			g.bf16(vcvtne2ps2bf16, 29, 30, 31)
			g.VMOVAPS(zmm[29], v)
		} else {
			g.VMOVUPS(at(t, 0), v)
		}
		if n+1 < side {
			g.ADDQ(lds, t)
		} else {
			g.MOVQ(d, t)
		}
	}, func(n int, v reg.VecVirtual) {
		g.VMOVUPS(v, at(t, 0))
		if n+1 < side {
			g.ADDQ(ldd, t)
		}
	})
	g.Label("next")
	g.note("s, d = s[%d*lds:], d[%d:]", side, side)
	g.MOVQ(lds, t)
	g.SHLQ(op.U8(bits.TrailingZeros(uint(side))), t)
	g.ADDQ(t, s)
	g.ADDQ(op.U8(4*side), d)
	g.SUBQ(op.U8(side), i)
	g.JGT(op.LabelRef("rows"))
	g.ADDQ(op.I32(int32(4*wide*side)), src)
	g.MOVQ(ldd, t)
	g.SHLQ(op.U8(bits.TrailingZeros(uint(side))), t)
	g.ADDQ(t, dst)
	g.SUBQ(op.U8(side), cols)
	if pairs {
		g.SUBQ(op.U8(2*side), numbers)
	}
	g.JMP(op.LabelRef("columns"))

	g.Label("ragged")
	g.note("a ragged block: the same for r < i, c < cols, the rest masked off")
	var loadMask, upperMask, storeMask op.Op
	if side == 16 {
		one := g.GP64()
		mask := func(n reg.GPVirtual) op.Op {
			k := g.K()
			g.note("mask of min(n, 16) ones")
			g.MOVQ(op.I32(16), c)
			g.CMPQ(n, c)
			g.CMOVQLT(n, c)
			g.MOVQ(op.I32(1), one)
			g.SHLXQ(c, one, one)
			g.DECQ(one)
			g.KMOVW(one.As32(), k)
			return k
		}
		loadMask, storeMask = mask(numbers), mask(i)
		if pairs {
			g.note("the upper half of the numbers: max(numbers-16, 0)")
			rest, zero := g.GP64(), g.GP64()
			g.XORQ(zero, zero)
			g.MOVQ(numbers, rest)
			g.SUBQ(op.U8(16), rest)
			g.CMOVQLT(zero, rest)
			upperMask = mask(rest)
		}
	} else {
		table := g.GP64()
		mem := maskTable(g)
		mask := func(n reg.GPVirtual) op.Op {
			y := g.YMM()
			g.note("mask of min(n, 8) lanes: the table holds 8 ones, then 8 zeros")
			g.MOVQ(op.I32(8), c)
			g.CMPQ(n, c)
			g.CMOVQLT(n, c)
			g.LEAQ(mem, table)
			g.SHLQ(op.U8(2), c)
			g.SUBQ(c, table)
			g.VMOVUPS(at(table, 32), y)
			return y
		}
		loadMask, storeMask = mask(cols), mask(i)
		// Sixteen registers do not hold both masks, the block and its scratch.
		save := g.AllocLocal(32)
		g.VMOVUPS(storeMask, save)
		storeMask = save
	}
	g.MOVQ(s, t)
	block(func(n int, v reg.VecVirtual) {
		if n > 0 {
			g.note("r = %d, or the last row again", n)
			step := g.GP64()
			g.XORQ(step, step)
			g.CMPQ(i, op.I8(int8(n)))
			g.CMOVQGT(lds, step)
			g.ADDQ(step, t)
		}
		switch {
		case pairs:
			g.VMOVUPS_Z(at(t, 0), loadMask, zmm[31])
			g.VMOVUPS_Z(at(t, 64), upperMask, zmm[30])
			g.bf16(vcvtne2ps2bf16, 29, 30, 31)
			g.VMOVAPS(zmm[29], v)
		case side == 16:
			g.VMOVUPS_Z(at(t, 0), loadMask, v)
		default:
			g.VMASKMOVPS(at(t, 0), loadMask, v)
		}
	}, func(n int, v reg.VecVirtual) {
		if n == 0 {
			g.MOVQ(d, t)
		} else {
			g.note("c = %d, if there is one", n)
			g.CMPQ(cols, op.I8(int8(n)))
			g.JLE(op.LabelRef("next"))
			g.ADDQ(ldd, t)
		}
		if side == 16 {
			g.VMOVUPS(v, storeMask, at(t, 0))
		} else {
			m := g.YMM()
			g.VMOVUPS(storeMask, m)
			g.VMASKMOVPS(v, m, at(t, 0))
		}
	})
	g.JMP(op.LabelRef("next"))
	g.Label("end")
	g.VZEROUPPER()
	g.RET()
}

// transpose16 transposes 16 registers of 16 lanes: pairs, then fours within
// 128-bit lanes, then the lanes themselves.
func (g *gen) transpose16(r []reg.VecVirtual) []reg.VecVirtual {
	r = g.transpose4(r, g.zmms)
	out := make([]reg.VecVirtual, 16)
	for c := range 4 {
		// r[4q+c] holds in lane l the column 4l+c of rows 4q..4q+3.
		a, b, x, y := g.ZMM(), g.ZMM(), g.ZMM(), g.ZMM()
		g.VSHUFF32X4(op.U8(0x88), r[4+c], r[c], a)
		g.VSHUFF32X4(op.U8(0xDD), r[4+c], r[c], b)
		g.VSHUFF32X4(op.U8(0x88), r[12+c], r[8+c], x)
		g.VSHUFF32X4(op.U8(0xDD), r[12+c], r[8+c], y)
		for l := range 4 {
			out[4*l+c] = g.ZMM()
		}
		g.VSHUFF32X4(op.U8(0x88), x, a, out[c])
		g.VSHUFF32X4(op.U8(0x88), y, b, out[4+c])
		g.VSHUFF32X4(op.U8(0xDD), x, a, out[8+c])
		g.VSHUFF32X4(op.U8(0xDD), y, b, out[12+c])
	}
	return out
}

// transpose8 transposes 8 registers of 8 lanes in the same way.
func (g *gen) transpose8(r []reg.VecVirtual) []reg.VecVirtual {
	r = g.transpose4(r, g.ymms)
	out := make([]reg.VecVirtual, 8)
	for c := range 4 {
		out[c], out[4+c] = g.YMM(), g.YMM()
		g.VPERM2F128(op.U8(0x20), r[4+c], r[c], out[c])
		g.VPERM2F128(op.U8(0x31), r[4+c], r[c], out[4+c])
	}
	return out
}

// transpose4 transposes every 4×4 block within the 128-bit lanes of every four
// registers.
func (g *gen) transpose4(r []reg.VecVirtual, vec func(int) []reg.VecVirtual) []reg.VecVirtual {
	out := make([]reg.VecVirtual, len(r))
	for q := 0; q < len(r); q += 4 {
		t := vec(4)
		g.VUNPCKLPS(r[q+1], r[q], t[0])
		g.VUNPCKHPS(r[q+1], r[q], t[1])
		g.VUNPCKLPS(r[q+3], r[q+2], t[2])
		g.VUNPCKHPS(r[q+3], r[q+2], t[3])
		o := vec(4)
		g.VUNPCKLPD(t[2], t[0], o[0])
		g.VUNPCKHPD(t[2], t[0], o[1])
		g.VUNPCKLPD(t[3], t[1], o[2])
		g.VUNPCKHPD(t[3], t[1], o[3])
		copy(out[q:], o)
	}
	return out
}

// maskTable is eight lanes of ones followed by eight of zeros: the 32 bytes at
// offset 32-4n are the VMASKMOVPS mask of the first n lanes.
func maskTable(g *gen) op.Mem {
	if m, ok := g.tables["laneMask"]; ok {
		return m
	}
	m := g.StaticGlobal("laneMask")
	g.DataAttributes(attr.RODATA | attr.NOPTR)
	for i := range 16 {
		lane := op.U32(0xFFFFFFFF)
		if i >= 8 {
			lane = 0
		}
		g.AddDatum(4*i, lane)
	}
	if g.tables == nil {
		g.tables = map[string]op.Mem{}
	}
	g.tables["laneMask"] = m
	return m
}
