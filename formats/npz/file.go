package npz

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/stored"
)

// FormatError says that a file is malformed. Array is the name of the array that
// is meant, "" for the whole file; Err is never nil.
type FormatError struct {
	File, Array string
	Err         error
}

// Error returns the message, led by the file and the array.
func (e *FormatError) Error() string {
	if e.Array != "" {
		return fmt.Sprintf("npz: %s: array %q: %s", e.File, e.Array, e.Err)
	}
	return fmt.Sprintf("npz: %s: %s", e.File, e.Err)
}

// Unwrap returns Err.
func (e *FormatError) Unwrap() error { return e.Err }

// File is an open .npy or .npz file. Its tensors are read when they are written
// somewhere; it must stay open until then.
type File struct {
	source  *stored.File
	tensors []stored.Tensor
	raw     map[string]bool
	refused []Refusal
	side    []byte
	zip     bool
}

// Open opens a .npy or a .npz file, whatever its name ends in, and reads the
// headers. The array of a .npy file has the name "".
//
// A malformed file is a *FormatError; a .npy file whose array has no form here
// is one too, and is ErrUnsupported. A .npz file may have such arrays beside
// others: see Refusals.
func Open(path string) (*File, error) {
	source, err := stored.Open(path)
	if err != nil {
		return nil, fmt.Errorf("npz: %w", err)
	}
	f := &File{source: source, raw: make(map[string]bool)}
	head := make([]byte, min(4, source.Size()))
	if err = source.ReadFull(head, 0); err == nil {
		if string(head) == "PK\x03\x04" || string(head) == "PK\x05\x06" {
			err = f.openZip()
		} else {
			err = f.addPlain()
		}
	}
	if err != nil {
		source.Close()
		var format *FormatError
		if errors.As(err, &format) {
			return nil, err
		}
		return nil, &FormatError{File: path, Err: err}
	}
	return f, nil
}

// Sniff reports whether an open file is a .npy file, or a zip file with a member
// that ends in .npy.
func Sniff(f *stored.File) bool {
	head := make([]byte, min(6, f.Size()))
	if f.ReadFull(head, 0) != nil {
		return false
	}
	if string(head) == magic {
		return true
	}
	if !strings.HasPrefix(string(head), "PK") {
		return false
	}
	z, err := stored.OpenZip(f)
	if err != nil {
		return false
	}
	for _, m := range z.Members {
		if strings.HasSuffix(m.Name, ".npy") {
			return true
		}
	}
	return false
}

// Close closes the file.
func (f *File) Close() error { return f.source.Close() }

// Zip reports whether the file is a .npz file.
func (f *File) Zip() bool { return f.zip }

// Tensors returns the arrays in the order of the file.
func (f *File) Tensors() []stored.Tensor { return f.tensors }

// Refusal is an array of a .npz file that has no form here; Reason says why.
type Refusal struct{ Name, Reason string }

// Refusals returns the arrays that Tensors leaves out.
func (f *File) Refusals() []Refusal { return f.refused }

// Raw reports whether the elements of an array are bytes without a meaning,
// handed out as U8 or U16.
func (f *File) Raw(name string) bool { return f.raw[name] }

// Sources returns the open file.
func (f *File) Sources() []*stored.File { return []*stored.File{f.source} }

// Side returns the side record that WriteZip was given, nil if there is none.
func (f *File) Side() []byte { return f.side }

// sidePrefix marks the comment of a zip file that is a side record.
const sidePrefix = "spdf:"

func (f *File) openZip() error {
	f.zip = true
	z, err := stored.OpenZip(f.source)
	if err != nil {
		return err
	}
	if text, ok := strings.CutPrefix(z.Comment, sidePrefix); ok {
		f.side = []byte(text)
	}
	for _, m := range z.Members {
		name, ok := strings.CutSuffix(m.Name, ".npy")
		if !ok {
			return fmt.Errorf("member %.100q does not end in .npy", m.Name)
		}
		if !utf8.ValidString(name) {
			return fmt.Errorf("member %.100q: name is not UTF-8", m.Name)
		}
		offset := int64(-1)
		if at, ok := m.Stored(); ok {
			offset = at
		}
		err := f.add(name, m.Size, offset, m.Read)
		if errors.Is(err, ErrUnsupported) {
			f.refused = append(f.refused, Refusal{name, err.Error()})
			continue
		}
		if err != nil {
			return &FormatError{File: f.source.Path(), Array: name, Err: err}
		}
	}
	return nil
}

func (f *File) addPlain() error {
	return f.add("", f.source.Size(), 0, func(off, n int64) (io.Reader, error) {
		return io.NewSectionReader(f.source, off, n), nil
	})
}

// add reads the header of an array of size bytes, read by read, that lies as it
// is at offset of the file, or does not if that is negative.
func (f *File) add(name string, size, offset int64, read func(off, n int64) (io.Reader, error)) error {
	r, err := read(0, size)
	if err != nil {
		return err
	}
	h, err := readHeader(r, size)
	if err != nil {
		return err
	}
	d, swap, raw, err := h.dtype()
	if err != nil {
		return err
	}
	info := formats.Info{Name: name, DType: d, Shape: h.shape}
	want, err := info.NumBytes()
	if err != nil {
		return err
	}
	if want != size-h.size {
		return fmt.Errorf("%s takes %d bytes, %d are there", info, want, size-h.size)
	}
	if want > math.MaxInt {
		return fmt.Errorf("%s takes %d bytes, which do not fit in memory: %w", info, want, ErrUnsupported)
	}
	view := stored.RowMajor(h.shape)
	if h.fortran {
		step := 1
		for i, n := range h.shape {
			view.Strides[i] = step
			step *= max(n, 1)
		}
	}
	f.raw[name] = raw
	if offset >= 0 && swap < 2 && view.Contiguous() {
		t, err := stored.InFile(f.source, info, offset+h.size)
		if err != nil {
			return err
		}
		f.tensors = append(f.tensors, t)
		return nil
	}
	t := stored.Strided(info, stored.Array{Swap: swap, Direct: offset >= 0, Read: func(off, n int64) (io.Reader, error) { return read(h.size+off, n) }}, view)
	t.File = f.source.Path()
	f.tensors = append(f.tensors, t)
	return nil
}
