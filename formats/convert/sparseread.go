package convert

import (
	"bytes"
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
			size := int64(p.compressed.DType.Bits() / 8)
			made[t.Name] = stored.Tensor{
				Info:  formats.Info{Name: p.Name, DType: p.compressed.DType, Shape: []int{p.Rows, p.Cols}},
				Bytes: int64(p.Rows) * int64(p.Cols) * size, Offset: -1, WriteTo: p.expand,
			}
			c.Packed = append(c.Packed, p)
		}
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

// newPacked gathers the parts of a matrix and compares their shapes.
func newPacked(base, joint string, byName map[string]stored.Tensor) (*Packed, []string, error) {
	p := &Packed{Name: base}
	if joint == "." && !strings.HasSuffix(base, ".weight") && base != "weight" && !isMoment(base) {
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
	for i := range p.Rows {
		if got := binary.LittleEndian.Uint64(offsets[8*i:]); got != uint64(n) {
			return fail("row %d begins at element %d, row_offsets says %d", i, n, int64(got))
		}
		for _, v := range m.Row(i) {
			n += bits.OnesCount8(v)
		}
	}
	return b, nil
}

// expand writes the matrix, +0 where nothing is kept.
func (p *Packed) expand(w io.Writer) error {
	mask, err := p.Bitmask()
	if err != nil {
		return err
	}
	size := p.compressed.DType.Bits() / 8
	e := &expander{w: w, mask: mask, size: size, rows: p.Rows, cols: p.Cols, line: make([]byte, p.Cols*size)}
	if err := p.compressed.Emit(e); err != nil {
		return err
	}
	return e.rest()
}

// expander puts the kept elements that are written to it in their places.
type expander struct {
	w                io.Writer
	mask             []byte
	size, rows, cols int
	row, col         int
	line             []byte
	partial          bytes.Buffer
}

func (e *expander) Write(b []byte) (int, error) {
	n := len(b)
	if e.partial.Len() > 0 {
		e.partial.Write(b)
		b = bytes.Clone(e.partial.Bytes())
		e.partial.Reset()
	}
	for ; len(b) >= e.size; b = b[e.size:] {
		if err := e.seek(); err != nil {
			return 0, err
		}
		copy(e.line[e.col*e.size:], b[:e.size])
		e.col++
	}
	e.partial.Write(b)
	return n, nil
}

// seek goes to the next kept place, writing the rows that it leaves. There is
// one: the kept elements have been counted.
func (e *expander) seek() error {
	stride := (e.cols + 7) / 8
	for e.row < e.rows {
		for ; e.col < e.cols; e.col++ {
			if e.mask[e.row*stride+e.col/8]>>(e.col%8)&1 != 0 {
				return nil
			}
		}
		if err := e.emit(); err != nil {
			return err
		}
	}
	return io.ErrShortBuffer
}

func (e *expander) emit() error {
	_, err := e.w.Write(e.line)
	clear(e.line)
	e.row++
	e.col = 0
	return err
}

// rest writes the rows that are left.
func (e *expander) rest() error {
	for e.row < e.rows {
		if err := e.emit(); err != nil {
			return err
		}
	}
	return nil
}
