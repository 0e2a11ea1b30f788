package optim

import (
	"fmt"
	"math"
)

// Schedule gives the learning rate of every step: a linear warm-up from 0 to
// LR over Warmup steps, then a decay to LR*MinRatio at step Steps.
type Schedule struct {
	Kind     string  // "constant", "linear" or "cosine"
	LR       float64 // peak
	MinRatio float64 // final learning rate as a fraction of LR
	Warmup   int     // steps
	Steps    int     // of the whole run
}

// Validate reports a schedule that cannot be followed.
func (s Schedule) Validate() error {
	switch {
	case s.Kind != "constant" && s.Kind != "linear" && s.Kind != "cosine":
		return fmt.Errorf("optim: schedule %q is none of constant, linear, cosine", s.Kind)
	case !(s.LR > 0 && s.LR < 100):
		return fmt.Errorf("optim: learning rate %g is outside (0, 100)", s.LR)
	case !(s.MinRatio >= 0 && s.MinRatio <= 1):
		return fmt.Errorf("optim: final learning-rate ratio %g is outside [0, 1]", s.MinRatio)
	case s.Warmup < 0 || s.Warmup > s.Steps:
		return fmt.Errorf("optim: warm-up of %d steps in a run of %d", s.Warmup, s.Steps)
	}
	return nil
}

// At returns the learning rate of step, counted from 0.
//
// Source: the schedule of Brown et al., "Language Models are Few-Shot
// Learners", 2020, appendix B, which the SPDF paper follows.
func (s Schedule) At(step int) float64 {
	if step < s.Warmup {
		return s.LR * float64(step+1) / float64(s.Warmup)
	}
	x := float64(step-s.Warmup) / float64(max(s.Steps-s.Warmup, 1))
	x = min(x, 1)
	switch s.Kind {
	case "linear":
		return s.LR * (1 - x*(1-s.MinRatio))
	case "cosine":
		return s.LR * (s.MinRatio + (1-s.MinRatio)*0.5*(1+math.Cos(math.Pi*x)))
	}
	return s.LR
}
