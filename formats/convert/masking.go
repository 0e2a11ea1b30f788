package convert

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spdfctl/spdfctl/formats/stored"
	"github.com/spdfctl/spdfctl/masks"
)

// A mask belongs to a matrix (out, in) of the mathematics; its name is that of
// the stored tensor, without what wraps it, and its part says which of several
// matrices in that tensor: q, k or v. In llm.c's layout, whose tensors hold all
// layers, masks have the names of GPT-2's hf layout.
//
// Masks are carried by the copies that carry the weights, on one byte for each
// element: so the mask of the converted weights is the converted mask.

// maskedSlot is a matrix that can have a mask.
type maskedSlot struct {
	name, part string
	slot       string
}

// maskedSlots lists the matrices of a model, under the names that masks have in
// a layout.
func (f *family) maskedSlots(l *layout, d dims) []maskedSlot {
	if l.stacked {
		l = gpt2HF
	}
	var list []maskedSlot
	for _, s := range f.specs(l, d, 0) {
		if s.row.when == alias || s.row.kind == vector {
			continue
		}
		name := s.name
		if f != gpt2 && !s.row.full {
			name = l.prefix + name
		}
		for _, p := range s.places {
			part := ""
			if len(s.places) > 1 {
				part = p.slot[strings.LastIndexByte(p.slot, '.')+1:]
			}
			list = append(list, maskedSlot{name, part, p.slot})
		}
	}
	return list
}

// carryMasks gives the masks the names and the order of the new layout.
func (p *Plan) carryMasks() error {
	set := p.Options.Masks
	if set == nil {
		return nil
	}
	var list []*masks.Mask
	var err error
	switch {
	case p.Options.Map != nil:
		list, err = p.carryByMap(set)
	case p.model == nil:
		list, err = set.Masks, p.checkPlain(set)
	default:
		list, err = p.carryBySlot(set)
	}
	if err != nil {
		return fmt.Errorf("convert: %w", err)
	}
	if p.Masks, err = masks.NewSet(list, set.Recipe, set.Parameters); err != nil {
		return fmt.Errorf("convert: %w", err)
	}
	return nil
}

// checkPlain makes sure that every mask has a tensor of its shape.
func (p *Plan) checkPlain(set *masks.Set) error {
	for _, m := range set.Masks {
		t, ok := p.tensorOf(m.Name)
		if !ok || m.Part != "" {
			return fmt.Errorf("mask %q: no tensor that is this matrix", m.Key())
		}
		if !slices.Equal(t.Shape, []int{m.Out, m.In}) {
			return fmt.Errorf("mask %q: mask is (%d, %d), tensor %q is %s", m.Key(), m.Out, m.In, t.Name, t.Info)
		}
	}
	return nil
}

// tensorOf finds a tensor of the source by its name, or by its name without
// what wraps it.
func (p *Plan) tensorOf(name string) (stored.Tensor, bool) {
	for _, t := range p.Source.Tensors {
		if t.Name == name {
			return t, true
		}
	}
	for _, t := range p.Source.Tensors {
		if strip(t.Name) == strip(name) {
			return t, true
		}
	}
	return stored.Tensor{}, false
}

// keeps holds, for the tensors of the source that have masks, one byte for each
// element: 1 where it is kept.
type keeps struct {
	plan  *Plan
	marks map[string][]mark // by the name of the tensor
}

// mark is a mask and the view of the tensor that it is of, whose rows may have
// several dimensions.
type mark struct {
	mask *masks.Mask
	view stored.View
	// whole is the mask that this one is rows of, from first on.
	whole *masks.Mask
	first int
}

func (k *keeps) add(t stored.Tensor, m mark) error {
	cols := m.view.Dims[len(m.view.Dims)-1]
	if rows := m.view.Elements() / max(cols, 1); rows != m.mask.Out || cols != m.mask.In {
		return fmt.Errorf("mask %q: mask is (%d, %d), weight is (%d, %d)", m.mask.Key(), m.mask.Out, m.mask.In, rows, cols)
	}
	k.marks[t.Name] = append(k.marks[t.Name], m)
	return nil
}

// addMoments marks, of some tensors, the moments as their weights are, and
// returns which these are.
func (k *keeps) addMoments(tensors []stored.Tensor) map[string]bool {
	shapes := make(map[string][]int)
	for _, t := range tensors {
		if k.marks[t.Name] != nil {
			shapes[t.Name] = t.Shape
		}
	}
	names := slices.Collect(maps.Keys(shapes))
	moments := make(map[string]bool)
	for _, t := range tensors {
		if owner := momentOf(t.Name, names); owner != "" && slices.Equal(t.Shape, shapes[owner]) {
			k.marks[t.Name] = k.marks[owner]
			moments[t.Name] = true
		}
	}
	return moments
}

// marksOf places the masks of a set on the tensors of the checkpoint: by the
// layout that its weights are in, or by names and shapes if none is known.
func (c *Checkpoint) marksOf(set *masks.Set, arch string) (*keeps, error) {
	p := &Plan{Source: c}
	var unknown error
	if p.model, unknown = recognise(c, withoutMoments(c.Tensors), arch); unknown == nil {
		k, _, err := p.marksBySlot(set)
		return k, err
	}
	p.model = nil
	k, err := p.marksByName(set)
	if err != nil {
		err = fmt.Errorf("%w (as a model: %s)", err, strings.TrimPrefix(unknown.Error(), "convert: "))
	}
	return k, err
}

// of returns the bytes of a tensor, nil if no mask touches it.
func (k *keeps) of(t stored.Tensor) []byte {
	marks := k.marks[t.Name]
	if marks == nil {
		return nil
	}
	m := keptIn(t.Shape, marks)
	keep := make([]byte, m.Total())
	for i := range m.Out {
		row, line := m.Row(i), keep[i*m.In:(i+1)*m.In]
		for j := range line {
			line[j] = row[j/8] >> (j % 8) & 1
		}
	}
	return keep
}

func ones(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = 1
	}
	return b
}

// output returns the bytes of an output, nil if no mask touches what it is made
// of. Padding counts as kept.
func (k *keeps) output(o *Output) []byte {
	if o.parts == nil {
		t, _ := k.plan.tensorOf(o.From[0])
		return k.of(t)
	}
	if !slices.ContainsFunc(o.From, func(name string) bool { return k.marks[name] != nil }) {
		return nil
	}
	out := ones(stored.RowMajor(o.Shape).Elements())
	loaded := make(map[string][]byte)
	for _, piece := range o.parts {
		src, ok := loaded[piece.source.Name]
		if !ok {
			src = k.of(piece.source)
			loaded[piece.source.Name] = src
		}
		if src != nil {
			stored.Copy(out, piece.to, src, piece.from, 1)
		}
	}
	return out
}

// maskFrom reads a mask from the bytes of a tensor.
func maskFrom(name, part string, keep []byte, v stored.View) *masks.Mask {
	m := masks.New(name, part, v.Dims[0], v.Dims[1])
	for i := range m.Out {
		at := v.Offset + i*v.Strides[0]
		for j := range m.In {
			if keep[at+j*v.Strides[1]] != 0 {
				m.Put(i, j, true)
			}
		}
	}
	return m
}

// carryBySlot moves masks from one layout to another.
func (p *Plan) carryBySlot(set *masks.Set) ([]*masks.Mask, error) {
	k, masked, err := p.marksBySlot(set)
	if err != nil {
		return nil, err
	}
	m := p.model
	if p.Layout == m.layout.name && p.Outputs[0].places == nil {
		return set.Masks, nil // nothing moves
	}
	names := make(map[string]maskedSlot)
	for _, s := range m.family.maskedSlots(m.family.layoutNamed(p.Layout), p.target) {
		names[s.slot] = s
	}
	var list []*masks.Mask
	for i := range p.Outputs {
		o := &p.Outputs[i]
		var keep []byte
		for _, place := range o.places {
			if !masked[place.slot] {
				continue
			}
			if keep == nil {
				keep = k.output(o)
			}
			name := names[place.slot]
			list = append(list, maskFrom(name.name, name.part, keep, place.view))
		}
	}
	return list, nil
}

// marksBySlot places masks on the slots that they are of, and returns which slots
// have one. Their names are those of the layout, with the rows as they are
// stored, or those of hf, with the rows in their true order.
func (p *Plan) marksBySlot(set *masks.Set) (*keeps, map[string]bool, error) {
	m := p.model
	k := &keeps{plan: p, marks: make(map[string][]mark)}
	slots := m.family.maskedSlots(m.layout, m.dims)
	own := len(slots)
	slots = append(slots, m.family.maskedSlots(m.family.layouts[0], m.dims)...)
	masked := make(map[string]bool)
	for _, mask := range set.Masks {
		found := false
		row := 0
		for i, s := range slots {
			if strip(s.name) != strip(mask.Name) || mask.Part != "" && s.part != mask.Part {
				continue
			}
			src, ok := m.slots[s.slot]
			if !ok || masked[s.slot] {
				continue
			}
			placed := mark{mask: mask, view: src.place.view, whole: mask}
			if i >= own && src.place.heads > 0 {
				placed.view = byHeads(placed.view, src.place.heads, true)
			}
			if mask.Part == "" && s.part != "" {
				// One mask of the fused matrix: its rows belong to the parts.
				n := src.place.view.Dims[0]
				if row+n > mask.Out {
					break
				}
				placed.mask, placed.first = rowsOf(mask, row, n), row
				row += n
			}
			if err := k.add(src.tensor, placed); err != nil {
				return nil, nil, err
			}
			masked[s.slot], found = true, true
		}
		if !found || row > 0 && row != mask.Out {
			return nil, nil, fmt.Errorf("mask %q: no matrix of the layout %s of %s", mask.Key(), m.layout.name, m.family.arch)
		}
	}
	return k, masked, nil
}

// rowsOf returns the mask of rows begin to begin+n.
func rowsOf(m *masks.Mask, begin, n int) *masks.Mask {
	out := masks.New(m.Name, m.Part, n, m.In)
	copy(out.Bits, m.Bits[begin*m.Stride():(begin+n)*m.Stride()])
	return out
}

// carryByMap moves masks by the user's rules: those of whole matrices.
func (p *Plan) carryByMap(set *masks.Set) ([]*masks.Mask, error) {
	k, err := p.marksByName(set)
	if err != nil {
		return nil, err
	}
	var list []*masks.Mask
	for i := range p.Outputs {
		o := &p.Outputs[i]
		keep := k.output(o)
		if keep == nil {
			continue
		}
		if len(o.Shape) != 2 {
			return nil, fmt.Errorf("tensor %q is %s: a mask is of a matrix", o.Name, o.Info)
		}
		list = append(list, maskFrom(o.Name, "", keep, stored.RowMajor(o.Shape)))
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("no tensor that is written has a mask")
	}
	return list, nil
}
