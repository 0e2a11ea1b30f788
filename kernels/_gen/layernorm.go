package main

import (
	op "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// emitLayerNorm writes one row of LayerNorm and of its gradient. Sums are
// taken in float64, as in the reference.
func emitLayerNorm(g *gen) {
	g.eachWidth(emitNormRow)
	g.eachWidth(emitNormRowGrad)
}

// float64Of returns n as float64.
func (s *simd) float64Of(n reg.GPVirtual) reg.Register {
	x := s.XMM()
	s.VXORPS(x, x, x)
	s.VCVTSI2SDQ(n, x, x)
	return x
}

// spread64 copies the float64 in x to every lane, spread32 the float32.
func (s *simd) spread64(x reg.Register) reg.VecVirtual {
	v := s.vec()
	s.VBROADCASTSD(x, v)
	return v
}

func (s *simd) spread32(x reg.Register) reg.VecVirtual {
	v := s.vec()
	s.VBROADCASTSS(x, v)
	return v
}

func emitNormRow(s *simd) {
	s.function("normRow"+s.suffix, "func(dst, x, weight, bias []float32, eps float32) (mean, rstd float32)",
		"normRow"+s.suffix+" is Set.NormRow.")
	dst, x, weight, bias := s.base("dst"), s.base("x"), s.base("weight"), s.base("bias")
	n, off := s.length("x"), s.GP64()

	sum := s.zeros(2)
	s.loop(n, off, 1, func(disp, _ int, k mask) {
		s.note("sum[0], sum[1] += float64(x[i])")
		lo, hi := s.widen(s.load(atIndex(x, off, 1, disp), k))
		s.VADDPD(lo, sum[0], sum[0])
		s.VADDPD(hi, sum[1], sum[1])
	})
	s.VADDPD(sum[1], sum[0], sum[0])
	mu := s.sum64(sum[0])
	s.note("mu = sum / n")
	count := s.float64Of(n)
	s.VDIVSD(count, mu, mu)
	mean := s.XMM()
	s.VCVTSD2SS(mu, mu, mean)
	s.VMOVSS(mean, s.result(0))
	mus := s.spread64(mu)

	sq := s.zeros(2)
	s.loop(n, off, 1, func(disp, _ int, k mask) {
		s.note("sq[0], sq[1] += (float64(x[i]) - mu)²")
		lo, hi := s.widen(s.load(atIndex(x, off, 1, disp), k))
		s.VSUBPD(mus, lo, lo)
		s.VSUBPD(mus, hi, hi)
		s.keep64(lo, hi, k)
		s.VFMADD231PD(lo, lo, sq[0])
		s.VFMADD231PD(hi, hi, sq[1])
	})
	s.VADDPD(sq[1], sq[0], sq[0])
	variance := s.sum64(sq[0])
	s.note("rstd = 1 / sqrt(sq/n + eps)")
	s.VDIVSD(count, variance, variance)
	e := s.XMM()
	s.VMOVSS(s.argument("eps"), e)
	s.VCVTSS2SD(e, e, e)
	s.VADDSD(e, variance, variance)
	s.VSQRTSD(variance, variance, variance)
	rstd := s.XMM()
	s.VMOVSD(s.f64One(), rstd)
	s.VDIVSD(variance, rstd, rstd)
	s.VCVTSD2SS(rstd, rstd, rstd)
	s.VMOVSS(rstd, s.result(1))

	means, rstds := s.spread32(mean), s.spread32(rstd)
	s.loop(n, off, 1, func(disp, _ int, k mask) {
		s.note("dst[i] = (x[i]-mean)*rstd*weight[i] + bias[i]")
		v := s.load(atIndex(x, off, 1, disp), k)
		s.VSUBPS(means, v, v)
		s.VMULPS(rstds, v, v)
		w := s.load(atIndex(weight, off, 1, disp), k)
		b := s.load(atIndex(bias, off, 1, disp), k)
		s.VFMADD213PS(b, w, v)
		s.store(v, atIndex(dst, off, 1, disp), k)
	})
	s.done()
}

// f64One is the float64 1 in memory.
func (g *gen) f64One() op.Mem {
	if m, ok := g.tables["one64"]; ok {
		return m
	}
	m := g.ConstData("one64", op.F64(1))
	if g.tables == nil {
		g.tables = map[string]op.Mem{}
	}
	g.tables["one64"] = m
	return m
}

// keep64 clears the float64 lanes that a float32 mask does not select; lo and
// hi are the halves of a widened vector.
func (s *simd) keep64(lo, hi reg.VecVirtual, k mask) {
	if k == nil {
		return
	}
	if s.wide {
		upper := s.K()
		s.KSHIFTRW(op.U8(8), k, upper)
		s.VMOVAPD_Z(lo, k, lo)
		s.VMOVAPD_Z(hi, upper, hi)
		return
	}
	m := s.vec()
	s.VPMOVSXDQ(k.(reg.VecVirtual).AsX(), m)
	s.VANDPD(m, lo, lo)
	s.VEXTRACTF128(op.U8(1), k, m.AsX())
	s.VPMOVSXDQ(m.AsX(), m)
	s.VANDPD(m, hi, hi)
}

func emitNormRowGrad(s *simd) {
	s.function("normRowGrad"+s.suffix, "func(dx, dweight, dbias, dy, x, weight []float32, mean, rstd float32)",
		"normRowGrad"+s.suffix+" is Set.NormRowGrad.")
	dx, dweight, dbias := s.base("dx"), s.base("dweight"), s.base("dbias")
	dy, x, weight := s.base("dy"), s.base("x"), s.base("weight")
	n, off := s.length("x"), s.GP64()
	mean, rstd := s.scalar("mean"), s.scalar("rstd")
	// hat returns dy[i]*weight[i] and (x[i]-mean)*rstd.
	hat := func(disp int, k mask) (d, g, xhat reg.VecVirtual) {
		s.note("g, xhat = dy[i]*weight[i], (x[i]-mean)*rstd")
		d, g = s.load(atIndex(dy, off, 1, disp), k), s.load(atIndex(weight, off, 1, disp), k)
		s.VMULPS(d, g, g)
		xhat = s.load(atIndex(x, off, 1, disp), k)
		s.VSUBPS(mean, xhat, xhat)
		s.VMULPS(rstd, xhat, xhat)
		return d, g, xhat
	}

	sum, dot := s.zeros(2), s.zeros(2)
	s.loop(n, off, 1, func(disp, _ int, k mask) {
		_, g, xhat := hat(disp, k)
		s.note("sum += float64(g), dot += float64(g)*float64(xhat), in halves")
		glo, ghi := s.widen(g)
		s.VADDPD(glo, sum[0], sum[0])
		s.VADDPD(ghi, sum[1], sum[1])
		xlo, xhi := s.widen(xhat)
		s.VFMADD231PD(xlo, glo, dot[0])
		s.VFMADD231PD(xhi, ghi, dot[1])
	})
	s.note("a, b = sum/n, dot/n")
	count := s.float64Of(n)
	average := func(v []reg.VecVirtual) reg.VecVirtual {
		s.VADDPD(v[1], v[0], v[0])
		t := s.sum64(v[0])
		s.VDIVSD(count, t, t)
		s.VCVTSD2SS(t, t, t)
		return s.spread32(t)
	}
	a, b := average(sum), average(dot)

	s.loop(n, off, 1, func(disp, _ int, k mask) {
		d, g, xhat := hat(disp, k)
		s.note("dx[i] += (g - a - xhat*b) * rstd")
		s.VSUBPS(a, g, g)
		s.VFNMADD231PS(b, xhat, g)
		t := s.load(atIndex(dx, off, 1, disp), k)
		s.VFMADD231PS(rstd, g, t)
		s.store(t, atIndex(dx, off, 1, disp), k)
		s.note("dweight[i] += dy[i]*xhat; dbias[i] += dy[i]")
		t = s.load(atIndex(dweight, off, 1, disp), k)
		s.VFMADD231PS(xhat, d, t)
		s.store(t, atIndex(dweight, off, 1, disp), k)
		t = s.load(atIndex(dbias, off, 1, disp), k)
		s.VADDPS(d, t, t)
		s.store(t, atIndex(dbias, off, 1, disp), k)
	})
	s.done()
}
