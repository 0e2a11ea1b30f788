package gpt_test

import (
	"testing"

	"github.com/spdfctl/spdfctl/kernels"
	"github.com/spdfctl/spdfctl/train/gpt"
)

// TestStepAllocations: passes after the first, which plans the buffers, allocate
// nothing, whatever they are made of.
func TestStepAllocations(t *testing.T) {
	defer kernels.SetThreads(0)
	for _, c := range []struct {
		name      string
		training  gpt.Training
		precision kernels.Precision
		lora      bool
	}{
		{name: "plain"},
		{name: "bf16", precision: kernels.BF16},
		{name: "dropout and a shaped loss", training: gpt.Training{Dropout: 0.1, ZLoss: 1e-4, LabelSmoothing: 0.1}},
		{name: "recomputed", training: gpt.Training{Recompute: true}},
		{name: "update of low rank", lora: true},
	} {
		if c.precision.Available() != nil {
			continue
		}
		for _, threads := range []int{1, 2} {
			kernels.SetThreads(threads)
			m := newTiny(t, "", nil)
			m.SetPrecision(c.precision)
			m.Training = c.training
			if c.lora {
				if err := m.AddLoRA(gpt.LoRA{Rank: 2, Alpha: 2, Targets: gpt.LoRATargets()}, 1); err != nil {
					t.Fatal(err)
				}
			}
			ids, targets, b, n := tinyBatch()
			step := func() {
				m.ZeroGrad()
				if _, _, err := m.LossAndGrad(ids, targets, b, n, 1); err != nil {
					t.Fatal(err)
				}
			}
			step()
			if got := testing.AllocsPerRun(50, step); got != 0 {
				t.Errorf("%s, %d threads: a step allocates %g times, want 0", c.name, threads, got)
			}
		}
	}
}
