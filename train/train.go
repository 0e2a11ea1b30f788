package train

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/spdfctl/spdfctl/train/data"
	"github.com/spdfctl/spdfctl/train/gpt"
	"github.com/spdfctl/spdfctl/train/optim"
)

// Run is one training run in a run directory.
type Run struct {
	Dir    string
	Config Config
	Model  *gpt.Model
	Train  data.Source
	Valid  data.Source // may be nil

	// EOS is the id of the end-of-text token, for config.json.
	EOS int
	// SaveFiles writes what else belongs into a checkpoint directory, the
	// tokenizer. May be nil.
	SaveFiles func(dir string) error
	// FLOPsPerSequence is the training cost of one sequence, for the metrics.
	FLOPsPerSequence float64
	// OnStep is called after every step. May be nil.
	OnStep func(Metrics)

	opt    *optim.AdamW
	params []optim.Tensor
	tokens int64 // seen so far
}

// Metrics is one line of metrics.jsonl.
type Metrics struct {
	Step            int      `json:"step"`
	Tokens          int64    `json:"tokens"`
	Loss            float64  `json:"loss"`
	LR              float64  `json:"lr"`
	GradNorm        float64  `json:"grad_norm"`
	TokensPerSecond float64  `json:"tokens_per_second"`
	FLOPs           float64  `json:"flops"`
	Seconds         float64  `json:"seconds"` // spent in steps since the start of the run
	ValLoss         *float64 `json:"val_loss,omitempty"`
}

// Summary is what a finished run has to say.
type Summary struct {
	Steps     int           // done, those before a resume included
	Tokens    int64         // seen
	FLOPs     float64       // spent, by the ledger
	Loss      float64       // of the last step
	ValLoss   *float64      // of the last validation
	Time      time.Duration // in training steps, those before a resume included
	Directory string        // the last checkpoint
}

// prepare builds the optimizer over the model's parameters.
func (r *Run) prepare() {
	if r.opt != nil {
		return
	}
	r.Model.ZeroGrad()
	r.params = make([]optim.Tensor, len(r.Model.Trainable()))
	for i, p := range r.Model.Trainable() {
		r.params[i] = optim.Tensor{Name: p.Name, W: p.W, Grad: p.Grad, Decay: p.Decay}
	}
	r.opt = optim.NewAdamW(r.params, r.Config.AdamWConfig)
}

// Do trains from where the run stands to Config.MaxSteps. When ctx ends it
// finishes nothing by halves: it writes a checkpoint of the last whole step
// and returns ctx's error. A loss or gradient that is not finite stops the
// run before it reaches the weights; the checkpoints stay.
func (r *Run) Do(ctx context.Context) (Summary, error) {
	if err := r.Config.Validate(); err != nil {
		return Summary{}, err
	}
	r.prepare()
	log, before, err := openMetrics(r.Dir, r.opt.Step)
	if err != nil {
		return Summary{}, err
	}
	defer log.Close()
	watch, err := openWatch(r.Dir, r.opt.Step)
	if err != nil {
		return Summary{}, err
	}
	defer watch.Close()
	if err := watch.masks(r.Model, r.opt.Step); err != nil {
		return Summary{}, err
	}

	spent := time.Duration(before.Seconds * float64(time.Second))
	s := Summary{Steps: r.opt.Step, Tokens: r.tokens, FLOPs: before.FLOPs, Loss: before.Loss, ValLoss: before.ValLoss, Time: spent}
	sched := r.Config.Schedule()
	saved := r.opt.Step
	for r.opt.Step < r.Config.MaxSteps {
		start := time.Now()
		lr := sched.At(r.opt.Step)
		loss, norm, tokens, err := r.step(ctx, lr)
		if err != nil {
			if ctx.Err() != nil && r.opt.Step > saved {
				if err := r.save(); err != nil {
					return s, err
				}
			}
			return s, err
		}
		took := time.Since(start)
		spent += took
		r.tokens += int64(tokens)
		m := Metrics{
			Step: r.opt.Step, Tokens: r.tokens, Loss: loss, LR: lr, GradNorm: norm,
			TokensPerSecond: float64(tokens) / took.Seconds(),
			FLOPs:           r.FLOPsPerSequence * float64(r.Config.BatchSize) * float64(r.opt.Step),
			Seconds:         spent.Seconds(),
		}
		last := r.opt.Step == r.Config.MaxSteps
		if r.Valid != nil && (last || r.Config.EvalEvery > 0 && r.opt.Step%r.Config.EvalEvery == 0) {
			v, err := r.validate(ctx)
			if err != nil && ctx.Err() == nil {
				return s, err
			}
			if err == nil {
				m.ValLoss, s.ValLoss = &v, &v
			}
		}
		if last || m.ValLoss != nil || r.opt.Step%r.Config.LogEvery == 0 {
			if err := log.write(m); err != nil {
				return s, err
			}
			if err := watch.log(m); err != nil {
				return s, err
			}
		}
		if last || m.ValLoss != nil {
			if err := watch.weights(r.Model, m.Step); err != nil {
				return s, err
			}
		}
		if err := watch.masks(r.Model, m.Step); err != nil {
			return s, err
		}
		s.Steps, s.Tokens, s.FLOPs, s.Loss, s.Time = m.Step, m.Tokens, m.FLOPs, loss, spent
		if r.OnStep != nil {
			r.OnStep(m)
		}
		if last || r.Config.SaveEvery > 0 && r.opt.Step%r.Config.SaveEvery == 0 {
			if err := r.save(); err != nil {
				return s, err
			}
			saved = r.opt.Step
		}
	}
	s.Directory = checkpointDir(r.Dir, r.opt.Step)
	return s, nil
}

// step does one optimizer step: the gradient of the mean loss over the global
// batch, in passes of micro-batches, clipped, applied.
func (r *Run) step(ctx context.Context, lr float64) (loss, norm float64, tokens int, err error) {
	r.Model.ZeroGrad()
	first := r.opt.Step * r.Config.BatchSize
	micro := r.Config.micro()
	var batches []*data.Batch
	counted := 0
	for lo := 0; lo < r.Config.BatchSize; lo += micro {
		b, err := r.Train.Batch(first+lo, first+min(lo+micro, r.Config.BatchSize))
		if err != nil {
			return 0, 0, 0, fmt.Errorf("train: step %d: %w", r.opt.Step+1, err)
		}
		batches = append(batches, b)
		counted += b.Counted()
		tokens += b.B * b.T
	}
	if counted == 0 {
		return 0, 0, 0, fmt.Errorf("train: step %d: no target is counted", r.opt.Step+1)
	}
	var sum float64
	for _, b := range batches {
		if err := ctx.Err(); err != nil {
			return 0, 0, 0, err
		}
		l, _, err := r.Model.LossAndGrad(b.IDs, b.Targets, b.B, b.T, 1/float32(counted))
		if err != nil {
			return 0, 0, 0, fmt.Errorf("train: step %d: %w", r.opt.Step+1, err)
		}
		sum += l
	}
	loss = sum / float64(counted)
	norm = optim.GradNorm(r.params)
	if math.IsNaN(loss+norm) || math.IsInf(loss+norm, 0) {
		return 0, 0, 0, fmt.Errorf("train: step %d: loss is %g, gradient norm is %g", r.opt.Step+1, loss, norm)
	}
	optim.Clip(r.params, norm, r.Config.GradClip)
	r.opt.Update(lr)
	return loss, norm, tokens, nil
}

// validate returns the mean loss over the first EvalSequences of Valid.
func (r *Run) validate(ctx context.Context) (float64, error) {
	n := r.Valid.Len()
	if r.Config.EvalSequences > 0 {
		n = min(n, r.Config.EvalSequences)
	}
	var sum float64
	count := 0
	for lo := 0; lo < n; lo += r.Config.micro() {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		b, err := r.Valid.InOrder(lo, min(lo+r.Config.micro(), n))
		if err != nil {
			return 0, fmt.Errorf("train: validation: %w", err)
		}
		l, k, err := r.Model.Loss(b.IDs, b.Targets, b.B, b.T)
		if err != nil {
			return 0, fmt.Errorf("train: validation: %w", err)
		}
		sum += l
		count += k
	}
	return sum / float64(count), nil
}
