package main

import (
	op "github.com/mmcloughlin/avo/operand"
)

// tileUnroll is the number of steps of k per trip of the main loop.
const tileUnroll = 2

// emitTile writes the micro-kernels of the dense products. The tile lives in
// registers for the whole of k: 14×32 is 28 accumulators of 512 bits, 6×16 is
// 12 of 256 bits, and the rest holds one row of b and the broadcast of a.
func emitTile(g *gen) {
	emitTileKernel(g, "tileAVX512", 14, 2, 64)
	emitTileKernel(g, "tileAVX2", 6, 2, 32)
}

// emitTileKernel writes one micro-kernel of mr rows by nv vectors of width bytes.
func emitTileKernel(g *gen, name string, mr, nv, width int) {
	nr := nv * width / 4
	g.function(name, "func(c []float32, ldc int, a, b []float32, kc int, add bool)",
		name+" is Set.Tile for MR = "+itoa(mr)+", NR = "+itoa(nr)+".")
	vec, zero := g.zmms, g.zero512
	if width == 32 {
		vec, zero = g.ymms, g.zero256
	}
	c, ldc, a, b, k := g.base("c"), g.integer("ldc"), g.base("a"), g.base("b"), g.integer("kc")
	g.SHLQ(op.U8(2), ldc)

	g.note("var acc [MR][NR]float32; prefetch c")
	acc := vec(mr * nv)
	row := g.GP64()
	g.MOVQ(c, row)
	for i := range mr {
		for j := range nv {
			zero(acc[i*nv+j])
			if j%(64/width) == 0 {
				g.PREFETCHT0(at(row, j*width))
			}
		}
		if i+1 < mr {
			g.ADDQ(ldc, row)
		}
	}

	bv := vec(nv)
	step := func(u int) {
		for j := range nv {
			g.VMOVUPS(at(b, u*nr*4+j*width), bv[j])
		}
		for i := range mr {
			av := vec(1)[0]
			g.VBROADCASTSS(at(a, (u*mr+i)*4), av)
			for j := range nv {
				g.VFMADD231PS(bv[j], av, acc[i*nv+j])
			}
		}
	}
	g.note("for ; k >= %d; k -= %d {", tileUnroll, tileUnroll)
	g.SUBQ(op.U8(tileUnroll), k)
	g.JLT(op.LabelRef("tail"))
	g.Label("loop")
	g.note("acc[i][j] += a[p*MR+i] * b[p*NR+j], p = 0..%d", tileUnroll-1)
	for u := range tileUnroll {
		step(u)
	}
	g.ADDQ(op.I32(tileUnroll*mr*4), a)
	g.ADDQ(op.I32(tileUnroll*nr*4), b)
	g.SUBQ(op.U8(tileUnroll), k)
	g.JGE(op.LabelRef("loop"))
	g.Label("tail")
	g.note("for ; k > 0; k-- {")
	g.ADDQ(op.U8(tileUnroll), k)
	g.JLE(op.LabelRef("store"))
	g.Label("tailLoop")
	step(0)
	g.ADDQ(op.I32(mr*4), a)
	g.ADDQ(op.I32(nr*4), b)
	g.DECQ(k)
	g.JNE(op.LabelRef("tailLoop"))

	g.Label("store")
	add := g.GP32()
	g.Load(g.Param("add"), add.As8())
	g.TESTB(add.As8(), add.As8())
	g.JEQ(op.LabelRef("overwrite"))
	g.note("if add { acc[i][j] += c[i*ldc+j] }")
	g.MOVQ(c, row)
	for i := range mr {
		for j := range nv {
			g.VADDPS(at(row, j*width), acc[i*nv+j], acc[i*nv+j])
		}
		if i+1 < mr {
			g.ADDQ(ldc, row)
		}
	}
	g.Label("overwrite")
	g.note("c[i*ldc+j] = acc[i][j]")
	for i := range mr {
		for j := range nv {
			g.VMOVUPS(acc[i*nv+j], at(c, j*width))
		}
		if i+1 < mr {
			g.ADDQ(ldc, c)
		}
	}
	g.VZEROUPPER()
	g.RET()
}
