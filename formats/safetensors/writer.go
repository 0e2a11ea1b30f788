package safetensors

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"

	"github.com/spdfctl/spdfctl/formats"
)

// Tensor is a tensor to be written. WriteTo is called once, when its turn has
// come, and must write exactly the bytes that Info takes, row-major and
// little-endian; only one tensor need exist at a time. Where Write's writer is an
// io.ReaderFrom, so is that of WriteTo: bytes can go from file to file without
// being seen here.
type Tensor struct {
	formats.Info
	WriteTo func(w io.Writer) error
}

// Float32s returns an F32 tensor of the given data. Neither slice is copied:
// they must not change until the tensor has been written.
func Float32s(name string, shape []int, data []float32) Tensor {
	return Tensor{
		Info: formats.Info{Name: name, DType: formats.F32, Shape: shape},
		WriteTo: func(w io.Writer) error {
			buffer := make([]byte, min(chunk, 4*len(data)))
			for rest := data; len(rest) > 0; {
				n := min(len(buffer)/4, len(rest))
				for i, v := range rest[:n] {
					binary.LittleEndian.PutUint32(buffer[4*i:], math.Float32bits(v))
				}
				if _, err := w.Write(buffer[:4*n]); err != nil {
					return err
				}
				rest = rest[n:]
			}
			return nil
		},
	}
}

// Bytes returns a tensor of the given element type whose bytes, row-major and
// little-endian, are data. Neither slice is copied: they must not change until
// the tensor has been written.
func Bytes(name string, d formats.DType, shape []int, data []byte) Tensor {
	return Tensor{
		Info: formats.Info{Name: name, DType: d, Shape: shape},
		WriteTo: func(w io.Writer) error {
			_, err := w.Write(data)
			return err
		},
	}
}

// Write writes tensors and metadata to w. The output depends only on the
// arguments, not on the order of tensors, and is byte for byte what the
// reference writes where that is deterministic: with at most one metadata entry.
// Nil metadata are left out, empty ones written as {}.
//
// Everything but the data is checked before the first byte is written; a
// tensor that then writes more or fewer bytes than its Info takes is an error.
// What is not valid safetensors is a *FormatError.
func Write(w io.Writer, tensors []Tensor, metadata map[string]string) error {
	infos := make([]formats.Info, len(tensors))
	data := make(map[string]func(io.Writer) error, len(tensors))
	for i, t := range tensors {
		infos[i] = t.Info
		data[t.Name] = t.WriteTo
	}
	h, err := newHeader(infos, metadata)
	if err != nil {
		return err
	}
	text, err := h.encode()
	if err != nil {
		return err
	}
	if _, err := w.Write(text); err != nil {
		return fmt.Errorf("safetensors: header: %w", err)
	}
	for _, e := range h.entries {
		exact := &exactWriter{w: w, name: e.Name, size: e.end - e.begin}
		var to io.Writer = exact
		if r, ok := w.(io.ReaderFrom); ok {
			to = &exactReaderFrom{exact, r}
		}
		if err := exact.fill(to, data[e.Name]); err != nil {
			return err
		}
	}
	return nil
}

// WriteFile is Write to a file, put in place by formats.WriteAtomic: an existing
// path is refused unless force is set, and nothing is left there on an error.
func WriteFile(path string, force bool, tensors []Tensor, metadata map[string]string) error {
	return formats.WriteAtomic(path, force, func(w io.Writer) error {
		return Write(w, tensors, metadata)
	})
}

// exactWriter lets through the bytes of one tensor and no more.
type exactWriter struct {
	w       io.Writer
	name    string
	size    int64
	written int64 // including what was not let through
}

func (e *exactWriter) fill(to io.Writer, write func(io.Writer) error) error {
	err := write(to)
	// First, because write may have passed on, or dropped, the error below.
	if e.written > e.size {
		return e.wrong()
	}
	if err != nil {
		return fmt.Errorf("%s%w", subject("", e.name), err)
	}
	if e.written < e.size {
		return e.wrong()
	}
	return nil
}

func (e *exactWriter) Write(p []byte) (int, error) {
	if int64(len(p)) > e.size-e.written {
		e.written += int64(len(p))
		return 0, e.wrong()
	}
	n, err := e.w.Write(p)
	e.written += int64(n)
	return n, err
}

func (e *exactWriter) wrong() error {
	return malformed(e.name, "%d bytes were written, its shape takes %d", e.written, e.size)
}

// exactReaderFrom is exactWriter for a writer that can read from files.
type exactReaderFrom struct {
	*exactWriter
	r io.ReaderFrom
}

// ReadFrom passes a bounded reader on as it is: package os sees a file only
// through one io.LimitedReader.
func (e *exactReaderFrom) ReadFrom(r io.Reader) (int64, error) {
	limited, ok := r.(*io.LimitedReader)
	if !ok {
		return io.Copy(e.exactWriter, r)
	}
	if limited.N > e.size-e.written {
		e.written += limited.N
		return 0, e.wrong()
	}
	n, err := e.r.ReadFrom(limited)
	e.written += n
	return n, err
}
