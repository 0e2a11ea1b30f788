package masks

import "fmt"

// Uniform returns the number of weights that each target keeps when all have
// the sparsity s: total minus s*total rounded half up, exactly.
//
// Source: the paper's section 2.2, every sparsified layer pruned to the same
// level.
func Uniform(targets []Target, s Sparsity) []int {
	kept := make([]int, len(targets))
	for i, t := range targets {
		kept[i] = s.Kept(t.Total())
	}
	return kept
}

// maxCstorchKept is the largest count that cstorch's int32 holds.
const maxCstorchKept = 1<<31 - 1

// UniformCstorch returns the counts that Cerebras' library keeps, computed in
// float32 and cut off as it does:
//
//	kept = int32(float32(float32(1-float32(s)) * float32(total)))
//
// where s is first a float64. For most sparsities a count differs from Uniform
// by one, where the product is not whole; the weights chosen are not theirs,
// whose generator is PyTorch's. It returns an error where their count does not
// exist: above the total (float32 rounds a total past 2^24 up) or past int32.
//
// Source: cerebras.pytorch, sparse/utils.py, make_mask_topk_sparsity and the
// Constant schedule.
func UniformCstorch(targets []Target, s Sparsity) ([]int, error) {
	density := 1 - float32(s.Float64())
	kept := make([]int, len(targets))
	for i, t := range targets {
		n := float32(density * float32(t.Total()))
		if n > maxCstorchKept {
			return nil, fmt.Errorf("masks: %q: cstorch counts %.0f kept weights, limit %d", t.Key(), n, maxCstorchKept)
		}
		kept[i] = int(n)
		if kept[i] > t.Total() {
			return nil, fmt.Errorf("masks: %q: cstorch counts %d kept weights of %d", t.Key(), kept[i], t.Total())
		}
	}
	return kept, nil
}
