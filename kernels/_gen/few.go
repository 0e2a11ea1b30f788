package main

import (
	op "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// emitFew writes the sparse product of one token and of two.
func emitFew(g *gen) {
	for tokens := 1; tokens <= 2; tokens++ {
		emitFewAVX2(g, tokens)
		emitFewAVX512(g, tokens)
	}
}

// fewAhead is how many bytes ahead values are fetched.
const fewAhead = 2048

// fewWalk is the walk over the pairs of a tile. A sum holds that of row a in its
// even lanes and that of row b in its odd ones, as the values of shared and own
// columns stand.
type fewWalk struct {
	*gen
	code, vals        reg.GPVirtual
	a, b              reg.GPVirtual // addresses of the two outputs of the first token
	ldd               reg.GPVirtual // bytes from one token's outputs to the next
	shared, own, left reg.GPVirtual
}

// few starts a function and writes the loop over pairs. begin reads the other
// arguments; pair returns the sums of a pair, one of 128 bits per token with a in
// lane 0 and b in lane 1, and must leave code and vals behind the pair.
func (g *gen) few(tokens int, level string, begin func(p *fewWalk), pair func(p *fewWalk) []reg.VecVirtual) {
	name := "fewSpMM" + itoa(tokens) + level
	g.function(name, "func(dst []float32, ldd int, x []float32, ldx, width int, code []uint16, w []float32)",
		name+" is Set.FewSpMM for tokens = "+itoa(tokens)+".")
	dst, end := g.base("dst"), g.length("code")
	p := &fewWalk{gen: g, code: g.base("code"), vals: g.base("w"), ldd: g.integer("ldd"),
		a: g.GP64(), b: g.GP64(), shared: g.GP64(), own: g.GP64(), left: g.GP64()}
	g.note("end = &code[len(code)]")
	g.LEAQ(op.Mem{Base: p.code, Index: end, Scale: 2}, end)
	g.SHLQ(op.U8(2), p.ldd)
	begin(p)
	g.Label("pair")
	g.CMPQ(p.code, end)
	g.JAE(op.LabelRef("end"))
	g.note("prefetch what some pairs ahead will read: from memory, nothing else is as slow")
	for line := range 4 {
		g.PREFETCHT0(at(p.vals, fewAhead+64*line))
	}
	for line := range 2 {
		g.PREFETCHT0(at(p.code, fewAhead/2+64*line))
	}
	g.note("a, b, shared, own, left = the header; a, b = &dst[a], &dst[b]")
	for i, r := range []reg.GPVirtual{p.a, p.b, p.shared, p.own, p.left} {
		g.MOVWQZX(at(p.code, 2*i), r)
	}
	g.ADDQ(op.U8(pairHeader), p.code)
	for _, r := range []reg.GPVirtual{p.a, p.b} {
		g.LEAQ(op.Mem{Base: dst, Index: r, Scale: 4}, r)
	}
	for t, s := range pair(p) {
		toA, toB := at(p.a, 0), at(p.b, 0)
		if t == 1 {
			toA, toB = atIndex(p.a, p.ldd, 1, 0), atIndex(p.b, p.ldd, 1, 0)
		}
		h := g.XMM()
		g.note("dst[b] += sum[1], then dst[a] = sum[0] + what it was: a single row has b = a")
		g.VMOVSHDUP(s.AsX(), h)
		g.VADDSS(toB, h, h)
		g.VADDSS(toA, s.AsX(), s.AsX())
		g.VMOVSS(h, toB)
		g.VMOVSS(s.AsX(), toA)
	}
	g.JMP(op.LabelRef("pair"))
	g.Label("end")
	g.VZEROUPPER()
	g.RET()
}

// emitFewAVX2 handles two values at a time, with sums of 128 bits.
func emitFewAVX2(g *gen, tokens int) {
	var x []reg.GPVirtual
	g.few(tokens, "AVX2", func(p *fewWalk) {
		x = append(x, g.base("x"))
		if tokens == 2 {
			ldx := g.integer("ldx")
			g.LEAQ(atIndex(x[0], ldx, 4, 0), ldx)
			x = append(x, ldx)
		}
	}, func(p *fewWalk) []reg.VecVirtual {
		t, u := g.GP64(), g.GP64()
		var sum, more []reg.VecVirtual // of even and of odd steps
		for range x {
			sum, more = append(sum, g.XMM()), append(more, g.XMM())
		}
		g.note("sum, more = 0, 0")
		for i := range x {
			g.VXORPS(sum[i], sum[i], sum[i])
			g.VXORPS(more[i], more[i], more[i])
		}
		chain := func(i, token int) reg.VecVirtual { return [2][]reg.VecVirtual{sum, more}[i][token] }
		g.note("for ; shared > 0; shared-- { sum += {w[0], w[1]} * x[j] }")
		p.twice("shared", p.shared, 2, 8, func(i int) {
			p.column(at(p.code, 2*i), t)
			v := g.XMM()
			g.VMOVSD(at(p.vals, 8*i), v)
			for k := range x {
				xj := g.XMM()
				g.VBROADCASTSS(atIndex(x[k], t, 4, 0), xj)
				g.VFMADD231PS(xj, v, chain(i, k))
			}
		})
		g.note("for ; own > 0; own-- { sum += {w[0], w[1]} * {x[ja], x[jb]} }")
		p.twice("own", p.own, 4, 8, func(i int) {
			p.column(at(p.code, 4*i), t)
			p.column(at(p.code, 4*i+2), u)
			v := g.XMM()
			g.VMOVSD(at(p.vals, 8*i), v)
			for k := range x {
				xj := g.XMM()
				g.VMOVSS(atIndex(x[k], t, 4, 0), xj)
				g.VINSERTPS(op.U8(0x10), atIndex(x[k], u, 4, 0), xj, xj)
				g.VFMADD231PS(xj, v, chain(i, k))
			}
		})
		g.note("for ; left > 0; left-- { sum[0] += w[0] * x[j] }")
		p.twice("left", p.left, 2, 4, func(i int) {
			p.column(at(p.code, 2*i), t)
			v := g.XMM()
			g.VMOVSS(at(p.vals, 4*i), v)
			for k := range x {
				g.VFMADD231SS(atIndex(x[k], t, 4, 0), v, chain(i, k))
			}
		})
		g.note("sum += more")
		for i := range x {
			g.VADDPS(sum[i], more[i], sum[i])
		}
		return sum
	})
}

// column loads the number of a column.
func (p *fewWalk) column(code op.Mem, r reg.GPVirtual) {
	p.MOVWQZX(code, r)
	p.SHRQ(op.U8(6), r)
}

// twice writes the loop over n steps, two at a time and the last alone.
func (p *fewWalk) twice(name string, n reg.GPVirtual, codeBytes, valueBytes int, step func(i int)) {
	ahead := func(steps int) {
		p.ADDQ(op.U8(uint8(steps*codeBytes)), p.code)
		p.ADDQ(op.U8(uint8(steps*valueBytes)), p.vals)
	}
	p.SUBQ(op.U8(2), n)
	p.JLT(op.LabelRef(name + "Last"))
	p.Label(name)
	step(0)
	step(1)
	ahead(2)
	p.SUBQ(op.U8(2), n)
	p.JGE(op.LabelRef(name))
	p.Label(name + "Last")
	p.ADDQ(op.U8(2), n)
	p.JEQ(op.LabelRef(name + "Done"))
	step(0)
	ahead(1)
	p.Label(name + "Done")
}

// few512 keeps the 64 columns of a tile in four registers per token and looks
// the x of sixteen values up in them with permutations.
type few512 struct {
	*fewWalk
	x [][4]reg.VecVirtual
}

func emitFewAVX512(g *gen, tokens int) {
	f := few512{x: make([][4]reg.VecVirtual, tokens)}
	g.few(tokens, "AVX512", func(p *fewWalk) {
		f.fewWalk = p
		f.loadX()
	}, func(p *fewWalk) []reg.VecVirtual {
		sum := g.zmms(tokens)
		g.note("sum = 0")
		for _, s := range sum {
			g.zero512(s)
		}
		g.note("for ; shared > 0; shared -= 8 { sum += w[:16] * {x[j0], x[j0], x[j1], x[j1], …} }")
		f.loop("shared", p.shared, sum)
		g.note("for ; own > 0; own -= 8 { sum += w[:16] * {x[ja0], x[jb0], x[ja1], …} }")
		g.ADDQ(p.own, p.own)
		f.loop("own", p.own, sum)
		g.note("the sums of the even and the odd lanes, halves first")
		f.halve(sum)
		g.TESTQ(p.left, p.left)
		g.JEQ(op.LabelRef("leftNone"))
		g.note("for ; left > 0; left -= 16 { rest += w[:16] * {x[j0], x[j1], …} }; sum[0] += the lanes of rest")
		rest := g.zmms(tokens)
		for _, s := range rest {
			g.zero512(s)
		}
		f.loop("left", p.left, rest)
		f.halve(rest)
		for i, s := range rest {
			h := g.XMM()
			g.VMOVSHDUP(s.AsX(), h)
			g.VADDSS(s.AsX(), h, h)
			g.VADDSS(h, sum[i].AsX(), sum[i].AsX())
		}
		g.Label("leftNone")
		return sum
	})
}

// loadX loads the tile's columns of every token; those beyond width read as 0.
func (f *few512) loadX() {
	x, ldx, ones, k := f.base("x"), f.integer("ldx"), f.GP64(), f.K()
	f.note("x[t] = the first width of x[t*ldx:], width <= 64")
	f.MOVQ(op.I32(-1), ones)
	f.BZHIQ(f.integer("width"), ones, ones)
	for v := range 4 {
		f.KMOVW(ones.As32(), k)
		for t := range f.x {
			f.x[t][v] = f.ZMM()
			m := at(x, 64*v)
			if t == 1 {
				m = atIndex(x, ldx, 4, 64*v)
			}
			f.VMOVUPS_Z(m, k, f.x[t][v])
		}
		f.SHRQ(op.U8(16), ones)
	}
}

// loop adds n columns to the sums: shared ones, of which eight make a step of
// sixteen values, or others, of which sixteen do. The last step is masked and may
// be empty.
func (f *few512) loop(name string, n reg.GPVirtual, sum []reg.VecVirtual) {
	shared := name == "shared"
	perStep := 16
	if shared {
		perStep = 8
	}
	f.SUBQ(op.U8(uint8(perStep)), n)
	f.JLT(op.LabelRef(name + "Last"))
	f.Label(name)
	f.step(shared, nil, nil, sum)
	f.ADDQ(op.U8(64), f.vals)
	f.ADDQ(op.U8(uint8(2*perStep)), f.code)
	f.SUBQ(op.U8(uint8(perStep)), n)
	f.JGE(op.LabelRef(name))
	f.Label(name + "Last")
	f.ADDQ(op.U8(uint8(perStep)), n)
	columns := f.first(n)
	values := columns
	if shared {
		f.ADDQ(n, n)
		values = f.first(n)
	}
	f.step(shared, columns, values, sum)
	f.LEAQ(atIndex(f.vals, n, 4, 0), f.vals)
	if shared {
		f.ADDQ(n, f.code)
	} else {
		f.LEAQ(atIndex(f.code, n, 2, 0), f.code)
	}
}

// first is the mask of the first n lanes, n <= 16.
func (f *few512) first(n reg.GPVirtual) mask {
	ones, k := f.GP64(), f.K()
	f.MOVQ(op.I32(-1), ones)
	f.BZHIL(n.As32(), ones.As32(), ones.As32())
	f.KMOVW(ones.As32(), k)
	return k
}

// step adds sixteen values, or those of the masks.
func (f *few512) step(shared bool, columns, values mask, sum []reg.VecVirtual) {
	j, high, upper := f.ZMM(), f.ZMM(), f.K()
	switch {
	case shared && columns == nil:
		f.VPMOVZXWQ(at(f.code, 0), j)
	case shared:
		f.VPMOVZXWQ_Z(at(f.code, 0), columns, j)
	case columns == nil:
		f.VPMOVZXWD(at(f.code, 0), j)
	default:
		f.VPMOVZXWD_Z(at(f.code, 0), columns, j)
	}
	f.VPSRLD(op.U8(6), j, j)
	if shared {
		f.VMOVSLDUP(j, j)
	}
	// Bits 0 to 4 of j choose out of two registers, bit 5 out of two such pairs.
	f.VPSLLD(op.U8(26), j, high)
	f.VPMOVD2M(high, upper)
	for t, s := range sum {
		x, y := f.ZMM(), f.ZMM()
		f.VMOVDQA32(j, x)
		f.VMOVDQA32(j, y)
		f.VPERMI2PS(f.x[t][1], f.x[t][0], x)
		f.VPERMI2PS(f.x[t][3], f.x[t][2], y)
		f.VMOVAPS(y, upper, x)
		if values == nil {
			f.VFMADD231PS(at(f.vals, 0), x, s)
		} else {
			f.VFMADD231PS(at(f.vals, 0), x, values, s)
		}
	}
}

// halve adds the lanes up until two are left, one of the even and one of the odd.
func (f *few512) halve(sum []reg.VecVirtual) {
	h := f.ZMM()
	for _, s := range sum {
		f.VEXTRACTF64X4(op.U8(1), s, h.AsY())
		f.VADDPS(s.AsY(), h.AsY(), s.AsY())
		f.VEXTRACTF32X4(op.U8(1), s.AsY(), h.AsX())
		f.VADDPS(s.AsX(), h.AsX(), s.AsX())
		f.VPERMILPD(op.U8(1), s.AsX(), h.AsX())
		f.VADDPS(s.AsX(), h.AsX(), s.AsX())
	}
}
