package optim_test

import (
	"math"
	"testing"

	"github.com/spdfctl/spdfctl/train/optim"
)

func TestSchedule(t *testing.T) {
	base := optim.Schedule{LR: 2, MinRatio: 0.1, Warmup: 4, Decay: 5, Steps: 14}
	for _, c := range []struct {
		kind string
		step int
		want float64
	}{
		{"cosine", 0, 0.5}, {"cosine", 3, 2}, {"cosine", 4, 2},
		{"cosine", 9, 0.2 + 1.8*0.5}, {"cosine", 14, 0.2}, {"cosine", 99, 0.2},
		{"linear", 4, 2}, {"linear", 9, 1.1}, {"linear", 14, 0.2},
		{"wsd", 1, 1}, {"wsd", 8, 2}, {"wsd", 9, 2}, {"wsd", 10, 2 - 1.8/5}, {"wsd", 14, 0.2},
		{"constant", 1, 1}, {"constant", 13, 2},
	} {
		s := base
		s.Kind = c.kind
		if err := s.Validate(); err != nil {
			t.Fatal(err)
		}
		if got := s.At(c.step); math.Abs(got-c.want) > 1e-12 {
			t.Errorf("%s at step %d is %g, want %g", c.kind, c.step, got, c.want)
		}
	}
}

// TestAdamW follows one weight through the published update in float64.
func TestAdamW(t *testing.T) {
	c := optim.AdamWConfig{Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, WeightDecay: 0.1}
	w, g := []float32{0.5, 0.5}, []float32{0, 0}
	o := optim.NewAdamW([]optim.Tensor{{W: w[:1], Grad: g[:1], Decay: true}, {W: w[1:], Grad: g[1:]}}, c)
	x, m, v := [2]float64{0.5, 0.5}, 0.0, 0.0
	for step := 1; step <= 20; step++ {
		grad, lr := math.Sin(float64(step)), 0.01/float64(step)
		g[0], g[1] = float32(grad), float32(grad)
		o.Update(lr)
		m = c.Beta1*m + (1-c.Beta1)*grad
		v = c.Beta2*v + (1-c.Beta2)*grad*grad
		mHat := m / (1 - math.Pow(c.Beta1, float64(step)))
		vHat := v / (1 - math.Pow(c.Beta2, float64(step)))
		x[0] *= 1 - lr*c.WeightDecay
		for i := range x {
			x[i] -= lr * mHat / (math.Sqrt(vHat) + c.Eps)
		}
		for i := range x {
			if math.Abs(float64(w[i])-x[i]) > 1e-6 {
				t.Fatalf("step %d: weight %d is %g, want %g", step, i, w[i], x[i])
			}
		}
	}
}

func TestClip(t *testing.T) {
	g := []float32{3, 0, 4}
	p := []optim.Tensor{{Grad: g[:2]}, {Grad: g[2:]}}
	norm := optim.GradNorm(p)
	if norm != 5 {
		t.Fatalf("norm is %g, want 5", norm)
	}
	optim.Clip(p, norm, 10)
	if g[0] != 3 || g[2] != 4 {
		t.Errorf("gradients below the limit became %v", g)
	}
	optim.Clip(p, norm, 1)
	if got := optim.GradNorm(p); math.Abs(got-1) > 1e-6 {
		t.Errorf("clipped norm is %g, want 1", got)
	}
}

// TestAllocations: an update after the first allocates nothing.
func TestAllocations(t *testing.T) {
	w, g := make([]float32, 20000), make([]float32, 20000)
	for i := range g {
		g[i] = 1
	}
	p := []optim.Tensor{{W: w, Grad: g, Decay: true}}
	o := optim.NewAdamW(p, optim.AdamWConfig{Beta1: 0.9, Beta2: 0.999, Eps: 1e-8})
	got := testing.AllocsPerRun(20, func() {
		optim.Clip(p, optim.GradNorm(p), 1)
		o.Update(1e-3)
	})
	if got != 0 {
		t.Errorf("an update allocates %g times, want 0", got)
	}
}
