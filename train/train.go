package train

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spdfctl/spdfctl/masks"
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
	Valid  []Validation

	// Target is the sparsity at which gradual pruning ends.
	Target masks.Sparsity
	// AllowChange lets Resume go on with other settings than the saved ones.
	AllowChange bool
	// EOS is the id of the end-of-text token, for config.json.
	EOS int
	// SaveFiles writes what else belongs into a checkpoint directory, the
	// tokenizer. It is called beside the training. May be nil.
	SaveFiles func(dir string) error
	// SequenceFLOPs prices the training on one sequence with the masks of a
	// set, nil for a dense model. May be nil: the run then counts no FLOPs.
	SequenceFLOPs func(set *masks.Set) (float64, error)
	// OnStep is called after every step. May be nil.
	OnStep func(Metrics)
	// Sample prints a text of the model, every Config.SampleEvery steps. It must
	// not change the model. May be nil.
	Sample func(ctx context.Context, step int) error
	// Log is told of phases and limits, Warn of damage and of what a policy did
	// about a loss. Both may be nil.
	Log, Warn func(line string)

	opt    *optim.AdamW
	params []optim.Tensor
	pos    position
	flops  float64 // of one sequence with the present masks
	writer writer
}

// Validation is a set to validate on. The validation loss of a run is the mean
// over its sets, by weight.
type Validation struct {
	Name   string // in the logs; it need not be given to a single set
	Weight float64
	Set    data.Ordered
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

	ValLosses map[string]float64 `json:"val_losses,omitempty"` // by set, if there are several
}

// Summary is what a finished run has to say.
type Summary struct {
	Steps     int                // done, those before a resume included
	Tokens    int64              // seen
	FLOPs     float64            // spent, by the ledger
	Loss      float64            // of the last step
	ValLoss   *float64           // of the last validation
	ValLosses map[string]float64 // likewise, by set, if there are several
	Time      time.Duration      // in training steps, those before a resume included
	Directory string             // the last checkpoint
	Stopped   string             // why the run ended before Config.MaxSteps; empty: it did not
}

func (r *Run) logf(format string, args ...any) {
	if r.Log != nil {
		r.Log(fmt.Sprintf(format, args...))
	}
}

func (r *Run) warnf(format string, args ...any) {
	if r.Warn != nil {
		r.Warn(fmt.Sprintf(format, args...))
	}
}

// prepare builds the optimizer over the model's parameters, unless there is
// one and again is not set.
func (r *Run) prepare(again bool) {
	if r.opt != nil && !again {
		return
	}
	if r.opt == nil {
		r.pos.Version = stateVersion
	}
	r.configureModel()
	r.Model.ZeroGrad()
	r.params = make([]optim.Tensor, len(r.Model.Trainable()))
	for i, p := range r.Model.Trainable() {
		r.params[i] = optim.Tensor{Name: p.Name, W: p.W, Grad: p.Grad, Decay: p.Decay}
		if r.Config.Parametrization == "supar" {
			r.params[i].LRScale = r.Model.SuParLRScale(p, r.Config.BaseWidth)
		}
	}
	r.opt = optim.NewAdamW(r.params, r.Config.AdamWConfig)
}

// configureModel sets what a pass of the model depends on besides its weights.
func (r *Run) configureModel() {
	r.Model.Training = gpt.Training{
		Dropout: r.Config.Dropout, Seed: r.Config.Seed,
		ZLoss: r.Config.ZLoss, LabelSmoothing: r.Config.LabelSmoothing,
		Recompute: r.Config.Recompute,
	}
	r.Model.SetPrecision(r.Config.Precision)
}

// price renews the FLOPs of one sequence after a change of the masks.
func (r *Run) price() (err error) {
	if r.SequenceFLOPs != nil {
		r.flops, err = r.SequenceFLOPs(r.Model.Masks)
	}
	return err
}

// Do trains from where the run stands to Config.MaxSteps, or until
// Config.MaxTime has passed or the validation loss stops improving. When ctx
// ends it finishes nothing by halves: it writes a checkpoint of the last whole
// step and returns ctx's error. A loss or gradient that is not finite never
// reaches the weights; what happens then is up to Config.OnNonFinite.
func (r *Run) Do(ctx context.Context) (s Summary, err error) {
	if err := r.Config.Validate(); err != nil {
		return Summary{}, err
	}
	r.prepare(false)
	if err := r.price(); err != nil {
		return Summary{}, err
	}
	logged := r.pos.Step
	if r.pos.Unfinished != nil {
		logged--
	}
	log, before, err := openMetrics(r.Dir, logged)
	if err != nil {
		return Summary{}, err
	}
	defer log.Close()
	if d := r.pos.Unfinished; d != nil {
		before.Seconds, before.FLOPs = d.Seconds, d.FLOPs
	}
	watch, err := openWatch(r.Dir, logged)
	if err != nil {
		return Summary{}, err
	}
	defer watch.Close()
	if err := watch.masks(r.Model, r.target(), r.pos.Step); err != nil {
		return Summary{}, err
	}
	r.writer.run, r.writer.logs = r, []*os.File{log.f, watch.sparsity}
	// Whatever ends the run, the write under way is waited for, and its error
	// is not lost.
	defer func() { err = errors.Join(err, r.writer.wait()) }()

	l := &loop{Run: r, log: log, watch: watch, start: time.Now(), saved: r.pos.Step,
		spent: time.Duration(before.Seconds * float64(time.Second))}
	l.sum = Summary{Steps: r.pos.Step, Tokens: r.pos.Tokens, FLOPs: before.FLOPs, Loss: before.Loss, ValLoss: before.ValLoss, ValLosses: before.ValLosses, Time: l.spent}
	err = l.run(ctx)
	if err != nil && ctx.Err() != nil && r.pos.Step > l.saved {
		err = errors.Join(err, r.writer.start())
	}
	if err == nil {
		l.sum.Directory = checkpointDir(r.Dir, r.pos.Step)
	}
	return l.sum, err
}

// loop is one call of Do.
type loop struct {
	*Run
	log   *metricsLog
	watch *watcher
	start time.Time
	spent time.Duration // in steps, those before a resume included
	saved int           // step of the last checkpoint
	sum   Summary
}

// run trains until the end, a limit, an error or the end of ctx.
func (l *loop) run(ctx context.Context) error {
	r, c := l.Run, l.Config
	if c.OnNonFinite == "rollback" || c.OnSpike == "rollback" {
		if steps, err := checkpointSteps(r.Dir); err != nil || len(steps) == 0 {
			if err = errors.Join(err, r.writer.start()); err != nil {
				return err
			}
		}
	}
	if d := r.pos.Unfinished; d != nil {
		if err := l.finish(ctx, *d); err != nil {
			return err
		}
	}
	// Validation data may be new to a run that is taken up.
	if l.validationDue() && r.pos.Step > 0 || c.EvalAtStart && len(r.Valid) > 0 && r.pos.Step == 0 {
		v, each, err := r.validate(ctx)
		if err != nil {
			return err
		}
		l.sum.ValLoss, l.sum.ValLosses = &v, each
		if err := l.note(note{Step: r.pos.Step, Tokens: r.pos.Tokens, ValLoss: &v, ValLosses: each}); err != nil {
			return err
		}
		if r.pos.Step > 0 {
			r.validated(v)
		}
		r.pos.Evaluated = r.pos.Step
	}
	for r.pos.Step < c.MaxSteps {
		if c.Patience > 0 && r.pos.Waited >= c.Patience {
			l.sum.Stopped = fmt.Sprintf("no better validation loss than %.4f in %d validations", r.pos.BestLoss, r.pos.Waited)
			break
		}
		if c.MaxTime > 0 && time.Since(l.start) >= c.MaxTime {
			l.sum.Stopped = fmt.Sprintf("max_time %s has passed", c.MaxTime)
			break
		}
		if err := l.one(ctx); err != nil {
			return err
		}
		if err := r.writer.poll(); err != nil {
			return err
		}
	}
	if l.sum.Stopped != "" {
		r.logf("stopped at step %d of %d: %s", r.pos.Step, c.MaxSteps, l.sum.Stopped)
	}
	if r.pos.Step != l.saved || c.MaxSteps == r.pos.Step && l.saved == 0 {
		if err := r.writer.start(); err != nil {
			return err
		}
		l.saved = r.pos.Step
	}
	return r.writer.wait()
}

// one does one step with all that follows it: validation, log, checkpoint.
func (l *loop) one(ctx context.Context) error {
	r, c := l.Run, l.Config
	if err := r.densifyIfDue(); err != nil {
		return err
	}
	start := time.Now()
	out, err := r.step(ctx, c.lrAt(r.pos.Step))
	if err != nil {
		return err
	}
	if out.rollback != "" {
		return l.rollback(out.rollback)
	}
	took := time.Since(start)
	l.spent += took
	return l.finish(ctx, stepDone{Skipped: out.skipped, Metrics: Metrics{
		Step: r.pos.Step, Tokens: r.pos.Tokens, Loss: out.loss, LR: out.lr, GradNorm: out.norm,
		TokensPerSecond: float64(out.tokens) / took.Seconds(),
		FLOPs:           r.pos.FLOPs, Seconds: l.spent.Seconds(),
	}})
}

// finish does what follows a step: validation, log, sample, checkpoint. A step
// whose validation is interrupted is finished after the resume.
func (l *loop) finish(ctx context.Context, d stepDone) error {
	r, c, m := l.Run, l.Config, d.Metrics
	l.sum.Steps, l.sum.Tokens, l.sum.FLOPs, l.sum.Time = m.Step, m.Tokens, m.FLOPs, l.spent
	last := r.pos.Step == c.MaxSteps
	save := last || c.SaveEvery > 0 && r.pos.Step%c.SaveEvery == 0
	if l.validationDue() {
		v, each, err := r.validate(ctx)
		if err != nil {
			r.pos.Unfinished = &d
			return err
		}
		m.ValLoss, l.sum.ValLoss = &v, &v
		m.ValLosses, l.sum.ValLosses = each, each
		r.pos.Evaluated = r.pos.Step
		keep, _ := r.validated(v)
		save = save || keep
	}
	r.pos.Unfinished = nil
	var err error
	if d.Skipped != "" {
		r.warnf("%s", d.Skipped)
		err = l.note(note{Step: m.Step, Tokens: m.Tokens, ValLoss: m.ValLoss, ValLosses: m.ValLosses, Event: d.Skipped})
	} else {
		l.sum.Loss = m.Loss
		if last || m.ValLoss != nil || r.pos.Step%c.LogEvery == 0 {
			err = errors.Join(l.log.write(m), l.watch.log(m))
		}
		if r.OnStep != nil {
			r.OnStep(m)
		}
	}
	if last || m.ValLoss != nil {
		err = errors.Join(err, l.watch.weights(r.Model, r.target(), m.Step))
	}
	if err = errors.Join(err, l.watch.masks(r.Model, r.target(), m.Step)); err != nil {
		return err
	}
	if r.Sample != nil && c.SampleEvery > 0 && r.pos.Step%c.SampleEvery == 0 {
		if err := r.Sample(ctx, r.pos.Step); err != nil {
			return err
		}
	}
	if save {
		if err := r.writer.start(); err != nil {
			return err
		}
		l.saved = r.pos.Step
	}
	return nil
}

// note writes a line that is not the outcome of an update.
func (l *loop) note(n note) error {
	err := l.log.append(n)
	if n.ValLoss != nil {
		err = errors.Join(err, l.watch.note(n))
	}
	return err
}

// validationDue reports whether the present step wants a validation that it
// has not had.
func (l *loop) validationDue() bool {
	c, step := l.Config, l.pos.Step
	due := step == c.MaxSteps || c.EvalEvery > 0 && step%c.EvalEvery == 0
	return len(l.Valid) > 0 && due && l.pos.Evaluated != step
}

// rollback takes up the last checkpoint and leaves the batches since out. The
// new position is written at once, so that a resume takes the same way.
func (l *loop) rollback(why string) error {
	r := l.Run
	from, shift, rollbacks := r.pos.Step, r.pos.Shift, r.pos.Rollbacks+1
	if rollbacks > maxRollbacks {
		return fmt.Errorf("train: %s: rolled back %d times without coming past it", why, maxRollbacks)
	}
	if err := r.writer.wait(); err != nil {
		return err
	}
	if err := r.ResumeNewest(); err != nil {
		return err
	}
	r.pos.Shift = shift + from + 1 - r.pos.Step
	r.pos.Rollbacks, r.pos.Failed = rollbacks, from+1
	event := fmt.Sprintf("%s: rolled back to step %d, batches of %d steps left out", why, r.pos.Step, r.pos.Shift-shift)
	r.warnf("%s", event)
	if err := l.log.cut(r.Dir, r.pos.Step); err != nil {
		return err
	}
	if err := l.note(note{Step: r.pos.Step, Tokens: r.pos.Tokens, Event: event}); err != nil {
		return err
	}
	if err := r.price(); err != nil {
		return err
	}
	if err := r.writer.start(); err != nil {
		return err
	}
	l.saved = r.pos.Step
	return nil
}

// densifyIfDue densifies before the step after DensifyAt.
func (r *Run) densifyIfDue() error {
	if r.Config.DensifyAt == 0 || r.pos.Step != r.Config.DensifyAt || r.Model.Masks == nil {
		return nil
	}
	return r.densify()
}

// densify drops the masks: the model computes the same function, and every
// weight learns from now on. The moments start at zero unless KeepMoments.
func (r *Run) densify() error {
	old, opt := r.Model, r.opt
	dense, err := old.Densify()
	if err != nil {
		return err
	}
	r.Model = dense
	r.prepare(true)
	if r.Config.KeepMoments {
		for i, p := range old.Params {
			p.Dense(r.opt.M[i], opt.M[i])
			p.Dense(r.opt.V[i], opt.V[i])
		}
		r.opt.Step = opt.Step
	}
	r.logf("step %d: densified, learning rate %.3g from here", r.pos.Step, r.Config.denseSchedule().LR)
	return r.price()
}
