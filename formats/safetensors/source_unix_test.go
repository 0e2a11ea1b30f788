//go:build unix

package safetensors

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/spdfctl/spdfctl/formats"
)

// sparseFile creates a file of one U8 tensor "a" of n zero bytes, which take no
// room on the disk, and returns its path and the size of its header.
func sparseFile(t *testing.T, n int) (path string, start int64) {
	t.Helper()
	h, err := newHeader([]formats.Info{{Name: "a", DType: formats.U8, Shape: []int{n}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := h.encode()
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "x.safetensors")
	if err := os.WriteFile(path, text, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, int64(len(text)+n)); err != nil {
		t.Fatal(err)
	}
	return path, int64(len(text))
}

// A file that shrinks under the mapping is an error, whenever it happens.
func TestTruncatedUnderMapping(t *testing.T) {
	const size = 1 << 20
	path, start := sparseFile(t, size)
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := f.sources[0]
	if s.mapped == nil {
		t.Fatal("the file is not mapped")
	}
	tensor, err := f.Tensor("a")
	if err != nil {
		t.Fatal(err)
	}
	if err := tensor.WriteTo(io.Discard); err != nil {
		t.Fatalf("before the cut: %v", err)
	}
	// Cut while the tensor is being copied: the look at the size is over by then.
	cut := 0
	err = tensor.WriteTo(writerFunc(func(p []byte) (int, error) {
		cut++
		return len(p), os.Truncate(path, start)
	}))
	if cut != 1 || !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), `x.safetensors: tensor "a": file was cut while it was read`) {
		t.Errorf("during: got error %v after %d writes, want io.ErrUnexpectedEOF after 1", err, cut)
	}
	if err := s.read(make([]byte, size), start); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("read: got error %v, want io.ErrUnexpectedEOF", err)
	}
	_, bytesErr := f.Bytes("a")
	for name, err := range map[string]error{"Bytes": bytesErr, "Tensor": tensor.WriteTo(io.Discard)} {
		if !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), "had 1048") {
			t.Errorf("%s after the cut: got error %v, want io.ErrUnexpectedEOF", name, err)
		}
	}
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// A conversion that runs into the cut ends in the same error.
func TestTruncatedUnderConversion(t *testing.T) {
	path, start := sparseFile(t, 1<<20)
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := os.Truncate(path, start); err != nil {
		t.Fatal(err)
	}
	mapped := f.sources[0].mapped
	for d, decode := range decoders {
		dst := make([]float32, 1<<10)
		err := formats.CatchFault(func() { decode(dst, mapped[len(mapped)-len(dst)*d.Bits()/8:]) })
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: got error %v, want io.ErrUnexpectedEOF", d, err)
		}
	}
}

// Where a file cannot be mapped, everything works by reading.
func TestUnmapped(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.safetensors")
	values := make([]float32, 3*chunk/4+5) // several chunks and a rest
	for i := range values {
		values[i] = float32(i)
	}
	tensors := []Tensor{Float32s("a", []int{len(values)}, values), Bytes("e", formats.F32, []int{0}, nil)}
	if err := WriteFile(path, false, tensors, nil); err != nil {
		t.Fatal(err)
	}
	mapped, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer mapped.Close()
	read, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	if err := read.sources[0].unmap(); err != nil {
		t.Fatal(err)
	}
	read.sources[0].mapped = nil

	for _, name := range []string{"a", "e"} {
		want, err := mapped.Bytes(name)
		if err != nil {
			t.Fatal(err)
		}
		got, err := read.Bytes(name)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: Bytes differ, error %v", name, err)
		}
		dst := make([]float32, len(want)/4)
		if err := read.ReadFloat32(dst, name); err != nil {
			t.Error(err)
		}
		for i, v := range dst {
			if v != values[i] {
				t.Fatalf("%s[%d]: got %v, want %v", name, i, v, values[i])
			}
		}
	}
	if err := os.Truncate(path, 100); err != nil {
		t.Fatal(err)
	}
	err = read.sources[0].read(make([]byte, 80), 90)
	if !errors.Is(err, io.ErrUnexpectedEOF) || err.Error() != "byte 100: unexpected EOF" {
		t.Errorf("after a cut: got error %v, want byte 100: unexpected EOF", err)
	}
}

// Opening a pipe would wait for someone to write to it.
func TestOpenRefusesPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.safetensors")
	if err := syscall.Mkfifo(path, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("got error %v, want one about a regular file", err)
	}
}

// A header as long as the limit, in a file of holes, is read and refused.
func TestOpenLongestHeader(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.safetensors")
	if err := os.WriteFile(path, binary.LittleEndian.AppendUint64(nil, maxHeader), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 8+maxHeader); err != nil {
		t.Fatal(err)
	}
	var format *FormatError
	if _, err := Open(path); !errors.As(err, &format) || !strings.Contains(err.Error(), "want {") {
		t.Errorf("got error %v, want a FormatError about {", err)
	}
}
