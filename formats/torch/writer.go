package torch

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/stored"
)

const (
	// alignment of the data of each member, as PyTorch's own writer has it.
	alignment = 64
	// sideSuffix is the member, below the root, of the side record: torch.load
	// does not look at it.
	sideSuffix = "/.spdf/side.json"
	maxSide    = 64 << 20
	// padID is the field of a zip header that PyTorch pads with.
	padID = "FB"
)

// Field is an item of a dict to be written beside the tensors. Value is nil, a
// bool, an int64, a float64, a string, a list of these ([]any), or a dict
// ([]Field).
type Field struct {
	Key   string
	Value any
}

// WriteOptions say what Write writes beside plain tensors.
type WriteOptions struct {
	// Root is the name of the directory in the zip file; "archive" if empty.
	Root string
	// Under is the key of the dict that holds the tensors; if empty they are
	// the whole object.
	Under string
	// Fields are further items of the outer dict, with Under only.
	Fields []Field
	// Aliases are further names of tensors, which share their storage, by the
	// name of the tensor.
	Aliases map[string][]string
	// Side is a record for File.Side, in JSON; nil for none.
	Side []byte
}

// Write writes tensors as a dict of contiguous tensors in PyTorch's zip format,
// in the order that is given. torch.load reads it, with weights_only too. The
// output depends only on the arguments.
//
// U16, U32, U64 and the 8-bit floats need PyTorch 2.3 to be loaded; F4 needs
// 2.8 and an even last dimension. PyTorch has no 6-bit floats: they are
// ErrUnsupported.
func Write(w io.Writer, tensors []stored.Tensor, o WriteOptions) error {
	if o.Root == "" {
		o.Root = "archive"
	}
	if strings.Contains(o.Root, "/") {
		return fmt.Errorf("torch: root %q has a slash", o.Root)
	}
	p := newPickler()
	if err := p.checkpoint(tensors, o); err != nil {
		return err
	}
	z := &zipWriter{count: &countWriter{w: w}, root: o.Root + "/"}
	z.zip = zip.NewWriter(z.count)
	if err := z.member("data.pkl", func(w io.Writer) error {
		_, err := w.Write(p.out.Bytes())
		return err
	}); err != nil {
		return err
	}
	for _, small := range []struct {
		name string
		text []byte
	}{{"byteorder", []byte("little")}, {sideSuffix[1:], o.Side}} {
		if small.text == nil {
			continue
		}
		if err := z.member(small.name, func(w io.Writer) error {
			_, err := w.Write(small.text)
			return err
		}); err != nil {
			return err
		}
	}
	for i, t := range tensors {
		if err := z.member("data/"+strconv.Itoa(i), t.Emit); err != nil {
			return err
		}
	}
	if err := z.member("version", func(w io.Writer) error {
		_, err := io.WriteString(w, "3\n")
		return err
	}); err != nil {
		return err
	}
	return z.zip.Close()
}

// Writable reports whether Write can write the type and shape of a tensor.
func Writable(info formats.Info) bool {
	_, _, err := elemOf(info)
	return err == nil
}

// elemOf returns the element type to write a tensor with, and the shape in its
// elements.
func elemOf(info formats.Info) (*elem, []int, error) {
	for _, e := range elems {
		if e.dtype != info.DType || e.dtype == "" {
			continue
		}
		shape := append([]int{}, info.Shape...)
		if n := e.perElement; n > 1 {
			last := len(shape) - 1
			if last < 0 || shape[last]%n != 0 {
				break
			}
			shape[last] /= n
		}
		return e, shape, nil
	}
	return nil, nil, unsupported("tensor %q: %s is not a type of PyTorch", shorten(info.Name), info)
}

// zipWriter writes stored members whose data are aligned.
type zipWriter struct {
	zip   *zip.Writer
	count *countWriter
	root  string
	// trailer is what archive/zip writes behind the last member when the next
	// one begins: its CRC and sizes.
	trailer int64
}

type countWriter struct {
	w io.Writer
	n int64
}

func (c *countWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

func (z *zipWriter) member(name string, write func(io.Writer) error) error {
	if err := z.zip.Flush(); err != nil { // count is right only now
		return err
	}
	name = z.root + name
	const header, field = 30, 4
	pad := -(z.count.n + z.trailer + header + field + int64(len(name))) % alignment
	if pad < 0 {
		pad += alignment
	}
	extra := append([]byte(padID), byte(pad), 0)
	w, err := z.zip.CreateHeader(&zip.FileHeader{
		Name: name, Method: zip.Store,
		Extra: append(extra, bytes.Repeat([]byte{'Z'}, int(pad))...),
	})
	if err != nil {
		return err
	}
	data := &countWriter{w: w}
	if err := write(data); err != nil {
		return err
	}
	z.trailer = 16
	if data.n >= math.MaxUint32 {
		z.trailer = 24
	}
	return nil
}

// pickler writes protocol 2 with the opcodes that every weights_only unpickler
// knows.
type pickler struct {
	out  bytes.Buffer
	memo map[string]int // of texts and globals
}

func newPickler() *pickler {
	return &pickler{memo: make(map[string]int)}
}

func (p *pickler) checkpoint(tensors []stored.Tensor, o WriteOptions) error {
	p.out.Write([]byte{opProto, 2})
	if o.Under != "" {
		p.out.Write([]byte{opEmptyDict, opMark})
		p.text(o.Under)
	}
	p.out.Write([]byte{opEmptyDict, opMark})
	written := make(map[string]bool)
	for i, t := range tensors {
		for _, name := range append([]string{t.Name}, o.Aliases[t.Name]...) {
			if written[name] {
				return malformed("tensor %q is given twice", shorten(name))
			}
			written[name] = true
			p.text(name)
			if err := p.tensor(t, i); err != nil {
				return err
			}
		}
	}
	p.out.WriteByte(opSetItems)
	if o.Under != "" {
		if err := p.fields(o.Fields); err != nil {
			return err
		}
		p.out.WriteByte(opSetItems)
	}
	p.out.WriteByte(opStop)
	return nil
}

func (p *pickler) fields(fields []Field) error {
	for _, f := range fields {
		p.text(f.Key)
		if err := p.value(f.Value); err != nil {
			return fmt.Errorf("torch: field %q is %w", f.Key, err)
		}
	}
	return nil
}

// value writes what a Field holds.
func (p *pickler) value(v any) error {
	switch v := v.(type) {
	case nil:
		p.out.WriteByte(opNone)
	case bool:
		p.bool(v)
	case int64:
		p.int(v)
	case float64:
		p.out.WriteByte(opBinFloat)
		bits := math.Float64bits(v)
		for shift := 56; shift >= 0; shift -= 8 {
			p.out.WriteByte(byte(bits >> shift))
		}
	case string:
		p.text(v)
	case []any:
		p.out.Write([]byte{opEmptyList, opMark})
		for _, item := range v {
			if err := p.value(item); err != nil {
				return err
			}
		}
		p.out.WriteByte(opAppends)
	case []Field:
		p.out.Write([]byte{opEmptyDict, opMark})
		if err := p.fields(v); err != nil {
			return err
		}
		p.out.WriteByte(opSetItems)
	default:
		return fmt.Errorf("a %T", v)
	}
	return nil
}

// tensor writes the call that makes a tensor of storage number i.
func (p *pickler) tensor(t stored.Tensor, i int) error {
	e, shape, err := elemOf(t.Info)
	if err != nil {
		return err
	}
	class, untyped := storageClass(e)
	rebuild := "_rebuild_tensor_v2"
	count := int64(1)
	for _, d := range shape {
		count *= int64(d)
	}
	if untyped {
		rebuild = "_rebuild_tensor_v3"
		count *= int64(e.size)
	}
	p.global("torch._utils", rebuild)
	p.out.WriteByte(opMark)
	p.out.WriteByte(opMark)
	p.text("storage")
	p.global("torch", class)
	p.text(strconv.Itoa(i))
	p.text("cpu")
	p.int(count)
	p.out.Write([]byte{opTuple, opBinPersID})
	p.int(0)
	p.ints(shape)
	p.ints(stored.RowMajor(shape).Strides)
	p.bool(false)
	p.global("collections", "OrderedDict")
	p.out.Write([]byte{opEmptyTuple, opReduce})
	if untyped {
		p.global("torch", e.name)
	}
	p.out.Write([]byte{opTuple, opReduce})
	return nil
}

// storageClass returns the class of the storage of a type; types that came
// after the typed storages use untyped ones.
func storageClass(e *elem) (class string, untyped bool) {
	for class, name := range storageTypes {
		if name == e.name && !strings.HasPrefix(class, "Untyped") && !strings.HasPrefix(class, "_") {
			return class, false
		}
	}
	return "UntypedStorage", true
}

func (p *pickler) bool(v bool) {
	if v {
		p.out.WriteByte(opNewTrue)
	} else {
		p.out.WriteByte(opNewFalse)
	}
}

// int writes a whole number that is not negative, in the shortest form.
func (p *pickler) int(v int64) {
	switch {
	case v >= 0 && v < 1<<8:
		p.out.Write([]byte{opBinInt1, byte(v)})
	case v >= 0 && v < 1<<16:
		p.out.Write([]byte{opBinInt2, byte(v), byte(v >> 8)})
	case v >= math.MinInt32 && v <= math.MaxInt32:
		p.out.Write([]byte{opBinInt, byte(v), byte(v >> 8), byte(v >> 16), byte(v >> 24)})
	default:
		p.out.Write([]byte{opLong1, 8})
		for range 8 {
			p.out.WriteByte(byte(v))
			v >>= 8
		}
	}
}

func (p *pickler) ints(list []int) {
	p.out.WriteByte(opMark)
	for _, v := range list {
		p.int(int64(v))
	}
	p.out.WriteByte(opTuple)
}

// text writes a str, once; after that the memo has it.
func (p *pickler) text(s string) {
	if p.recall("t" + s) {
		return
	}
	p.out.WriteByte(opBinUnicode)
	n := len(s)
	p.out.Write([]byte{byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24)})
	p.out.WriteString(s)
	p.put()
}

func (p *pickler) global(module, name string) {
	if p.recall("g" + module + " " + name) {
		return
	}
	p.out.WriteByte(opGlobal)
	p.out.WriteString(module + "\n" + name + "\n")
	p.put()
}

// recall writes the value of key from the memo, or gives it the next number.
func (p *pickler) recall(key string) bool {
	i, ok := p.memo[key]
	if !ok {
		p.memo[key] = len(p.memo)
		return false
	}
	if i < 1<<8 {
		p.out.Write([]byte{opBinGet, byte(i)})
	} else {
		p.out.Write([]byte{opLongBinGet, byte(i), byte(i >> 8), byte(i >> 16), byte(i >> 24)})
	}
	return true
}

// put memoises the top of the stack under the last number.
func (p *pickler) put() {
	i := len(p.memo) - 1
	if i < 1<<8 {
		p.out.Write([]byte{opBinPut, byte(i)})
	} else {
		p.out.Write([]byte{opLongBinPut, byte(i), byte(i >> 8), byte(i >> 16), byte(i >> 24)})
	}
}
