package main

import (
	"github.com/mmcloughlin/avo/reg"
)

// emitVector writes the loops over plain vectors.
func emitVector(g *gen) {
	g.eachWidth(emitDot)
	g.eachWidth(emitAxpy)
	g.eachWidth(emitAdd)
	g.eachWidth(emitScale)
	g.eachWidth(emitSumSquares)
	g.eachWidth(emitMax)
}

// emitDot sums in four vectors, which hide the latency of the multiply-add.
func emitDot(s *simd) {
	s.function("dot"+s.suffix, "func(x, y []float32) float32", "dot"+s.suffix+" is Set.Dot.")
	x, y, n, off := s.base("x"), s.base("y"), s.length("x"), s.GP64()
	acc := s.zeros(4)
	s.loop(n, off, 4, func(disp, u int, k mask) {
		s.note("acc[%d] += x[i] * y[i]", u)
		v := s.load(atIndex(x, off, 1, disp), k)
		w := s.load(atIndex(y, off, 1, disp), k)
		s.VFMADD231PS(w, v, acc[u])
	})
	s.pairwise(acc, func(a, b reg.VecVirtual) { s.VADDPS(b, a, a) })
	s.VMOVSS(s.sum32(acc[0]), s.result(0))
	s.done()
}

// zeros returns n vectors of zeros.
func (s *simd) zeros(n int) []reg.VecVirtual {
	v := make([]reg.VecVirtual, n)
	for i := range v {
		v[i] = s.zero()
	}
	return v
}

// pairwise reduces the vectors of v to the first, neighbours first.
func (s *simd) pairwise(v []reg.VecVirtual, add func(a, b reg.VecVirtual)) {
	for step := 1; step < len(v); step *= 2 {
		for i := 0; i+step < len(v); i += 2 * step {
			add(v[i], v[i+step])
		}
	}
}

func emitAxpy(s *simd) {
	s.function("axpy"+s.suffix, "func(dst, x []float32, alpha float32)", "axpy"+s.suffix+" is Set.Axpy.")
	dst, x, n, off := s.base("dst"), s.base("x"), s.length("x"), s.GP64()
	alpha := s.scalar("alpha")
	s.loop(n, off, 4, func(disp, _ int, k mask) {
		s.note("dst[i] += alpha * x[i]")
		v := s.load(atIndex(x, off, 1, disp), k)
		d := s.load(atIndex(dst, off, 1, disp), k)
		s.VFMADD231PS(v, alpha, d)
		s.store(d, atIndex(dst, off, 1, disp), k)
	})
	s.done()
}

func emitAdd(s *simd) {
	s.function("add"+s.suffix, "func(dst, a, b []float32)", "add"+s.suffix+" is Set.Add.")
	dst, a, b, n, off := s.base("dst"), s.base("a"), s.base("b"), s.length("dst"), s.GP64()
	s.loop(n, off, 4, func(disp, _ int, k mask) {
		s.note("dst[i] = a[i] + b[i]")
		v := s.load(atIndex(a, off, 1, disp), k)
		w := s.load(atIndex(b, off, 1, disp), k)
		s.VADDPS(w, v, v)
		s.store(v, atIndex(dst, off, 1, disp), k)
	})
	s.done()
}

func emitScale(s *simd) {
	s.function("scale"+s.suffix, "func(x []float32, s float32)", "scale"+s.suffix+" is Set.Scale.")
	x, n, off := s.base("x"), s.length("x"), s.GP64()
	factor := s.scalar("s")
	s.loop(n, off, 4, func(disp, _ int, k mask) {
		s.note("x[i] *= s")
		v := s.load(atIndex(x, off, 1, disp), k)
		s.VMULPS(factor, v, v)
		s.store(v, atIndex(x, off, 1, disp), k)
	})
	s.done()
}

func emitSumSquares(s *simd) {
	s.function("sumSquares"+s.suffix, "func(x []float32) float64", "sumSquares"+s.suffix+" is Set.SumSquares.")
	x, n, off := s.base("x"), s.length("x"), s.GP64()
	acc := s.zeros(4)
	s.loop(n, off, 2, func(disp, u int, k mask) {
		s.note("acc[%d], acc[%d] += float64(x[i])²", 2*u, 2*u+1)
		lo, hi := s.widen(s.load(atIndex(x, off, 1, disp), k))
		s.VFMADD231PD(lo, lo, acc[2*u])
		s.VFMADD231PD(hi, hi, acc[2*u+1])
	})
	s.pairwise(acc, func(a, b reg.VecVirtual) { s.VADDPD(b, a, a) })
	s.VMOVSD(s.sum64(acc[0]), s.result(0))
	s.done()
}

// emitMax starts every lane at x[0], so that, as in the reference, a NaN there
// stays and any other loses: VMAXPS returns its second operand, the maximum so
// far, if one is NaN.
func emitMax(s *simd) {
	s.function("max"+s.suffix, "func(x []float32) float32", "max"+s.suffix+" is Set.Max.")
	x, n, off := s.base("x"), s.length("x"), s.GP64()
	first := s.vec()
	s.VBROADCASTSS(at(x, 0), first)
	acc := make([]reg.VecVirtual, 4)
	for i := range acc {
		acc[i] = s.vec()
		s.VMOVAPS(first, acc[i])
	}
	s.loop(n, off, 4, func(disp, u int, k mask) {
		s.note("acc[%d] = x[i] if x[i] > acc[%d]", u, u)
		v := s.load(atIndex(x, off, 1, disp), k)
		if k != nil {
			if s.wide {
				t := s.vec()
				s.VBLENDMPS(v, first, k, t)
				v = t
			} else {
				s.VBLENDVPS(k, v, first, v)
			}
		}
		s.VMAXPS(acc[u], v, acc[u])
	})
	s.pairwise(acc, func(a, b reg.VecVirtual) { s.VMAXPS(a, b, a) })
	s.note("the largest lane")
	m := s.reduce32(acc[0], func(a, b reg.Register) { s.VMAXPS(b, a, b) })
	s.VMOVSS(m, s.result(0))
	s.done()
}
