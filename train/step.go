package train

import (
	"context"
	"fmt"
	"math"

	"github.com/spdfctl/spdfctl/train/data"
	"github.com/spdfctl/spdfctl/train/optim"
)

const (
	// maxSkips is how many steps in a row are skipped before the run stops.
	maxSkips = 10
	// maxRollbacks is how many rollbacks a run makes without coming past the step
	// that it failed at before it stops.
	maxRollbacks = 5
	// meanLossDecay is the decay of the running mean that spikes are held
	// against: about the last 50 steps.
	meanLossDecay = 0.98
)

// outcome is what came of one step.
type outcome struct {
	loss, norm, lr float64
	tokens         int
	skipped        string // why the update was left out; empty: it was not
	rollback       string // why the run has to go back; empty: it need not
}

// step does one optimizer step: the gradient of the mean loss over the global
// batch, in passes of micro-batches, clipped, applied. A loss or gradient that
// is not finite, or a spike, changes no weight.
func (r *Run) step(ctx context.Context, lr float64) (outcome, error) {
	out := outcome{lr: lr}
	first := (r.pos.Step + r.pos.Shift) * r.Config.BatchSize
	batches, counted, err := r.batches(first)
	if err != nil {
		return out, fmt.Errorf("train: step %d: %w", r.pos.Step+1, err)
	}
	r.Model.ZeroGrad()
	moves := r.masksMoveAfter(r.pos.Step + 1)
	r.Model.CollectFullGrad(moves && r.Config.needsFullGrad())
	var sum float64
	at := first
	r.Model.Interrupt(ctx.Err)
	for _, b := range batches {
		r.Model.Training.First = at
		at += b.B
		l, _, err := r.Model.LossAndGrad(b.IDs, b.Targets, b.B, b.T, 1/float32(counted))
		switch {
		case ctx.Err() != nil:
			return out, ctx.Err()
		case err != nil:
			return out, fmt.Errorf("train: step %d: %w", r.pos.Step+1, err)
		}
		sum += l
		out.tokens += b.B * b.T
	}
	out.loss = sum / float64(counted)
	out.norm = optim.GradNorm(r.params)
	if done, err := r.refuse(&out); err != nil || done {
		return out, err
	}
	optim.Clip(r.params, out.norm, r.Config.GradClip)
	r.opt.Update(lr)
	r.pos.Skips = 0
	if r.pos.MeanLoss == 0 {
		r.pos.MeanLoss = out.loss
	}
	r.pos.MeanLoss = meanLossDecay*r.pos.MeanLoss + (1-meanLossDecay)*out.loss
	r.count(out.tokens)
	if moves {
		return out, r.moveMasks()
	}
	return out, nil
}

// count moves the position by one step.
func (r *Run) count(tokens int) {
	r.pos.Step++
	r.pos.Tokens += int64(tokens)
	r.pos.FLOPs += r.flops * float64(r.Config.BatchSize)
	if r.pos.Step >= r.pos.Failed {
		r.pos.Rollbacks = 0
	}
}

// refuse applies the policies to a loss that is not finite and to a spike. It
// reports whether the step ends without an update.
func (r *Run) refuse(out *outcome) (done bool, err error) {
	policy, what := "", ""
	switch c := r.Config; {
	case !finite(out.loss) || !finite(out.norm):
		policy, what = c.OnNonFinite, fmt.Sprintf("step %d: loss is %g, gradient norm is %g", r.pos.Step+1, out.loss, out.norm)
	case c.SpikeFactor > 0 && r.pos.MeanLoss > 0 && out.loss > c.SpikeFactor*r.pos.MeanLoss:
		policy, what = c.OnSpike, fmt.Sprintf("step %d: loss is %.4f, %g times the running mean %.4f is the limit",
			r.pos.Step+1, out.loss, c.SpikeFactor, r.pos.MeanLoss)
	default:
		return false, nil
	}
	switch policy {
	case "skip":
		r.pos.Skips++
		if r.pos.Skips > maxSkips {
			return true, fmt.Errorf("train: %s, after %d skipped steps in a row", what, maxSkips)
		}
		out.skipped = what + ": update skipped"
		r.count(out.tokens)
		return true, nil
	case "rollback":
		out.rollback = what
		return true, nil
	}
	return true, fmt.Errorf("train: %s", what)
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// batches returns the micro-batches of a step whose first sequence is first,
// and the number of targets that count.
func (r *Run) batches(first int) (list []*data.Batch, counted int, err error) {
	size, micro := r.Config.BatchSize, r.Config.micro()
	for lo := 0; lo < size; lo += micro {
		b, err := r.Train.Batch(first+lo, first+min(lo+micro, size))
		if err != nil {
			return nil, 0, err
		}
		list = append(list, b)
		counted += b.Counted()
	}
	if counted == 0 {
		return nil, 0, fmt.Errorf("no target is counted")
	}
	return list, counted, nil
}
