package gguf_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/gguf"
	"github.com/spdfctl/spdfctl/formats/stored"
)

func openBytes(t testing.TB, data []byte) (*gguf.File, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "f.gguf")
	if err := os.WriteFile(path, data, 0o666); err != nil {
		t.Fatal(err)
	}
	f, err := gguf.Open(path)
	if err == nil {
		t.Cleanup(func() { f.Close() })
	}
	return f, err
}

// tensor returns a tensor with recognisable bytes.
func tensor(name string, d formats.DType, shape ...int) stored.Tensor {
	elements, size, ok := gguf.BlockSize(d)
	if !ok {
		panic(d)
	}
	n := stored.RowMajor(shape).Elements() / elements * size
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(i*3 + len(name))
	}
	t := stored.InMemory(formats.Info{Name: name, DType: formats.U8, Shape: []int{n}}, data)
	t.DType, t.Shape = d, shape
	return t
}

// every is an entry of every type.
var every = []gguf.Entry{
	{Key: "general.architecture", Type: gguf.String, Value: "gpt2"},
	{Key: "u8", Type: gguf.Uint8, Value: uint64(255)}, {Key: "i8", Type: gguf.Int8, Value: int64(-128)},
	{Key: "u16", Type: gguf.Uint16, Value: uint64(65535)}, {Key: "i16", Type: gguf.Int16, Value: int64(-32768)},
	{Key: "u32", Type: gguf.Uint32, Value: uint64(math.MaxUint32)}, {Key: "i32", Type: gguf.Int32, Value: int64(math.MinInt32)},
	{Key: "u64", Type: gguf.Uint64, Value: uint64(math.MaxUint64)}, {Key: "i64", Type: gguf.Int64, Value: int64(math.MinInt64)},
	{Key: "f32", Type: gguf.Float32, Value: float64(float32(0.1))}, {Key: "f64", Type: gguf.Float64, Value: 0.1},
	{Key: "true", Type: gguf.Bool, Value: true}, {Key: "false", Type: gguf.Bool, Value: false},
	{Key: "bytes", Type: gguf.String, Value: "\xff\x00"},
	{Key: "tokens", Type: gguf.Array, Value: gguf.List{Type: gguf.String, Items: []any{"a", "", "é"}}},
	{Key: "empty", Type: gguf.Array, Value: gguf.List{Type: gguf.Int32}},
	{Key: "nested", Type: gguf.Array, Value: gguf.List{Type: gguf.Array, Items: []any{gguf.List{Type: gguf.Bool, Items: []any{true}}}}},
}

func write(t testing.TB, metadata []gguf.Entry, tensors []stored.Tensor) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := gguf.Write(&b, metadata, tensors); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestRoundTrip(t *testing.T) {
	var tensors []stored.Tensor
	for _, d := range []formats.DType{"F32", "F16", "BF16", "F64", "I8", "I16", "I32", "I64", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K",
		"IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ1_S", "IQ4_NL", "IQ3_S", "IQ2_S", "IQ4_XS", "IQ1_M", "TQ1_0", "TQ2_0", "MXFP4"} {
		tensors = append(tensors, tensor("t."+string(d), d, 3, 2, 256))
	}
	tensors = append(tensors, tensor("scalar", formats.F32), tensor("empty", formats.F32, 0, 4))
	for _, align := range []uint64{0, 8, 32, 4096} {
		metadata := every
		if align > 0 {
			metadata = append([]gguf.Entry{{Key: "general.alignment", Type: gguf.Uint32, Value: align}}, every...)
		}
		data := write(t, metadata, tensors)
		f, err := openBytes(t, data)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(f.Metadata(), metadata); diff != "" {
			t.Errorf("metadata (-got +want):\n%s", diff)
		}
		for i, got := range f.Tensors() {
			x, err := got.Load()
			y, _ := tensors[i].Load()
			if err != nil || got.Name != tensors[i].Name || got.Info.String() != tensors[i].Info.String() || !bytes.Equal(x, y) {
				t.Errorf("got %q %s, %v; want %q %s", got.Name, got.Info, err, tensors[i].Name, tensors[i].Info)
			}
		}
		if again := write(t, f.Metadata(), f.Tensors()); !bytes.Equal(again, data) {
			t.Errorf("alignment %d: written again it differs", align)
		}
	}
}

// builder puts a file together byte by byte.
type builder struct {
	wide int // bytes of a length
	data []byte
}

func (b *builder) uint(n int, v uint64) *builder {
	for range n {
		b.data = append(b.data, byte(v))
		v >>= 8
	}
	return b
}

func (b *builder) text(s string) *builder {
	b.uint(b.wide, uint64(len(s)))
	b.data = append(b.data, s...)
	return b
}

func (b *builder) head(version uint64, tensors, entries uint64) *builder {
	b.data = append(b.data, "GGUF"...)
	return b.uint(4, version).uint(b.wide, tensors).uint(b.wide, entries)
}

// tensor adds a tensor (dims as in the file) of a type at an offset.
func (b *builder) tensor(name string, id, offset uint64, dims ...uint64) *builder {
	b.text(name).uint(4, uint64(len(dims)))
	for _, d := range dims {
		b.uint(b.wide, d)
	}
	return b.uint(4, id).uint(8, offset)
}

func (b *builder) padded(data string) []byte {
	for len(b.data)%32 != 0 {
		b.data = append(b.data, 0)
	}
	return append(b.data, data...)
}

func v3() *builder { return &builder{wide: 8} }

func TestVersions(t *testing.T) {
	for version, wide := range map[uint64]int{1: 4, 2: 8, 3: 8} {
		b := &builder{wide: wide}
		b.head(version, 1, 1).text("k").uint(4, uint64(gguf.Array)).uint(4, uint64(gguf.String)).uint(wide, 1).text("v")
		f, err := openBytes(t, b.tensor("x", 0, 0, 2, 1).padded("12345678"))
		if err != nil {
			t.Fatalf("version %d: %v", version, err)
		}
		content, err := f.Tensors()[0].Load()
		if err != nil || string(content) != "12345678" || f.Tensors()[0].Info.String() != "F32 (1, 2)" {
			t.Errorf("version %d: got %s %q, %v", version, f.Tensors()[0].Info, content, err)
		}
		if v, _ := f.Lookup("k"); cmp.Diff(v, any(gguf.List{Type: gguf.String, Items: []any{"v"}})) != "" {
			t.Errorf("version %d: k is %v", version, v)
		}
	}
}

func TestReject(t *testing.T) {
	const huge = 1 << 63
	entry := func(t gguf.ValueType) *builder { return v3().head(3, 0, 1).text("k").uint(4, uint64(t)) }
	nested := entry(gguf.Array)
	for range 10 {
		nested.uint(4, uint64(gguf.Array)).uint(8, 1)
	}
	for _, tc := range []struct {
		name        string
		file        []byte
		want        string
		unsupported bool
	}{
		{"empty", nil, "8 bytes are wanted, 0 are left", false},
		{"magic", []byte("GGUX\x03\x00\x00\x00"), "starts with", false},
		{"version 0", v3().head(0, 0, 0).data, "version is 0", true},
		{"version 4", v3().head(4, 0, 0).data, "version is 4", true},
		{"big-endian", []byte("GGUF\x00\x00\x00\x03"), "big-endian", true},
		{"2^63 tensors", v3().head(3, huge, 0).data, "count of tensors is 9223372036854775808", true},
		{"2^63 entries", v3().head(3, 0, huge).data, "count of metadata", true},
		{"entries missing", v3().head(3, 0, 1).data, "8 bytes are wanted, 0 are left", false},
		{"key of 2^63 bytes", v3().head(3, 0, 1).uint(8, huge).data, "length of a key is", true},
		{"key that is not UTF-8", v3().head(3, 0, 1).text("\xff").data, "is not UTF-8", false},
		{"key twice", v3().head(3, 0, 2).text("k").uint(4, 0).uint(1, 1).text("k").data, "occurs twice", false},
		{"value type", entry(13).data, "value type 13", true},
		{"text of 2^63 bytes", entry(gguf.String).uint(8, huge).data, "length of a text", true},
		{"text past the end", entry(gguf.String).uint(8, 10).data, "10 bytes are wanted, 0 are left", false},
		{"array of 2^63", entry(gguf.Array).uint(4, 0).uint(8, huge).data, "array has 9223372036854775808 items", false},
		{"array past the end", entry(gguf.Array).uint(4, 5).uint(8, 3).uint(4, 0).data, "are left", false},
		{"nested arrays", nested.data, "nested more than 4 deep", true},
		{"bool", entry(gguf.Bool).uint(1, 2).data, "bool is 2", false},
		{"alignment 3", v3().head(3, 0, 1).text("general.alignment").uint(4, 4).uint(4, 3).data, "general.alignment is 3", false},
		{"alignment 0", v3().head(3, 0, 1).text("general.alignment").uint(4, 4).uint(4, 0).data, "general.alignment is 0", false},
		{"alignment text", v3().head(3, 0, 1).text("general.alignment").uint(4, 8).text("32").data, "general.alignment is 32", false},
		{"rank", v3().head(3, 1, 0).tensor("x", 0, 0, 1, 1, 1, 1, 1).data, "rank is 5, limit 4", true},
		{"rank of 2^32-1", v3().head(3, 1, 0).text("x").uint(4, math.MaxUint32).data, "rank is 4294967295", true},
		{"dimension of 2^63", v3().head(3, 1, 0).tensor("x", 0, 0, huge).data, "a dimension is 9223372036854775808", false},
		{"elements past int64", v3().head(3, 1, 0).tensor("x", 0, 0, 1<<40, 1<<40).data, "has more than", false},
		{"bytes past int64", v3().head(3, 1, 0).tensor("x", 0, 0, 1<<62).data, "takes more than", false},
		{"type", v3().head(3, 1, 0).tensor("x", 4, 0, 32).data, "type 4 is unknown", true},
		{"half a block", v3().head(3, 1, 0).tensor("x", 8, 0, 33).data, "does not fill blocks of 32", false},
		{"block scalar", v3().head(3, 1, 0).tensor("x", 8, 0).data, "does not fill blocks of 32", false},
		{"offset not aligned", v3().head(3, 1, 0).tensor("x", 0, 4, 2).padded("12345678"), "offset is 4, want a multiple of 32", false},
		{"offset of 2^63", v3().head(3, 1, 0).tensor("x", 0, huge, 2).padded("12345678"), "offset is 9223372036854775808", false},
		{"offset near 2^63", v3().head(3, 1, 0).tensor("x", 0, math.MaxInt64-31, 2).padded("12345678"), "offset is 9223372036854775776", false},
		{"data cut", v3().head(3, 1, 0).tensor("x", 0, 0, 2).padded("1234567"), "the file has", false},
		{"name twice", v3().head(3, 2, 0).tensor("x", 0, 0, 2).tensor("x", 0, 32, 2).padded(strings.Repeat("x", 40)), "occurs twice", false},
		{"overlap", v3().head(3, 2, 0).tensor("x", 0, 0, 10).tensor("y", 0, 32, 2).padded(strings.Repeat("x", 40)), `tensors "x" and "y" overlap at offset 32`, false},
		{"the same bytes", v3().head(3, 2, 0).tensor("x", 0, 0, 2).tensor("y", 0, 0, 2).padded("12345678"), "overlap at offset 0", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := openBytes(t, tc.file)
			var format *gguf.FormatError
			if !errors.As(err, &format) || !strings.Contains(err.Error(), tc.want) || errors.Is(err, gguf.ErrUnsupported) != tc.unsupported {
				t.Errorf("got %v, want %q in a FormatError, unsupported %v", err, tc.want, tc.unsupported)
			}
		})
	}
}

func TestTruncated(t *testing.T) {
	data := write(t, every, []stored.Tensor{tensor("a", formats.F32, 3), tensor("b", "Q8_0", 32)})
	end := len(data) - 30 // the padding behind the last tensor may be missing
	for n := range data {
		if _, err := openBytes(t, data[:n]); (err == nil) != (n >= end) {
			t.Errorf("cut to %d of %d bytes: %v", n, len(data), err)
		}
	}
}

func TestWriteRefuses(t *testing.T) {
	x := tensor("x", formats.F32, 2)
	long := tensor(strings.Repeat("n", 64), formats.F32, 2)
	for _, tc := range []struct {
		name     string
		metadata []gguf.Entry
		tensors  []stored.Tensor
	}{
		{"key twice", []gguf.Entry{every[1], every[1]}, nil},
		{"tensor twice", nil, []stored.Tensor{x, x}},
		{"name of 64 bytes", nil, []stored.Tensor{long}},
		{"type", nil, []stored.Tensor{stored.InMemory(formats.Info{Name: "b", DType: formats.BOOL, Shape: []int{1}}, []byte{1})}},
		{"rank", nil, []stored.Tensor{tensor("r", formats.F32, 1, 1, 1, 1, 1)}},
		{"300 as uint8", []gguf.Entry{{Key: "k", Type: gguf.Uint8, Value: uint64(300)}}, nil},
		{"200 as int8", []gguf.Entry{{Key: "k", Type: gguf.Int8, Value: int64(200)}}, nil},
		{"text as int8", []gguf.Entry{{Key: "k", Type: gguf.Int8, Value: "x"}}, nil},
		{"int as bool", []gguf.Entry{{Key: "k", Type: gguf.Bool, Value: int64(1)}}, nil},
		{"mixed array", []gguf.Entry{{Key: "k", Type: gguf.Array, Value: gguf.List{Type: gguf.String, Items: []any{"a", true}}}}, nil},
		{"no type", []gguf.Entry{{Key: "k", Type: 99, Value: true}}, nil},
		{"alignment", []gguf.Entry{{Key: "general.alignment", Type: gguf.Uint32, Value: uint64(5)}}, nil},
	} {
		var b bytes.Buffer
		if err := gguf.Write(&b, tc.metadata, tc.tensors); err == nil || b.Len() > 0 {
			t.Errorf("%s: %v, %d bytes written", tc.name, err, b.Len())
		}
	}
}

func TestDequantize(t *testing.T) {
	f16 := func(bits uint16) []byte { return binary.LittleEndian.AppendUint16(nil, bits) }
	q8 := append(f16(0x3800), make([]byte, 32)...) // scale 0.5
	q8[2], q8[3], q8[33] = 1, 0x80, 0xff
	got := make([]float32, 32)
	if err := gguf.Dequantize(got, "Q8_0", q8); err != nil {
		t.Fatal(err)
	}
	if got[0] != 0.5 || got[1] != -64 || got[2] != 0 || got[31] != -0.5 {
		t.Errorf("Q8_0: got %v", got)
	}
	q4 := append(f16(0xc000), make([]byte, 16)...) // scale -2
	q4[2], q4[17] = 0xf0, 0x8f
	q4 = append(q4, append(f16(0x7c00), make([]byte, 16)...)...) // an infinite scale
	got = make([]float32, 64)
	if err := gguf.Dequantize(got, "Q4_0", q4); err != nil {
		t.Fatal(err)
	}
	if got[0] != 16 || got[16] != -14 || got[15] != -14 || got[31] != 0 || got[1] != 16 || !math.IsInf(float64(got[32]), -1) {
		t.Errorf("Q4_0: got %v", got)
	}
	if err := gguf.Dequantize(got, "Q4_K", nil); !errors.Is(err, gguf.ErrUnsupported) {
		t.Errorf("Q4_K: got %v", err)
	}
}

func FuzzOpen(f *testing.F) {
	f.Add(write(f, every, []stored.Tensor{tensor("a", formats.F32, 3), tensor("b", "Q8_0", 32)}))
	f.Add(write(f, []gguf.Entry{{Key: "general.alignment", Type: gguf.Uint32, Value: uint64(64)}}, []stored.Tensor{tensor("e", formats.F32, 0)}))
	f.Add((&builder{wide: 4}).head(1, 1, 0).tensor("x", 0, 0, 2).padded("12345678"))
	path := filepath.Join(f.TempDir(), "f.gguf")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o666); err != nil {
			t.Fatal(err)
		}
		file, err := gguf.Open(path)
		if err != nil {
			return
		}
		defer file.Close()
		for _, tensor := range file.Tensors() {
			if gguf.Writable(tensor.Info) != nil {
				return // a long name
			}
		}
		if v, ok := file.Lookup("general.alignment"); ok && v.(uint64) > 4096 {
			return // would write megabytes of padding
		}
		var b bytes.Buffer
		if err := gguf.Write(&b, file.Metadata(), file.Tensors()); err != nil {
			t.Fatal(err)
		}
		again, err := openBytes(t, b.Bytes())
		if err != nil {
			t.Fatalf("what was read cannot be read again: %v", err)
		}
		if diff := cmp.Diff(again.Metadata(), file.Metadata(), cmp.Comparer(sameBits)); diff != "" {
			t.Fatalf("metadata changed on the way:\n%s", diff)
		}
		for i, tensor := range file.Tensors() {
			x, err := tensor.Load()
			y, err2 := again.Tensors()[i].Load()
			if err != nil || err2 != nil || !bytes.Equal(x, y) {
				t.Fatalf("%q changed on the way: %v, %v", tensor.Name, err, err2)
			}
		}
	})
}

// sameBits lets NaN equal NaN.
func sameBits(a, b float64) bool { return a == b || a != a && b != b }
