package optim

import (
	"math"
	"slices"
)

// Kinds are the names of the schedules.
var Kinds = []string{"constant", "linear", "cosine", "wsd"}

// Schedule gives the learning rate of every step: a linear warm-up from 0 to
// LR over Warmup steps, then a decay to LR*MinRatio at step Steps. The kind
// wsd (warm-up, stable, decay) stays at LR and decays linearly over the last
// Decay steps.
type Schedule struct {
	Kind     string  // one of Kinds
	LR       float64 // peak
	MinRatio float64 // final learning rate as a fraction of LR
	Warmup   int     // steps
	Decay    int     // steps of the decay of wsd
	Steps    int     // of the whole run
}

// Validate reports a schedule that cannot be followed.
func (s Schedule) Validate() error {
	switch {
	case !slices.Contains(Kinds, s.Kind):
		return configErrorf("lr_schedule", "schedule %q is none of %q", s.Kind, Kinds)
	case !(s.LR > 0 && s.LR < 100):
		return configErrorf("lr", "learning rate %g is outside (0, 100)", s.LR)
	case !(s.MinRatio >= 0 && s.MinRatio <= 1):
		return configErrorf("min_lr_ratio", "final learning-rate ratio %g is outside [0, 1]", s.MinRatio)
	case s.Warmup < 0 || s.Warmup > s.Steps:
		return configErrorf("warmup", "warm-up of %d steps in a run of %d", s.Warmup, s.Steps)
	case s.Kind == "wsd" && (s.Decay < 0 || s.Decay > s.Steps-s.Warmup):
		return configErrorf("decay", "decay of %d steps in a run of %d with a warm-up of %d", s.Decay, s.Steps, s.Warmup)
	}
	return nil
}

// At returns the learning rate of step, counted from 0.
//
// Source: the schedule of Brown et al., "Language Models are Few-Shot
// Learners", 2020, appendix B, which the SPDF paper follows; wsd: Hu et al.,
// "MiniCPM", 2024, section 4.
func (s Schedule) At(step int) float64 {
	if step < s.Warmup {
		return s.LR * float64(step+1) / float64(s.Warmup)
	}
	from := s.Warmup
	if s.Kind == "wsd" {
		from = s.Steps - s.Decay
	}
	x := float64(step-from) / float64(max(s.Steps-from, 1))
	x = min(max(x, 0), 1)
	switch s.Kind {
	case "linear", "wsd":
		return s.LR * (1 - x*(1-s.MinRatio))
	case "cosine":
		return s.LR * (s.MinRatio + (1-s.MinRatio)*0.5*(1+math.Cos(math.Pi*x)))
	}
	return s.LR
}
