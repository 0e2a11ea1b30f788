package gguf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"unicode/utf8"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/stored"
)

const (
	magic            = "GGUF"
	defaultAlignment = 32
	maxAlignment     = 1 << 20
	maxTensors       = 1 << 17
	maxEntries       = 1 << 16
	maxRank          = 4
	maxName          = 4096
	maxText          = 64 << 20 // bytes of one text: a tokenizer in JSON
	maxMetadata      = 256 << 20
	maxNesting       = 4
)

// ErrUnsupported is wrapped by errors about files that are, or may be, well
// formed but that this package cannot use.
var ErrUnsupported = errors.New("not supported")

// FormatError says that a file is malformed. Err is never nil.
type FormatError struct {
	File string
	Err  error
}

// Error returns the message, led by the file.
func (e *FormatError) Error() string { return fmt.Sprintf("gguf: %s: %s", e.File, e.Err) }

// Unwrap returns Err.
func (e *FormatError) Unwrap() error { return e.Err }

// File is an open GGUF file. Its tensors are read when they are written
// somewhere; it must stay open until then.
type File struct {
	source   *stored.File
	version  uint32
	metadata []Entry
	tensors  []stored.Tensor
}

// Open opens a GGUF file and reads and checks everything but the data.
//
// A malformed file is a *FormatError; one beyond this package is one too, and is
// ErrUnsupported.
func Open(path string) (*File, error) {
	source, err := stored.Open(path)
	if err != nil {
		return nil, fmt.Errorf("gguf: %w", err)
	}
	f := &File{source: source}
	if err := f.read(); err != nil {
		source.Close()
		return nil, &FormatError{File: path, Err: err}
	}
	return f, nil
}

// Sniff reports whether an open file starts like a GGUF file.
func Sniff(f *stored.File) bool {
	head := make([]byte, 4)
	return f.Size() >= 4 && f.ReadFull(head, 0) == nil && string(head) == magic
}

// Close closes the file.
func (f *File) Close() error { return f.source.Close() }

// Version returns the version of the format.
func (f *File) Version() int { return int(f.version) }

// Sources returns the open file.
func (f *File) Sources() []*stored.File { return []*stored.File{f.source} }

// Metadata returns the metadata in the order of the file.
func (f *File) Metadata() []Entry { return f.metadata }

// Lookup returns the value of a key.
func (f *File) Lookup(key string) (any, bool) {
	for _, e := range f.metadata {
		if e.Key == key {
			return e.Value, true
		}
	}
	return nil, false
}

// Tensors returns the tensors in the order of the file.
func (f *File) Tensors() []stored.Tensor { return f.tensors }

// decoder reads the part of a file before the data.
type decoder struct {
	r     *io.SectionReader
	buf   []byte
	pos   int64
	size  int64
	wide  int // bytes of a length
	spent int64
}

func (f *File) read() error {
	d := &decoder{r: io.NewSectionReader(f.source, 0, f.source.Size()), size: f.source.Size(), wide: 8}
	head, err := d.take(8)
	if err != nil {
		return err
	}
	if string(head[:4]) != magic {
		return fmt.Errorf("starts with % x, want %q", head[:4], magic)
	}
	f.version = binary.LittleEndian.Uint32(head[4:])
	switch {
	case f.version == 1:
		d.wide = 4
	case f.version == 2 || f.version == 3:
	case f.version > 0 && f.version&0xffff == 0:
		return fmt.Errorf("is big-endian: %w", ErrUnsupported)
	default:
		return fmt.Errorf("version is %d, known are 1 to 3: %w", f.version, ErrUnsupported)
	}
	tensors, err := d.length("count of tensors", maxTensors)
	if err != nil {
		return err
	}
	entries, err := d.length("count of metadata", maxEntries)
	if err != nil {
		return err
	}
	if err := f.readMetadata(d, entries); err != nil {
		return err
	}
	return f.readTensors(d, tensors)
}

func (f *File) readMetadata(d *decoder, n int) error {
	seen := make(map[string]bool)
	for range n {
		key, err := d.text("key", maxName)
		if err != nil {
			return err
		}
		if seen[key] {
			return fmt.Errorf("key %.100q occurs twice", key)
		}
		seen[key] = true
		t, err := d.valueType()
		if err != nil {
			return fmt.Errorf("key %.100q: %w", key, err)
		}
		v, err := d.value(t, 0)
		if err != nil {
			return fmt.Errorf("key %.100q: %w", key, err)
		}
		f.metadata = append(f.metadata, Entry{key, t, v})
	}
	return nil
}

// alignment returns that of the data.
func (f *File) alignment() (int64, error) {
	v, ok := f.Lookup(alignmentKey)
	if !ok {
		return defaultAlignment, nil
	}
	n, ok := v.(uint64)
	if !ok || n == 0 || n > maxAlignment || n&(n-1) != 0 {
		return 0, fmt.Errorf("%s is %v, want a power of two up to %d", alignmentKey, v, maxAlignment)
	}
	return int64(n), nil
}

const alignmentKey = "general.alignment"

func (f *File) readTensors(d *decoder, n int) error {
	align, err := f.alignment()
	if err != nil {
		return err
	}
	type place struct {
		info   formats.Info
		offset int64
		size   int64
	}
	places := make([]place, 0, min(n, 4096))
	seen := make(map[string]bool)
	for range n {
		info, size, offset, err := d.tensor(align)
		if err != nil {
			return err
		}
		if seen[info.Name] {
			return fmt.Errorf("tensor %.100q occurs twice", info.Name)
		}
		seen[info.Name] = true
		places = append(places, place{info, offset, size})
	}
	start := (d.pos + align - 1) / align * align
	for _, p := range places {
		if p.offset > math.MaxInt64-start {
			return fmt.Errorf("tensor %.100q: offset is %d", p.info.Name, p.offset)
		}
		at := start + p.offset
		if p.size == 0 {
			at = 0 // it may stand behind the end of a file that was not padded
		}
		t, err := stored.Block(f.source, p.info, at, p.size)
		if err != nil {
			return fmt.Errorf("tensor %.100q: %w", p.info.Name, err)
		}
		f.tensors = append(f.tensors, t)
	}
	slices.SortFunc(places, func(a, b place) int { return int(min(1, max(-1, a.offset-b.offset))) })
	end, before := int64(0), ""
	for _, p := range places {
		if p.size == 0 {
			continue
		}
		if p.offset < end {
			return fmt.Errorf("tensors %.100q and %.100q overlap at offset %d", before, p.info.Name, p.offset)
		}
		end, before = p.offset+p.size, p.info.Name
	}
	return nil
}

// tensor reads the description of one tensor.
func (d *decoder) tensor(align int64) (info formats.Info, size, offset int64, err error) {
	if info.Name, err = d.text("name of a tensor", maxName); err != nil {
		return info, 0, 0, err
	}
	fail := func(format string, args ...any) (formats.Info, int64, int64, error) {
		return info, 0, 0, fmt.Errorf("tensor %.100q: "+format, append([]any{info.Name}, args...)...)
	}
	rank, err := d.uint(4)
	if err != nil {
		return info, 0, 0, err
	}
	if rank > maxRank {
		return fail("rank is %d, limit %d: %w", rank, maxRank, ErrUnsupported)
	}
	info.Shape = make([]int, rank)
	for i := range info.Shape {
		n, err := d.uint(d.wide)
		if err != nil {
			return info, 0, 0, err
		}
		if n > math.MaxInt {
			return fail("a dimension is %d", n)
		}
		info.Shape[int(rank)-1-i] = int(n)
	}
	id, err := d.uint(4)
	if err != nil {
		return info, 0, 0, err
	}
	b, ok := blockByID(uint32(id))
	if !ok {
		return fail("type %d is unknown: %w", id, ErrUnsupported)
	}
	info.DType = b.name
	elements, err := info.NumElements()
	if err != nil {
		return fail("%w", err)
	}
	if b.elements > 1 && (rank == 0 || info.Shape[rank-1]%b.elements != 0) {
		return fail("%s does not fill blocks of %d", info, b.elements)
	}
	if elements/int64(b.elements) > math.MaxInt64/int64(b.bytes) {
		return fail("%s takes more than %d bytes", info, int64(math.MaxInt64))
	}
	size = elements / int64(b.elements) * int64(b.bytes)
	at, err := d.uint(8)
	if err != nil {
		return info, 0, 0, err
	}
	if at > math.MaxInt64 || int64(at)%align != 0 {
		return fail("offset is %d, want a multiple of %d", at, align)
	}
	return info, size, int64(at), nil
}

// take reads n bytes. The slice is valid until the next call.
func (d *decoder) take(n int64) ([]byte, error) {
	if n > d.size-d.pos {
		return nil, fmt.Errorf("byte %d: %d bytes are wanted, %d are left: %w", d.pos, n, d.size-d.pos, io.ErrUnexpectedEOF)
	}
	if int64(len(d.buf)) < n {
		fresh := make([]byte, max(n, min(64<<10, d.size-d.pos)))
		have := copy(fresh, d.buf)
		if got, err := d.r.ReadAt(fresh[have:], d.pos+int64(have)); have+got < len(fresh) {
			return nil, fmt.Errorf("byte %d: %w", d.pos+int64(have+got), errors.Join(io.ErrUnexpectedEOF, err))
		}
		d.buf = fresh
	}
	b := d.buf[:n:n]
	d.buf = d.buf[n:]
	d.pos += n
	return b, nil
}

func (d *decoder) uint(n int) (uint64, error) {
	b, err := d.take(int64(n))
	if err != nil {
		return 0, err
	}
	var wide [8]byte
	copy(wide[:], b)
	return binary.LittleEndian.Uint64(wide[:]), nil
}

// length reads a length or a count.
func (d *decoder) length(what string, limit int) (int, error) {
	n, err := d.uint(d.wide)
	if err != nil {
		return 0, err
	}
	if n > uint64(limit) {
		return 0, fmt.Errorf("%s is %d, limit %d: %w", what, n, limit, ErrUnsupported)
	}
	return int(n), nil
}

// text reads a text, which must be UTF-8.
func (d *decoder) text(what string, limit int) (string, error) {
	n, err := d.length("length of a "+what, limit)
	if err != nil {
		return "", err
	}
	b, err := d.take(int64(n))
	if err != nil {
		return "", err
	}
	if !utf8.Valid(b) {
		return "", fmt.Errorf("%s %.100q is not UTF-8", what, b)
	}
	if err := d.spend(int64(n) + 32); err != nil {
		return "", err
	}
	return string(b), nil
}

// spend counts the memory that metadata take.
func (d *decoder) spend(n int64) error {
	if d.spent += n; d.spent > maxMetadata {
		return fmt.Errorf("metadata take more than %d bytes in memory: %w", int64(maxMetadata), ErrUnsupported)
	}
	return nil
}

func (d *decoder) valueType() (ValueType, error) {
	t, err := d.uint(4)
	if err != nil {
		return 0, err
	}
	if t >= uint64(len(valueTypes)) {
		return 0, fmt.Errorf("value type %d is unknown: %w", t, ErrUnsupported)
	}
	return ValueType(t), nil
}

// value reads a value of a type.
func (d *decoder) value(t ValueType, depth int) (any, error) {
	if err := d.spend(32); err != nil {
		return nil, err
	}
	switch t {
	case String:
		// Texts of tokens are bytes in some files: they are kept as they are.
		n, err := d.length("length of a text", maxText)
		if err != nil {
			return nil, err
		}
		b, err := d.take(int64(n))
		if err != nil {
			return nil, err
		}
		return string(bytes.Clone(b)), d.spend(int64(n))
	case Array:
		return d.list(depth)
	}
	n, err := d.uint(valueTypes[t].size)
	if err != nil {
		return nil, err
	}
	switch t {
	case Int8:
		return int64(int8(n)), nil
	case Int16:
		return int64(int16(n)), nil
	case Int32:
		return int64(int32(n)), nil
	case Int64:
		return int64(n), nil
	case Float32:
		return float64(math.Float32frombits(uint32(n))), nil
	case Float64:
		return math.Float64frombits(n), nil
	case Bool:
		if n > 1 {
			return nil, fmt.Errorf("byte %d: bool is %d", d.pos-1, n)
		}
		return n == 1, nil
	}
	return n, nil
}

func (d *decoder) list(depth int) (any, error) {
	if depth == maxNesting {
		return nil, fmt.Errorf("arrays are nested more than %d deep: %w", maxNesting, ErrUnsupported)
	}
	t, err := d.valueType()
	if err != nil {
		return nil, err
	}
	n, err := d.uint(d.wide)
	if err != nil {
		return nil, err
	}
	// Every item takes a byte or more.
	if left := uint64(d.size - d.pos); n > left {
		return nil, fmt.Errorf("byte %d: array has %d items, %d bytes are left: %w", d.pos, n, left, io.ErrUnexpectedEOF)
	}
	l := List{Type: t}
	for range n {
		v, err := d.value(t, depth+1)
		if err != nil {
			return nil, err
		}
		l.Items = append(l.Items, v)
	}
	return l, nil
}
