// Package llmc reads and writes the model files of llm.c (gpt2_124M.bin).
//
// A file is 256 int32 of header, little-endian, then the parameters of a GPT-2
// without names or gaps:
//
//	header   20240326, version, T, V, L, NH, C, Vp; the others are 0
//	         version 3: F32; version 5: BF16
//	wte      (Vp, C)       token embeddings; rows V to Vp are padding
//	wpe      (T, C)
//	ln1w     (L, C)        ln1b (L, C)
//	qkvw     (L, 3C, C)    qkvb (L, 3C)
//	attprojw (L, C, C)     attprojb (L, C)
//	ln2w     (L, C)        ln2b (L, C)
//	fcw      (L, 4C, C)    fcb (L, 4C)
//	fcprojw  (L, C, 4C)    fcprojb (L, C)
//	lnfw     (C)           lnfb (C)
//
// Weights are (out, in). The tensors have the names of llm.c's struct
// ParameterTensors. A file must have exactly the size that its header gives.
//
// Versions 1, 2 and 4 are older layouts with another order of tensors or
// without padding; they are refused.
//
// Source: karpathy/llm.c, train_gpt2.py (write_model, write_tensors) and
// train_gpt2.c (2024-08).
package llmc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/stored"
)

const (
	magic       = 20240326
	headerInts  = 256
	headerBytes = 4 * headerInts

	// Limits of the header, far beyond any model, that keep products in range.
	maxDim    = 1 << 24
	maxLayers = 1 << 16
)

// ErrUnsupported is wrapped by errors about files that may be well formed but
// that this package cannot use.
var ErrUnsupported = errors.New("not supported")

// FormatError says that a file is malformed. Err is never nil.
type FormatError struct {
	File string
	Err  error
}

// Error returns the message, led by the file.
func (e *FormatError) Error() string { return fmt.Sprintf("llmc: %s: %s", e.File, e.Err) }

// Unwrap returns Err.
func (e *FormatError) Unwrap() error { return e.Err }

// Config is what the header says of the model.
type Config struct {
	NCtx, VocabSize, NLayer, NHead, NEmbd int
	PaddedVocab                           int           // rows of wte
	DType                                 formats.DType // F32 or BF16
}

// validate returns what makes a configuration impossible.
func (c Config) validate() error {
	for _, d := range []struct {
		what  string
		value int
		limit int
	}{
		{"sequence length", c.NCtx, maxDim}, {"vocabulary", c.VocabSize, maxDim}, {"number of layers", c.NLayer, maxLayers},
		{"number of heads", c.NHead, maxDim}, {"number of channels", c.NEmbd, maxDim}, {"padded vocabulary", c.PaddedVocab, maxDim},
	} {
		if d.value < 1 || d.value > d.limit {
			return fmt.Errorf("%s is %d, want 1 to %d", d.what, d.value, d.limit)
		}
	}
	if c.NEmbd%c.NHead != 0 {
		return fmt.Errorf("%d channels do not divide into %d heads", c.NEmbd, c.NHead)
	}
	if c.PaddedVocab < c.VocabSize {
		return fmt.Errorf("padded vocabulary is %d, vocabulary %d", c.PaddedVocab, c.VocabSize)
	}
	return nil
}

// Infos lists the tensors in the order of the file.
func (c Config) Infos() []formats.Info {
	L, C := c.NLayer, c.NEmbd
	list := []formats.Info{
		{Name: "wte", Shape: []int{c.PaddedVocab, C}}, {Name: "wpe", Shape: []int{c.NCtx, C}},
		{Name: "ln1w", Shape: []int{L, C}}, {Name: "ln1b", Shape: []int{L, C}},
		{Name: "qkvw", Shape: []int{L, 3 * C, C}}, {Name: "qkvb", Shape: []int{L, 3 * C}},
		{Name: "attprojw", Shape: []int{L, C, C}}, {Name: "attprojb", Shape: []int{L, C}},
		{Name: "ln2w", Shape: []int{L, C}}, {Name: "ln2b", Shape: []int{L, C}},
		{Name: "fcw", Shape: []int{L, 4 * C, C}}, {Name: "fcb", Shape: []int{L, 4 * C}},
		{Name: "fcprojw", Shape: []int{L, C, 4 * C}}, {Name: "fcprojb", Shape: []int{L, C}},
		{Name: "lnfw", Shape: []int{C}}, {Name: "lnfb", Shape: []int{C}},
	}
	for i := range list {
		list[i].DType = c.DType
	}
	return list
}

// File is an open model file. Its tensors are read when they are written
// somewhere; it must stay open until then.
type File struct {
	Config  Config
	source  *stored.File
	tensors []stored.Tensor
}

// Open opens a model file. A malformed file is a *FormatError; one of another
// version is one too, and is ErrUnsupported.
func Open(path string) (*File, error) {
	source, err := stored.Open(path)
	if err != nil {
		return nil, fmt.Errorf("llmc: %w", err)
	}
	f := &File{source: source}
	if err := f.read(); err != nil {
		source.Close()
		return nil, &FormatError{File: path, Err: err}
	}
	return f, nil
}

// Sniff reports whether an open file starts with the number of the format.
func Sniff(f *stored.File) bool {
	head := make([]byte, 4)
	return f.Size() >= headerBytes && f.ReadFull(head, 0) == nil && binary.LittleEndian.Uint32(head) == magic
}

// Close closes the file.
func (f *File) Close() error { return f.source.Close() }

// Sources returns the open file.
func (f *File) Sources() []*stored.File { return []*stored.File{f.source} }

// Tensors returns the tensors in the order of the file.
func (f *File) Tensors() []stored.Tensor { return f.tensors }

func (f *File) read() error {
	if f.source.Size() < headerBytes {
		return fmt.Errorf("file has %d bytes, the header alone takes %d", f.source.Size(), headerBytes)
	}
	raw := make([]byte, headerBytes)
	if err := f.source.ReadFull(raw, 0); err != nil {
		return err
	}
	var h [headerInts]int32
	if _, err := binary.Decode(raw, binary.LittleEndian, &h); err != nil {
		return err
	}
	if h[0] != magic {
		return fmt.Errorf("starts with the number %d, want %d", h[0], magic)
	}
	c := Config{NCtx: int(h[2]), VocabSize: int(h[3]), NLayer: int(h[4]), NHead: int(h[5]), NEmbd: int(h[6]), PaddedVocab: int(h[7])}
	switch h[1] {
	case 3:
		c.DType = formats.F32
	case 5:
		c.DType = formats.BF16
	default:
		return fmt.Errorf("version is %d, known are 3 (F32) and 5 (BF16): %w", h[1], ErrUnsupported)
	}
	for i, v := range h[8:] {
		if v != 0 {
			return fmt.Errorf("number %d of the header is %d, want 0", 8+i, v)
		}
	}
	if err := c.validate(); err != nil {
		return err
	}
	f.Config = c
	at := int64(headerBytes)
	for _, info := range c.Infos() {
		size, err := info.NumBytes()
		if err != nil {
			return err
		}
		if size > f.source.Size()-at {
			return fmt.Errorf("tensor %q: %s takes %d bytes, %d are left", info.Name, info, size, f.source.Size()-at)
		}
		t, err := stored.InFile(f.source, info, at)
		if err != nil {
			return err
		}
		f.tensors = append(f.tensors, t)
		at += size
	}
	if at != f.source.Size() {
		return fmt.Errorf("tensors end at byte %d, the file has %d", at, f.source.Size())
	}
	return nil
}

// Write writes a model file: all tensors of c.Infos, in any order.
func Write(w io.Writer, c Config, tensors []stored.Tensor) error {
	var h [headerInts]int32
	h[0] = magic
	switch c.DType {
	case formats.F32:
		h[1] = 3
	case formats.BF16:
		h[1] = 5
	default:
		return fmt.Errorf("llmc: elements are %s, a file has F32 or BF16: %w", c.DType, ErrUnsupported)
	}
	if err := c.validate(); err != nil {
		return fmt.Errorf("llmc: %w", err)
	}
	for i, v := range []int{c.NCtx, c.VocabSize, c.NLayer, c.NHead, c.NEmbd, c.PaddedVocab} {
		h[2+i] = int32(v)
	}
	byName := make(map[string]stored.Tensor, len(tensors))
	for _, t := range tensors {
		byName[t.Name] = t
	}
	infos := c.Infos()
	if len(byName) != len(infos) || len(tensors) != len(infos) {
		return fmt.Errorf("llmc: %d tensors are given, a file has %d", len(tensors), len(infos))
	}
	for _, info := range infos {
		t, ok := byName[info.Name]
		if !ok {
			return fmt.Errorf("llmc: tensor %q is missing", info.Name)
		}
		if t.Info.String() != info.String() {
			return fmt.Errorf("llmc: tensor %q is %s, want %s", info.Name, t.Info, info)
		}
	}
	if err := binary.Write(w, binary.LittleEndian, h); err != nil {
		return err
	}
	for _, info := range infos {
		if err := byName[info.Name].Emit(w); err != nil {
			return err
		}
	}
	return nil
}
