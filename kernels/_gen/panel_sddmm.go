package main

import (
	"github.com/mmcloughlin/avo/attr"
	op "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// emitPanelSDDMM holds two rows of dy in registers, streams x, and reduces four
// dot products, which are two steps, together.
func emitPanelSDDMM(g *gen, w wide) {
	name := "panelSDDMM" + w.name
	g.function(name, "func(dw, dy, x []float32, code []uint16)", name+" is Set.PanelSDDMM.")
	var order reg.VecVirtual
	if w.bytes == 64 {
		order = g.ZMM()
		g.note("order = {0, 4, 8, 12}: after the reduction lane 4*i holds sum i")
		g.VMOVUPS(sumOrder(g), order)
	}
	walkPairs(g, w, "dy", "dw", func(p *pairWalk) {
		n := w.vectors()
		a, b := w.regs(g, n), w.regs(g, n)
		g.note("a, b = dy[a], dy[b]")
		for v := range n {
			g.VMOVUPS(at(p.a, w.bytes*v), a[v])
			g.VMOVUPS(at(p.b, w.bytes*v), b[v])
		}
		d := dots{p, order, a, b}
		d.twice("shared", p.shared, d.sharedStep)
		d.twice("own", p.own, d.ownStep)
		g.note("for ; left > 0; left-- { dw[0] += a * x[j] }")
		p.loop("left", p.left, func() {
			p.oneColumn()
			s := w.regs(g, 1)
			for v := range n {
				d.term(v, p.feature(p.t, v), a[v], s[0])
			}
			d.add(s)
		})
	})
}

// dots computes dot products of the rows a and b.
type dots struct {
	*pairWalk
	order reg.VecVirtual
	a, b  []reg.VecVirtual
}

// term multiplies, or from the second vector on multiplies and adds.
func (d dots) term(v int, x op.Op, y, s reg.VecVirtual) {
	if v == 0 {
		d.VMULPS(x, y, s)
	} else {
		d.VFMADD231PS(x, y, s)
	}
}

// sharedStep sets s to the products of both rows with one column.
func (d dots) sharedStep(s []reg.VecVirtual) {
	d.oneColumn()
	for v := range d.a {
		x := d.w.regs(d.gen, 1)[0]
		d.VMOVUPS(d.feature(d.t, v), x)
		d.term(v, x, d.a[v], s[0])
		d.term(v, x, d.b[v], s[1])
	}
}

// ownStep sets s to the products of each row with its own column.
func (d dots) ownStep(s []reg.VecVirtual) {
	d.twoColumns()
	for v := range d.a {
		d.term(v, d.feature(d.t, v), d.a[v], s[0])
		d.term(v, d.feature(d.u, v), d.b[v], s[1])
	}
}

// twice writes the loop over n steps, two at a time and the last alone.
func (d dots) twice(name string, n reg.GPVirtual, step func(s []reg.VecVirtual)) {
	d.note("for ; %s >= 2; %s -= 2 { dw[0], dw[1], dw[2], dw[3] += two %s steps }", name, name, name)
	d.SUBQ(op.U8(2), n)
	d.JLT(op.LabelRef(name + "Last"))
	d.Label(name + "Two")
	s := d.w.regs(d.gen, 4)
	step(s[:2])
	step(s[2:])
	d.add(s)
	d.SUBQ(op.U8(2), n)
	d.JGE(op.LabelRef(name + "Two"))
	d.Label(name + "Last")
	d.note("if %s > 0 { dw[0], dw[1] += one step }", name)
	d.ADDQ(op.U8(2), n)
	d.JEQ(op.LabelRef(name + "Done"))
	s = d.w.regs(d.gen, 2)
	step(s)
	d.add(s)
	d.Label(name + "Done")
}

// add adds the sums over the lanes of s, one, two or four of them, to dw.
func (d dots) add(s []reg.VecVirtual) {
	var sums reg.Register
	if d.w.bytes == 64 {
		sums = d.reduce512(s)
	} else {
		sums = d.reduce256(s)
	}
	switch len(s) {
	case 4:
		d.VADDPS(at(d.vals, 0), sums, sums)
		d.VMOVUPS(sums, at(d.vals, 0))
	case 2:
		old := d.XMM()
		d.VMOVSD(at(d.vals, 0), old)
		d.VADDPS(old, sums, sums)
		d.VMOVSD(sums, at(d.vals, 0))
	case 1:
		d.VADDSS(at(d.vals, 0), sums, sums)
		d.VMOVSS(sums, at(d.vals, 0))
	}
	d.ADDQ(op.U8(uint8(4*len(s))), d.vals)
}

// reduce512 reduces to 256 bits in pairs, to 128 in fours, then within lanes.
func (d dots) reduce512(s []reg.VecVirtual) reg.Register {
	x, y := d.ZMM(), d.ZMM()
	halves := func(p, q reg.VecVirtual) {
		d.VINSERTF64X4(op.U8(1), q.AsY(), p, x)
		d.VSHUFF64X2(op.U8(0xEE), q, p, y)
		d.VADDPS(x, y, p)
	}
	quarters := func(p, q reg.VecVirtual) {
		d.VSHUFF32X4(op.U8(0x88), q, p, x)
		d.VSHUFF32X4(op.U8(0xDD), q, p, y)
		d.VADDPS(x, y, p)
	}
	switch len(s) {
	case 4:
		halves(s[0], s[1])
		halves(s[2], s[3])
		quarters(s[0], s[2])
	case 2:
		halves(s[0], s[1])
		quarters(s[0], s[0])
	case 1:
		halves(s[0], s[0])
		quarters(s[0], s[0])
	}
	for _, imm := range []uint8{0x4E, 0xB1} {
		d.VPERMILPS(op.U8(imm), s[0], x)
		d.VADDPS(s[0], x, s[0])
	}
	d.VPERMPS(s[0], d.order, x)
	return x.AsX()
}

// reduce256 adds neighbours, twice, and then the halves.
func (d dots) reduce256(s []reg.VecVirtual) reg.Register {
	last := len(s) - 1
	d.VHADDPS(s[min(1, last)], s[0], s[0])
	if len(s) == 4 {
		d.VHADDPS(s[3], s[2], s[2])
		d.VHADDPS(s[2], s[0], s[0])
	} else {
		d.VHADDPS(s[0], s[0], s[0])
	}
	h := d.YMM()
	d.VEXTRACTF128(op.U8(1), s[0], h.AsX())
	d.VADDPS(s[0].AsX(), h.AsX(), h.AsX())
	return h.AsX()
}

// sumOrder is the permutation that collects the sums of a group.
func sumOrder(g *gen) op.Mem {
	m := g.StaticGlobal("sddmmOrder")
	g.DataAttributes(attr.RODATA | attr.NOPTR)
	for i, v := range []uint32{0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0} {
		g.AddDatum(4*i, op.U32(v))
	}
	return m
}
