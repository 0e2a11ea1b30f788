package analysis

import (
	"fmt"
	"math"
	"math/big"
)

// Phase is a stretch of training with one batch shape. Sparsity that changes on
// the way is a list of stretches.
type Phase struct {
	Name      string
	SeqLen    int
	Stretches []Stretch

	// DenseGradients counts the sequences whose weight gradient is computed for
	// every place, kept or not: what RigL needs to choose where to grow.
	DenseGradients int64
}

// Stretch is a run of sequences with the same kept weights.
type Stretch struct {
	Sequences int64
	Sparsity  float64 // of the sparsified layers
	Kept      Kept    // nil: dense
}

// Static returns the stretches of a phase whose mask does not move.
func Static(sequences int64, sparsity float64, kept Kept) []Stretch {
	return []Stretch{{sequences, sparsity, kept}}
}

// Curves of a gradual pruning schedule.
const (
	CurveCubic  = "cubic"
	CurveLinear = "linear"
	CurveCosine = "cosine"
)

// maxStretches bounds the updates of a schedule; real ones have a few thousand.
const maxStretches = 1 << 20

// Gradual returns the stretches of gradual magnitude pruning over steps steps
// of batch sequences. Sparsity is from up to step start, then moves every
// every steps along the curve until it is to at step end:
//
//	s(t) = to + (from-to) * (1-x)^3,  x = (t-start)/(end-start)   cubic
//	s(t) = from + (to-from) * x                                   linear
//	s(t) = to + (from-to) * (1+cos(pi*x))/2                       cosine
//
// Source: Zhu, Gupta, "To Prune, or Not to Prune", 2017, eq. 1, for the cubic.
func Gradual(curve string, from, to float64, steps, batch, start, end, every int64) ([]Stretch, error) {
	switch {
	case steps < 1 || batch < 1 || every < 1:
		return nil, fmt.Errorf("analysis: gradual pruning: %d steps of %d sequences, an update every %d: all must be at least 1", steps, batch, every)
	case start < 0 || start > end || end > steps:
		return nil, fmt.Errorf("analysis: gradual pruning: from step %d to %d of %d", start, end, steps)
	case !(from >= 0 && from < 1 && to >= 0 && to < 1):
		return nil, fmt.Errorf("analysis: gradual pruning: sparsity %g to %g is outside [0, 1)", from, to)
	case (end-start)/every > maxStretches:
		return nil, fmt.Errorf("analysis: gradual pruning: %d updates, limit %d", (end-start)/every, maxStretches)
	}
	at := func(t int64) float64 {
		if t < start {
			return from
		}
		if t >= end {
			return to
		}
		x := float64(t-start) / float64(end-start)
		switch curve {
		case CurveLinear:
			return from + (to-from)*x
		case CurveCosine:
			return to + (from-to)*(1+math.Cos(math.Pi*x))/2
		}
		return to + (from-to)*math.Pow(1-x, 3)
	}
	switch curve {
	case CurveCubic, CurveLinear, CurveCosine:
	default:
		return nil, fmt.Errorf("analysis: curve %q is none of %s, %s, %s", curve, CurveCubic, CurveLinear, CurveCosine)
	}
	var list []Stretch
	add := func(lo, hi int64) {
		if hi > lo {
			s := at(lo)
			list = append(list, Stretch{(hi - lo) * batch, s, fractionKept(s)})
		}
	}
	add(0, start)
	for t := start; t < end; t += every {
		add(t, min(t+every, end))
	}
	add(end, steps)
	return list, nil
}

// PhaseCost is what a phase costs beside the dense model on the same tokens.
type PhaseCost struct {
	Name              string   `json:"name"`
	Sequences         int64    `json:"sequences"`
	SeqLen            int      `json:"seq_len"`
	Tokens            int64    `json:"tokens"`
	Sparsity          float64  `json:"sparsity"`       // of the sparsified layers, mean over the tokens
	FinalSparsity     float64  `json:"final_sparsity"` // of its last stretch
	FLOPs             *big.Int `json:"flops"`
	DenseGradients    *big.Int `json:"dense_gradients"` // the part of flops that RigL's updates add
	DenseFLOPs        *big.Int `json:"dense_flops"`
	AverageParameters float64  `json:"average_parameters"` // that exist, mean over the tokens
}

// PlanCost is the cost of several phases one after the other.
type PlanCost struct {
	Convention Convention  `json:"convention"`
	Model      any         `json:"model"`
	Phases     []PhaseCost `json:"phases"`

	Tokens          int64    `json:"tokens"`
	FLOPsTotal      *big.Int `json:"flops_total"`
	DenseFLOPsTotal *big.Int `json:"dense_flops_total"`
	Reduction       float64  `json:"reduction"` // this / dense
	Speedup         float64  `json:"speedup"`   // dense / this: an upper bound

	Parameters        int64   `json:"parameters"`
	AverageParameters float64 `json:"average_parameters"`
}

// PlanFLOPs prices the phases of a plan, forward and backward.
//
// The average parameter count is what the scaling law of a model that is pruned
// on the way takes for N: Jin et al., "The Journey Matters", ICLR 2025.
func PlanFLOPs(s Shape, convention Convention, phases []Phase) (*PlanCost, error) {
	plan := &PlanCost{
		Convention: convention, Model: s.Config(), Phases: []PhaseCost{},
		FLOPsTotal: new(big.Int), DenseFLOPsTotal: new(big.Int), Parameters: s.Parameters().Total(),
	}
	if len(phases) == 0 {
		return nil, fmt.Errorf("analysis: a plan without phases")
	}
	var weighted float64
	for _, p := range phases {
		cost, err := phaseCost(s, convention, p)
		if err != nil {
			return nil, fmt.Errorf("analysis: phase %q: %w", p.Name, err)
		}
		plan.Phases = append(plan.Phases, cost)
		plan.Tokens += cost.Tokens
		plan.FLOPsTotal.Add(plan.FLOPsTotal, cost.FLOPs)
		plan.DenseFLOPsTotal.Add(plan.DenseFLOPsTotal, cost.DenseFLOPs)
		weighted += cost.AverageParameters * float64(cost.Tokens)
	}
	plan.Reduction = ratio(plan.FLOPsTotal, plan.DenseFLOPsTotal)
	plan.Speedup = ratio(plan.DenseFLOPsTotal, plan.FLOPsTotal)
	plan.AverageParameters = weighted / float64(plan.Tokens)
	return plan, nil
}

// maxSequences keeps tokens and their sums inside an int64.
const maxSequences = 1 << 38

func phaseCost(s Shape, convention Convention, p Phase) (PhaseCost, error) {
	cost := PhaseCost{Name: p.Name, SeqLen: p.SeqLen, FLOPs: new(big.Int), DenseGradients: new(big.Int)}
	dense, err := s.Ledger(convention, p.SeqLen, nil)
	if err != nil {
		return cost, err
	}
	var parameters, sparsity float64
	var rows []Layer
	for _, x := range p.Stretches {
		if x.Sequences < 1 || cost.Sequences > maxSequences-x.Sequences {
			return cost, fmt.Errorf("a stretch of %d sequences, limit %d in all", x.Sequences, int64(maxSequences))
		}
		if rows, err = s.Ledger(convention, p.SeqLen, x.Kept); err != nil {
			return cost, err
		}
		cost.Sequences += x.Sequences
		cost.FLOPs.Add(cost.FLOPs, times(sum(rows), x.Sequences))
		kept, _ := s.keptParameters(x.Kept)
		parameters += float64(kept) * float64(x.Sequences)
		sparsity += x.Sparsity * float64(x.Sequences)
		cost.FinalSparsity = x.Sparsity
	}
	if cost.Sequences == 0 {
		return cost, fmt.Errorf("no sequences")
	}
	if p.DenseGradients < 0 || p.DenseGradients > cost.Sequences {
		return cost, fmt.Errorf("%d sequences with dense gradients of %d", p.DenseGradients, cost.Sequences)
	}
	if p.DenseGradients > 0 {
		// The kept part is in the ledger already; the sparsity of the last
		// stretch stands for all, as RigL keeps it.
		for i, row := range rows {
			more := new(big.Int).Sub(dense[i].BackwardWeight, row.BackwardWeight)
			cost.DenseGradients.Add(cost.DenseGradients, times(more, p.DenseGradients))
		}
		cost.FLOPs.Add(cost.FLOPs, cost.DenseGradients)
	}
	cost.Tokens = cost.Sequences * int64(p.SeqLen)
	cost.DenseFLOPs = times(sum(dense), cost.Sequences)
	cost.AverageParameters = parameters / float64(cost.Sequences)
	cost.Sparsity = sparsity / float64(cost.Sequences)
	return cost, nil
}
