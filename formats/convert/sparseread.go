package convert

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"
	"slices"
	"strings"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/stored"
	"github.com/spdfctl/spdfctl/masks"
)

// Packed is a matrix of a checkpoint that holds it as compressed-tensors'
// sparse-bitmask, or as sparse-24-bitmask, which has no row offsets and the kept
// elements as a matrix (R, C/2).
type Packed struct {
	// Name is that of the matrix.
	Name       string
	Rows, Cols int
	bitmask    stored.Tensor
	compressed stored.Tensor
	offsets    *stored.Tensor
	shape      stored.Tensor
}

// expandPacked puts the matrices in the place of the tensors that they are packed
// in. Both styles of names are read: X.weight.bitmask and X.bitmask, which are the
// weight of X, and the same with a _ before the end.
func (c *Checkpoint) expandPacked() error {
	byName := make(map[string]stored.Tensor, len(c.Tensors))
	for _, t := range c.Tensors {
		byName[t.Name] = t
	}
	gone, made := make(map[string]bool), make(map[string]stored.Tensor)
	for _, t := range c.Tensors {
		for _, joint := range []string{".", "_"} {
			base, ok := strings.CutSuffix(t.Name, joint+bitmaskEnd)
			if _, packed := byName[base+joint+packedEnd]; !ok || !packed {
				continue
			}
			p, parts, err := newPacked(base, joint, byName)
			if err != nil {
				return fmt.Errorf("convert: %s: %w", c.Path, err)
			}
			if _, ok := byName[p.Name]; ok {
				return fmt.Errorf("convert: %s: tensor %q is there twice, as it is and packed", c.Path, p.Name)
			}
			for _, name := range parts {
				gone[name] = true
			}
			made[t.Name] = p.tensor()
			c.Packed = append(c.Packed, p)
		}
	}
	if err := c.expandMoments(byName, gone, made); err != nil {
		return err
	}
	if err := c.loneParts(byName, gone, made); err != nil {
		return err
	}
	if len(made) == 0 {
		return nil
	}
	var list []stored.Tensor
	for _, t := range c.Tensors {
		if m, ok := made[t.Name]; ok {
			list = append(list, m)
		} else if !gone[t.Name] {
			list = append(list, t)
		}
	}
	c.Tensors = list
	return nil
}

// loneParts returns an error if two parts of a packed matrix are there and the
// bitmask or the elements are not: the matrix would be lost.
func (c *Checkpoint) loneParts(byName map[string]stored.Tensor, gone map[string]bool, made map[string]stored.Tensor) error {
	for _, t := range c.Tensors {
		for _, joint := range []string{".", "_"} {
			base, ok := strings.CutSuffix(t.Name, joint+shapeEnd)
			if _, done := made[t.Name]; !ok || done || gone[t.Name] || t.DType != formats.I64 || !slices.Equal(t.Shape, []int{2}) {
				continue
			}
			for _, pair := range [][2]string{{bitmaskEnd, packedEnd}, {packedEnd, bitmaskEnd}} {
				there, other := base+joint+pair[0], base+joint+pair[1]
				if _, ok := byName[there]; ok && !gone[there] {
					return fmt.Errorf("convert: %s: tensor %q: there is no %q", c.Path, there, other)
				}
			}
		}
	}
	return nil
}

// tensor is the matrix to be written.
func (p *Packed) tensor() stored.Tensor {
	size := int64(p.compressed.DType.Bits() / 8)
	return stored.Tensor{
		Info:  formats.Info{Name: p.Name, DType: p.compressed.DType, Shape: []int{p.Rows, p.Cols}},
		Bytes: int64(p.Rows) * int64(p.Cols) * size, Offset: -1, WriteTo: p.expand,
	}
}

// expandMoments does the same for moments, which have the bitmask of their weight
// or one of their own.
func (c *Checkpoint) expandMoments(byName map[string]stored.Tensor, gone map[string]bool, made map[string]stored.Tensor) error {
	owners := make(map[string]*Packed)
	var names []string
	for _, p := range c.Packed {
		if !isMoment(p.Name) {
			owners[p.Name] = p
			names = append(names, p.Name)
		}
	}
	for _, t := range c.Tensors {
		name, ok := strings.CutSuffix(t.Name, "."+packedEnd)
		owner := owners[momentOf(name, names)]
		if !ok || gone[t.Name] || owner == nil {
			continue
		}
		p := *owner
		p.Name, p.compressed = name, t
		if b := t.DType.Bits(); b == 0 || b%8 != 0 || len(t.Shape) != 1 {
			return fmt.Errorf("convert: %s: tensor %q, packed by the bitmask of %q, is %s, want one dimension and whole bytes", c.Path, t.Name, owner.Name, t.Info)
		}
		if _, ok := byName[name]; ok {
			return fmt.Errorf("convert: %s: tensor %q is there twice, as it is and packed", c.Path, name)
		}
		made[t.Name] = p.tensor()
		c.Packed = append(c.Packed, &p)
	}
	return nil
}

// newPacked gathers the parts of a matrix and compares their shapes.
func newPacked(base, joint string, byName map[string]stored.Tensor) (*Packed, []string, error) {
	p := &Packed{Name: base}
	if joint == "." && !isWeight(base) && !isMoment(base) {
		p.Name = base + ".weight"
	}
	bad := func(format string, args ...any) (*Packed, []string, error) {
		return nil, nil, fmt.Errorf("tensor %q: packed as %q: %s", p.Name, base+joint+bitmaskEnd, fmt.Sprintf(format, args...))
	}
	var parts []string
	part := func(end string) (stored.Tensor, bool) {
		name := base + joint + end
		t, ok := byName[name]
		if ok {
			parts = append(parts, name)
		}
		return t, ok
	}
	p.bitmask, _ = part(bitmaskEnd)
	p.compressed, _ = part(packedEnd)
	var ok bool
	if p.shape, ok = part(shapeEnd); !ok || p.shape.DType != formats.I64 || !slices.Equal(p.shape.Shape, []int{2}) {
		return bad("there is no tensor %q of two I64", base+joint+shapeEnd)
	}
	dims, err := p.shape.Load()
	if err != nil {
		return nil, nil, err
	}
	rows, cols := binary.LittleEndian.Uint64(dims), binary.LittleEndian.Uint64(dims[8:])
	if err := (masks.Target{Name: "w", Out: int(min(rows, 1<<62)), In: int(min(cols, 1<<62))}).Check(); err != nil {
		return bad("shape (%d, %d)", rows, cols)
	}
	p.Rows, p.Cols = int(rows), int(cols)
	if b := p.compressed.DType.Bits(); b == 0 || b%8 != 0 {
		return bad("elements of %s are no whole bytes", p.compressed.DType)
	}
	if want := []int{p.Rows, (p.Cols + 7) / 8}; p.bitmask.DType != formats.U8 || !slices.Equal(p.bitmask.Shape, want) {
		return bad("bitmask is %s, (%d, %d) needs U8 (%d, %d)", p.bitmask.Info, p.Rows, p.Cols, want[0], want[1])
	}
	if t, ok := part(offsetsEnd); ok {
		if t.DType != formats.I64 || len(t.Shape) != 1 || t.Shape[0] != p.Rows {
			return bad("row_offsets is %s, %d rows need I64 (%d)", t.Info, p.Rows, p.Rows)
		}
		p.offsets = &t
	} else if p.Cols%4 != 0 || !slices.Equal(p.compressed.Shape, []int{p.Rows, p.Cols / 2}) {
		return bad("there are no row_offsets, and compressed is %s, 2:4 of (%d, %d) needs (%d, %d)", p.compressed.Info, p.Rows, p.Cols, p.Rows, p.Cols/2)
	}
	return p, parts, nil
}

// Bitmask reads and checks which elements are kept: (R, ceil(C/8)) bytes as
// masks.Mask has them. It returns an error if a bit lies past the last column, if
// there are more or fewer kept elements than bits, or rows begin elsewhere than
// row_offsets says.
func (p *Packed) Bitmask() ([]byte, error) {
	fail := func(format string, args ...any) ([]byte, error) {
		return nil, fmt.Errorf("tensor %q: packed: %s", p.Name, fmt.Sprintf(format, args...))
	}
	b, err := p.bitmask.Load()
	if err != nil {
		return nil, err
	}
	m := masks.Mask{Out: p.Rows, In: p.Cols, Bits: b}
	if i := m.PaddingRow(); i >= 0 {
		return fail("row %d of bitmask has a bit set past column %d", i, p.Cols-1)
	}
	if n, _ := p.compressed.NumElements(); int64(m.Kept()) != n {
		return fail("bitmask keeps %d elements, compressed has %d", m.Kept(), n)
	}
	if p.offsets == nil {
		for i := range p.Rows {
			for _, v := range m.Row(i) {
				if bits.OnesCount8(v&0x0f) > 2 || bits.OnesCount8(v&0xf0) > 2 {
					return fail("row %d of bitmask keeps more than 2 of 4", i)
				}
			}
		}
		return b, nil
	}
	offsets, err := p.offsets.Load()
	if err != nil {
		return nil, err
	}
	n := 0
	for i, kept := range m.RowCounts() {
		if got := binary.LittleEndian.Uint64(offsets[8*i:]); got != uint64(n) {
			return fail("row %d begins at element %d, row_offsets says %d", i, n, int64(got))
		}
		n += kept
	}
	return b, nil
}

// expand writes the matrix, +0 where nothing is kept.
func (p *Packed) expand(w io.Writer) error {
	b, err := p.Bitmask()
	if err != nil {
		return err
	}
	m := &masks.Mask{Out: p.Rows, In: p.Cols, Bits: b}
	e := &expander{w: w, rows: newPackedRows(m, p.compressed.DType.Bits()/8)}
	if err := p.compressed.Emit(e); err != nil {
		return err
	}
	return e.finish()
}
