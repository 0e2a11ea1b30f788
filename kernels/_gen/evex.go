package main

import (
	"github.com/mmcloughlin/avo/ir"
	op "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// AVX512_BF16 is known neither to avo nor to Go's assembler, so its
// instructions are written as bytes, on registers chosen here.

// bf16Op is an instruction of AVX512_BF16 on three 512-bit registers: map 0F38,
// W = 0, a mandatory prefix and an opcode.
type bf16Op struct{ prefix, opcode byte }

var (
	// vdpbf16ps adds the products of two pairs of bf16 to every lane of dst.
	vdpbf16ps = bf16Op{prefixF3, 0x52}
	// vcvtne2ps2bf16 rounds 32 float32: those of b are the lower half of dst,
	// those of a the upper.
	vcvtne2ps2bf16 = bf16Op{prefixF2, 0x72}
)

// Mandatory prefixes as the field pp of EVEX codes them.
const (
	prefixF3 = 2
	prefixF2 = 3
)

// encode returns the bytes of the instruction dst, a, b, given the numbers of
// three 512-bit registers. EVEX stores the upper bits of the numbers inverted.
//
// Source: Intel SDM, volume 2, section 2.7.1.
func (o bf16Op) encode(dst, a, b int) [6]byte {
	bit := func(n, i int) byte { return byte(^n>>i) & 1 }
	return [6]byte{
		0x62,
		bit(dst, 3)<<7 | bit(b, 4)<<6 | bit(b, 3)<<5 | bit(dst, 4)<<4 | 2,
		byte(^a&15)<<3 | 1<<2 | o.prefix,
		2<<5 | bit(a, 4)<<3,
		o.opcode,
		3<<6 | byte(dst&7)<<3 | byte(b&7),
	}
}

// zmm are the 512-bit registers by number.
var zmm = []reg.VecPhysical{
	reg.Z0, reg.Z1, reg.Z2, reg.Z3, reg.Z4, reg.Z5, reg.Z6, reg.Z7,
	reg.Z8, reg.Z9, reg.Z10, reg.Z11, reg.Z12, reg.Z13, reg.Z14, reg.Z15,
	reg.Z16, reg.Z17, reg.Z18, reg.Z19, reg.Z20, reg.Z21, reg.Z22, reg.Z23,
	reg.Z24, reg.Z25, reg.Z26, reg.Z27, reg.Z28, reg.Z29, reg.Z30, reg.Z31,
}

// bf16 writes o on three registers by number. The bytes tell avo nothing, so
// the registers are named beside them.
func (g *gen) bf16(o bf16Op, dst, a, b int) {
	bytes := o.encode(dst, a, b)
	for i, c := range bytes {
		in := &ir.Instruction{Opcode: "BYTE", Operands: []op.Op{op.U8(c)}}
		if i == len(bytes)-1 {
			in.Inputs = []op.Op{zmm[dst], zmm[a], zmm[b]}
			in.Outputs = []op.Op{zmm[dst]}
			in.ISA = []string{"AVX512_BF16"}
		}
		g.Instruction(in)
	}
}
