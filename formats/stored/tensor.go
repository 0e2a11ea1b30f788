package stored

import (
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/spdfctl/spdfctl/formats"
)

// Tensor is a tensor to be read from a file or written to one.
//
// Its element type is one of formats.DTypes, or the name of a block type that a
// format defines ("Q8_0"); Info.NumBytes knows only the former, Bytes is right
// for both.
type Tensor struct {
	formats.Info

	// Bytes is the number of bytes that WriteTo writes.
	Bytes int64
	// File and Offset say where these bytes lie as they are. Offset is -1 if
	// they have to be computed: inflated, gathered, converted.
	File   string
	Offset int64
	// WriteTo writes the elements, row-major and little-endian. It may be
	// called more than once, and for different tensors at the same time.
	WriteTo func(w io.Writer) error
	// Range writes n bytes from byte off on of what WriteTo writes. It is nil
	// where that is no cheaper than to write all and drop the rest.
	Range func(w io.Writer, off, n int64) error
}

// InFile returns a tensor whose bytes lie in f as they are. It returns an error
// if the element type is unknown or the file ends before the tensor.
func InFile(f *File, info formats.Info, offset int64) (Tensor, error) {
	size, err := info.NumBytes()
	if err != nil {
		return Tensor{}, err
	}
	return Block(f, info, offset, size)
}

// Block is InFile for an element type of which formats does not know the size.
func Block(f *File, info formats.Info, offset, size int64) (Tensor, error) {
	if offset < 0 || size < 0 || offset > f.Size() || size > f.Size()-offset {
		return Tensor{}, fmt.Errorf("%s takes bytes %d to %d, the file has %d", info, offset, offset+size, f.Size())
	}
	return Tensor{
		Info: info, Bytes: size, File: f.Path(), Offset: offset,
		WriteTo: func(w io.Writer) error { return f.CopyTo(w, offset, size) },
		Range: func(w io.Writer, off, n int64) error {
			if off < 0 || n < 0 || off > size || n > size-off {
				return fmt.Errorf("bytes %d to %d of %d are wanted", off, off+n, size)
			}
			return f.CopyTo(w, offset+off, n)
		},
	}, nil
}

// InMemory returns a tensor whose bytes are data, which is not copied. It
// panics if data is not as long as the shape needs.
func InMemory(info formats.Info, data []byte) Tensor {
	if size, err := info.NumBytes(); err != nil || size != int64(len(data)) {
		panic("stored: len(data) does not fit the shape")
	}
	return Tensor{
		Info: info, Bytes: int64(len(data)), Offset: -1,
		WriteTo: func(w io.Writer) error {
			_, err := w.Write(data)
			return err
		},
		Range: func(w io.Writer, off, n int64) error {
			_, err := w.Write(data[off : off+n])
			return err
		},
	}
}

// EmitRange writes n bytes from byte off on of the tensor to w.
func (t Tensor) EmitRange(w io.Writer, off, n int64) error {
	if off < 0 || n < 0 || off > t.Bytes || n > t.Bytes-off {
		return fmt.Errorf("tensor %q: %s: bytes %d to %d are wanted, it has %d", t.Name, t.Info, off, off+n, t.Bytes)
	}
	part := t
	part.Bytes = n
	if t.Range != nil {
		part.WriteTo = func(w io.Writer) error { return t.Range(w, off, n) }
		return part.Emit(w)
	}
	part.WriteTo = func(w io.Writer) error {
		return t.WriteTo(&window{w: w, skip: off, left: n})
	}
	return part.Emit(w)
}

// Fill reads len(p) bytes from byte off on of the tensor into p. What lies in a
// file as it is goes there without a buffer between. Where Range is nil all that
// comes before is made, too.
func (t Tensor) Fill(p []byte, off int64) error {
	b := &fixed{data: p}
	if n := int64(len(p)); t.Range == nil || off < 0 || off > t.Bytes || n > t.Bytes-off {
		return t.EmitRange(b, off, n)
	}
	if err := t.Range(b, off, int64(len(p))); err != nil {
		return &tensorError{t.Name, err}
	}
	if b.n < len(p) {
		return fmt.Errorf("tensor %q: %s: %d bytes from byte %d on, want %d", t.Name, t.Info, b.n, off, len(p))
	}
	return nil
}

// window lets through left bytes after skip bytes, and drops what follows.
type window struct {
	w          io.Writer
	skip, left int64
}

func (w *window) Write(p []byte) (int, error) {
	n := len(p)
	if w.skip > 0 {
		k := min(w.skip, int64(len(p)))
		w.skip -= k
		p = p[k:]
	}
	p = p[:min(int64(len(p)), w.left)]
	if len(p) > 0 {
		if _, err := w.w.Write(p); err != nil {
			return 0, err
		}
		w.left -= int64(len(p))
	}
	return n, nil
}

// Load returns the bytes of the tensor in memory.
func (t Tensor) Load() ([]byte, error) {
	if t.Bytes < 0 || t.Bytes > math.MaxInt/2 {
		return nil, fmt.Errorf("tensor %q: %s: %d bytes do not fit in memory", t.Name, t.Info, t.Bytes)
	}
	b := &fixed{data: make([]byte, t.Bytes)}
	if err := t.Emit(b); err != nil {
		return nil, err
	}
	return b.data, nil
}

// fixed is a writer into memory of known size. It is not an io.ReaderFrom, so
// that files are read into it without a lock.
type fixed struct {
	data []byte
	n    int
}

func (b *fixed) Write(p []byte) (int, error) {
	n := copy(b.data[b.n:], p)
	b.n += n
	if n < len(p) {
		return n, io.ErrShortBuffer
	}
	return n, nil
}

// Emit writes the bytes of the tensor to w, and makes sure that there are as
// many as Bytes says.
func (t Tensor) Emit(w io.Writer) error {
	e := exact{w: w, left: t.Bytes}
	var to io.Writer = &e
	if r, ok := w.(io.ReaderFrom); ok {
		to = &exactFrom{exact: &e, r: r}
	}
	err := t.WriteTo(to)
	switch {
	case e.over:
		return fmt.Errorf("tensor %q: %s: more than the %d bytes that it takes", t.Name, t.Info, t.Bytes)
	case err != nil:
		var inner *tensorError
		if errors.As(err, &inner) && inner.name == t.Name {
			return err // says it already: one tensor is written through another
		}
		return &tensorError{t.Name, err}
	case e.left > 0:
		return fmt.Errorf("tensor %q: %s: %d bytes, it takes %d", t.Name, t.Info, t.Bytes-e.left, t.Bytes)
	}
	return nil
}

// tensorError says in which tensor something went wrong.
type tensorError struct {
	name string
	err  error
}

func (e *tensorError) Error() string { return fmt.Sprintf("tensor %q: %s", e.name, e.err) }
func (e *tensorError) Unwrap() error { return e.err }

// errOver is what a source is told that writes too much; Emit says it better.
var errOver = errors.New("more bytes than the tensor takes")

// exact lets through a number of bytes and no more.
type exact struct {
	w    io.Writer
	left int64
	over bool
}

func (e *exact) Write(p []byte) (int, error) {
	if int64(len(p)) > e.left {
		e.over = true
		return 0, errOver
	}
	n, err := e.w.Write(p)
	e.left -= int64(n)
	return n, err
}

// exactFrom is exact for a writer that can read from files.
type exactFrom struct {
	*exact
	r io.ReaderFrom
}

// ReadFrom passes on a bounded reader as it is, because package os sees a file
// only through one io.LimitedReader.
func (e *exactFrom) ReadFrom(r io.Reader) (int64, error) {
	limited, ok := r.(*io.LimitedReader)
	if !ok {
		limited = &io.LimitedReader{R: r, N: math.MaxInt64}
	}
	if limited.N > e.left {
		if !ok {
			return io.Copy(e.exact, r)
		}
		e.over = true
		return 0, errOver
	}
	n, err := e.r.ReadFrom(limited)
	e.left -= n
	return n, err
}
