package train

import (
	"context"
	"fmt"

	"github.com/spdfctl/spdfctl/train/data"
)

// validate returns the mean loss over the validation sets, by their weights, and,
// if there are several, that of each.
func (r *Run) validate(ctx context.Context) (mean float64, each map[string]float64, err error) {
	if len(r.Valid) > 1 {
		each = make(map[string]float64)
	}
	var sum, weights float64
	for _, v := range r.Valid {
		loss, _, err := r.LossOn(ctx, v.Set)
		if err != nil {
			return 0, nil, err
		}
		if each != nil {
			each[v.Name] = loss
		}
		sum += v.Weight * loss
		weights += v.Weight
	}
	return sum / weights, each, nil
}

// LossOn returns the mean loss over the first Config.EvalSequences of a set, all if
// that is 0, and the number of targets that it counts.
func (r *Run) LossOn(ctx context.Context, set data.Ordered) (loss float64, counted int, err error) {
	n := set.Len()
	if r.Config.EvalSequences > 0 {
		n = min(n, r.Config.EvalSequences)
	}
	var sum float64
	r.Model.Interrupt(ctx.Err)
	for lo := 0; lo < n; lo += r.Config.micro() {
		b, err := set.InOrder(lo, min(lo+r.Config.micro(), n))
		if err != nil {
			return 0, 0, fmt.Errorf("train: validation: %w", err)
		}
		l, k, err := r.Model.Loss(b.IDs, b.Targets, b.B, b.T)
		switch {
		case ctx.Err() != nil:
			return 0, 0, ctx.Err()
		case err != nil:
			return 0, 0, fmt.Errorf("train: validation: %w", err)
		}
		sum += l
		counted += k
	}
	return sum / float64(counted), counted, nil
}
