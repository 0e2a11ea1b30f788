package gpt_test

import (
	"math"
	"slices"
	"testing"

	"github.com/spdfctl/spdfctl/kernels"
	"github.com/spdfctl/spdfctl/train/gpt"
)

// objective is what LossAndGrad differentiates, in float64: the loss with
// z-loss and label smoothing.
func objective(m *gpt.Model, tr gpt.Training) float64 {
	ids, targets, b, t := tinyBatch()
	r := newRef64(m)
	v := float64(m.Config.VocabSize)
	var sum float64
	for i := range b {
		for j, row := range r.logits(ids[i*t : (i+1)*t]) {
			target := targets[i*t+j]
			if target < 0 {
				continue
			}
			z := logSumExp(row)
			sum += z - (1-tr.LabelSmoothing)*row[target] + tr.ZLoss*z*z
			for _, x := range row {
				sum -= tr.LabelSmoothing / v * x
			}
		}
	}
	return sum
}

// TestShapedGradients compares the gradient with z-loss and label smoothing
// with central differences of the objective, along every tensor's own gradient.
func TestShapedGradients(t *testing.T) {
	tr := gpt.Training{ZLoss: 0.05, LabelSmoothing: 0.2}
	m := newTiny(t, "0.5", gpt.MaskTargets(tiny))
	plain := newTiny(t, "0.5", gpt.MaskTargets(tiny))
	m.Training = tr
	ids, targets, b, n := tinyBatch()
	got, _, err := m.LossAndGrad(ids, targets, b, n, 1)
	if err != nil {
		t.Fatal(err)
	}
	if want, _, _ := plain.Loss(ids, targets, b, n); got != want {
		t.Errorf("the loss is %g with z-loss and smoothing, %g without; it is the plain one", got, want)
	}
	for _, p := range m.Params {
		norm := math.Sqrt(kernels.SumSquares(p.Grad))
		step := 1e-3 / norm
		before := slices.Clone(p.W)
		at := func(sign float64) float64 {
			for i, g := range p.Grad {
				p.W[i] = before[i] + float32(sign*step*float64(g))
			}
			return objective(m, tr)
		}
		slope := (at(1) - at(-1)) / (2 * step)
		copy(p.W, before)
		// Steps are rounded to float32 and the third derivative is left out.
		if math.Abs(slope-norm*norm) > 2e-3*norm*norm {
			t.Errorf("%s: the objective rises by %.6g along the gradient, want its squared norm %.6g", p.Name, slope, norm*norm)
		}
	}
}

// grads returns the gradients of a pass over the tiny batch in pieces of size
// sequences.
func grads(t *testing.T, tr gpt.Training, size int) [][]float32 {
	t.Helper()
	m := newTiny(t, "0.5", gpt.MaskTargets(tiny))
	ids, targets, b, n := tinyBatch()
	m.Training = tr
	for lo := 0; lo < b; lo += size {
		m.Training.First = tr.First + lo
		if _, _, err := m.LossAndGrad(ids[lo*n:(lo+size)*n], targets[lo*n:(lo+size)*n], size, n, 1); err != nil {
			t.Fatal(err)
		}
	}
	var out [][]float32
	for _, p := range m.Params {
		out = append(out, p.Grad)
	}
	return out
}

func sameBits(a, b [][]float32) bool {
	return slices.EqualFunc(a, b, func(x, y []float32) bool { return slices.Equal(x, y) })
}

// TestRecompute: checkpointed activations give the same bits, dropout included.
func TestRecompute(t *testing.T) {
	tr := gpt.Training{Dropout: 0.3, Seed: 7, First: 12}
	with := tr
	with.Recompute = true
	if !sameBits(grads(t, tr, 2), grads(t, with, 2)) {
		t.Error("gradients with recomputed activations have other bits")
	}
	size := func(tr gpt.Training) int64 {
		m := newTiny(t, "", nil)
		m.Training = tr
		ids, targets, b, n := tinyBatch()
		if _, _, err := m.LossAndGrad(ids, targets, b, n, 1); err != nil {
			t.Fatal(err)
		}
		return m.BufferFloats()
	}
	if a, b := size(with), size(tr); a >= b {
		t.Errorf("buffers hold %d numbers when recomputing, %d otherwise", a, b)
	}
}

// TestDropout: the choice depends on seed and sequence number, not on threads,
// and a sequence drops the same places in whichever micro-batch it comes.
func TestDropout(t *testing.T) {
	defer kernels.SetThreads(0)
	tr := gpt.Training{Dropout: 0.25, Seed: 7, First: 40}
	kernels.SetThreads(1)
	base := grads(t, tr, 2)
	kernels.SetThreads(3)
	if !sameBits(base, grads(t, tr, 2)) {
		t.Error("dropout depends on the number of threads")
	}
	for _, change := range []func(*gpt.Training){
		func(x *gpt.Training) { x.Seed++ }, func(x *gpt.Training) { x.First++ }, func(x *gpt.Training) { x.Dropout = 0 },
	} {
		other := tr
		change(&other)
		if sameBits(base, grads(t, other, 2)) {
			t.Errorf("%+v drops what %+v drops", other, tr)
		}
	}
	for i, whole := range base {
		for j, x := range grads(t, tr, 1)[i] {
			// Sums of micro-batches are rounded apart.
			if d := math.Abs(float64(x - whole[j])); d > 1e-4*(1+math.Abs(float64(whole[j]))) {
				t.Fatalf("gradient %d, %d is %g in micro-batches of one, %g in one of two", i, j, x, whole[j])
			}
		}
	}
}

// TestFullGrad: the collected gradient of every weight has that of the kept
// ones in their places, and that of the dense model everywhere.
func TestFullGrad(t *testing.T) {
	m := newTiny(t, "0.5", gpt.MaskTargets(tiny))
	dense, err := m.Densify()
	if err != nil {
		t.Fatal(err)
	}
	ids, targets, b, n := tinyBatch()
	m.ZeroGrad()
	m.CollectFullGrad(true)
	for _, x := range []*gpt.Model{m, dense} {
		if _, _, err := x.LossAndGrad(ids, targets, b, n, 1); err != nil {
			t.Fatal(err)
		}
	}
	for i, p := range m.Params {
		if !p.Masked() {
			continue
		}
		var diff, norm float64
		for j, g := range dense.Params[i].Grad {
			d := float64(p.Full[j] - g)
			diff += d * d
			norm += float64(g) * float64(g)
		}
		if e := math.Sqrt(diff / norm); !(e < gradTolerance) {
			t.Errorf("%s: the full gradient is off by %.2g from the dense model's", p.Name, e)
		}
	}
}

// TestSuPar: twice the width at half the density keeps the factors where they
// were, and the logits of a wider model are divided by its width.
func TestSuPar(t *testing.T) {
	m := newTiny(t, "0.5", gpt.MaskTargets(tiny))
	fc := m.Param("h.0.mlp.c_fc.weight")
	density := float64(len(fc.W)) / float64(fc.Size())
	if got, want := m.SuParLRScale(fc, tiny.NEmbd/2), 1/(2*density); got != want {
		t.Errorf("learning rate of a hidden matrix is scaled by %g, want %g", got, want)
	}
	for name, want := range map[string]float64{"ln_f.weight": 0.5, "ln_f.bias": 0.5, "wte.weight": 1, "h.0.ln_1.weight": 1} {
		if got := m.SuParLRScale(m.Param(name), tiny.NEmbd/2); got != want {
			t.Errorf("learning rate of %s is scaled by %g, want %g", name, got, want)
		}
	}
	before, ln := fc.W[0], m.Param("ln_f.weight").W[0]
	m.SuParInit(tiny.NEmbd / 2)
	if got, want := float64(fc.W[0]), float64(before)/math.Sqrt(2*density); math.Abs(got-want) > 1e-6 {
		t.Errorf("hidden weight is %g, want %g", got, want)
	}
	if got := m.Param("ln_f.weight").W[0]; got != ln/2 {
		t.Errorf("ln_f.weight is %g, want %g", got, ln/2)
	}
}
