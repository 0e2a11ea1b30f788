package main

import (
	op "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// tileUnroll is the number of steps of k per trip of the main loop.
const tileUnroll = 2

// emitTile writes the micro-kernels of the dense products. The tile lives in
// registers for the whole of k: 14×32 is 28 accumulators of 512 bits, 6×16 is
// 12 of 256 bits, and the rest holds one row of b and the broadcast of a.
func emitTile(g *gen) {
	emitTileKernel(g, tileKernel{name: "tileAVX512", mr: 14, nv: 2, width: 64})
	emitTileKernel(g, tileKernel{name: "tileAVX2", mr: 6, nv: 2, width: 32})
}

// tileKernel is one micro-kernel of mr rows by nv vectors of width bytes.
type tileKernel struct {
	name          string
	mr, nv, width int
	bf16          bool // a word of a and b is two bf16 numbers
}

func emitTileKernel(g *gen, t tileKernel) {
	mr, nv, width := t.mr, t.nv, t.width
	nr := nv * width / 4
	field := "Set.Tile"
	if t.bf16 {
		field = "BF16Kernels.Tile"
	}
	g.function(t.name, "func(c []float32, ldc int, a, b []float32, kc int, add bool, next []float32)",
		t.name+" is "+field+" for MR = "+itoa(mr)+", NR = "+itoa(nr)+".")
	vec := g.zmms
	if width == 32 {
		vec = g.ymms
	}
	// All registers of the bf16 kernel are named: see bf16.
	var acc, bv []reg.Register
	if t.bf16 {
		for i := range mr * nv {
			acc = append(acc, zmm[bf16Acc+i])
		}
		for j := range nv {
			bv = append(bv, zmm[bf16B+j])
		}
	} else {
		for _, v := range vec(mr*nv + nv) {
			acc = append(acc, v)
		}
		acc, bv = acc[:mr*nv], acc[mr*nv:]
	}
	c, ldc, a, b, k := g.base("c"), g.integer("ldc"), g.base("a"), g.base("b"), g.integer("kc")
	ahead := g.base("next")
	g.SHLQ(op.U8(2), ldc)
	g.note("ahead = next - b")
	g.SUBQ(b, ahead)

	g.note("var acc [MR][NR]float32; prefetch c")
	row := g.GP64()
	g.MOVQ(c, row)
	for i := range mr {
		for j := range nv {
			if z := acc[i*nv+j]; width == 64 {
				g.VPXORD(z, z, z)
			} else {
				g.VXORPS(z, z, z)
			}
			if j%(64/width) == 0 {
				g.PREFETCHT0(at(row, j*width))
			}
		}
		if i+1 < mr {
			g.ADDQ(ldc, row)
		}
	}

	step := func(u int) {
		for j := 0; j < nr*4; j += 64 {
			g.PREFETCHT1(atIndex(b, ahead, 1, u*nr*4+j))
		}
		for j := range nv {
			g.VMOVUPS(at(b, u*nr*4+j*width), bv[j])
		}
		for i := range mr {
			if t.bf16 {
				av := bf16A + i%2
				g.VBROADCASTSS(at(a, (u*mr+i)*4), zmm[av])
				for j := range nv {
					g.bf16(vdpbf16ps, bf16Acc+i*nv+j, av, bf16B+j)
				}
				continue
			}
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
	g.note("acc[i][j] += a[p*MR+i] * b[p*NR+j], p = 0..%d; prefetch next", tileUnroll-1)
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
