package main

import (
	op "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// emitPanelSDDMM holds two rows of dy in registers, streams x, and reduces four
// dot products, which are two steps, together.
func emitPanelSDDMM(g *gen, w wide) {
	name := w.name("panelSDDMM")
	g.function(name, "func(dw, dy, x []float32, code []uint16, next, after []float32)", name+" is PanelKernels.SDDMM for panels of "+itoa(w.tokens())+".")
	var order reg.VecVirtual
	if w.bytes == 64 {
		order = g.ZMM()
		g.note("order = {0, 4, 8, 12}: after the reduction lane 4*i holds sum i")
		g.VMOVUPS(sumOrder(g), order)
	}
	walkPairs(g, w, "dy", "dw", true, func(p *pairWalk) {
		n := w.vectors()
		a, b := w.regs(g, n), w.regs(g, n)
		g.note("a, b = dy[a], dy[b]")
		for v := range n {
			g.VMOVUPS(at(p.a, w.bytes*v), a[v])
			g.VMOVUPS(at(p.b, w.bytes*v), b[v])
		}
		d := dots{p, order, a, b}
		d.twice("shared", p.shared, true)
		d.twice("own", p.own, false)
		g.note("for ; left > 0; left-- { dw[0] += a * x[j] }")
		p.loop("left", p.left, func() {
			p.oneColumn()
			s := w.regs(g, w.chains())
			for v := range n {
				d.term(v, p.feature(p.t, v), a[v], s)
			}
			d.join(s)
			d.add(s[:1])
		})
	})
}

// dots computes dot products of the rows a and b.
type dots struct {
	*pairWalk
	order reg.VecVirtual
	a, b  []reg.VecVirtual
}

// chains is the number of registers that share the terms of a dot product. One
// would be busy for 32 cycles, and hold up the scheduler, which has no room for
// enough of the following dot products to fill the time.
func (w wide) chains() int { return min(2, w.vectors()) }

// join adds up the registers of a dot product.
func (d dots) join(s []reg.VecVirtual) reg.VecVirtual {
	if len(s) == 2 {
		d.VADDPS(s[0], s[1], s[0])
	}
	return s[0]
}

// term multiplies, or where s holds a sum already multiplies and adds.
func (d dots) term(v int, x op.Op, y reg.VecVirtual, s []reg.VecVirtual) {
	if v < len(s) {
		d.VMULPS(x, y, s[v])
	} else {
		d.VFMADD231PS(x, y, s[v%len(s)])
	}
}

// products sets s[i] to the products of n steps: of both rows with one column
// each, or of each row with its own.
func (d dots) products(shared bool, n int) (s []reg.VecVirtual) {
	acc := make([][]reg.VecVirtual, 2*n)
	for i := range acc {
		acc[i] = d.w.regs(d.gen, d.w.chains())
	}
	t := make([]reg.GPVirtual, 2*n)
	for i := range n {
		t[2*i] = d.GP64()
		t[2*i+1] = t[2*i]
		if shared {
			d.MOVWQZX(at(d.code, 2*i), t[2*i])
			continue
		}
		t[2*i+1] = d.GP64()
		d.MOVWQZX(at(d.code, 4*i), t[2*i])
		d.MOVWQZX(at(d.code, 4*i+2), t[2*i+1])
	}
	size := 4 * n
	if shared {
		size = 2 * n
	}
	d.ADDQ(op.U8(uint8(size)), d.code)
	for v := range d.a {
		for i := 0; i < 2*n; i += 2 {
			if !shared {
				d.term(v, d.feature(t[i], v), d.a[v], acc[i])
				d.term(v, d.feature(t[i+1], v), d.b[v], acc[i+1])
				continue
			}
			x := d.w.regs(d.gen, 1)[0]
			d.VMOVUPS(d.feature(t[i], v), x)
			d.term(v, x, d.a[v], acc[i])
			d.term(v, x, d.b[v], acc[i+1])
		}
	}
	for _, c := range acc {
		s = append(s, d.join(c))
	}
	return s
}

// twice writes the loop over n steps, two at a time and the last alone.
func (d dots) twice(name string, n reg.GPVirtual, shared bool) {
	d.note("for ; %s >= 2; %s -= 2 { dw[0], dw[1], dw[2], dw[3] += two %s steps }", name, name, name)
	d.SUBQ(op.U8(2), n)
	d.JLT(op.LabelRef(name + "Last"))
	d.Label(name + "Two")
	d.add(d.products(shared, 2))
	d.SUBQ(op.U8(2), n)
	d.JGE(op.LabelRef(name + "Two"))
	d.Label(name + "Last")
	d.note("if %s > 0 { dw[0], dw[1] += one step }", name)
	d.ADDQ(op.U8(2), n)
	d.JEQ(op.LabelRef(name + "Done"))
	d.add(d.products(shared, 1))
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
	return g.words("sddmmOrder", 0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
}
