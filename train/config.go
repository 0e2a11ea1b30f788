// Package train is the training loop: it takes a model and a source of
// batches through a schedule, writes metrics and checkpoints into a run
// directory, and takes an interrupted run up again with the same bits.
package train

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/spdfctl/spdfctl/kernels"
	"github.com/spdfctl/spdfctl/masks"
	"github.com/spdfctl/spdfctl/train/optim"
)

// Config holds the settings of a training loop. Every field is a key of the
// configuration file and, with dashes, a flag.
type Config struct {
	Seed           uint64        `yaml:"seed"`
	BatchSize      int           `yaml:"batch_size"`       // sequences per step
	MicroBatchSize int           `yaml:"micro_batch_size"` // sequences per pass; 0: all of a step
	SeqLen         int           `yaml:"seq_len"`          // tokens per sequence; 0: the model's context
	MaxSteps       int           `yaml:"max_steps"`        // optimizer steps of the run
	MaxTokens      int64         `yaml:"max_tokens"`       // sets max_steps; 0: not
	MaxTime        time.Duration `yaml:"max_time"`         // of this process; 0: no limit

	LR              float64 `yaml:"lr"`              // peak learning rate
	MinLRRatio      float64 `yaml:"min_lr_ratio"`    // final learning rate as a fraction of the peak
	LRSchedule      string  `yaml:"lr_schedule"`     // constant, linear, cosine or wsd
	WarmupSteps     int     `yaml:"warmup_steps"`    // of linear warm-up; -1: a tenth of the run, at most 500
	WarmupTokens    int64   `yaml:"warmup_tokens"`   // instead of warmup_steps; 0: not
	WarmupFraction  float64 `yaml:"warmup_fraction"` // likewise, of the run
	DecayFraction   float64 `yaml:"decay_fraction"`  // part of the run in which wsd decays
	Parametrization string  `yaml:"parametrization"` // standard or supar
	BaseWidth       int     `yaml:"base_width"`      // n_embd at which lr was tuned, for supar

	optim.AdamWConfig `yaml:",inline"`
	GradClip          float64 `yaml:"grad_clip"` // global norm; 0: none

	Dropout        float64 `yaml:"dropout"`                // of embeddings and residual branches
	ZLoss          float64 `yaml:"z_loss"`                 // weight of log²Z
	LabelSmoothing float64 `yaml:"label_smoothing"`        // probability spread over the vocabulary
	Recompute      bool    `yaml:"gradient_checkpointing"` // activations of a block are computed again

	Precision kernels.Precision `yaml:"precision"` // of dense products: f32 or bf16

	OnNonFinite string  `yaml:"on_non_finite"` // stop, skip or rollback
	OnSpike     string  `yaml:"on_spike"`      // likewise
	SpikeFactor float64 `yaml:"spike_factor"`  // loss over its running mean; 0: no spike

	Dynamic          string  `yaml:"dynamic"`           // how the masks move: static, gmp, set or rigl
	MaskUpdateEvery  int     `yaml:"mask_update_every"` // steps between moves
	MaskUpdateStart  int     `yaml:"mask_update_start"` // first step of the moves
	MaskUpdateStop   int     `yaml:"mask_update_stop"`  // last step; 0: three quarters of the run
	DropFraction     float64 `yaml:"drop_fraction"`     // of set and rigl, annealed to 0 by half a cosine
	InitialSparsity  float64 `yaml:"initial_sparsity"`  // of gmp, which ends at sparsity
	SparsitySchedule string  `yaml:"sparsity_schedule"` // of gmp: linear, cubic, cosine or constant

	DensifyAt          int     `yaml:"densify_at"`           // step after which the masks are dropped; 0: never
	DensifyLR          float64 `yaml:"densify_lr"`           // peak from then on; 0: lr
	DensifyWarmupSteps int     `yaml:"densify_warmup_steps"` // of linear warm-up from then on
	KeepMoments        bool    `yaml:"keep_moments"`         // AdamW's moments survive the densification

	LogEvery      int     `yaml:"log_every"`      // steps between lines of metrics.jsonl
	EvalEvery     int     `yaml:"eval_every"`     // steps between validations; 0: at the end only
	EvalAtStart   bool    `yaml:"eval_at_start"`  // also before the first step
	EvalSequences int     `yaml:"eval_sequences"` // sequences of a validation; 0: all
	Patience      int     `yaml:"patience"`       // validations without improvement before the run ends; 0: no early stop
	MinDelta      float64 `yaml:"min_delta"`      // what counts as an improvement
	SampleEvery   int     `yaml:"sample_every"`   // steps between printed samples; 0: none
	SamplePrompt  string  `yaml:"sample_prompt"`  // what the samples continue

	SaveEvery int `yaml:"save_every"` // steps between checkpoints; 0: at the end only
	KeepLast  int `yaml:"keep_last"`  // newest checkpoints that stay; 0: all
	KeepBest  int `yaml:"keep_best"`  // checkpoints of the lowest validation losses that stay besides
}

// Policies are what a run can do about a loss that is not finite or a spike:
// end, leave the update out, or take up the last checkpoint and go around the
// batches since.
var Policies = []string{"stop", "skip", "rollback"}

// Parametrizations are the ways in which initial weights and learning rates
// depend on width and density.
var Parametrizations = []string{"standard", "supar"}

// Defaults returns the paper's recipe where it has one: AdamW 0.9/0.999/1e-8,
// weight decay 0.1, clipping at 1, cosine decay to 10 %.
//
// Source: Thangarasa et al., "SPDF", UAI 2023, supplement A.1.
func Defaults() Config {
	return Config{
		BatchSize: 8, MaxSteps: 1000,
		LR: 6e-4, MinLRRatio: 0.1, LRSchedule: "cosine", WarmupSteps: -1, DecayFraction: 0.2,
		Parametrization: "standard", BaseWidth: 256,
		AdamWConfig: optim.AdamWConfig{Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, WeightDecay: 0.1},
		GradClip:    1,
		Dynamic:     "static", MaskUpdateEvery: 100, DropFraction: 0.3, SparsitySchedule: masks.Cubic,
		OnNonFinite: "stop", OnSpike: "skip",
		LogEvery: 10, EvalEvery: 0, EvalSequences: 64, SaveEvery: 500, KeepLast: 2,
	}
}

// tokensPerStep returns the tokens of one global batch of whole sequences.
func (c Config) tokensPerStep() int64 { return int64(c.BatchSize) * int64(c.SeqLen) }

// StepsOfTokens returns the steps that see MaxTokens tokens, rounded up, and
// at least 1. BatchSize and SeqLen must be set.
func (c Config) StepsOfTokens() int {
	per := max(c.tokensPerStep(), 1)
	return int(max((c.MaxTokens-1)/per+1, 1))
}

// warmup returns the steps of the first warm-up in a phase of steps.
func (c Config) warmup(steps int) int {
	switch {
	case c.WarmupTokens > 0:
		return int(min((c.WarmupTokens-1)/max(c.tokensPerStep(), 1)+1, math.MaxInt32))
	case c.WarmupFraction > 0:
		return int(math.Round(c.WarmupFraction * float64(steps)))
	case c.WarmupSteps == -1:
		return min(steps/10, 500)
	}
	return c.WarmupSteps
}

// Schedule returns the learning-rate schedule of the run; with DensifyAt set,
// of its sparse phase, which then ends there.
func (c Config) Schedule() optim.Schedule {
	steps := c.MaxSteps
	if c.DensifyAt > 0 {
		steps = c.DensifyAt
	}
	return c.phase(c.LR, c.warmup(steps), steps)
}

// denseSchedule returns the schedule of the steps after DensifyAt.
func (c Config) denseSchedule() optim.Schedule {
	lr := c.DensifyLR
	if lr == 0 {
		lr = c.LR
	}
	return c.phase(lr, c.DensifyWarmupSteps, c.MaxSteps-c.DensifyAt)
}

func (c Config) phase(lr float64, warmup, steps int) optim.Schedule {
	decay := int(math.Round(c.DecayFraction * float64(steps)))
	return optim.Schedule{Kind: c.LRSchedule, LR: lr, MinRatio: c.MinLRRatio, Warmup: warmup, Decay: decay, Steps: steps}
}

// lrAt returns the learning rate of step, counted from 0.
func (c Config) lrAt(step int) float64 {
	if c.DensifyAt > 0 && step >= c.DensifyAt {
		return c.denseSchedule().At(step - c.DensifyAt)
	}
	return c.Schedule().At(step)
}

// micro returns the number of sequences of one pass.
func (c Config) micro() int {
	if c.MicroBatchSize > 0 {
		return min(c.MicroBatchSize, c.BatchSize)
	}
	return c.BatchSize
}

// FieldError is a setting that is out of range, or two that contradict each
// other. Keys are their names in the configuration file.
type FieldError struct {
	Keys []string
	Text string
}

func (e *FieldError) Error() string { return "train: config: " + e.Text }

func fieldErrorf(keys []string, format string, args ...any) error {
	return &FieldError{Keys: keys, Text: fmt.Sprintf(format, args...)}
}

// Validate reports the first field that is out of range, or the first two
// that contradict each other, as a *FieldError, or a precision that this CPU
// does not have.
func (c Config) Validate() error {
	if err := c.checkIntegers(); err != nil {
		return err
	}
	if err := c.checkFractions(); err != nil {
		return err
	}
	for _, f := range []struct {
		key, value string
		allowed    []string
	}{
		{"lr_schedule", c.LRSchedule, optim.Kinds},
		{"parametrization", c.Parametrization, Parametrizations},
		{"dynamic", c.Dynamic, Dynamics},
		{"sparsity_schedule", c.SparsitySchedule, []string{masks.Linear, masks.Cubic, masks.Cosine, masks.Constant}},
		{"on_non_finite", c.OnNonFinite, Policies},
		{"on_spike", c.OnSpike, Policies},
	} {
		if !slices.Contains(f.allowed, f.value) {
			return fieldErrorf([]string{f.key}, "%s %q is none of %q", f.key, f.value, f.allowed)
		}
	}
	if err := c.checkPairs(); err != nil {
		return err
	}
	if err := c.AdamWConfig.Validate(); err != nil {
		return named(err, nil)
	}
	if c.DensifyAt > 0 {
		err := named(c.denseSchedule().Validate(), map[string][]string{
			"lr": {"densify_lr", "lr"}, "warmup": {"densify_warmup_steps", "densify_at", "max_steps"}, "decay": {"decay_fraction", "densify_warmup_steps"}})
		if err != nil {
			return fmt.Errorf("after densify_at: %w", err)
		}
	}
	if err := c.Precision.Available(); err != nil {
		return err
	}
	return named(c.Schedule().Validate(), map[string][]string{
		"warmup": {"warmup_steps", "warmup_tokens", "warmup_fraction", "densify_at", "max_steps"}, "decay": {"decay_fraction", "warmup_steps", "warmup_tokens", "warmup_fraction"}})
}

// named turns an error of optim into one that names its fields: those that fields
// has for its key, or the key itself.
func named(err error, fields map[string][]string) error {
	var wrong *optim.ConfigError
	if !errors.As(err, &wrong) {
		return err
	}
	keys, ok := fields[wrong.Key]
	if !ok {
		keys = []string{wrong.Key}
	}
	return &FieldError{Keys: keys, Text: wrong.Text}
}

func (c Config) checkIntegers() error {
	for _, f := range []struct {
		key             string
		value, min, max int64
	}{
		{"batch_size", int64(c.BatchSize), 1, 1 << 20},
		{"micro_batch_size", int64(c.MicroBatchSize), 0, 1 << 20},
		{"seq_len", int64(c.SeqLen), 0, 1 << 20},
		{"max_steps", int64(c.MaxSteps), 1, 1 << 40},
		{"max_tokens", c.MaxTokens, 0, 1 << 60},
		{"max_time", int64(c.MaxTime), 0, math.MaxInt64},
		{"warmup_steps", int64(c.WarmupSteps), -1, 1 << 40},
		{"warmup_tokens", c.WarmupTokens, 0, 1 << 60},
		{"base_width", int64(c.BaseWidth), 1, 1 << 20},
		{"mask_update_every", int64(c.MaskUpdateEvery), 1, 1 << 40},
		{"mask_update_start", int64(c.MaskUpdateStart), 0, 1 << 40},
		{"mask_update_stop", int64(c.MaskUpdateStop), 0, 1 << 40},
		{"densify_at", int64(c.DensifyAt), 0, 1 << 40},
		{"densify_warmup_steps", int64(c.DensifyWarmupSteps), 0, 1 << 40},
		{"log_every", int64(c.LogEvery), 1, 1 << 40},
		{"eval_every", int64(c.EvalEvery), 0, 1 << 40},
		{"eval_sequences", int64(c.EvalSequences), 0, 1 << 40},
		{"patience", int64(c.Patience), 0, 1 << 20},
		{"sample_every", int64(c.SampleEvery), 0, 1 << 40},
		{"save_every", int64(c.SaveEvery), 0, 1 << 40},
		{"keep_last", int64(c.KeepLast), 0, 1 << 20},
		{"keep_best", int64(c.KeepBest), 0, 1 << 20},
	} {
		if f.value < f.min || f.value > f.max {
			return fieldErrorf([]string{f.key}, "%s is %d, outside %d to %d", f.key, f.value, f.min, f.max)
		}
	}
	return nil
}

func (c Config) checkFractions() error {
	for _, f := range []struct {
		key        string
		value, max float64
	}{
		{"warmup_fraction", c.WarmupFraction, 1},
		{"decay_fraction", c.DecayFraction, 1},
		{"grad_clip", c.GradClip, 1e9},
		{"dropout", c.Dropout, 0.99},
		{"z_loss", c.ZLoss, 1},
		{"label_smoothing", c.LabelSmoothing, 0.99},
		{"spike_factor", c.SpikeFactor, 1e9},
		{"drop_fraction", c.DropFraction, 1},
		{"initial_sparsity", c.InitialSparsity, 0.999999},
		{"densify_lr", c.DensifyLR, 100},
		{"min_delta", c.MinDelta, 1e9},
	} {
		if !(f.value >= 0 && f.value <= f.max) {
			return fieldErrorf([]string{f.key}, "%s is %g, outside 0 to %g", f.key, f.value, f.max)
		}
	}
	return nil
}

// checkPairs reports fields that contradict each other.
func (c Config) checkPairs() error {
	warmups := map[string]bool{"warmup_steps": c.WarmupSteps >= 0, "warmup_tokens": c.WarmupTokens > 0, "warmup_fraction": c.WarmupFraction > 0}
	var given []string
	for _, key := range []string{"warmup_steps", "warmup_tokens", "warmup_fraction"} {
		if warmups[key] {
			given = append(given, key)
		}
	}
	switch {
	case len(given) > 1:
		return fieldErrorf(given, "%s and %s both set the warm-up", given[0], given[1])
	case c.MaxTokens > 0 && c.SeqLen > 0 && c.MaxSteps != c.StepsOfTokens():
		return fieldErrorf([]string{"max_steps", "max_tokens"}, "max_steps is %d, max_tokens makes it %d", c.MaxSteps, c.StepsOfTokens())
	case c.SpikeFactor != 0 && c.SpikeFactor <= 1:
		return fieldErrorf([]string{"spike_factor"}, "spike_factor is %g, not above 1", c.SpikeFactor)
	case c.DensifyAt >= c.MaxSteps:
		return fieldErrorf([]string{"densify_at", "max_steps"}, "densify_at is %d, max_steps %d", c.DensifyAt, c.MaxSteps)
	case c.DensifyAt == 0 && (c.DensifyLR != 0 || c.DensifyWarmupSteps != 0):
		return fieldErrorf([]string{"densify_lr", "densify_warmup_steps", "densify_at"}, "densify_lr and densify_warmup_steps need densify_at")
	case c.DensifyAt == 0 && c.KeepMoments:
		return fieldErrorf([]string{"keep_moments", "densify_at"}, "keep_moments needs densify_at")
	case c.moves() && c.maskStop() <= c.MaskUpdateStart:
		return fieldErrorf([]string{"mask_update_stop", "mask_update_start"}, "mask_update_stop is %d, mask_update_start %d", c.maskStop(), c.MaskUpdateStart)
	case !c.moves() && (c.MaskUpdateStart != 0 || c.MaskUpdateStop != 0):
		return fieldErrorf([]string{"mask_update_start", "mask_update_stop", "dynamic"}, "mask_update_start and mask_update_stop need dynamic masks")
	case c.Dynamic != "gmp" && c.InitialSparsity != 0:
		return fieldErrorf([]string{"initial_sparsity", "dynamic"}, "initial_sparsity is %g, which only dynamic gmp has", c.InitialSparsity)
	case c.Patience > 0 && c.EvalEvery == 0:
		return fieldErrorf([]string{"patience", "eval_every"}, "patience is %d, but eval_every is 0", c.Patience)
	}
	return nil
}
