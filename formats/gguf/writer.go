package gguf

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/stored"
)

// maxWrittenName is the longest name that llama.cpp reads.
const maxWrittenName = 63

// Writable reports what keeps a tensor from being written: its type, its rank or
// its name.
func Writable(info formats.Info) error {
	b, ok := blockByName(info.DType)
	switch {
	case !ok:
		return fmt.Errorf("gguf: tensor %q: %s is not a type of GGUF: %w", info.Name, info, ErrUnsupported)
	case len(info.Shape) > maxRank:
		return fmt.Errorf("gguf: tensor %q: rank is %d, limit %d: %w", info.Name, len(info.Shape), maxRank, ErrUnsupported)
	case len(info.Name) > maxWrittenName:
		return fmt.Errorf("gguf: tensor %q: name has %d bytes, limit %d: %w", info.Name, len(info.Name), maxWrittenName, ErrUnsupported)
	case b.elements > 1 && (len(info.Shape) == 0 || info.Shape[len(info.Shape)-1]%b.elements != 0):
		return fmt.Errorf("gguf: tensor %q: %s does not fill blocks of %d", info.Name, info, b.elements)
	}
	return nil
}

// Write writes metadata and tensors as version 3, in the order that is given. An
// entry general.alignment sets the alignment of the data.
func Write(w io.Writer, metadata []Entry, tensors []stored.Tensor) error {
	head, align, err := encode(metadata, tensors)
	if err != nil {
		return err
	}
	if _, err := w.Write(head); err != nil {
		return err
	}
	zeros := make([]byte, align)
	for _, t := range tensors {
		if err := t.Emit(w); err != nil {
			return err
		}
		if _, err := w.Write(zeros[:pad(t.Bytes, align)]); err != nil {
			return err
		}
	}
	return nil
}

func pad(n, align int64) int64 { return (align - n%align) % align }

// encode writes everything before the data.
func encode(metadata []Entry, tensors []stored.Tensor) (head []byte, align int64, err error) {
	f := &File{metadata: metadata}
	if align, err = f.alignment(); err != nil {
		return nil, 0, fmt.Errorf("gguf: %w", err)
	}
	head = append(head, magic...)
	head = binary.LittleEndian.AppendUint32(head, 3)
	head = binary.LittleEndian.AppendUint64(head, uint64(len(tensors)))
	head = binary.LittleEndian.AppendUint64(head, uint64(len(metadata)))
	seen := make(map[string]bool)
	for _, e := range metadata {
		if seen[e.Key] {
			return nil, 0, fmt.Errorf("gguf: key %q is given twice", e.Key)
		}
		seen[e.Key] = true
		head = appendText(head, e.Key)
		head = binary.LittleEndian.AppendUint32(head, uint32(e.Type))
		if head, err = appendValue(head, e.Type, e.Value); err != nil {
			return nil, 0, fmt.Errorf("gguf: key %q: %w", e.Key, err)
		}
	}
	clear(seen)
	offset := int64(0)
	for _, t := range tensors {
		if err := Writable(t.Info); err != nil {
			return nil, 0, err
		}
		if seen[t.Name] {
			return nil, 0, fmt.Errorf("gguf: tensor %q is given twice", t.Name)
		}
		seen[t.Name] = true
		b, _ := blockByName(t.DType)
		head = appendText(head, t.Name)
		head = binary.LittleEndian.AppendUint32(head, uint32(len(t.Shape)))
		for i := len(t.Shape) - 1; i >= 0; i-- {
			head = binary.LittleEndian.AppendUint64(head, uint64(t.Shape[i]))
		}
		head = binary.LittleEndian.AppendUint32(head, b.id)
		head = binary.LittleEndian.AppendUint64(head, uint64(offset))
		offset += t.Bytes + pad(t.Bytes, align)
	}
	return append(head, make([]byte, pad(int64(len(head)), align))...), align, nil
}

func appendText(dst []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint64(dst, uint64(len(s))), s...)
}

// appendValue writes a value, which must be of the kind of its type and fit it.
func appendValue(dst []byte, t ValueType, v any) ([]byte, error) {
	wrong := func() ([]byte, error) { return nil, fmt.Errorf("%v (%T) is no %s", v, v, t) }
	if int(t) >= len(valueTypes) {
		return wrong()
	}
	size := valueTypes[t].size
	var bits uint64
	switch v := v.(type) {
	case uint64:
		if t != Uint8 && t != Uint16 && t != Uint32 && t != Uint64 || size < 8 && v>>(8*size) != 0 {
			return wrong()
		}
		bits = v
	case int64:
		if t != Int8 && t != Int16 && t != Int32 && t != Int64 || size < 8 && (v < -1<<(8*size-1) || v >= 1<<(8*size-1)) {
			return wrong()
		}
		bits = uint64(v)
	case float64:
		switch t {
		case Float32:
			bits = uint64(math.Float32bits(float32(v)))
		case Float64:
			bits = math.Float64bits(v)
		default:
			return wrong()
		}
	case bool:
		if t != Bool {
			return wrong()
		}
		if v {
			bits = 1
		}
	case string:
		if t != String {
			return wrong()
		}
		return appendText(dst, v), nil
	case List:
		if t != Array {
			return wrong()
		}
		dst = binary.LittleEndian.AppendUint32(dst, uint32(v.Type))
		dst = binary.LittleEndian.AppendUint64(dst, uint64(len(v.Items)))
		for _, item := range v.Items {
			var err error
			if dst, err = appendValue(dst, v.Type, item); err != nil {
				return nil, err
			}
		}
		return dst, nil
	default:
		return wrong()
	}
	return append(dst, binary.LittleEndian.AppendUint64(nil, bits)[:size]...), nil
}
