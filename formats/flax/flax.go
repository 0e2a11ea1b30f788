package flax

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/stored"
)

const (
	maxDepth   = 64
	maxTensors = 1 << 17
	maxLeaves  = 1 << 20
	maxName    = 4096
	maxNames   = 64 << 20 // bytes of all names: many can share a long beginning
	maxText    = 1 << 20  // bytes of a text that is a leaf
	maxRank    = 64

	extArray   = 1
	extComplex = 2
	extScalar  = 3

	chunkedKey = "__msgpack_chunked_array__"
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
func (e *FormatError) Error() string { return fmt.Sprintf("flax: %s: %s", e.File, e.Err) }

// Unwrap returns Err.
func (e *FormatError) Unwrap() error { return e.Err }

// Leaf is a value that is no array.
type Leaf struct {
	Name string
	Text string
}

// File is an open checkpoint. Its tensors are read when they are written
// somewhere; it must stay open until then.
type File struct {
	source  *stored.File
	tensors []stored.Tensor
	leaves  []Leaf
	seen    map[string]bool
	named   int // bytes of names
}

// Open opens a checkpoint and reads everything but the elements of arrays.
//
// A malformed file is a *FormatError; one beyond this package is one too, and is
// ErrUnsupported.
func Open(path string) (*File, error) {
	source, err := stored.Open(path)
	if err != nil {
		return nil, fmt.Errorf("flax: %w", err)
	}
	f := &File{source: source, seen: make(map[string]bool)}
	d := &decoder{file: source, end: source.Size()}
	err = f.walk(d, "", 0)
	if err == nil && d.pos != d.end {
		err = fmt.Errorf("value ends at byte %d, the file has %d", d.pos, d.end)
	}
	if err != nil {
		source.Close()
		return nil, &FormatError{File: path, Err: err}
	}
	return f, nil
}

// Sniff reports whether an open file starts with a MessagePack map whose first
// key is a text: nothing else marks the format.
func Sniff(f *stored.File) bool {
	d := &decoder{file: f, end: f.Size()}
	h, err := d.head()
	if err != nil || h.kind != kindMap || h.n == 0 {
		return false
	}
	_, err = d.key()
	return err == nil
}

// Close closes the file.
func (f *File) Close() error { return f.source.Close() }

// Sources returns the open file.
func (f *File) Sources() []*stored.File { return []*stored.File{f.source} }

// Tensors returns the arrays in the order of the file.
func (f *File) Tensors() []stored.Tensor { return f.tensors }

// Leaves returns the values that are no arrays.
func (f *File) Leaves() []Leaf { return f.leaves }

// walk reads one value and what is in it.
func (f *File) walk(d *decoder, name string, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("byte %d: nested more than %d deep: %w", d.pos, maxDepth, ErrUnsupported)
	}
	if len(name) > maxName {
		return fmt.Errorf("byte %d: name has %d bytes, limit %d: %w", d.pos, len(name), maxName, ErrUnsupported)
	}
	at := d.pos
	h, err := d.head()
	if err != nil {
		return err
	}
	switch h.kind {
	case kindMap:
		return f.walkMap(d, h.n, name, depth)
	case kindArray:
		for i := range h.n {
			if err := f.walk(d, join(name, strconv.FormatUint(i, 10), depth), depth+1); err != nil {
				return err
			}
		}
		return nil
	}
	if f.named += len(name); f.named > maxNames {
		return fmt.Errorf("byte %d: names have more than %d bytes in all: %w", at, maxNames, ErrUnsupported)
	}
	if h.kind == kindExt {
		if h.ext == extArray {
			t, err := d.array(h.n)
			if err != nil {
				return fmt.Errorf("byte %d: array %.100q: %w", at, name, err)
			}
			t.Name = name
			return f.add(t)
		}
	}
	text, err := d.leaf(h)
	if err != nil {
		return err
	}
	if len(f.leaves) == maxLeaves {
		return fmt.Errorf("byte %d: more than %d values: %w", at, maxLeaves, ErrUnsupported)
	}
	f.leaves = append(f.leaves, Leaf{name, text})
	return nil
}

func join(name, key string, depth int) string {
	if depth == 0 {
		return key
	}
	return name + "." + key
}

func (f *File) walkMap(d *decoder, n uint64, name string, depth int) error {
	for i := range n {
		key, err := d.key()
		if err != nil {
			return err
		}
		if i == 0 && key == chunkedKey {
			t, err := d.chunked(n)
			if err != nil {
				return fmt.Errorf("array %.100q: %w", name, err)
			}
			t.Name = name
			return f.add(t)
		}
		if err := f.walk(d, join(name, key, depth), depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (f *File) add(t stored.Tensor) error {
	if f.seen[t.Name] {
		return fmt.Errorf("two arrays flatten to the name %.100q", t.Name)
	}
	if len(f.tensors) == maxTensors {
		return fmt.Errorf("more than %d arrays: %w", maxTensors, ErrUnsupported)
	}
	f.seen[t.Name] = true
	f.tensors = append(f.tensors, t)
	return nil
}

// types are JAX's names of the element types.
var types = map[string]formats.DType{
	"float64": formats.F64, "float32": formats.F32, "float16": formats.F16, "bfloat16": formats.BF16,
	"float8_e4m3fn": formats.F8E4M3, "float8_e5m2": formats.F8E5M2, "float8_e4m3fnuz": formats.F8E4M3FNUZ, "float8_e5m2fnuz": formats.F8E5M2FNUZ,
	"int64": formats.I64, "int32": formats.I32, "int16": formats.I16, "int8": formats.I8,
	"uint64": formats.U64, "uint32": formats.U32, "uint16": formats.U16, "uint8": formats.U8,
	"bool": formats.BOOL, "complex64": formats.C64,
}

// array reads the n bytes of an extension of type 1.
func (d *decoder) array(n uint64) (stored.Tensor, error) {
	end := d.pos + int64(n) // head has checked it
	h, err := d.head()
	if err != nil {
		return stored.Tensor{}, err
	}
	if h.kind != kindArray || h.n != 3 {
		return stored.Tensor{}, fmt.Errorf("byte %d: want an array of 3", d.pos)
	}
	if h, err = d.head(); err != nil {
		return stored.Tensor{}, err
	}
	if h.kind != kindArray || h.n > maxRank {
		return stored.Tensor{}, fmt.Errorf("byte %d: want a shape of at most %d dimensions", d.pos, maxRank)
	}
	info := formats.Info{Shape: make([]int, h.n)}
	for i := range info.Shape {
		if info.Shape[i], err = d.dimension(); err != nil {
			return stored.Tensor{}, err
		}
	}
	name, err := d.key()
	if err != nil {
		return stored.Tensor{}, err
	}
	var ok bool
	if info.DType, ok = types[name]; !ok {
		return stored.Tensor{}, fmt.Errorf("type is %.40q: %w", name, ErrUnsupported)
	}
	if h, err = d.head(); err != nil {
		return stored.Tensor{}, err
	}
	size, err := info.NumBytes()
	if err != nil {
		return stored.Tensor{}, err
	}
	if h.kind != kindBytes || h.n != uint64(size) || d.pos+size != end {
		return stored.Tensor{}, fmt.Errorf("byte %d: %s takes %d bytes, %d are there", d.pos, info, size, end-d.pos)
	}
	t, err := stored.InFile(d.file, info, d.pos)
	d.pos = end
	return t, err
}

// chunked reads the rest of a map of n items that stands for a large array;
// the first key has been read.
func (d *decoder) chunked(n uint64) (stored.Tensor, error) {
	fail := func(what string) (stored.Tensor, error) {
		return stored.Tensor{}, fmt.Errorf("byte %d: chunked array: want %s", d.pos, what)
	}
	if n != 3 {
		return fail("3 items")
	}
	h, err := d.head()
	if err != nil {
		return stored.Tensor{}, err
	}
	if _, err := d.leaf(h); err != nil {
		return stored.Tensor{}, err
	}
	var info formats.Info
	var parts []stored.Tensor
	for _, want := range []string{"shape", "chunks"} {
		key, err := d.key()
		if err != nil {
			return stored.Tensor{}, err
		}
		if key != want {
			return fail(want)
		}
		if h, err = d.head(); err != nil {
			return stored.Tensor{}, err
		}
		if h.kind != kindMap || want == "shape" && h.n > maxRank || h.n > maxTensors {
			return fail("a map in " + want)
		}
		for i := range h.n {
			index, err := d.key()
			if err != nil {
				return stored.Tensor{}, err
			}
			if index != strconv.FormatUint(i, 10) {
				return fail("indices in order")
			}
			if want == "shape" {
				dim, err := d.dimension()
				if err != nil {
					return stored.Tensor{}, err
				}
				info.Shape = append(info.Shape, dim)
				continue
			}
			e, err := d.head()
			if err != nil {
				return stored.Tensor{}, err
			}
			if e.kind != kindExt || e.ext != extArray {
				return fail("arrays in chunks")
			}
			part, err := d.array(e.n)
			if err != nil {
				return stored.Tensor{}, err
			}
			parts = append(parts, part)
		}
	}
	return joinChunks(d.file, info, parts)
}

// joinChunks returns the array that chunks, one behind the other, make.
func joinChunks(file *stored.File, info formats.Info, parts []stored.Tensor) (stored.Tensor, error) {
	if len(parts) == 0 {
		return stored.Tensor{}, errors.New("chunked array has no chunks")
	}
	info.DType = parts[0].DType
	size, err := info.NumBytes()
	if err != nil {
		return stored.Tensor{}, err
	}
	sum := int64(0)
	for _, p := range parts {
		if p.DType != info.DType {
			return stored.Tensor{}, fmt.Errorf("chunks are %s and %s", info.DType, p.DType)
		}
		sum += p.Bytes
	}
	if sum != size {
		return stored.Tensor{}, fmt.Errorf("%s takes %d bytes, its chunks have %d", info, size, sum)
	}
	return stored.Tensor{Info: info, Bytes: size, File: file.Path(), Offset: -1, WriteTo: func(w io.Writer) error {
		for _, p := range parts {
			if err := p.WriteTo(w); err != nil {
				return err
			}
		}
		return nil
	}}, nil
}

// The kinds of MessagePack values.
type kind int

const (
	kindNil kind = iota
	kindBool
	kindInt
	kindFloat
	kindText
	kindBytes
	kindArray
	kindMap
	kindExt
)

// head is the start of a value: its kind, and a length or the value.
type head struct {
	kind kind
	n    uint64 // length in items or bytes; or the value, of a number its bits
	ext  int8
	text string // of a number or a bool
}

// decoder reads MessagePack from a file.
type decoder struct {
	file *stored.File
	pos  int64
	end  int64
}

func (d *decoder) take(n uint64) ([]byte, error) {
	if n > uint64(d.end-d.pos) {
		return nil, fmt.Errorf("byte %d: %d bytes are wanted, %d are left: %w", d.pos, n, d.end-d.pos, io.ErrUnexpectedEOF)
	}
	b := make([]byte, n)
	if err := d.file.ReadFull(b, d.pos); err != nil {
		return nil, err
	}
	d.pos += int64(n)
	return b, nil
}

func (d *decoder) uint(n int) (uint64, error) {
	b, err := d.take(uint64(n))
	if err != nil {
		return 0, err
	}
	var wide [8]byte
	copy(wide[8-n:], b)
	return binary.BigEndian.Uint64(wide[:]), nil
}

// head reads the start of a value. Bytes that it announces are there.
func (d *decoder) head() (h head, err error) {
	at := d.pos
	first, err := d.uint(1)
	if err != nil {
		return h, err
	}
	c := byte(first)
	switch {
	case c < 0x80:
		return head{kind: kindInt, n: uint64(c), text: strconv.Itoa(int(c))}, nil
	case c < 0x90:
		return head{kind: kindMap, n: uint64(c & 15)}, nil
	case c < 0xa0:
		return head{kind: kindArray, n: uint64(c & 15)}, nil
	case c < 0xc0:
		h = head{kind: kindText, n: uint64(c & 31)}
	case c >= 0xe0:
		return head{kind: kindInt, n: uint64(int8(c)), text: strconv.Itoa(int(int8(c)))}, nil
	case c == 0xc0:
		return head{kind: kindNil, text: "None"}, nil
	case c == 0xc2 || c == 0xc3:
		return head{kind: kindBool, text: map[byte]string{0xc2: "False", 0xc3: "True"}[c]}, nil
	case c >= 0xc4 && c <= 0xc6:
		h.kind = kindBytes
		h.n, err = d.uint(1 << (c - 0xc4))
	case c >= 0xc7 && c <= 0xc9:
		h.kind = kindExt
		if h.n, err = d.uint(1 << (c - 0xc7)); err == nil {
			err = d.extType(&h)
		}
	case c == 0xca || c == 0xcb:
		return d.float(c == 0xcb)
	case c >= 0xcc && c <= 0xcf:
		h.kind = kindInt
		h.n, err = d.uint(1 << (c - 0xcc))
		h.text = strconv.FormatUint(h.n, 10)
		return h, err
	case c >= 0xd0 && c <= 0xd3:
		h.kind = kindInt
		size := 1 << (c - 0xd0)
		h.n, err = d.uint(size)
		shift := 64 - 8*size
		h.text = strconv.FormatInt(int64(h.n<<shift)>>shift, 10)
		return h, err
	case c >= 0xd4 && c <= 0xd8:
		h = head{kind: kindExt, n: 1 << (c - 0xd4)}
		err = d.extType(&h)
	case c >= 0xd9 && c <= 0xdb:
		h.kind = kindText
		h.n, err = d.uint(1 << (c - 0xd9))
	case c == 0xdc || c == 0xdd:
		h.kind = kindArray
		h.n, err = d.uint(2 << (c - 0xdc))
	case c == 0xde || c == 0xdf:
		h.kind = kindMap
		h.n, err = d.uint(2 << (c - 0xde))
	default:
		return h, fmt.Errorf("byte %d: %#02x starts no value", at, c)
	}
	if err != nil {
		return h, err
	}
	// An item of an array takes a byte or more, one of a map two.
	need := h.n
	if h.kind == kindMap {
		need *= 2
	}
	if need > uint64(d.end-d.pos) {
		return h, fmt.Errorf("byte %d: %d bytes are wanted, %d are left: %w", at, need, d.end-d.pos, io.ErrUnexpectedEOF)
	}
	return h, nil
}

func (d *decoder) extType(h *head) error {
	t, err := d.uint(1)
	h.ext = int8(t)
	return err
}

func (d *decoder) float(wide bool) (head, error) {
	size := 4
	if wide {
		size = 8
	}
	bits, err := d.uint(size)
	v := float64(math.Float32frombits(uint32(bits)))
	if wide {
		v = math.Float64frombits(bits)
	}
	return head{kind: kindFloat, n: bits, text: strconv.FormatFloat(v, 'g', -1, 64)}, err
}

// key reads a text that is a key or a name.
func (d *decoder) key() (string, error) {
	at := d.pos
	h, err := d.head()
	if err != nil {
		return "", err
	}
	if h.kind != kindText || h.n > maxName {
		return "", fmt.Errorf("byte %d: want a text of at most %d bytes", at, maxName)
	}
	b, err := d.take(h.n)
	if err != nil {
		return "", err
	}
	if !utf8.Valid(b) {
		return "", fmt.Errorf("byte %d: text %.100q is not UTF-8", at, b)
	}
	return string(b), nil
}

func (d *decoder) dimension() (int, error) {
	at := d.pos
	h, err := d.head()
	if err != nil {
		return 0, err
	}
	if h.kind != kindInt || h.text[0] == '-' || h.n > math.MaxInt {
		return 0, fmt.Errorf("byte %d: want a dimension", at)
	}
	return int(h.n), nil
}

// leaf reads the rest of a value that is no array, and returns it as text.
func (d *decoder) leaf(h head) (string, error) {
	switch h.kind {
	case kindText:
		if h.n > maxText {
			return "", fmt.Errorf("byte %d: text has %d bytes, limit %d: %w", d.pos, h.n, maxText, ErrUnsupported)
		}
		b, err := d.take(h.n)
		return strconv.QuoteToGraphic(string(b)), err
	case kindBytes:
		d.pos += int64(h.n)
		return fmt.Sprintf("%d bytes", h.n), nil
	case kindExt:
		d.pos += int64(h.n)
		switch h.ext {
		case extComplex:
			return "a complex number", nil
		case extScalar:
			return "a NumPy scalar", nil
		}
		return "", fmt.Errorf("byte %d: extension type %d: %w", d.pos, h.ext, ErrUnsupported)
	case kindArray, kindMap:
		return "", fmt.Errorf("byte %d: want a plain value", d.pos)
	}
	return h.text, nil
}
