package main

import (
	"math"

	op "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// emitExp writes what rests on the exponential.
func emitExp(g *gen) {
	g.eachWidth(emitExpSum)
	g.eachWidth(emitGELU)
	g.eachWidth(emitGELUGrad)
}

// Beyond these the exponential is +Inf or rounds to 0.
const (
	expHigh = 89
	expLow  = -104
)

// ln2 in two parts: the first has nine bits, so that k times it is exact.
const ln2High = 355.0 / 512

// expCoefficients are those of q in exp(r) = 1 + r + r²q(r): the polynomial
// that meets (exp(r)-1-r)/r² at the five Chebyshev nodes of |r| <= ln2/2. It
// is off by at most 0.16 * 2^-24 of exp(r).
var expCoefficients = []float64{0.5, 0x1.5554dcp-3, 0x1.555518p-5, 0x1.120c62p-7, 0x1.6d11fep-10}

// expLimits are the bounds of the argument, in registers for the whole loop.
type expLimits struct{ low, high reg.VecVirtual }

func (s *simd) expLimits() expLimits {
	return expLimits{s.constant("expLow", expLow), s.constant("expHigh", expHigh)}
}

// exp returns exp(x) within 2 ulp, subnormal results included: +Inf above
// 88.73, 0 below -103.98 and at -Inf, NaN for NaN.
//
//	x = k*ln2 + r, exp(x) = 2^k * exp(r)
func (s *simd) exp(x reg.VecVirtual, lim expLimits) reg.VecVirtual {
	t, k, r, q := s.vec(), s.vec(), s.vec(), s.vec()
	s.note("t = min(max(x, low), high), NaN stays NaN")
	s.VMAXPS(x, lim.low, t)
	s.VMINPS(t, lim.high, t)
	s.note("k = round(t * log2(e)); r = t - k*ln2, in two steps")
	s.VMULPS(s.f32("log2e", math.Log2E), t, k)
	if s.wide {
		s.VRNDSCALEPS(op.U8(8), k, k)
	} else {
		s.VROUNDPS(op.U8(8), k, k)
	}
	s.VMOVAPS(t, r)
	s.VFNMADD231PS(s.f32("ln2High", ln2High), k, r)
	s.VFNMADD231PS(s.f32("ln2Low", math.Ln2-ln2High), k, r)
	s.note("p = 1 + r + r²q(r)")
	c := expCoefficients
	s.VMOVUPS(s.f32("expC6", c[4]), q)
	s.VFMADD213PS(s.f32("expC5", c[3]), r, q)
	s.VFMADD213PS(s.f32("expC4", c[2]), r, q)
	s.VFMADD213PS(s.f32("expC3", c[1]), r, q)
	s.VFMADD213PS(s.f32("expC2", c[0]), r, q)
	s.VMULPS(r, r, t)
	s.VFMADD213PS(r, t, q)
	s.VADDPS(s.f32("one", 1), q, q)
	if s.wide {
		s.note("p * 2^k")
		s.VSCALEFPS(k, q, q)
		return q
	}
	s.note("p * 2^(k/2) * 2^(k-k/2): the second product rounds, once")
	half := s.vec()
	bias := s.table("exponentBias", 127)
	s.VCVTPS2DQ(k, k)
	s.VPSRAD(op.U8(1), k, half)
	s.VPSUBD(half, k, k)
	s.VPADDD(bias, half, half)
	s.VPADDD(bias, k, k)
	s.VPSLLD(op.U8(23), half, half)
	s.VPSLLD(op.U8(23), k, k)
	s.VMULPS(half, q, q)
	s.VMULPS(k, q, q)
	return q
}

func emitExpSum(s *simd) {
	s.function("expSum"+s.suffix, "func(dst, x []float32, shift float32) float32",
		"expSum"+s.suffix+" is Set.ExpSum; each exponential is within 2 ulp, the sum is",
		"taken in float64.")
	dst, x, n, off := s.base("dst"), s.base("x"), s.length("x"), s.GP64()
	shift := s.scalar("shift")
	lim := s.expLimits()
	sum := s.zeros(2)
	s.loop(n, off, 1, func(disp, _ int, k mask) {
		s.note("dst[i] = exp(x[i] - shift)")
		v := s.load(atIndex(x, off, 1, disp), k)
		s.VSUBPS(shift, v, v)
		e := s.exp(v, lim)
		s.store(e, atIndex(dst, off, 1, disp), k)
		s.note("sum[0], sum[1] += float64(dst[i])")
		s.keep(e, k)
		lo, hi := s.widen(e)
		s.VADDPD(lo, sum[0], sum[0])
		s.VADDPD(hi, sum[1], sum[1])
	})
	s.VADDPD(sum[1], sum[0], sum[0])
	t := s.sum64(sum[0])
	s.VCVTSD2SS(t, t, t)
	s.VMOVSS(t, s.result(0))
	s.done()
}

// geluScale and geluCubic are the constants of the tanh form, as in ref.go.
const (
	geluScale = 0.7978845608028653558798921198687637 // sqrt(2/pi)
	geluCubic = 0.044715
)

// gelu returns e = exp(-2u) for u = geluScale*(x + geluCubic*x³); x2 is x².
func (s *simd) geluExp(x, x2 reg.VecVirtual, lim expLimits) reg.VecVirtual {
	u := s.vec()
	s.note("u = -2u = x * (-2*scale - 2*scale*cubic*x²)")
	s.VMOVUPS(s.f32("geluM2SC", -2*geluScale*geluCubic), u)
	s.VFMADD213PS(s.f32("geluM2S", -2*geluScale), x2, u)
	s.VMULPS(x, u, u)
	return s.exp(u, lim)
}

// emitGELU uses 0.5*(1+tanh(u)) = 1/(1+exp(-2u)), as the reference does.
func emitGELU(s *simd) {
	s.function("gelu"+s.suffix, "func(dst, x []float32)",
		"gelu"+s.suffix+" is Set.GELU. The error is below 4 * 2^-24 * |x|; gelu(-Inf) is NaN,",
		"as in the reference.")
	dst, x, n, off := s.base("dst"), s.base("x"), s.length("x"), s.GP64()
	lim := s.expLimits()
	s.loop(n, off, 1, func(disp, _ int, k mask) {
		v, x2 := s.load(atIndex(x, off, 1, disp), k), s.vec()
		s.VMULPS(v, v, x2)
		e := s.geluExp(v, x2, lim)
		s.note("dst[i] = x / (1 + e)")
		s.VADDPS(s.f32("one", 1), e, e)
		s.VDIVPS(e, v, v)
		s.store(v, atIndex(dst, off, 1, disp), k)
	})
	s.done()
}

// emitGELUGrad differentiates x*sigma with sigma = 1/(1+exp(-2u)):
// gelu'(x) = sigma + x*sigma*(1-sigma)*2u'. The last factor is bounded, so that
// a huge x does not make it 0*Inf.
func emitGELUGrad(s *simd) {
	s.function("geluGrad"+s.suffix, "func(dx, dy, x []float32)",
		"geluGrad"+s.suffix+" is Set.GELUGrad. The error is below 16 * 2^-24 * |dy|; at an",
		"infinite x the result is NaN, as in the reference.")
	dx, dy, x, n, off := s.base("dx"), s.base("dy"), s.base("x"), s.length("x"), s.GP64()
	lim := s.expLimits()
	s.loop(n, off, 1, func(disp, _ int, k mask) {
		v, x2 := s.load(atIndex(x, off, 1, disp), k), s.vec()
		s.VMULPS(v, v, x2)
		e := s.geluExp(v, x2, lim)
		one := s.vec()
		sigma, d := s.vec(), s.vec()
		s.note("sigma = 1 / (1 + e)")
		s.VMOVUPS(s.f32("one", 1), one)
		rest := s.vec()
		s.VADDPS(one, e, rest)
		s.VDIVPS(rest, one, sigma)
		s.note("rest = 1 - sigma = e*sigma; where e is +Inf that is NaN, and 1 is right")
		s.VMULPS(sigma, e, rest)
		s.VMINPS(one, rest, rest)
		s.note("d = min(2*scale*(1 + 3*cubic*x²), huge)")
		s.VMOVUPS(s.f32("gelu6SC", 6*geluScale*geluCubic), d)
		s.VFMADD213PS(s.f32("gelu2S", 2*geluScale), x2, d)
		s.VMINPS(s.f32("huge", 1e30), d, d)
		s.note("dx[i] = dy[i] * (sigma + x*sigma*rest*d)")
		s.VMULPS(sigma, v, v)
		s.VMULPS(rest, v, v)
		s.VFMADD213PS(sigma, d, v)
		w := s.load(atIndex(dy, off, 1, disp), k)
		s.VMULPS(w, v, v)
		s.store(v, atIndex(dx, off, 1, disp), k)
	})
	s.done()
}
