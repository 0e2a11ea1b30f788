package analysis_test

import (
	"testing"

	"github.com/spdfctl/spdfctl/analysis"
	"github.com/spdfctl/spdfctl/train/gpt"
)

// TestLoRATrainingFLOPs adds up a model of one layer by hand: T 4, C 2, one
// head, V 3, I 8.
func TestLoRATrainingFLOPs(t *testing.T) {
	c := gpt.Config{VocabSize: 3, NCtx: 4, NEmbd: 2, NLayer: 1, NHead: 1}.WithDefaults()
	l := gpt.LoRA{Rank: 1, Alpha: 1, Targets: []string{"q", "v"}}
	got, err := analysis.LoRATrainingFLOPs(c, 4, nil, l)
	if err != nil {
		t.Fatal(err)
	}
	products := 2 * (2 * 4 * 12 * 2 * 2) // forward and gradient of the input
	head := 2 * (2 * 4 * 3 * 2)
	scores := 3 * (4*4*4*2 + 3*4*4) // activations: two gradients
	factors := 2 * 3 * 2 * 4 * 1 * (2 + 2)
	if want := float64(products + head + scores + factors); got != want {
		t.Errorf("got %g, want %g", got, want)
	}
	full, err := analysis.TrainingFLOPs(c, 4, nil)
	if err != nil || got >= full+float64(factors) {
		t.Errorf("the update alone costs %g, all weights %g: %v", got, full, err)
	}
}
