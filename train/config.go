// Package train is the training loop: it takes a model and a source of
// batches through a schedule, writes metrics and checkpoints into a run
// directory, and takes an interrupted run up again with the same bits.
package train

import (
	"fmt"

	"github.com/spdfctl/spdfctl/train/optim"
)

// Config holds the settings of a training loop. Every field is a key of the
// configuration file and, with dashes, a flag.
type Config struct {
	Seed           uint64 `yaml:"seed"`
	BatchSize      int    `yaml:"batch_size"`       // sequences per step
	MicroBatchSize int    `yaml:"micro_batch_size"` // sequences per pass; 0: all of a step
	SeqLen         int    `yaml:"seq_len"`          // tokens per sequence; 0: the model's context
	MaxSteps       int    `yaml:"max_steps"`        // optimizer steps of the run

	LR          float64 `yaml:"lr"`           // peak learning rate
	MinLRRatio  float64 `yaml:"min_lr_ratio"` // final learning rate as a fraction of the peak
	LRSchedule  string  `yaml:"lr_schedule"`  // constant, linear or cosine
	WarmupSteps int     `yaml:"warmup_steps"` // of linear warm-up; -1: a tenth of the run, at most 500

	optim.AdamWConfig `yaml:",inline"`
	GradClip          float64 `yaml:"grad_clip"` // global norm; 0: none

	LogEvery      int `yaml:"log_every"`      // steps between lines of metrics.jsonl
	EvalEvery     int `yaml:"eval_every"`     // steps between validations; 0: at the end only
	EvalSequences int `yaml:"eval_sequences"` // sequences of a validation; 0: all
	SaveEvery     int `yaml:"save_every"`     // steps between checkpoints; 0: at the end only
	KeepLast      int `yaml:"keep_last"`      // checkpoints that stay; 0: all
}

// Defaults returns the paper's recipe where it has one: AdamW 0.9/0.999/1e-8,
// weight decay 0.1, clipping at 1, cosine decay to 10 %.
//
// Source: Thangarasa et al., "SPDF", UAI 2023, supplement A.1.
func Defaults() Config {
	return Config{
		BatchSize: 8, MaxSteps: 1000,
		LR: 6e-4, MinLRRatio: 0.1, LRSchedule: "cosine", WarmupSteps: -1,
		AdamWConfig: optim.AdamWConfig{Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, WeightDecay: 0.1},
		GradClip:    1,
		LogEvery:    10, EvalEvery: 0, EvalSequences: 64, SaveEvery: 500, KeepLast: 2,
	}
}

// Schedule returns the learning-rate schedule of the run.
func (c Config) Schedule() optim.Schedule {
	warmup := c.WarmupSteps
	if warmup == -1 {
		warmup = min(c.MaxSteps/10, 500)
	}
	return optim.Schedule{Kind: c.LRSchedule, LR: c.LR, MinRatio: c.MinLRRatio, Warmup: warmup, Steps: c.MaxSteps}
}

// micro returns the number of sequences of one pass.
func (c Config) micro() int {
	if c.MicroBatchSize > 0 {
		return min(c.MicroBatchSize, c.BatchSize)
	}
	return c.BatchSize
}

// Validate reports the first field that is out of range.
func (c Config) Validate() error {
	for _, f := range []struct {
		key             string
		value, min, max int
	}{
		{"batch_size", c.BatchSize, 1, 1 << 20},
		{"micro_batch_size", c.MicroBatchSize, 0, 1 << 20},
		{"seq_len", c.SeqLen, 0, 1 << 20},
		{"max_steps", c.MaxSteps, 1, 1 << 40},
		{"log_every", c.LogEvery, 1, 1 << 40},
		{"eval_every", c.EvalEvery, 0, 1 << 40},
		{"eval_sequences", c.EvalSequences, 0, 1 << 40},
		{"save_every", c.SaveEvery, 0, 1 << 40},
		{"keep_last", c.KeepLast, 0, 1 << 20},
	} {
		if f.value < f.min || f.value > f.max {
			return fmt.Errorf("train: config: %s is %d, outside %d to %d", f.key, f.value, f.min, f.max)
		}
	}
	if !(c.GradClip >= 0 && c.GradClip < 1e9) {
		return fmt.Errorf("train: config: grad_clip is %g, negative or too large", c.GradClip)
	}
	if err := c.AdamWConfig.Validate(); err != nil {
		return err
	}
	return c.Schedule().Validate()
}
