package masks

import "fmt"

// Dynamics says how the masks of some matrices begin and move while a model is
// trained. Source: the block sparsity: of Cerebras' Model Zoo, whose words these
// are.
type Dynamics struct {
	Algorithm string   // "static", "gmp", "set", "rigl"
	Method    string   // how they begin: "random", "magnitude", "from-zeros", "checkerboard"
	Filter    []string // globs on names; nil: all that are sparsified by default
	Sparsity  Schedule
	Text      string // the sparsity as typed, where it is one number
	Drop      Schedule
	Updates   Updates
}

// Check reports what makes d unusable.
func (d Dynamics) Check() error {
	if err := d.Sparsity.Check(); err != nil {
		return fmt.Errorf("%w (sparsity)", err)
	}
	switch d.Algorithm {
	case "static":
		if d.Sparsity.Kind != Constant {
			return fmt.Errorf("masks: algorithm static with a sparsity that is %s", d.Sparsity.Kind)
		}
	case "gmp":
	case "set", "rigl":
		if err := d.Drop.Check(); err != nil {
			return fmt.Errorf("%w (drop fraction)", err)
		}
	default:
		return fmt.Errorf("masks: algorithm %.40q is none of static, gmp, set and rigl", d.Algorithm)
	}
	u := d.Updates
	if d.Algorithm != "static" && len(u.Steps) == 0 && (u.Every < 1 || u.Begin < 0 || u.End < 0) {
		return fmt.Errorf("masks: updates every %d steps from %d to %d", u.Every, u.Begin, u.End)
	}
	return nil
}
