package convert

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"sync"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/gguf"
	"github.com/spdfctl/spdfctl/formats/stored"
	"github.com/spdfctl/spdfctl/masks"
)

// Diff is how two checkpoints differ, tensor by tensor. The names are sorted.
type Diff struct {
	OnlyInA, OnlyInB []string
	Different        []Differing
	Compared         int // tensors that both have
}

// Differing is a tensor that both checkpoints have, but not the same.
type Differing struct {
	Name string
	// Reason is "dtype", "shape", "values", "bits" (equal values with other
	// bits: 0 and -0, NaNs) or "nan" (a NaN on one side only).
	Reason string
	// MaxAbs and MaxRel are the largest differences of finite elements, the
	// second divided by the value in B. Values says whether they were compared.
	MaxAbs, MaxRel float64
	Values         bool
}

// Equal reports whether nothing differs.
func (d Diff) Equal() bool { return len(d.OnlyInA)+len(d.OnlyInB)+len(d.Different) == 0 }

// Tolerance is how far elements may lie apart, |a - b| <= Abs + Rel*|b|. If both
// are zero the bits must be the same, and the types; otherwise floats of any
// type are compared by their values.
type Tolerance struct{ Abs, Rel float64 }

func (t Tolerance) exact() bool { return t.Abs == 0 && t.Rel == 0 }

// Compare compares two checkpoints of any format. Further names of a tensor
// count as tensors of their own.
func Compare(ctx context.Context, a, b *Checkpoint, t Tolerance, progress func(done int64)) (Diff, error) {
	x, y := allNames(a), allNames(b)
	var d Diff
	var both []string
	for name := range x {
		if _, ok := y[name]; ok {
			both = append(both, name)
		} else {
			d.OnlyInA = append(d.OnlyInA, name)
		}
	}
	for name := range y {
		if _, ok := x[name]; !ok {
			d.OnlyInB = append(d.OnlyInB, name)
		}
	}
	for _, list := range [][]string{both, d.OnlyInA, d.OnlyInB} {
		slices.SortFunc(list, masks.CompareNames)
	}
	done := int64(0)
	for _, name := range both {
		diff, err := compareTensors(x[name], y[name], t)
		if err != nil {
			return d, fmt.Errorf("convert: %w", err)
		}
		if diff.Reason != "" {
			diff.Name = name
			d.Different = append(d.Different, diff)
		}
		d.Compared++
		done += x[name].Bytes
		if progress != nil {
			progress(done)
		}
		if err := ctx.Err(); err != nil {
			return d, err
		}
	}
	return d, nil
}

// allNames returns the tensors under all their names.
func allNames(c *Checkpoint) map[string]stored.Tensor {
	m := make(map[string]stored.Tensor)
	for _, t := range c.Tensors {
		m[t.Name] = t
	}
	for _, group := range c.Aliases {
		first := slices.IndexFunc(group, func(name string) bool { _, ok := m[name]; return ok })
		if first < 0 {
			continue
		}
		for _, name := range group {
			if _, ok := m[name]; !ok {
				m[name] = m[group[first]]
			}
		}
	}
	return m
}

func compareTensors(a, b stored.Tensor, t Tolerance) (Differing, error) {
	if !slices.Equal(a.Shape, b.Shape) {
		return Differing{Reason: "shape"}, nil
	}
	valued := isFloat(a.DType) && isFloat(b.DType)
	if a.DType != b.DType && (t.exact() || !valued) {
		return Differing{Reason: "dtype"}, nil
	}
	d := &differ{tolerance: t, a: a.DType, b: b.DType, valued: valued}
	if err := d.run(a, b); err != nil {
		return Differing{}, err
	}
	return d.result(), nil
}

// diffUnits is how many elements are compared at a time: a multiple of every
// block of GGUF.
const diffUnits = 64 << 10

// differ compares two streams of elements.
type differ struct {
	tolerance Tolerance
	a, b      formats.DType
	valued    bool // elements have float values

	bits, values, nans bool
	out                Differing
}

// run reads both tensors side by side.
func (d *differ) run(a, b stored.Tensor) error {
	x, y := streamOf(a), streamOf(b)
	defer x.stop()
	defer y.stop()
	for {
		p, errA := x.next()
		q, errB := y.next()
		switch {
		case errA == io.EOF && errB == io.EOF:
			return nil
		case errA != nil && errA != io.EOF:
			return errA
		case errB != nil && errB != io.EOF:
			return errB
		case errA != errB:
			return fmt.Errorf("tensors %q and %q have different numbers of elements", a.Name, b.Name)
		}
		d.block(p, q)
	}
}

func (d *differ) block(p, q []byte) {
	if d.a == d.b && bytes.Equal(p, q) {
		return
	}
	if !d.valued {
		d.bits, d.values = true, true
		return
	}
	u, v := valuesOf(d.a, p), valuesOf(d.b, q)
	d.bits = true
	d.out.Values = true
	for i, x := range u {
		y := v[i]
		switch {
		case x == y:
		case x != x && y != y:
		case x != x || y != y:
			d.nans = true
		default:
			diff := math.Abs(x - y)
			if !(diff <= d.tolerance.Abs+d.tolerance.Rel*math.Abs(y)) {
				d.values = true
			}
			if math.IsInf(diff, 0) {
				d.values = true
				continue
			}
			d.out.MaxAbs = max(d.out.MaxAbs, diff)
			if y != 0 {
				d.out.MaxRel = max(d.out.MaxRel, diff/math.Abs(y))
			}
		}
	}
}

func (d *differ) result() Differing {
	switch {
	case d.nans:
		d.out.Reason = "nan"
	case d.values:
		d.out.Reason = "values"
	case d.bits && d.tolerance.exact():
		d.out.Reason = "bits"
	default:
		return Differing{}
	}
	return d.out
}

// valuesOf decodes elements.
func valuesOf(t formats.DType, src []byte) []float64 {
	if decode := decoders[t]; decode != nil {
		dst := make([]float64, len(src)*8/t.Bits())
		decode(dst, src)
		return dst
	}
	elements, size, _ := gguf.BlockSize(t)
	floats := make([]float32, len(src)/size*elements)
	if err := gguf.Dequantize(floats, t, src); err != nil {
		panic("convert: values of a type that has none")
	}
	dst := make([]float64, len(floats))
	for i, v := range floats {
		dst[i] = float64(v)
	}
	return dst
}

// stream hands out a tensor in blocks of diffUnits elements.
type stream struct {
	blocks chan []byte
	err    error
	done   chan struct{}
	once   sync.Once
}

func streamOf(t stored.Tensor) *stream {
	s := &stream{blocks: make(chan []byte, 1), done: make(chan struct{})}
	size := diffUnits * t.DType.Bits() / 8
	if t.DType.Bits() == 0 {
		elements, bytes, _ := gguf.BlockSize(t.DType)
		size = diffUnits / elements * bytes
	}
	go func() {
		w := &blockWriter{s: s, block: make([]byte, 0, size)}
		err := t.Emit(w)
		if err == nil && len(w.block) > 0 {
			err = w.send()
		}
		s.err = err
		close(s.blocks)
	}()
	return s
}

// next returns the next block, valid until the call after the next.
func (s *stream) next() ([]byte, error) {
	block, ok := <-s.blocks
	if ok {
		return block, nil
	}
	if s.err != nil {
		return nil, s.err
	}
	return nil, io.EOF
}

// stop ends the reading.
func (s *stream) stop() {
	s.once.Do(func() { close(s.done) })
	for range s.blocks {
		// Until the reader has ended, so that the file may be closed.
		continue
	}
}

type blockWriter struct {
	s     *stream
	block []byte
}

func (w *blockWriter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		k := min(cap(w.block)-len(w.block), len(p))
		w.block = append(w.block, p[:k]...)
		p = p[k:]
		if len(w.block) == cap(w.block) {
			if err := w.send(); err != nil {
				return 0, err
			}
		}
	}
	return n, nil
}

func (w *blockWriter) send() error {
	select {
	case w.s.blocks <- w.block:
		w.block = make([]byte, 0, cap(w.block))
		return nil
	case <-w.s.done:
		return context.Canceled
	}
}
