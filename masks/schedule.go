package masks

import (
	"fmt"
	"math"
	"math/big"
	"strconv"
)

// The kinds of Schedule.
const (
	Constant    = "constant"
	Linear      = "linear"
	Cubic       = "cubic"
	Exponential = "exponential"
	Power       = "power"
	Cosine      = "cosine"
	Cyclic      = "cyclic"
)

// Schedule is a number in [0, 1] that depends on the step: the sparsity of
// gradual pruning, or the fraction of weights that an update drops. With
// p = (step-Begin)/(End-Begin), held between 0 and 1, and t = step-Begin, held
// at 0 before Begin,
//
//	constant     Init
//	linear       Init + (Final-Init)*p, or Init + Rate*t without an End
//	cubic        Final + (Init-Final)*(1-p)^3
//	exponential  Final + (Init-Final)*exp(Rate*t)
//	power        Init * Rate^t
//	cosine       Final + (Init-Final)*(1+cos(pi*p))/2; with Repeat p is not held
//	             at 1 and the value rises again
//	cyclic       Values[floor(t/Every) mod len(Values)]
//
// held between 0 and 1.
//
// Sources: Zhu, Gupta, "To prune, or not to prune", 2017, eq. 1 (cubic); Evci et
// al., "Rigging the Lottery", ICML 2020, section 3 (cosine); cerebras.pytorch,
// sparse/utils.py, for the rest.
type Schedule struct {
	Kind        string
	Init, Final float64
	Begin, End  int
	Rate        float64
	Repeat      bool
	Values      []float64
	Every       int
}

// Fixed returns the schedule that is v at every step.
func Fixed(v float64) Schedule { return Schedule{Kind: Constant, Init: v} }

// CosineDrop returns the drop fraction of RigL: init at step begin, annealed to
// 0 at step end by half a cosine.
func CosineDrop(init float64, begin, end int) Schedule {
	return Schedule{Kind: Cosine, Init: init, Begin: begin, End: end}
}

// Check reports what makes s unusable: an unknown kind, a number outside [0, 1]
// or not finite, an End that is not after Begin where the kind needs one.
func (s Schedule) Check() error {
	unit := func(what string, v float64) error {
		if !(v >= 0 && v <= 1) {
			return fmt.Errorf("masks: schedule %s: %s is %g, outside [0, 1]", s.Kind, what, v)
		}
		return nil
	}
	if err := unit("init", s.Init); err != nil {
		return err
	}
	if err := unit("final", s.Final); err != nil {
		return err
	}
	if math.IsNaN(s.Rate) || math.IsInf(s.Rate, 0) {
		return fmt.Errorf("masks: schedule %s: rate is %g", s.Kind, s.Rate)
	}
	ends := false
	switch s.Kind {
	case Constant, Exponential:
	case Linear:
		ends = s.Rate == 0
	case Power:
		if s.Rate < 0 {
			return fmt.Errorf("masks: schedule power: rate is %g, below 0", s.Rate)
		}
	case Cubic, Cosine:
		ends = true
	case Cyclic:
		if len(s.Values) == 0 || s.Every < 1 {
			return fmt.Errorf("masks: schedule cyclic: %d values every %d steps", len(s.Values), s.Every)
		}
		for _, v := range s.Values {
			if err := unit("value", v); err != nil {
				return err
			}
		}
	default:
		return fmt.Errorf("masks: schedule %.40q is none of constant, linear, cubic, exponential, power, cosine and cyclic", s.Kind)
	}
	if s.Begin < 0 || ends && s.End <= s.Begin {
		return fmt.Errorf("masks: schedule %s: steps %d to %d", s.Kind, s.Begin, s.End)
	}
	return nil
}

// scheduleGrid is what values are rounded to a multiple of, so that the last
// bits of an exponential or a cosine, which differ between machines, cannot
// move a count.
const scheduleGrid = 1 << 30

// At returns the value at a step, a multiple of 2^-30 unless it is Init, Final
// or one of Values. It panics if s is not valid (see Check).
func (s Schedule) At(step int) float64 {
	t := float64(max(step-s.Begin, 0))
	p := 0.0
	if s.End > s.Begin {
		p = t / float64(s.End-s.Begin)
	}
	held := min(p, 1)
	span := s.Init - s.Final
	v := 0.0
	switch s.Kind {
	case Constant:
		return s.Init
	case Cyclic:
		return s.Values[int(t)/s.Every%len(s.Values)]
	case Linear:
		if s.Rate != 0 {
			v = s.Init + float64(s.Rate*t)
			break
		}
		if held == 1 {
			return s.Final
		}
		v = s.Init - float64(span*held)
	case Cubic:
		if held == 1 {
			return s.Final
		}
		r := 1 - held
		v = s.Final + float64(span*float64(float64(r*r)*r))
	case Exponential:
		v = s.Final + float64(span*math.Exp(float64(s.Rate*t)))
	case Power:
		v = float64(s.Init * math.Pow(s.Rate, t))
	case Cosine:
		if !s.Repeat {
			p = held
		}
		if p == 1 {
			return s.Final
		}
		v = s.Final + float64(span*float64(1+math.Cos(float64(math.Pi*p)))/2)
	default:
		panic("masks: schedule of no known kind")
	}
	if t == 0 {
		return s.Init
	}
	return min(max(math.Round(v*scheduleGrid)/scheduleGrid, 0), 1)
}

// Kept returns how many of total weights stay when At(step) of them are
// pruned: the fraction is taken as the shortest decimal that writes it, so
// 0.1 is one tenth, and rounded as Sparsity.Kept does.
func (s Schedule) Kept(step, total int) int {
	v, ok := new(big.Rat).SetString(strconv.FormatFloat(s.At(step), 'g', -1, 64))
	if !ok {
		panic("masks: not a number")
	}
	return Sparsity{rat: v}.Kept(total)
}

// Updates says at which steps masks move: at Begin and every Every steps after
// it, before End (0: for ever); or, if Steps is not empty, at these.
type Updates struct {
	Every, Begin, End int
	Steps             []int
}

// Due reports whether masks move at a step. The dense gradients that RigL needs
// are taken at these steps only.
func (u Updates) Due(step int) bool {
	if len(u.Steps) > 0 {
		for _, s := range u.Steps {
			if s == step {
				return true
			}
		}
		return false
	}
	return u.Every > 0 && step >= u.Begin && (u.End == 0 || step < u.End) && (step-u.Begin)%u.Every == 0
}
