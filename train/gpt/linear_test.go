package gpt_test

import (
	"strings"
	"testing"

	"github.com/spdfctl/spdfctl/kernels"
	"github.com/spdfctl/spdfctl/masks"
	"github.com/spdfctl/spdfctl/train/gpt"
)

// TestPanels demands of activations in panels the bits of row-major ones, which
// a pass uses while it collects full gradients. The bias of the first matrix of
// an MLP sums its gradient in another order.
func TestPanels(t *testing.T) {
	c := gpt.Config{VocabSize: 40, NCtx: 50, NEmbd: 24, NLayer: 3, NHead: 3}.WithDefaults()
	s, err := masks.ParseSparsity("0.6")
	if err != nil {
		t.Fatal(err)
	}
	// Block 1 keeps c_proj of its MLP dense, so that only its input is in panels.
	var targets []masks.Target
	for _, target := range gpt.MaskTargets(c) {
		if target.Name != "h.1.mlp.c_proj.weight" {
			targets = append(targets, target)
		}
	}
	set, err := masks.Random(targets, s, 1)
	if err != nil {
		t.Fatal(err)
	}
	const b, n = 3, 50
	if b*n <= kernels.PanelTokens || b*n%kernels.PanelTokens == 0 {
		t.Fatal("the batch is to fill one panel and part of another")
	}
	ids := make([]int32, b*n)
	for i := range ids {
		ids[i] = int32(i * 7 % c.VocabSize)
	}
	pass := func(full bool, tr gpt.Training) *gpt.Model {
		m, err := gpt.New(c, set)
		if err != nil {
			t.Fatal(err)
		}
		m.Init(1)
		for _, p := range m.Params { // biases too
			for i := range p.W {
				p.W[i] += float32(i%5) / 50
			}
		}
		m.Training = tr
		m.CollectFullGrad(full)
		for range 2 { // the second on buffers that the first wrote to
			if _, _, err := m.LossAndGrad(ids, ids, b, n, 1); err != nil {
				t.Fatal(err)
			}
		}
		return m
	}
	for _, tr := range []gpt.Training{{}, {Recompute: true}} {
		panels, rows := pass(false, tr), pass(true, tr)
		for i, p := range panels.Params {
			got, want := p.Grad, rows.Params[i].Grad
			if strings.HasSuffix(p.Name, "mlp.c_fc.bias") {
				if r := relative(got, want); r > 1e-6 {
					t.Errorf("recompute %t: %s: relative difference %g", tr.Recompute, p.Name, r)
				}
				continue
			}
			if !sameBits([][]float32{got}, [][]float32{want}) {
				t.Errorf("recompute %t: %s: other bits", tr.Recompute, p.Name)
			}
		}
	}
}
