package gpt_test

import (
	"math"
	"testing"

	"github.com/spdfctl/spdfctl/kernels"
	"github.com/spdfctl/spdfctl/train/gpt"
)

// unitBF16 is the unit roundoff of bf16.
const unitBF16 = 1.0 / (1 << 9)

// useReference selects the set that has bf16 on every CPU.
func useReference(t *testing.T) {
	t.Helper()
	before := kernels.Current().Name
	if err := kernels.Use("go"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := kernels.Use(before); err != nil {
			t.Error(err)
		}
	})
}

// descend takes steps of plain gradient descent and returns the losses.
func descend(t *testing.T, m *gpt.Model, steps int) []float64 {
	t.Helper()
	ids, targets := []int32{3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7}, []int32{1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9}
	var losses []float64
	for range steps {
		m.ZeroGrad()
		sum, n, err := m.LossAndGrad(ids, targets, 2, 7, 1.0/14)
		if err != nil {
			t.Fatal(err)
		}
		losses = append(losses, sum/float64(n))
		for _, p := range m.Params {
			for i, g := range p.Grad {
				p.W[i] -= 0.01 * g
			}
		}
	}
	return losses
}

// A run in bf16 follows one in float32, dense and sparse, and differs from it.
func TestPrecisionTrains(t *testing.T) {
	useReference(t)
	for _, sparsity := range []string{"", "0.75"} {
		var losses [2][]float64
		var norms [2][]float32
		for i, p := range []kernels.Precision{kernels.F32, kernels.BF16} {
			m := newTiny(t, sparsity, gpt.MaskTargets(tiny))
			m.SetPrecision(p)
			losses[i] = descend(t, m, 1)
			for _, p := range m.Params {
				norms[i] = append(norms[i], p.Grad...)
			}
			losses[i] = append(losses[i], descend(t, m, 60)...)
		}
		// Every product rounds two factors, a gradient hangs on at most 5 products
		// per block forward, as many backward, and on those of the head.
		const products = 2*2*5 + 2
		if e := relative(norms[1], norms[0]); !(e > 0 && e < 2*products*unitBF16) {
			t.Errorf("sparsity %q: gradients are off by %.3g", sparsity, e)
		}
		for i, want := range losses[0] {
			// A small step, so that the two paths stay near each other.
			if got := losses[1][i]; math.Abs(got-want) > 0.01*want {
				t.Errorf("sparsity %q: step %d: loss is %.4f in bf16, %.4f in float32", sparsity, i, got, want)
			}
		}
		if last := losses[1][60]; last > 0.9*losses[1][0] {
			t.Errorf("sparsity %q: loss went from %.4f to %.4f only", sparsity, losses[1][0], last)
		}
	}
}

// Densify keeps the precision.
func TestPrecisionOfDensified(t *testing.T) {
	useReference(t)
	m := newTiny(t, "0.75", gpt.MaskTargets(tiny))
	m.SetPrecision(kernels.BF16)
	d, err := m.Densify()
	if err != nil {
		t.Fatal(err)
	}
	want := newTiny(t, "0.75", gpt.MaskTargets(tiny))
	if want, err = want.Densify(); err != nil {
		t.Fatal(err)
	}
	ids := []int32{3, 1, 4, 1, 5, 9, 2}
	a, b := make([]float32, len(ids)*tiny.VocabSize), make([]float32, len(ids)*tiny.VocabSize)
	if err := d.Logits(a, ids, 1, len(ids)); err != nil {
		t.Fatal(err)
	}
	if err := want.Logits(b, ids, 1, len(ids)); err != nil {
		t.Fatal(err)
	}
	if e := relative(a, b); !(e > 0x1p-20) {
		t.Errorf("logits differ from those in float32 by %.2g only: nothing was rounded", e)
	}
}
