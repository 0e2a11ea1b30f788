package main

import (
	"fmt"
	"strconv"

	"github.com/mmcloughlin/avo/attr"
	"github.com/mmcloughlin/avo/build"
	op "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// gen is an avo context with the few shorthands the emitters share.
type gen struct {
	*build.Context
	tables map[string]op.Mem // constants of the file, by name
}

// function starts an assembly function; doc is its comment in the stub.
func (g *gen) function(name, signature string, doc ...string) {
	g.Function(name)
	g.Attributes(attr.NOSPLIT)
	g.SignatureExpr(signature)
	g.Pragma("noescape")
	g.Doc(doc...)
}

// base loads the address of the first element of a slice argument.
func (g *gen) base(name string) reg.GPVirtual {
	r := g.GP64()
	g.Load(g.Param(name).Base(), r)
	return r
}

// length loads the length of a slice argument.
func (g *gen) length(name string) reg.GPVirtual {
	r := g.GP64()
	g.Load(g.Param(name).Len(), r)
	return r
}

// integer loads an int argument.
func (g *gen) integer(name string) reg.GPVirtual {
	r := g.GP64()
	g.Load(g.Param(name), r)
	return r
}

// at is the memory at base plus a constant number of bytes.
func at(base reg.Register, disp int) op.Mem { return op.Mem{Base: base, Disp: disp} }

// atIndex is the memory at base + index*scale + disp bytes.
func atIndex(base, index reg.Register, scale uint8, disp int) op.Mem {
	return op.Mem{Base: base, Index: index, Scale: scale, Disp: disp}
}

// zmms returns n fresh 512-bit registers.
func (g *gen) zmms(n int) []reg.VecVirtual {
	v := make([]reg.VecVirtual, n)
	for i := range v {
		v[i] = g.ZMM()
	}
	return v
}

// ymms returns n fresh 256-bit registers.
func (g *gen) ymms(n int) []reg.VecVirtual {
	v := make([]reg.VecVirtual, n)
	for i := range v {
		v[i] = g.YMM()
	}
	return v
}

// zero512 clears a 512-bit register, zero256 a 256-bit one.
func (g *gen) zero512(v reg.VecVirtual) { g.VPXORD(v, v, v) }
func (g *gen) zero256(v reg.VecVirtual) { g.VXORPS(v, v, v) }

// note writes a pseudo-Go comment before the next instruction.
func (g *gen) note(format string, a ...any) { g.Comment(fmt.Sprintf(format, a...)) }

func itoa(n int) string { return strconv.Itoa(n) }
