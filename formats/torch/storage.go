package torch

import (
	"fmt"
	"math"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/stored"
)

// elem is an element type of PyTorch. dtype is empty where formats has none.
type elem struct {
	name  string // of torch.<name>
	dtype formats.DType
	size  int // bytes
	swap  int // bytes of the groups that big-endian machines reverse
	// perElement is how many elements of dtype one element holds: 2 for packed
	// float4.
	perElement int
}

// elems lists the element types by the name of the dtype.
var elems = func() map[string]*elem {
	m := make(map[string]*elem)
	for _, e := range []elem{
		{"float64", formats.F64, 8, 8, 1}, {"float32", formats.F32, 4, 4, 1},
		{"float16", formats.F16, 2, 2, 1}, {"bfloat16", formats.BF16, 2, 2, 1},
		{"float8_e4m3fn", formats.F8E4M3, 1, 1, 1}, {"float8_e5m2", formats.F8E5M2, 1, 1, 1},
		{"float8_e4m3fnuz", formats.F8E4M3FNUZ, 1, 1, 1}, {"float8_e5m2fnuz", formats.F8E5M2FNUZ, 1, 1, 1},
		{"float8_e8m0fnu", formats.F8E8M0, 1, 1, 1}, {"float4_e2m1fn_x2", formats.F4, 1, 1, 2},
		{"int64", formats.I64, 8, 8, 1}, {"int32", formats.I32, 4, 4, 1},
		{"int16", formats.I16, 2, 2, 1}, {"int8", formats.I8, 1, 1, 1},
		{"uint64", formats.U64, 8, 8, 1}, {"uint32", formats.U32, 4, 4, 1},
		{"uint16", formats.U16, 2, 2, 1}, {"uint8", formats.U8, 1, 1, 1},
		{"bool", formats.BOOL, 1, 1, 1},
		{"complex64", formats.C64, 8, 4, 1}, {"complex128", "", 16, 8, 1}, {"complex32", "", 4, 2, 1},
		{"qint8", "", 1, 1, 1}, {"quint8", "", 1, 1, 1}, {"qint32", "", 4, 4, 1},
		{"quint4x2", "", 1, 1, 1}, {"quint2x4", "", 1, 1, 1},
	} {
		m[e.name] = &e
	}
	return m
}()

// storageTypes gives the element type of the storage classes. An untyped
// storage is counted in bytes; the tensor over it says what it holds.
var storageTypes = map[string]string{
	"DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
	"LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8", "ByteStorage": "uint8",
	"BoolStorage": "bool", "ComplexFloatStorage": "complex64", "ComplexDoubleStorage": "complex128", "ComplexHalfStorage": "complex32",
	"QInt8Storage": "qint8", "QUInt8Storage": "quint8", "QInt32Storage": "qint32",
	"QUInt4x2Storage": "quint4x2", "QUInt2x4Storage": "quint2x4",
	"UntypedStorage": "uint8", "_UntypedStorage": "uint8",
}

// storageElem returns the element type of a storage class.
func storageElem(v any) (*elem, bool) {
	g, ok := v.(*global)
	if !ok || g.module != "torch" && g.module != "torch.cuda" && g.module != "torch.storage" {
		return nil, false
	}
	name, ok := storageTypes[g.name]
	return elems[name], ok
}

// storage is a run of elements in a file; several tensors may look into it.
type storage struct {
	key    string
	elem   *elem
	count  int64 // elements
	member string

	// A view of another storage starts at an element of it.
	root       *storage
	rootOffset int64

	// Where the bytes are, known once the container has been read to its end.
	// An array in a file has a place: it is at offset of file, unchanged.
	array  stored.Array
	file   *stored.File
	offset int64
	placed bool
}

// bytes returns the size of the storage.
func (s *storage) bytes() (int64, error) {
	if s.count < 0 || s.count > math.MaxInt64/int64(s.elem.size) {
		return 0, malformed("storage %q has %d elements of %d bytes", shorten(s.key), s.count, s.elem.size)
	}
	return s.count * int64(s.elem.size), nil
}

// tensor is a view of a storage. view counts elements of elem.
type tensor struct {
	storage *storage
	elem    *elem
	view    stored.View
}

// maxRank is the most dimensions that PyTorch allows.
const maxRank = 64

// maxRepeated bounds the bytes of a view that is larger than its storage:
// repetition with stride 0 costs a file nothing.
const maxRepeated = 256 << 20

// newTensor checks a view against its storage. e is the type of the elements,
// that of the storage unless that is untyped.
func newTensor(s *storage, e *elem, offset, size, stride any) (*tensor, error) {
	dims, err := intTuple("size", size)
	if err != nil {
		return nil, err
	}
	strides, err := intTuple("stride", stride)
	if err != nil {
		return nil, err
	}
	if len(dims) != len(strides) || len(dims) > maxRank {
		return nil, malformed("tensor has %d sizes and %d strides, at most %d are possible", len(dims), len(strides), maxRank)
	}
	at, ok := asInt(offset)
	if !ok || at < 0 || at > math.MaxInt {
		return nil, malformed("tensor has the storage offset %s", repr(offset))
	}
	bytes, err := s.bytes()
	if err != nil {
		return nil, err
	}
	t := &tensor{storage: s, elem: e, view: stored.View{Dims: dims, Strides: strides, Offset: int(at)}}
	if _, _, err := t.view.Span(int(min(bytes/int64(e.size), math.MaxInt))); err != nil {
		return nil, malformed("tensor of size %s, stride %s, offset %d leaves its storage of %d elements", repr(size), repr(stride), at, bytes/int64(e.size))
	}
	elements, err := formats.Info{Shape: dims}.NumElements()
	if err != nil {
		return nil, malformed("%w", err)
	}
	if elements > max(bytes, maxRepeated)/int64(e.size) {
		return nil, unsupported("tensor of size %s repeats a storage of %d bytes to more than %d bytes", repr(size), bytes, int64(maxRepeated))
	}
	return t, nil
}

// intTuple returns the numbers of a tuple (a torch.Size is one here).
func intTuple(what string, v any) ([]int, error) {
	var items []any
	switch v := v.(type) {
	case tuple:
		items = v
	case *list:
		items = v.items
	default:
		return nil, malformed("%s of a tensor is a %s, not a tuple", what, typeName(v))
	}
	if len(items) > maxRank {
		return nil, malformed("tensor has %d dimensions, at most %d are possible", len(items), maxRank)
	}
	numbers := make([]int, len(items))
	for i, item := range items {
		n, ok := asInt(item)
		if !ok || n < 0 || n > math.MaxInt {
			return nil, malformed("%s of a tensor has %s", what, repr(item))
		}
		numbers[i] = int(n)
	}
	return numbers, nil
}

func (t *tensor) describe() string {
	if t.storage == nil {
		return "not set"
	}
	return fmt.Sprintf("%s %v", t.elem.name, t.view.Dims)
}

// info returns the description of the tensor under a name. Packed types count
// their elements, as safetensors does.
func (t *tensor) info(name string) formats.Info {
	shape := append([]int{}, t.view.Dims...)
	if n := t.elem.perElement; n > 1 && len(shape) > 0 {
		shape[len(shape)-1] *= n
	}
	return formats.Info{Name: name, DType: t.elem.dtype, Shape: shape}
}

// stored returns the tensor to be read. It must have a dtype of formats.
func (t *tensor) stored(name string) (stored.Tensor, error) {
	s := t.storage
	if !s.placed {
		return stored.Tensor{}, malformed("tensor %q: storage %q is not in the file", shorten(name), shorten(s.key))
	}
	size := int64(t.elem.size)
	first, _, err := t.view.Span(math.MaxInt)
	if err != nil {
		return stored.Tensor{}, err
	}
	if s.file != nil && s.array.Swap < 2 && t.view.Contiguous() {
		return stored.InFile(s.file, t.info(name), s.offset+int64(first)*size)
	}
	// Gathered by its own element, which for packed types is not that of the
	// description.
	array := s.array
	if array.Swap > 1 {
		array.Swap = t.elem.swap
	}
	info := t.info(name)
	info.DType = map[int]formats.DType{1: formats.U8, 2: formats.U16, 4: formats.U32, 8: formats.U64}[t.elem.size]
	out := stored.Strided(info, array, t.view)
	out.Info = t.info(name)
	out.File = s.member
	return out, nil
}
