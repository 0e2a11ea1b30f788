package kerneltest

import (
	"fmt"
	"math"

	"github.com/spdfctl/spdfctl/kernels"
)

// attention64 is causal attention in float64, with what a bound needs.
type attention64 struct {
	b, t, nh, hs int
	p            []float64 // (b, nh, t, t) probabilities
	lse          []float64 // (b, nh, t)
	out          []float64 // (b, t, C)
	outMass      []float64 // sums of absolute terms of out
	scoreMass    float64   // the largest sum of absolute terms of a score
}

func newAttention64(qkv []float32, b, t, nh, hs int) *attention64 {
	c := nh * hs
	a := &attention64{
		b: b, t: t, nh: nh, hs: hs,
		p: make([]float64, b*nh*t*t), lse: make([]float64, b*nh*t),
		out: make([]float64, b*t*c), outMass: make([]float64, b*t*c),
	}
	scale := 1 / math.Sqrt(float64(hs))
	for h := range b * nh {
		for i := range t {
			row := a.p[(h*t+i)*t:][:i+1]
			top := math.Inf(-1)
			for j := range row {
				s, mass := dot64(a.part(qkv, h, i, 0), a.part(qkv, h, j, 1))
				row[j] = s * scale
				top = math.Max(top, row[j])
				a.scoreMass = math.Max(a.scoreMass, mass*scale)
			}
			var sum float64
			for j, s := range row {
				row[j] = math.Exp(s - top)
				sum += row[j]
			}
			a.lse[h*t+i] = top + math.Log(sum)
			for j := range row {
				row[j] /= sum
				for n, v := range a.part(qkv, h, j, 2) {
					at := a.index(h, i) + n
					a.out[at] += row[j] * float64(v)
					a.outMass[at] += row[j] * math.Abs(float64(v))
				}
			}
		}
	}
	return a
}

// part returns row i of head h of q (0), k (1) or v (2).
func (a *attention64) part(qkv []float32, h, i, which int) []float32 {
	c := a.nh * a.hs
	at := (h/a.nh*a.t+i)*3*c + which*c + h%a.nh*a.hs
	return qkv[at : at+a.hs]
}

// index returns where row i of head h starts in (b, t, C).
func (a *attention64) index(h, i int) int {
	return (h/a.nh*a.t+i)*a.nh*a.hs + h%a.nh*a.hs
}

// roundings is the k of the bounds: a score's error becomes a relative error of
// its exponential, twice because of the sum; then come the sums over t.
func (a *attention64) roundings() int {
	return int(2*float64(a.hs+4)*a.scoreMass) + a.t + 2*expUlps + 20
}

// backward returns the gradient of qkv and the sums of its absolute terms.
func (a *attention64) backward(qkv, dout []float32) (dqkv, mass []float64) {
	c := a.nh * a.hs
	dqkv, mass = make([]float64, a.b*a.t*3*c), make([]float64, a.b*a.t*3*c)
	scale := 1 / math.Sqrt(float64(a.hs))
	for h := range a.b * a.nh {
		at := func(i, which int) int { return (h/a.nh*a.t+i)*3*c + which*c + h%a.nh*a.hs }
		for i := range a.t {
			do := dout[a.index(h, i):][:a.hs]
			var delta, deltaMass float64
			for n, d := range do {
				delta += float64(d) * a.out[a.index(h, i)+n]
				deltaMass += math.Abs(float64(d)) * a.outMass[a.index(h, i)+n]
			}
			for j := range i + 1 {
				p := a.p[(h*a.t+i)*a.t+j]
				dp, dpMass := dot64(do, a.part(qkv, h, j, 2))
				ds, dsMass := p*(dp-delta)*scale, p*(dpMass+deltaMass)*scale
				q, k := a.part(qkv, h, i, 0), a.part(qkv, h, j, 1)
				for n := range a.hs {
					dqkv[at(i, 0)+n] += ds * float64(k[n])
					dqkv[at(j, 1)+n] += ds * float64(q[n])
					dqkv[at(j, 2)+n] += p * float64(do[n])
					mass[at(i, 0)+n] += dsMass * math.Abs(float64(k[n]))
					mass[at(j, 1)+n] += dsMass * math.Abs(float64(q[n]))
					mass[at(j, 2)+n] += p * math.Abs(float64(do[n]))
				}
			}
		}
	}
	return dqkv, mass
}

func checkAttention(set *kernels.Set, short bool) error {
	rng := newRand(27)
	// b, t, nh, hs: blocks of 64 queries and 256 keys, and their rims.
	shapes := [][4]int{{1, 1, 1, 1}, {2, 5, 3, 8}, {1, 64, 2, 16}, {1, 65, 1, 7}, {2, 70, 2, 33}, {1, 257, 1, 64}, {1, 330, 1, 5}, {1, 40, 1, 130}}
	if short {
		shapes = [][4]int{{1, 1, 1, 1}, {2, 5, 3, 8}, {2, 70, 2, 33}, {1, 270, 1, 4}}
	}
	for _, s := range shapes {
		b, t, nh, hs := s[0], s[1], s[2], s[3]
		c := nh * hs
		fail := func(what string, i int, err error) error {
			return fmt.Errorf("b=%d t=%d nh=%d hs=%d: %s[%d]: %w", b, t, nh, hs, what, i, err)
		}
		qkv := newGuarded("qkv", b*t*3*c, 3, func(x []float32) {
			fill(rng, x)
			for i := range x { // late keys are long: the largest score moves there
				if i/c%3 == 1 && i/(3*c)%t >= 250 {
					x[i] *= 3
				}
			}
		})
		dout := newGuarded("dout", b*t*c, 1, func(x []float32) { fill(rng, x) })
		out := newGuarded("out", b*t*c, 5, func(x []float32) { fill(rng, x) })
		lse := newGuarded("lse", b*nh*t, 2, func(x []float32) { fill(rng, x) })
		dqkv := newGuarded("dqkv", b*t*3*c, 7, func(x []float32) { fill(rng, x) })
		kernels.AttentionForward(out.s, lse.s, qkv.s, b, t, nh, hs)
		want := newAttention64(qkv.s, b, t, nh, hs)
		k := want.roundings()
		for i, v := range want.out {
			if err := agree(out.s[i], v, want.outMass[i], k); err != nil {
				return fail("out", i, err)
			}
		}
		for i, v := range want.lse {
			if err := agree(lse.s[i], v, 1+math.Abs(v)/float64(k), k); err != nil {
				return fail("lse", i, err)
			}
		}
		kernels.AttentionBackward(dqkv.s, dout.s, qkv.s, out.s, lse.s, b, t, nh, hs)
		grad, mass := want.backward(qkv.s, dout.s)
		for i, v := range grad {
			if err := agree(dqkv.s[i], v, mass[i], 2*k+hs); err != nil {
				return fail("dqkv", i, err)
			}
		}
		if err := first(qkv.unchanged(), dout.unchanged(), out.intact(), lse.intact(), dqkv.intact()); err != nil {
			return fail("guards", 0, err)
		}
	}
	return checkAttentionExtremes(rng.NormFloat64)
}

// checkAttentionExtremes uses scores of about ±1e4, whose exponentials
// overflow unless the largest is taken off first.
func checkAttentionExtremes(normal func() float64) error {
	const t, hs = 300, 4
	qkv := make([]float32, t*3*hs)
	for i := range qkv {
		qkv[i] = float32(normal())
		if i/hs%3 < 2 {
			qkv[i] *= 100
		}
	}
	out, lse := make([]float32, t*hs), make([]float32, t)
	kernels.AttentionForward(out, lse, qkv, 1, t, 1, hs)
	want := newAttention64(qkv, 1, t, 1, hs)
	for i, v := range want.lse {
		// Scores reach 1e4, one rounding of which is 5e-4.
		if diff := math.Abs(float64(lse[i]) - v); !(diff < 0.02) {
			return fmt.Errorf("scores of 1e4: lse[%d] is %g, want %g", i, lse[i], v)
		}
	}
	for i, v := range out {
		if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
			return fmt.Errorf("scores of 1e4: out[%d] is %g", i, v)
		}
	}
	return nil
}

func checkAttentionDecode(set *kernels.Set, short bool) error {
	rng := newRand(28)
	for _, s := range [][3]int{{1, 1, 1}, {5, 3, 8}, {64, 2, 16}, {300, 2, 33}} {
		t, nh, hs := s[0], s[1], s[2]
		c := nh * hs
		qkv := random(rng, t*3*c)
		k, v := make([]float32, t*c), make([]float32, t*c)
		for i := range t {
			copy(k[i*c:(i+1)*c], qkv[i*3*c+c:])
			copy(v[i*c:(i+1)*c], qkv[i*3*c+2*c:])
		}
		dst := newGuarded("dst", c, 3, func(x []float32) { fill(rng, x) })
		kernels.AttentionDecode(dst.s, qkv[(t-1)*3*c:][:c], k, v, t, nh, hs)
		want := newAttention64(qkv, 1, t, nh, hs)
		for n := range c {
			at := (t-1)*c + n
			if err := agree(dst.s[n], want.out[at], want.outMass[at], want.roundings()); err != nil {
				return fmt.Errorf("t=%d nh=%d hs=%d: channel %d: %w", t, nh, hs, n, err)
			}
		}
		if err := dst.intact(); err != nil {
			return err
		}
	}
	return nil
}
