package masks

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Recipe is how a set of masks was made: everything that its maker needs to
// make it again, in the words of the command line.
type Recipe struct {
	Method       string // how weights were chosen: "random"
	Distribution string // how the sparsity was shared between matrices: "uniform"
	Pattern      string // "unstructured"
	Scope        string // where weights competed: "layer"
	Sparsity     string // requested, as typed; empty if none was
	Compat       string // whose counts were reproduced; empty: exact ones
	Generator    string // random generator and its version; empty if none was used
	Seed         uint64 // of Generator
	Parent       string // SHA-256, in hex, of the checkpoint that decided; empty if none did
}

// maxRecipeText bounds every text of a recipe.
const maxRecipeText = 256

// check keeps the texts of a recipe fit for a file and a terminal.
func (r Recipe) check() error {
	for _, f := range []struct{ what, text string }{
		{"method", r.Method},
		{"distribution", r.Distribution},
		{"pattern", r.Pattern},
		{"scope", r.Scope},
		{"compat", r.Compat},
		{"generator", r.Generator},
	} {
		if len(f.text) > maxRecipeText {
			return fmt.Errorf("masks: recipe: %s is %d bytes, limit %d", f.what, len(f.text), maxRecipeText)
		}
		if !utf8.ValidString(f.text) || strings.IndexFunc(f.text, unicode.IsControl) >= 0 {
			return fmt.Errorf("masks: recipe: %s %q is not plain text", f.what, f.text)
		}
	}
	if r.Sparsity != "" {
		if _, err := ParseSparsity(r.Sparsity); err != nil {
			return fmt.Errorf("masks: recipe: %w", err)
		}
	}
	if r.Parent != "" {
		if sum, err := hex.DecodeString(r.Parent); err != nil || len(sum) != sha256.Size || strings.ToLower(r.Parent) != r.Parent {
			return fmt.Errorf("masks: recipe: parent %q is not a SHA-256 in lower-case hex", clip(r.Parent))
		}
	}
	return nil
}

// Set is the masks of a model, in the order of CompareNames of their keys.
type Set struct {
	Masks  []*Mask
	Recipe Recipe

	// Parameters counts all parameters of the model, masked or not; 0 if
	// unknown.
	Parameters int
}

// NewSet sorts list and returns it as a set. It returns an error if a mask is
// invalid or two have one key.
func NewSet(list []*Mask, recipe Recipe, parameters int) (*Set, error) {
	s := &Set{Masks: slices.Clone(list), Recipe: recipe, Parameters: parameters}
	slices.SortFunc(s.Masks, func(a, b *Mask) int { return CompareNames(a.Key(), b.Key()) })
	if err := s.Check(); err != nil {
		return nil, err
	}
	return s, nil
}

// Check reports what makes s invalid: no masks, an invalid one, two with one
// key, masks out of order, a text in the recipe that a terminal could not show,
// or fewer parameters than masked weights.
func (s *Set) Check() error {
	if len(s.Masks) == 0 {
		return fmt.Errorf("masks: a set without masks")
	}
	for i, m := range s.Masks {
		if err := m.Check(); err != nil {
			return err
		}
		if i == 0 {
			continue
		}
		switch c := CompareNames(s.Masks[i-1].Key(), m.Key()); {
		case c == 0:
			return fmt.Errorf("masks: %q: two masks of one matrix", m.Key())
		case c > 0:
			return fmt.Errorf("masks: %q: out of order", m.Key())
		}
	}
	if err := s.Recipe.check(); err != nil {
		return err
	}
	if s.Parameters < 0 || s.Parameters > 0 && s.Parameters < s.Total() {
		return fmt.Errorf("masks: %d parameters in all, %d of them masked", s.Parameters, s.Total())
	}
	return nil
}

// Find returns the mask of a matrix, or nil.
func (s *Set) Find(name, part string) *Mask {
	for _, m := range s.Masks {
		if m.Name == name && m.Part == part {
			return m
		}
	}
	return nil
}

// Kept returns the number of kept weights of all masks.
func (s *Set) Kept() int {
	n := 0
	for _, m := range s.Masks {
		n += m.Kept()
	}
	return n
}

// Total returns the number of weights of all masks, kept or not.
func (s *Set) Total() int {
	n := 0
	for _, m := range s.Masks {
		n += m.Total()
	}
	return n
}

// Sparsity returns pruned / total over the masked matrices.
func (s *Set) Sparsity() float64 {
	return float64(s.Total()-s.Kept()) / float64(s.Total())
}

// OverallSparsity returns pruned / all parameters of the model, masked or not,
// and whether their number is known.
//
// Source: the paper's section 2.2, S = sum of s_l*N_l over N.
func (s *Set) OverallSparsity() (float64, bool) {
	if s.Parameters == 0 {
		return 0, false
	}
	return float64(s.Total()-s.Kept()) / float64(s.Parameters), true
}
