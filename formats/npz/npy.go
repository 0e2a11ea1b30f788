package npz

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/stored"
)

// WriteFloat32 writes a float32 array of that shape as a .npy file. It returns
// an error if data has another number of elements.
func WriteFloat32(w io.Writer, shape []int, data []float32) error {
	info := formats.Info{DType: formats.F32, Shape: shape}
	n, err := info.NumElements()
	if err != nil {
		return fmt.Errorf("npz: %w", err)
	}
	if n != int64(len(data)) {
		return fmt.Errorf("npz: shape %v has %d elements, %d given", shape, n, len(data))
	}
	return writeArray(w, stored.Tensor{Info: info, Bytes: 4 * n, WriteTo: func(w io.Writer) error {
		const chunk = 16 << 10
		buffer := make([]byte, 4*min(chunk, len(data)))
		for rest := data; len(rest) > 0; {
			part := rest[:min(chunk, len(rest))]
			for i, x := range part {
				binary.LittleEndian.PutUint32(buffer[4*i:], math.Float32bits(x))
			}
			if _, err := w.Write(buffer[:4*len(part)]); err != nil {
				return err
			}
			rest = rest[len(part):]
		}
		return nil
	}})
}

// descrOf returns the descr to write a type with; raw is true where NumPy has
// no such type and gets bytes.
func descrOf(d formats.DType) (descr string, raw bool) {
	for kind, t := range types {
		if t == d {
			if d.Bits() == 8 {
				return "|" + kind, false
			}
			return "<" + kind, false
		}
	}
	switch d.Bits() {
	case 16:
		return "<V2", true
	case 8:
		return "|V1", true
	}
	return "", false
}

// Writable reports whether NumPy has the element type. Where it does not,
// elements of 8 or 16 bits can be written as raw bytes, with their type in the
// side record only.
func Writable(d formats.DType) (native, raw bool) {
	descr, raw := descrOf(d)
	return descr != "" && !raw, raw
}

// writeArray writes one array.
func writeArray(w io.Writer, t stored.Tensor) error {
	descr, _ := descrOf(t.DType)
	if descr == "" {
		return fmt.Errorf("npz: array %q: %s is not a type of NumPy: %w", t.Name, t.Info, ErrUnsupported)
	}
	head, err := encode(descr, t.Shape)
	if err != nil {
		return err
	}
	if _, err := w.Write(head); err != nil {
		return err
	}
	return t.Emit(w)
}
