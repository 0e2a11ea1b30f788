package safetensors

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/spdfctl/spdfctl/formats"
)

const (
	modelName = "model.safetensors"
	indexName = "model.safetensors.index.json"
	// chunk is how much is copied at a time where tensors are streamed; a
	// multiple of every element size.
	chunk = 256 << 10
)

// File is an open checkpoint: one file, or the shards of one index. Its methods
// may be called from several goroutines; Close waits for those that are reading.
type File struct {
	mu       sync.RWMutex
	closed   bool
	path     string
	sources  []*source
	infos    []formats.Info
	tensors  map[string]location
	metadata map[string]string
}

// location says where the bytes of a tensor are.
type location struct {
	formats.Info
	path       string
	source     *source
	begin, end int64 // in the file
}

// Open opens a .safetensors file, a model.safetensors.index.json with the shards
// that it names, or a directory that holds model.safetensors or that index, but
// not both. It reads and checks the headers and maps the files; the time and
// the memory it takes do not depend on the size of the data.
//
// A malformed file is a *FormatError, one beyond this package ErrUnsupported.
func Open(path string) (*File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("safetensors: %w", err)
	}
	if info.IsDir() {
		if path, err = findIn(path); err != nil {
			return nil, err
		}
	}
	f := &File{path: path, tensors: make(map[string]location)}
	if filepath.Ext(path) == ".json" {
		err = f.openIndex(path)
	} else {
		err = f.openSingle(path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// findIn returns the checkpoint in a directory.
func findIn(dir string) (string, error) {
	model, index := filepath.Join(dir, modelName), filepath.Join(dir, indexName)
	_, modelErr := os.Stat(model)
	_, indexErr := os.Stat(index)
	switch {
	case modelErr == nil && indexErr == nil:
		return "", fmt.Errorf("safetensors: %s: holds both %s and %s", dir, modelName, indexName)
	case modelErr == nil:
		return model, nil
	case indexErr == nil:
		return index, nil
	}
	return "", fmt.Errorf("safetensors: %s: holds neither %s nor %s: %w", dir, modelName, indexName, os.ErrNotExist)
}

func (f *File) openSingle(path string) error {
	h, err := f.add(path)
	if err != nil {
		return err
	}
	f.metadata = h.metadata
	return nil
}

// add opens one file and appends its tensors.
func (f *File) add(path string) (*header, error) {
	s, err := openSource(path)
	if err != nil {
		return nil, err
	}
	f.sources = append(f.sources, s)
	h, start, err := s.readHeader()
	if err != nil {
		return nil, inFile(path, err)
	}
	s.mapAll()
	for _, e := range h.entries {
		if other, ok := f.tensors[e.Name]; ok {
			return nil, inFile(path, malformed(e.Name, "is in %s too", filepath.Base(other.path)))
		}
		f.infos = append(f.infos, e.Info)
		f.tensors[e.Name] = location{Info: e.Info, path: path, source: s, begin: start + e.begin, end: start + e.end}
	}
	return h, nil
}

// readHeader reads and checks the header; start is where the data begin.
func (s *source) readHeader() (h *header, start int64, err error) {
	if s.size < lengthSize {
		return nil, 0, malformed("", "file has %d bytes, the length of the header alone takes %d", s.size, lengthSize)
	}
	var length [lengthSize]byte
	if err := s.read(length[:], 0); err != nil {
		return nil, 0, err
	}
	n := binary.LittleEndian.Uint64(length[:])
	if n > maxHeader {
		return nil, 0, malformed("", "header is %d bytes, limit %d", n, maxHeader)
	}
	if int64(n) > s.size-lengthSize {
		return nil, 0, malformed("", "header is %d bytes, the file has %d after its length", n, s.size-lengthSize)
	}
	text := make([]byte, n)
	if err := s.read(text, lengthSize); err != nil {
		return nil, 0, err
	}
	start = lengthSize + int64(n)
	h, err = parseHeader(text, s.size-start)
	return h, start, err
}

// Close unmaps and closes the files. Slices from Bytes must not be used after it.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil
	}
	f.closed = true
	var errs []error
	for _, s := range f.sources {
		errs = append(errs, s.close())
	}
	return errors.Join(errs...)
}

// Infos returns the tensors in the order of their data, shard after shard. The
// caller may change the slice, but not the shapes.
func (f *File) Infos() []formats.Info { return slices.Clone(f.infos) }

// Metadata returns the __metadata__ of the file, nil if it has none. Of shards
// it returns the entries on which all that have them agree.
func (f *File) Metadata() map[string]string { return maps.Clone(f.metadata) }

// Lookup returns the description of the named tensor and whether there is one.
func (f *File) Lookup(name string) (formats.Info, bool) {
	t, ok := f.tensors[name]
	return t.Info, ok
}

// Bytes returns the bytes of the named tensor, row-major and little-endian. They
// are the mapped file where it could be mapped, otherwise a fresh copy; either
// way they must not be written to, are not aligned, and are valid until Close.
//
// A file that was cut is an error here, but if another process cuts it later,
// touching the slice kills this one; ReadFloat32 and Tensor return an error.
func (f *File) Bytes(name string) ([]byte, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	t, err := f.find(name)
	if err != nil {
		return nil, err
	}
	if s := t.source; s.mapped != nil {
		return s.mapped[t.begin:t.end:t.end], nil
	}
	if t.end-t.begin > math.MaxInt {
		return nil, inFile(t.path, unsupported(name, "%d bytes do not fit in memory", t.end-t.begin))
	}
	data := make([]byte, t.end-t.begin)
	if err := t.source.read(data, t.begin); err != nil {
		return nil, t.wrap(err)
	}
	return data, nil
}

// find returns the tensor if it can be read now.
func (f *File) find(name string) (location, error) {
	if f.closed {
		return location{}, fmt.Errorf("safetensors: %s: %w", f.path, os.ErrClosed)
	}
	t, ok := f.tensors[name]
	if !ok {
		return location{}, fmt.Errorf("safetensors: %s: no tensor %q", f.path, shorten(name))
	}
	if err := t.source.checkSize(); err != nil {
		return location{}, t.wrap(err)
	}
	return t, nil
}

// wrap says that reading the tensor went wrong.
func (t location) wrap(err error) error {
	return fmt.Errorf("%s%w", subject(t.path, t.Name), err)
}

// ReadFloat32 converts the named tensor, F32, F16, BF16 or F64, into dst, whose
// length must be its number of elements. F64 is rounded to nearest, ties to
// even, and overflows to infinity; the others are exact. Other element types
// are ErrUnsupported. After an error the content of dst is not defined.
func (f *File) ReadFloat32(dst []float32, name string) error {
	f.mu.RLock()
	defer f.mu.RUnlock()
	t, err := f.find(name)
	if err != nil {
		return err
	}
	decode, ok := decoders[t.DType]
	if !ok {
		return inFile(t.path, unsupported(name, "%s has no exact or rounded float32 form", t.Info))
	}
	size := int64(t.DType.Bits() / 8)
	if n := (t.end - t.begin) / size; n != int64(len(dst)) {
		return t.wrap(fmt.Errorf("%s has %d elements, dst has %d", t.Info, n, len(dst)))
	}
	s := t.source
	if s.mapped != nil {
		if err := formats.CatchFault(func() { decode(dst, s.mapped[t.begin:t.end]) }); err != nil {
			return t.wrap(err)
		}
		return nil
	}
	return t.each(func(part []byte) error {
		n := len(part) / int(size)
		decode(dst[:n], part)
		dst = dst[n:]
		return nil
	})
}

// each calls do for the bytes of the tensor in turn, a copied chunk at a time.
func (t location) each(do func(part []byte) error) error {
	buffer := make([]byte, min(chunk, t.end-t.begin))
	for at := t.begin; at < t.end; {
		part := buffer[:min(int64(len(buffer)), t.end-at)]
		if err := t.source.read(part, at); err != nil {
			return t.wrap(err)
		}
		if err := do(part); err != nil {
			return err
		}
		at += int64(len(part))
	}
	return nil
}

var decoders = map[formats.DType]func(dst []float32, src []byte){
	formats.F32: func(dst []float32, src []byte) {
		for i := range dst {
			dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src))
			src = src[4:]
		}
	},
	formats.F64: func(dst []float32, src []byte) {
		for i := range dst {
			dst[i] = float32(math.Float64frombits(binary.LittleEndian.Uint64(src)))
			src = src[8:]
		}
	},
	formats.F16:  formats.DecodeF16,
	formats.BF16: formats.DecodeBF16,
}

// Tensor returns the named tensor for Write, which copies it from this file a
// chunk at a time when its turn comes.
func (f *File) Tensor(name string) (Tensor, error) {
	info, ok := f.Lookup(name)
	if !ok {
		return Tensor{}, fmt.Errorf("safetensors: %s: no tensor %q", f.path, shorten(name))
	}
	return Tensor{Info: info, WriteTo: func(w io.Writer) error {
		f.mu.RLock()
		defer f.mu.RUnlock()
		t, err := f.find(name)
		if err != nil {
			return err
		}
		return t.each(func(part []byte) error {
			_, err := w.Write(part)
			return err
		})
	}}, nil
}
