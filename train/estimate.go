package train

import (
	"context"
	"fmt"
	"time"
)

// Estimate is what a run will take, reckoned before it starts.
type Estimate struct {
	Parameters      int     `json:"parameters"`
	Kept            int     `json:"kept"`
	Steps           int     `json:"steps"`
	Tokens          int64   `json:"tokens"`
	StateBytes      int64   `json:"state_bytes"`      // weights, gradients and both moments
	ActivationBytes int64   `json:"activation_bytes"` // buffers of a pass, as allocated
	CopyBytes       int64   `json:"copy_bytes"`       // of the state, while a checkpoint is written
	StepFLOPs       float64 `json:"step_flops"`
	FLOPs           float64 `json:"flops"` // of the run; masks that move are priced as they start
	StepSeconds     float64 `json:"step_seconds"`
	Seconds         float64 `json:"seconds"` // of the run: its FLOPs at the measured rate
}

// probeSteps are the steps that Estimate times, after one that warms up.
const probeSteps = 3

// Estimate does a few steps and tells what the whole run will take. The model
// has learned something afterwards: r is of no further use.
func (r *Run) Estimate(ctx context.Context) (Estimate, error) {
	if err := r.Config.Validate(); err != nil {
		return Estimate{}, err
	}
	r.prepare(false)
	if err := r.price(); err != nil {
		return Estimate{}, err
	}
	c := r.Config
	var e Estimate
	e.Parameters, e.Kept = r.Model.Counts()
	trainable := 0
	for _, p := range r.params {
		trainable += len(p.W)
	}
	e.Steps = c.MaxSteps
	e.StepFLOPs = r.flops * float64(c.BatchSize)
	e.FLOPs = e.StepFLOPs * float64(c.MaxSteps)
	if c.DensifyAt > 0 && r.SequenceFLOPs != nil {
		dense, err := r.SequenceFLOPs(nil)
		if err != nil {
			return e, err
		}
		e.FLOPs = e.StepFLOPs*float64(c.DensifyAt) + dense*float64(c.BatchSize)*float64(c.MaxSteps-c.DensifyAt)
	}
	const float = 4
	e.StateBytes = float * int64(e.Kept+3*trainable)
	e.CopyBytes = float * int64(3*trainable)
	var start time.Time
	tokens := 0
	for i := range min(probeSteps+1, c.MaxSteps) {
		if i <= 1 {
			start, tokens = time.Now(), 0
		}
		out, err := r.step(ctx, c.lrAt(0))
		if err != nil {
			return e, err
		}
		tokens += out.tokens
	}
	timed := max(min(probeSteps, c.MaxSteps-1), 1)
	e.StepSeconds = time.Since(start).Seconds() / float64(timed)
	e.Tokens = int64(float64(tokens) / float64(timed) * float64(c.MaxSteps))
	e.Seconds = e.StepSeconds * float64(c.MaxSteps)
	if e.StepFLOPs > 0 {
		e.Seconds = e.StepSeconds * e.FLOPs / e.StepFLOPs
	}
	e.ActivationBytes = float * r.Model.BufferFloats()
	return e, nil
}

// Verify does the steps that led to the newest checkpoint again, from the one
// before it or, if there is none, from the start, and compares weights, masks and
// moments. It returns the number of steps and an error that is a
// *ReplayError if something differs. It writes nothing.
func (r *Run) Verify(ctx context.Context) (steps int, err error) {
	list, err := checkpointSteps(r.Dir)
	if err != nil {
		return 0, err
	}
	if len(list) == 0 {
		return 0, fmt.Errorf("train: %s: no checkpoint to compare with", r.Dir)
	}
	newest := list[len(list)-1]
	if len(list) > 1 {
		if err := r.Resume(checkpointDir(r.Dir, list[len(list)-2])); err != nil {
			return 0, err
		}
	}
	r.prepare(false)
	for r.pos.Step < newest {
		if err := r.densifyIfDue(); err != nil {
			return steps, err
		}
		out, err := r.step(ctx, r.Config.lrAt(r.pos.Step))
		if err != nil {
			return steps, err
		}
		if out.rollback != "" {
			return steps, fmt.Errorf("train: the steps to be done again were rolled back: %s", out.rollback)
		}
		steps++
	}
	got := r.hashes()
	if err := r.Resume(checkpointDir(r.Dir, newest)); err != nil {
		return steps, err
	}
	for i, want := range r.hashes() {
		if got[i] != want {
			return steps, &ReplayError{Step: newest, Name: want.name}
		}
	}
	return steps, nil
}

// ReplayError is a checkpoint that its own steps, done again, do not lead to.
type ReplayError struct {
	Step int
	Name string // first tensor that differs
}

func (e *ReplayError) Error() string {
	return fmt.Sprintf("train: step %d done again: %q has other bits than the checkpoint", e.Step, e.Name)
}
