package train_test

import (
	"context"
	"math"
	"testing"

	"github.com/spdfctl/spdfctl/train"
	"github.com/spdfctl/spdfctl/train/gpt"
)

// newLoRARun returns newRun on a frozen base with an update of low rank.
func newLoRARun(t *testing.T, dir string) *train.Run {
	t.Helper()
	r := newRun(t, dir)
	if err := r.Model.AddLoRA(gpt.LoRA{Rank: 2, Alpha: 4, Targets: gpt.LoRATargets()}, 4); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestLoRARun trains an update on a sparse base: the loss falls, the base does
// not move, and an interrupted run ends with the bits of the uninterrupted one.
func TestLoRARun(t *testing.T) {
	before := newLoRARun(t, t.TempDir()).Model
	r := newLoRARun(t, t.TempDir())
	var first float64
	r.OnStep = func(m train.Metrics) {
		if m.Step == 1 {
			first = m.Loss
		}
	}
	whole := do(t, r)
	if !(whole.Loss < first) {
		t.Errorf("loss went from %g to %g", first, whole.Loss)
	}
	for i, p := range r.Model.Params {
		for j, x := range p.W {
			if math.Float32bits(x) != math.Float32bits(before.Params[i].W[j]) {
				t.Fatalf("%s: frozen weight %d moved", p.Name, j)
			}
		}
	}

	dir := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	r = newLoRARun(t, dir)
	r.OnStep = func(m train.Metrics) {
		if m.Step == 6 {
			cancel()
		}
	}
	if _, err := r.Do(ctx); err == nil {
		t.Fatal("the run was not interrupted")
	}
	at, err := gpt.CheckpointDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	resumed := newLoRARun(t, dir)
	if err := resumed.Resume(at); err != nil {
		t.Fatal(err)
	}
	sameFiles(t, whole.Directory, do(t, resumed).Directory)
}
