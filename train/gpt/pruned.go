package gpt

import (
	"bytes"
	"fmt"
	"io"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/safetensors"
	"github.com/spdfctl/spdfctl/masks"
)

// Awake is a mask that a checkpoint breaks: weights that it prunes are there.
type Awake struct {
	Mask     *masks.Mask
	Count    int // pruned weights that are not exactly +0
	Row, Col int // the first of them, in (out, in) order
}

// FindAwake compares the stored weights of f with the masks of set, in the
// dtype in which they are stored, and returns the masks with a pruned weight
// whose bytes are not all zero: for a float, anything but +0. It returns an
// error if f lacks a tensor or has it in another shape.
func FindAwake(f *safetensors.File, set *masks.Set) ([]Awake, error) {
	var found []Awake
	for _, m := range set.Masks {
		info, size, place, err := findStored(f, m)
		if err != nil {
			return nil, err
		}
		data, err := f.Bytes(info.Name)
		if err != nil {
			return nil, err
		}
		var count, row, col int
		if fault := formats.CatchFault(func() { count, row, col, err = m.Awake(data, size, place) }); fault != nil {
			return nil, fmt.Errorf("tensor %q: %w", info.Name, fault)
		}
		if err != nil {
			return nil, err
		}
		if count > 0 {
			found = append(found, Awake{m, count, row, col})
		}
	}
	return found, nil
}

// ZeroPruned returns the tensors of f, as they are but for the weights that
// set prunes, which are +0. One masked tensor is in memory at a time, when its
// turn to be written comes. changed, if not nil, is then told how many weights
// of a mask were not +0. It returns an error as FindAwake does.
func ZeroPruned(f *safetensors.File, set *masks.Set, changed func(m *masks.Mask, weights int)) ([]safetensors.Tensor, error) {
	byTensor := map[string][]*masks.Mask{}
	for _, m := range set.Masks {
		info, _, _, err := findStored(f, m)
		if err != nil {
			return nil, err
		}
		byTensor[info.Name] = append(byTensor[info.Name], m)
	}
	var tensors []safetensors.Tensor
	for _, info := range f.Infos() {
		t, err := f.Tensor(info.Name)
		if err != nil {
			return nil, err
		}
		if list := byTensor[info.Name]; list != nil {
			t.WriteTo = zeroed(f, t.WriteTo, list, changed)
		}
		tensors = append(tensors, t)
	}
	return tensors, nil
}

// zeroed returns a WriteTo that zeroes what the masks of one tensor prune.
func zeroed(f *safetensors.File, source func(io.Writer) error, list []*masks.Mask, changed func(*masks.Mask, int)) func(io.Writer) error {
	return func(w io.Writer) error {
		var data bytes.Buffer
		if err := source(&data); err != nil {
			return err
		}
		for _, m := range list {
			_, size, place, err := findStored(f, m)
			if err != nil {
				return err
			}
			n, err := m.Zero(data.Bytes(), size, place)
			if err != nil {
				return err
			}
			if changed != nil {
				changed(m, n)
			}
		}
		_, err := w.Write(data.Bytes())
		return err
	}
}

// findStored returns the tensor of f that holds the matrix of m, the bytes of
// one element and where the matrix lies.
func findStored(f *safetensors.File, m *masks.Mask) (info formats.Info, size int, place masks.Placement, err error) {
	shape, place, err := StoredTarget(m.Target())
	if err != nil {
		return info, 0, place, err
	}
	info, ok := storedName(f, m.Name)
	if !ok {
		return info, 0, place, fmt.Errorf("gpt: mask %q: the checkpoint has no tensor %q", m.Key(), m.Name)
	}
	if !equalShape(info.Shape, shape) {
		return info, 0, place, fmt.Errorf("gpt: mask %q is (%d, %d), which is stored as (%d, %d): the checkpoint has %s",
			m.Key(), m.Out, m.In, shape[0], shape[1], info)
	}
	bits := info.DType.Bits()
	if bits == 0 || bits%8 != 0 {
		return info, 0, place, fmt.Errorf("gpt: mask %q: elements of %s are no whole bytes", m.Key(), info.DType)
	}
	return info, bits / 8, place, nil
}
