package kerneltest

import (
	"fmt"
	"math"

	"github.com/spdfctl/spdfctl/kernels"
)

// norm64 is one row of LayerNorm. tol bounds the error of each element.
func norm64(x, weight, bias []float32, eps float32) (y, tol []float64, mean, rstd float64) {
	n := float64(len(x))
	var absolute float64
	for _, v := range x {
		mean += float64(v)
		absolute += math.Abs(float64(v))
	}
	mean /= n
	absolute /= n
	var variance float64
	for _, v := range x {
		d := float64(v) - mean
		variance += d * d
	}
	variance /= n
	rstd = 1 / math.Sqrt(variance+float64(eps))
	// The mean may be off by its sum's roundings, rstd by half of those of the
	// variance and by the square of the mean's error.
	meanErr := (n + 2) * epsilon * absolute
	rstdErr := (n+8)*epsilon + meanErr*meanErr*rstd*rstd
	y, tol = make([]float64, len(x)), make([]float64, len(x))
	for i, v := range x {
		xhat := (float64(v) - mean) * rstd
		w := math.Abs(float64(weight[i]))
		y[i] = xhat*float64(weight[i]) + float64(bias[i])
		tol[i] = w*rstd*(meanErr+epsilon*math.Abs(float64(v)-mean)) + w*math.Abs(xhat)*rstdErr +
			2*epsilon*(math.Abs(float64(bias[i]))+w*math.Abs(xhat))
	}
	return y, tol, mean, rstd
}

func checkNormRow(set *kernels.Set, short bool) error {
	rng := newRand(10)
	return lengths(short, func(n, offset int) error {
		if n == 0 {
			return nil
		}
		shift, spread := float32(0), float32(1)
		switch offset % 4 {
		case 1:
			shift = 100 // a one-pass variance would cancel
		case 2:
			spread = 1e-4
		case 3:
			spread = 0 // variance 0: eps decides
		}
		dst := newGuarded("dst", n, offset, func(s []float32) { fill(rng, s) })
		x := newGuarded("x", n, (offset+n)%16, func(s []float32) {
			fill(rng, s)
			for i := range s {
				s[i] = s[i]*spread + shift
			}
		})
		weight := newGuarded("weight", n, (offset+5)%16, func(s []float32) { fill(rng, s) })
		bias := newGuarded("bias", n, (offset+9)%16, func(s []float32) { fill(rng, s) })
		const eps = 1e-5
		mean, rstd := set.NormRow(dst.s, x.s, weight.s, bias.s, eps)
		want, tol, mean64, rstd64 := norm64(x.s, weight.s, bias.s, eps)
		for i, v := range want {
			if diff := math.Abs(float64(dst.s[i]) - v); !(diff <= tol[i]) {
				return fmt.Errorf("element %d: got %g, want %g, bound %.3g", i, dst.s[i], v, tol[i])
			}
		}
		var mass float64
		for _, v := range x.s {
			mass += math.Abs(float64(v)) / float64(n)
		}
		if err := agree(mean, mean64, mass, n+2); err != nil {
			return fmt.Errorf("mean: %w", err)
		}
		slack := 1 + float64(n)*epsilon*mass*mass*rstd64*rstd64
		if err := agree(rstd, rstd64, rstd64*slack, n+8); err != nil {
			return fmt.Errorf("rstd: %w", err)
		}
		if err := first(dst.intact(), x.unchanged(), weight.unchanged(), bias.unchanged()); err != nil {
			return err
		}
		set.NormRow(x.s, x.s, weight.s, bias.s, eps) // in place
		return first(exactly(x.s, dst.s), x.intact())
	})
}

func checkNormRowGrad(set *kernels.Set, short bool) error {
	rng := newRand(11)
	return lengths(short, func(n, offset int) error {
		if n == 0 {
			return nil
		}
		normal := func(s []float32) { fill(rng, s) }
		dx := newGuarded("dx", n, offset, normal)
		dweight := newGuarded("dweight", n, (offset+1)%16, normal)
		dbias := newGuarded("dbias", n, (offset+2)%16, normal)
		dy := newGuarded("dy", n, (offset+3)%16, normal)
		x := newGuarded("x", n, (offset+n)%16, normal)
		weight := newGuarded("weight", n, (offset+5)%16, normal)
		mean, rstd := float32(0.25*rng.NormFloat64()), float32(0.5+rng.Float64())
		set.NormRowGrad(dx.s, dweight.s, dbias.s, dy.s, x.s, weight.s, mean, rstd)

		xhat, g := make([]float64, n), make([]float64, n)
		var a, b, massA, massB float64
		for i := range n {
			xhat[i] = (float64(x.s[i]) - float64(mean)) * float64(rstd)
			g[i] = float64(dy.s[i]) * float64(weight.s[i])
			a += g[i] / float64(n)
			b += g[i] * xhat[i] / float64(n)
			massA += math.Abs(g[i]) / float64(n)
			massB += math.Abs(g[i]*xhat[i]) / float64(n)
		}
		for i := range n {
			d := (g[i] - a - xhat[i]*b) * float64(rstd)
			mass := (math.Abs(g[i])+massA+math.Abs(xhat[i])*massB)*float64(rstd) + math.Abs(float64(dx.old()[i]))
			p := float64(dy.s[i]) * xhat[i]
			if err := first(
				named("dx", agree(dx.s[i], float64(dx.old()[i])+d, mass, n+10)),
				named("dweight", agree(dweight.s[i], float64(dweight.old()[i])+p, math.Abs(float64(dweight.old()[i]))+math.Abs(p), 5)),
				named("dbias", agree(dbias.s[i], float64(dbias.old()[i])+float64(dy.s[i]), math.Abs(float64(dbias.old()[i]))+math.Abs(float64(dy.s[i])), 1)),
			); err != nil {
				return fmt.Errorf("element %d: %w", i, err)
			}
		}
		return first(dx.intact(), dweight.intact(), dbias.intact(), dy.unchanged(), x.unchanged(), weight.unchanged())
	})
}

// named prefixes an error, if there is one.
func named(name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", name, err)
}

func checkAdamW(set *kernels.Set, short bool) error {
	rng := newRand(12)
	p := kernels.AdamWParams{LR: 3e-3, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, WeightDecay: 0.1}
	return lengths(short, func(n, offset int) error {
		step := float64(1 + rng.IntN(1000))
		p.C1, p.C2 = 1-math.Pow(p.Beta1, step), 1-math.Pow(p.Beta2, step)
		normal := func(s []float32) { fill(rng, s) }
		w := newGuarded("w", n, offset, normal)
		grad := newGuarded("grad", n, (offset+n)%16, normal)
		m := newGuarded("m", n, (offset+1)%16, normal)
		v := newGuarded("v", n, (offset+2)%16, func(s []float32) {
			for i := range s {
				s[i] = float32(math.Abs(rng.NormFloat64()))
			}
		})
		for i := range n { // what never had a gradient stays exactly +0
			if i%7 == 3 {
				w.s[i], grad.s[i], m.s[i], v.s[i] = 0, 0, 0, 0
				grad.before[grad.lo+i] = 0
			}
		}
		w.before = append(w.before[:0], w.all...)
		m.before = append(m.before[:0], m.all...)
		v.before = append(v.before[:0], v.all...)
		set.AdamW(w.s, grad.s, m.s, v.s, p)
		for i := range n {
			w0, g, m0, v0 := float64(w.old()[i]), float64(grad.s[i]), float64(m.old()[i]), float64(v.old()[i])
			if w0 == 0 && g == 0 && m0 == 0 && v0 == 0 {
				if err := exactly([]float32{w.s[i], m.s[i], v.s[i]}, []float32{0, 0, 0}); err != nil {
					return fmt.Errorf("a weight of zeros: %w", err)
				}
				continue
			}
			m1 := m0 + (1-p.Beta1)*(g-m0)
			v1 := v0*p.Beta2 + (1-p.Beta2)*g*g
			update := p.LR / p.C1 * m1 / (math.Sqrt(v1)/math.Sqrt(p.C2) + p.Eps)
			updateMass := p.LR / p.C1 * (math.Abs(m0) + math.Abs(g)) / (math.Sqrt(v1)/math.Sqrt(p.C2) + p.Eps)
			if err := first(
				named("m", agree(m.s[i], m1, math.Abs(m0)+math.Abs(g), 4)),
				named("v", agree(v.s[i], v1, v1, 6)),
				named("w", agree(w.s[i], w0*(1-p.LR*p.WeightDecay)-update, math.Abs(w0)+updateMass, 14)),
			); err != nil {
				return fmt.Errorf("element %d: %w", i, err)
			}
		}
		return first(w.intact(), m.intact(), v.intact(), grad.unchanged())
	})
}
