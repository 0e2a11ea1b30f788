package convert

import (
	"fmt"
	"io"
	"slices"
	"sync/atomic"

	"github.com/spdfctl/spdfctl/formats/stored"
	"github.com/spdfctl/spdfctl/masks"
)

// Awake is a mask that a tensor breaks: weights that it prunes are there, or
// moments of such weights.
type Awake struct {
	Mask     *masks.Mask
	Tensor   string // the name under which it is stored
	Count    int    // pruned elements that are not exactly +0
	Row, Col int    // the first of them, in (out, in) order
}

// FindAwake compares the weights with the masks of a set, and the moments that
// the checkpoint holds of them, in the types in which they are stored. It returns
// every mask and tensor with a pruned element whose bits are not all zero: for a
// float, anything but +0. pruned is how many elements were looked at.
//
// The matrices are found under the names that Matrices gives them or those of the
// checkpoint's layout. Tensors are streamed; beside them one bit is held for each
// element of the largest masked one. It returns an error if the checkpoint has no
// matrix for a mask, or has it in another shape.
func (c *Checkpoint) FindAwake(set *masks.Set) (found []Awake, pruned int, err error) {
	k, err := c.obeying(set)
	if err != nil {
		return nil, 0, err
	}
	byMask := make(map[*masks.Mask][]Awake)
	for _, t := range c.Tensors {
		marks := k.marks[t.Name]
		if marks == nil {
			continue
		}
		look := newSearch(t.Name, marks)
		m := keptIn(t.Shape, marks)
		pruned += m.Total() - m.Kept()
		if err := t.Emit(&pruner{mask: m, size: t.DType.Bits() / 8, awake: look.awake}); err != nil {
			return nil, 0, fmt.Errorf("convert: %w", err)
		}
		for _, a := range look.found {
			byMask[a.Mask] = append(byMask[a.Mask], *a)
		}
	}
	for _, m := range set.Masks {
		found = append(found, byMask[m]...)
	}
	return found, pruned, nil
}

// search gathers what is awake in one tensor.
type search struct {
	marks []mark
	find  []func(e int) (row, col int, ok bool)
	found []*Awake // one for each mask, as marks; nil if it is obeyed
	name  string
}

func newSearch(name string, marks []mark) *search {
	s := &search{name: name, marks: marks}
	for _, m := range marks {
		s.find = append(s.find, m.finder())
	}
	return s
}

// awake takes note of an element of the tensor.
func (s *search) awake(e int) {
	for i, find := range s.find {
		row, col, ok := find(e)
		if !ok {
			continue
		}
		whole := s.marks[i].whole
		at := slices.IndexFunc(s.found, func(a *Awake) bool { return a.Mask == whole })
		if at < 0 {
			s.found = append(s.found, &Awake{whole, s.name, 1, row, col})
			return
		}
		a := s.found[at]
		if a.Count++; row < a.Row || row == a.Row && col < a.Col {
			a.Row, a.Col = row, col
		}
		return
	}
}

// obeying places the masks of a set on weights and moments, all of whole bytes.
func (c *Checkpoint) obeying(set *masks.Set) (*keeps, error) {
	k, err := c.marksOf(set, "")
	if err != nil {
		return nil, fmt.Errorf("convert: %s: %w", c.Path, err)
	}
	k.addMoments(c.Tensors)
	for _, t := range c.Tensors {
		if b := t.DType.Bits(); k.marks[t.Name] != nil && (b == 0 || b%8 != 0) {
			return nil, fmt.Errorf("convert: %s: tensor %q: elements of %s are no whole bytes: %w", c.Path, t.Name, t.DType, ErrUnsupported)
		}
	}
	return k, nil
}

// Prune makes +0, wherever the tensors are written from now on, the weights that
// a set prunes and the moments of them that the checkpoint holds; the files stay
// as they are. Memory and errors are those of FindAwake. zero is how many elements
// these are; changed says how many were not +0 in what has been written so far.
func (c *Checkpoint) Prune(set *masks.Set) (zero int, changed func() int64, err error) {
	k, err := c.obeying(set)
	if err != nil {
		return 0, nil, err
	}
	var count atomic.Int64
	for i, t := range c.Tensors {
		if marks := k.marks[t.Name]; marks != nil {
			c.Tensors[i] = withoutPruned(t, marks, &count)
			for _, m := range marks {
				zero += m.mask.Total() - m.mask.Kept()
			}
		}
	}
	return zero, count.Load, nil
}

// withoutPruned returns a tensor in which what masks prune is +0, and counts what
// was not.
func withoutPruned(from stored.Tensor, marks []mark, count *atomic.Int64) stored.Tensor {
	size := from.DType.Bits() / 8
	through := func(w io.Writer, first int64) *pruner {
		return &pruner{w: w, mask: keptIn(from.Shape, marks), size: size, at: int(first) / size, awake: func(int) { count.Add(1) }}
	}
	t := from
	t.Offset = -1
	t.WriteTo = func(w io.Writer) error { return from.Emit(through(w, 0)) }
	all := t
	all.Range = nil
	t.Range = func(w io.Writer, off, n int64) error {
		if off%int64(size) != 0 || n%int64(size) != 0 {
			return all.EmitRange(w, off, n)
		}
		return from.EmitRange(through(w, off), off, n)
	}
	return t
}
