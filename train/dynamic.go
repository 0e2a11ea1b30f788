package train

import (
	"fmt"

	"github.com/spdfctl/spdfctl/masks"
	"github.com/spdfctl/spdfctl/train/gpt"
)

// Dynamics are the ways in which masks may move: not at all, gradual magnitude
// pruning, Sparse Evolutionary Training, RigL.
var Dynamics = []string{"static", "gmp", "set", "rigl"}

// moves reports whether the masks move at all.
func (c Config) moves() bool { return c.Dynamic != "static" }

// needsFullGrad reports whether a move looks at the gradients of pruned weights.
func (c Config) needsFullGrad() bool { return c.Dynamic == "rigl" }

// maskStop returns the last step after which the masks may move.
func (c Config) maskStop() int {
	if c.MaskUpdateStop > 0 {
		return c.MaskUpdateStop
	}
	return c.MaxSteps * 3 / 4
}

// masksMoveAfter reports whether the masks move after step, which counts from 1.
func (r *Run) masksMoveAfter(step int) bool {
	c := r.Config
	since := step - c.MaskUpdateStart
	if !c.moves() || r.Model.Masks == nil || since <= 0 || step > c.maskStop() {
		return false
	}
	// The schedule of gmp ends exactly at the target.
	return since%c.MaskUpdateEvery == 0 || c.Dynamic == "gmp" && step == c.maskStop()
}

// gmpSchedule returns the sparsity of gradual pruning over the steps.
func (c Config) gmpSchedule(final float64) masks.Schedule {
	return masks.Schedule{Kind: c.SparsitySchedule, Init: c.InitialSparsity, Final: final, Begin: c.MaskUpdateStart, End: c.maskStop()}
}

// moveMasks moves every mask after a step: the kept weights and moments go with
// the model, grown ones start at +0.
func (r *Run) moveMasks() error {
	old, opt := r.Model, r.opt
	list := make([]*masks.Mask, len(old.Masks.Masks))
	for i, m := range old.Masks.Masks {
		next, err := r.moveMask(m)
		if err != nil {
			return fmt.Errorf("train: step %d: %w", r.pos.Step, err)
		}
		list[i] = next
	}
	recipe := old.Masks.Recipe
	recipe.Method, recipe.Generator, recipe.Seed = r.Config.Dynamic, "", 0
	if r.Config.Dynamic == "gmp" {
		recipe.Sparsity = "" // of the end, not of now
	}
	set, err := masks.NewSet(list, recipe, old.Masks.Parameters)
	if err != nil {
		return err
	}
	old.CollectFullGrad(false)
	if r.Model, err = old.WithMasks(set); err != nil {
		return err
	}
	r.prepare(true)
	r.opt.Step = opt.Step
	for i, p := range r.Model.Params {
		p.Take(r.opt.M[i], old.Params[i], opt.M[i])
		p.Take(r.opt.V[i], old.Params[i], opt.V[i])
	}
	return r.price()
}

// moveMask returns where the mask m goes after the present step.
func (r *Run) moveMask(m *masks.Mask) (*masks.Mask, error) {
	c, step := r.Config, r.pos.Step
	weights, err := r.Model.KeptWeights(m)
	if err != nil {
		return nil, err
	}
	if c.Dynamic == "gmp" {
		keep := r.Target.Kept(m.Total())
		if step < c.maskStop() {
			// Never below the target, which a constant schedule asks for at once.
			sparsity := c.gmpSchedule(r.Target.Float64()).At(step)
			keep = max(m.Total()-int(sparsity*float64(m.Total())), keep)
		}
		return masks.MagnitudeUpdate(m, weights, min(keep, len(weights)))
	}
	drop := masks.DropCount(len(weights), masks.CosineDrop(c.DropFraction, c.MaskUpdateStart, c.maskStop()).At(step))
	if c.Dynamic == "set" {
		return masks.SETUpdate(m, weights, drop, len(weights), c.Seed, step)
	}
	_, place, err := gpt.StoredTarget(m.Target())
	if err != nil {
		return nil, err
	}
	return masks.RigLUpdate(m, weights, r.Model.Param(m.Name).Full, place, drop, len(weights))
}
