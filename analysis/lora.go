package analysis

import (
	"math/big"

	"github.com/spdfctl/spdfctl/masks"
	"github.com/spdfctl/spdfctl/train/gpt"
)

// LoRATrainingFLOPs is the training cost of one sequence of seqLen tokens in
// FLOPs when only updates of low rank learn, under convention SPDF: the forward
// pass and the gradients of activations of the whole model, no gradient of a
// frozen weight, and of every adapted matrix 3 passes over its r*(in+out)
// factors,
//
//	3 * 2*T*r*(in+out)
//
// A nil set is a dense base.
func LoRATrainingFLOPs(c gpt.Config, seqLen int, set *masks.Set, l gpt.LoRA) (float64, error) {
	var kept Kept
	if set != nil {
		var err error
		if kept, err = MaskKept(c, set); err != nil {
			return 0, err
		}
	}
	rows, err := Ledger(c, SPDF, seqLen, kept)
	if err != nil {
		return 0, err
	}
	total := new(big.Int)
	for _, row := range rows {
		total.Add(total, row.Forward)
		total.Add(total, row.BackwardInput)
	}
	for _, t := range l.Matrices(c) {
		total.Add(total, big.NewInt(6*int64(seqLen)*int64(l.Rank)*int64(t.In+t.Out)))
	}
	f, _ := new(big.Float).SetInt(total).Float64()
	return f, nil
}
