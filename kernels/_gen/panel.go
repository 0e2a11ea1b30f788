package main

import (
	op "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// pairHeader is the bytes of a pair's header: a, b, shared, own, left.
const pairHeader = 10

// emitPanel writes the micro-kernels of the sparse products, for every width of
// a panel.
func emitPanel(g *gen) {
	for _, emit := range []func(g *gen, w wide){emitPanelSpMM, emitPanelSDDMM} {
		for _, w := range []wide{
			{"AVX512", 64, 4, 1}, {"AVX512", 64, 5, 1}, {"AVX512", 64, 6, 1}, {"AVX512", 64, 7, 1},
			{"AVX2", 32, 4, 1}, {"AVX2", 32, 5, 1}, {"AVX2", 32, 6, 2}, {"AVX2", 32, 7, 4},
		} {
			emit(g, w)
		}
	}
}

// wide is a register width and the width of a panel. The tokens of a panel are
// handled in parts, as many as the registers demand: two rows of a part stay in
// registers.
type wide struct {
	level string
	bytes int // of a register
	log   int // log2 of the tokens of a panel, at least 4
	parts int // of a panel
}

// tokens is the width of the panel, panelBytes one feature of it.
func (w wide) tokens() int     { return 1 << w.log }
func (w wide) panelBytes() int { return 4 << w.log }

// name is the name of a function: panelSpMM with 16 tokens on AVX2 is panelSpMM16AVX2.
func (w wide) name(function string) string { return function + itoa(w.tokens()) + w.level }

// scale is what a column of the code, which is 64 times its number, is
// multiplied by for its distance in bytes.
func (w wide) scale() uint8 { return uint8(w.panelBytes() / 64) }

// vectors is the number of registers for a row of a part.
func (w wide) vectors() int { return w.panelBytes() / w.bytes / w.parts }

func (w wide) regs(g *gen, n int) []reg.VecVirtual {
	if w.bytes == 64 {
		return g.zmms(n)
	}
	return g.ymms(n)
}

// pairWalk is the walk over the pairs of a tile that both kernels share.
type pairWalk struct {
	*gen
	w              wide
	x, code, vals  reg.GPVirtual // vals is w or dw
	rows           reg.GPVirtual // dst or dy
	end            reg.GPVirtual
	a, b           reg.GPVirtual // addresses of the two rows
	shared, own    reg.GPVirtual
	left, t, u     reg.GPVirtual
	part, xp       reg.GPVirtual // byte offset of the part, x plus that
	codeAt, valsAt reg.GPVirtual // where the pair starts, for the next part
	next, nextEnd  reg.GPVirtual // what is left to prefetch of the argument next
	after          reg.GPVirtual // likewise of after, where there is one
}

// walkPairs writes the loop over pairs and parts; body handles one part of a
// pair, and must leave code and vals behind it.
func walkPairs(g *gen, w wide, rows, vals string, after bool, body func(p *pairWalk)) {
	p := &pairWalk{gen: g, w: w, rows: g.base(rows), x: g.base("x"), code: g.base("code"), vals: g.base(vals), end: g.length("code")}
	p.a, p.b, p.shared, p.own, p.left = g.GP64(), g.GP64(), g.GP64(), g.GP64(), g.GP64()
	p.t, p.u = g.GP64(), g.GP64()
	if w.parts == 1 {
		p.next, p.nextEnd = g.base("next"), g.length("next")
		g.note("nextEnd = &next[len(next)]")
		g.LEAQ(op.Mem{Base: p.next, Index: p.nextEnd, Scale: 4}, p.nextEnd)
		if after {
			p.after = g.base("after")
		}
	}
	g.note("end = &code[len(code)]")
	g.LEAQ(op.Mem{Base: p.code, Index: p.end, Scale: 2}, p.end)
	g.Label("pair")
	g.CMPQ(p.code, p.end)
	g.JAE(op.LabelRef("end"))
	p.xp = p.x
	if w.parts > 1 {
		p.part, p.xp = g.GP64(), g.GP64()
		p.codeAt, p.valsAt = g.GP64(), g.GP64()
		g.note("codeAt, valsAt = code, vals; for part = 0; part < P; part += P/%d {", w.parts)
		g.MOVQ(p.code, p.codeAt)
		g.MOVQ(p.vals, p.valsAt)
		g.XORQ(p.part, p.part)
		g.Label("part")
		g.MOVQ(p.codeAt, p.code)
		g.MOVQ(p.valsAt, p.vals)
		g.LEAQ(atIndex(p.x, p.part, 1, 0), p.xp)
	}
	g.note("a, b, shared, own, left = the header; a, b = rows[a*P+part:], rows[b*P+part:]")
	for i, r := range []reg.GPVirtual{p.a, p.b, p.shared, p.own, p.left} {
		g.MOVWQZX(at(p.code, 2*i), r)
	}
	p.rowAddress(p.a)
	p.rowAddress(p.b)
	if w.parts == 1 {
		p.prefetchPair()
		p.prefetchTile()
	} else {
		g.ADDQ(p.part, p.a)
		g.ADDQ(p.part, p.b)
	}
	g.ADDQ(op.U8(pairHeader), p.code)
	body(p)
	if w.parts > 1 {
		g.ADDQ(op.U32(uint32(w.panelBytes()/w.parts)), p.part)
		g.CMPQ(p.part, op.U32(uint32(w.panelBytes())))
		g.JLT(op.LabelRef("part"))
	}
	g.JMP(op.LabelRef("pair"))
	g.Label("end")
	g.VZEROUPPER()
	g.RET()
}

// rowAddress turns the number of a row into its address.
func (p *pairWalk) rowAddress(r reg.GPVirtual) {
	p.SHLQ(op.U8(uint8(p.w.log+2)), r)
	p.ADDQ(p.rows, r)
}

// tileLines is the number of lines that are fetched with each pair.
const tileLines = 4

// prefetchTile fetches the next lines of the arguments next and after into the
// second-level cache, for coming calls.
func (p *pairWalk) prefetchTile() {
	p.note("if next < nextEnd { prefetch %d numbers of next, and of after }", 16*tileLines)
	p.CMPQ(p.next, p.nextEnd)
	p.JAE(op.LabelRef("fetched"))
	for _, r := range []reg.GPVirtual{p.next, p.after} {
		if r == nil {
			continue
		}
		for i := range tileLines {
			p.PREFETCHT1(at(r, 64*i))
		}
		p.ADDQ(op.U32(64*tileLines), r)
	}
	p.Label("fetched")
}

// prefetchPair fetches the rows of the next pair, or of this one if it is the
// last: they come from the second-level cache, in no order that hardware sees.
func (p *pairWalk) prefetchPair() {
	p.note("prefetch both rows of the next pair, which starts at code[5+shared+2*own+left]")
	p.LEAQ(op.Mem{Base: p.shared, Index: p.own, Scale: 2}, p.u)
	p.ADDQ(p.left, p.u)
	p.LEAQ(op.Mem{Base: p.code, Index: p.u, Scale: 2, Disp: pairHeader}, p.u)
	p.CMPQ(p.u, p.end)
	p.CMOVQCC(p.code, p.u)
	for i := range 2 {
		p.MOVWQZX(at(p.u, 2*i), p.t)
		p.rowAddress(p.t)
		// Every second line: the hardware fetches lines by twos, and a prefetch
		// costs the loops a load.
		for line := 0; line < p.w.panelBytes(); line += 128 {
			p.PREFETCHT0(at(p.t, line))
		}
	}
}

// loop writes for ; n > 0; n-- { body }, where n is a register.
func (p *pairWalk) loop(name string, n reg.GPVirtual, body func()) {
	p.TESTQ(n, n)
	p.JEQ(op.LabelRef(name + "Done"))
	p.Label(name)
	body()
	p.DECQ(n)
	p.JNE(op.LabelRef(name))
	p.Label(name + "Done")
}

// feature is the memory of vector v of a feature whose code is in t.
func (p *pairWalk) feature(t reg.Register, v int) op.Mem {
	return atIndex(p.xp, t, p.w.scale(), v*p.w.bytes)
}

// oneColumn loads the code of one column into t, twoColumns those of a and b
// into t and u with one load: loads are what bounds these loops.
func (p *pairWalk) oneColumn() {
	p.MOVWQZX(at(p.code, 0), p.t)
	p.ADDQ(op.U8(2), p.code)
}

func (p *pairWalk) twoColumns() {
	p.MOVL(at(p.code, 0), p.u.As32())
	p.MOVWQZX(p.u.As16(), p.t)
	p.SHRL(op.U8(16), p.u.As32())
	p.ADDQ(op.U8(4), p.code)
}

// emitPanelSpMM holds the outputs of two rows in registers.
func emitPanelSpMM(g *gen, w wide) {
	name := w.name("panelSpMM")
	g.function(name, "func(dst, x []float32, code []uint16, w, next []float32)", name+" is PanelKernels.SpMM for panels of "+itoa(w.tokens())+".")
	walkPairs(g, w, "dst", "w", false, func(p *pairWalk) {
		n := w.vectors()
		a, b := w.regs(g, n), w.regs(g, n)
		wa, wb := w.regs(g, 1)[0], w.regs(g, 1)[0]
		g.note("sumA, sumB = a[:], b[:]")
		for v := range n {
			g.VMOVUPS(at(p.a, w.bytes*v), a[v])
			g.VMOVUPS(at(p.b, w.bytes*v), b[v])
		}
		g.note("for ; shared > 0; shared-- { sumA += w[0] * x[j]; sumB += w[1] * x[j] }")
		p.loop("shared", p.shared, func() {
			p.oneColumn()
			g.VBROADCASTSS(at(p.vals, 0), wa)
			g.VBROADCASTSS(at(p.vals, 4), wb)
			g.ADDQ(op.U8(8), p.vals)
			for v := range n {
				x := w.regs(g, 1)[0]
				g.VMOVUPS(p.feature(p.t, v), x)
				g.VFMADD231PS(x, wa, a[v])
				g.VFMADD231PS(x, wb, b[v])
			}
		})
		g.note("for ; own > 0; own-- { sumA += w[0] * x[ja]; sumB += w[1] * x[jb] }")
		p.loop("own", p.own, func() {
			p.twoColumns()
			g.VBROADCASTSS(at(p.vals, 0), wa)
			g.VBROADCASTSS(at(p.vals, 4), wb)
			g.ADDQ(op.U8(8), p.vals)
			for v := range n {
				g.VFMADD231PS(p.feature(p.t, v), wa, a[v])
				g.VFMADD231PS(p.feature(p.u, v), wb, b[v])
			}
		})
		g.note("for ; left > 0; left-- { sumA += w[0] * x[j] }")
		p.loop("left", p.left, func() {
			p.oneColumn()
			g.VBROADCASTSS(at(p.vals, 0), wa)
			g.ADDQ(op.U8(4), p.vals)
			for v := range n {
				g.VFMADD231PS(p.feature(p.t, v), wa, a[v])
			}
		})
		g.note("b[:] = sumB, then a[:] = sumA: a single row has b = a")
		for v := range n {
			g.VMOVUPS(b[v], at(p.b, w.bytes*v))
		}
		for v := range n {
			g.VMOVUPS(a[v], at(p.a, w.bytes*v))
		}
	})
}
