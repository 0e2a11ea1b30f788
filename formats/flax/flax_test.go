package flax_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spdfctl/spdfctl/formats/flax"
)

// The encoders below write MessagePack from its specification.

func text(s string) string {
	if len(s) < 32 {
		return string([]byte{0xa0 | byte(len(s))}) + s
	}
	return "\xda" + string([]byte{byte(len(s) >> 8), byte(len(s))}) + s
}

func mapOf(items ...string) string {
	n := len(items) / 2
	if n < 16 {
		return string([]byte{0x80 | byte(n)}) + strings.Join(items, "")
	}
	return "\xde" + string([]byte{byte(n >> 8), byte(n)}) + strings.Join(items, "")
}

func list(items ...string) string {
	return string([]byte{0x90 | byte(len(items))}) + strings.Join(items, "")
}

func be32(n int) string { return string(binary.BigEndian.AppendUint32(nil, uint32(n))) }

func ext(t byte, data string) string { return "\xc9" + be32(len(data)) + string([]byte{t}) + data }

func array(shape, dtype, data string) string {
	return ext(1, list(shape, text(dtype), "\xc6"+be32(len(data))+data))
}

func openBytes(t testing.TB, data string) (*flax.File, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "flax_model.msgpack")
	if err := os.WriteFile(path, []byte(data), 0o666); err != nil {
		t.Fatal(err)
	}
	f, err := flax.Open(path)
	if err == nil {
		t.Cleanup(func() { f.Close() })
	}
	return f, err
}

const data8 = "abcdefgh"

// chunked is an array of 8 bytes in two chunks.
func chunked(shape string, chunks ...string) string {
	items := []string{}
	for i, c := range chunks {
		items = append(items, text(string(rune('0'+i))), c)
	}
	return mapOf(text("__msgpack_chunked_array__"), "\xc3", text("shape"), shape, text("chunks"), mapOf(items...))
}

func TestRead(t *testing.T) {
	file := mapOf(
		text("params"), mapOf(
			text("wte"), mapOf(text("embedding"), array(list("\x02", "\x01"), "float32", data8)),
			text("half"), array(list("\xcc\x04"), "bfloat16", data8),
			text("scalar"), array(list(), "int64", data8),
			text("big"), chunked(mapOf(text("0"), "\x02", text("1"), "\x02"), array(list("\x02"), "float16", data8[:4]), array(list("\x02"), "float16", data8[4:])),
			text("list"), list(array(list("\x08"), "uint8", data8), "\x07"),
		),
		text("step"), "\xcd\x01\x00", text("neg"), "\xd1\xff\x00", text("none"), "\xc0", text("on"), "\xc3", text("lr"), "\xcb\x3f\xe0\x00\x00\x00\x00\x00\x00",
		text("name"), text("x"), text("c"), ext(2, "zz"), text("s"), ext(3, "zz"), text("bytes"), "\xc4\x02zz", text("small"), "\xff", text("f"), "\xca\x3f\x00\x00\x00",
	)
	f, err := openBytes(t, file)
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]string)
	for _, tensor := range f.Tensors() {
		content, err := tensor.Load()
		if err != nil {
			t.Fatal(err)
		}
		got[tensor.Name] = tensor.Info.String() + " " + string(content)
	}
	want := map[string]string{
		"params.wte.embedding": "F32 (2, 1) " + data8, "params.half": "BF16 (4) " + data8, "params.scalar": "I64 () " + data8,
		"params.big": "F16 (2, 2) " + data8, "params.list.0": "U8 (8) " + data8,
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("arrays (-got +want):\n%s", diff)
	}
	leaves := make(map[string]string)
	for _, l := range f.Leaves() {
		leaves[l.Name] = l.Text
	}
	wantLeaves := map[string]string{
		"params.list.1": "7", "step": "256", "neg": "-256", "none": "None", "on": "True", "lr": "0.5", "name": `"x"`,
		"c": "a complex number", "s": "a NumPy scalar", "bytes": "2 bytes", "small": "-1", "f": "0.5",
	}
	if diff := cmp.Diff(leaves, wantLeaves); diff != "" {
		t.Errorf("leaves (-got +want):\n%s", diff)
	}
}

func TestReject(t *testing.T) {
	good := array(list("\x02"), "float32", data8)
	for _, tc := range []struct {
		name, file, want string
		unsupported      bool
	}{
		{"empty", "", "1 bytes are wanted, 0 are left", false},
		{"no value", "\xc1", "0xc1 starts no value", false},
		{"something behind", mapOf() + "\x01", "value ends at byte 1, the file has 2", false},
		{"array of 2^32-1", "\xdd\xff\xff\xff\xff", "4294967295 bytes are wanted", false},
		{"map of 2^32-1", "\xdf\xff\xff\xff\xff", "8589934590 bytes are wanted", false},
		{"text of 2^32-1", "\xdb\xff\xff\xff\xff", "4294967295 bytes are wanted", false},
		{"bytes of 2^32-1", "\xc6\xff\xff\xff\xff", "4294967295 bytes are wanted", false},
		{"extension of 2^32-1", "\xc9\xff\xff\xff\xff\x01", "4294967295 bytes are wanted", false},
		{"key that is a number", mapOf("\x01", good), "want a text", false},
		{"key that is not UTF-8", mapOf("\xa1\xff", good), "is not UTF-8", false},
		{"nesting", strings.Repeat("\x91", 100) + "\x01", "nested more than 64 deep", true},
		{"long name", strings.Repeat("\x81"+text(strings.Repeat("k", 200)), 30) + "\x01", "name has", true},
		{"long names", mapOf(text(strings.Repeat("k", 4000)), "\xdd"+be32(20000)+strings.Repeat("\x01", 20000)), "names have more than", true},
		{"name twice", mapOf(text("a"), mapOf(text("b"), good), text("a.b"), good), "flatten to the name", false},
		{"extension 9", ext(9, "x"), "extension type 9", true},
		{"type", array(list("\x01"), "object", data8), `type is "object"`, true},
		{"fewer bytes", array(list("\x03"), "float32", data8), "takes 12 bytes, 8 are there", false},
		{"more bytes", array(list("\x01"), "float32", data8), "takes 4 bytes", false},
		{"bytes behind the array", ext(1, list(list("\x02"), text("float32"), "\xc4\x08"+data8)+"x"), "takes 8 bytes", false},
		{"bytes that leave the extension", "\xc7\x0b\x01" + list(list("\x02"), text("int8"), "\xc4\x02ab") + good, "takes", false},
		{"negative dimension", array(list("\xff"), "float32", data8), "want a dimension", false},
		{"dimension of 2^64-1", array(list("\xcf\xff\xff\xff\xff\xff\xff\xff\xff"), "float32", data8), "want a dimension", false},
		{"shape past int64", array(list("\xce\xff\xff\xff\xff", "\xce\xff\xff\xff\xff", "\xce\xff\xff\xff\xff"), "float32", data8), "more than", false},
		{"array of two", ext(1, list(list("\x02"), text("float32"))), "want an array of 3", false},
		{"shape that is a number", ext(1, list("\x02", text("float32"), "\xc4\x00")), "want a shape", false},
		{"chunks of two types", chunked(mapOf(text("0"), "\x03"), array(list("\x01"), "float32", data8[:4]), array(list("\x02"), "float16", data8[:4])), "chunks are F32 and F16", false},
		{"chunks too short", chunked(mapOf(text("0"), "\x03"), good), "its chunks have 8", false},
		{"no chunks", chunked(mapOf(text("0"), "\x03")), "no chunks", false},
		{"chunk that is a number", chunked(mapOf(text("0"), "\x02"), "\x01"), "want arrays in chunks", false},
		{"chunked of two items", mapOf(text("__msgpack_chunked_array__"), "\xc3", text("shape"), mapOf()), "want 3 items", false},
		{"chunked, another key", mapOf(text("__msgpack_chunked_array__"), "\xc3", text("shape"), mapOf(), text("x"), mapOf()), "want chunks", false},
		{"chunk indices", mapOf(text("__msgpack_chunked_array__"), "\xc3", text("shape"), mapOf(text("1"), "\x02"), text("chunks"), mapOf()), "want indices in order", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := openBytes(t, tc.file)
			var format *flax.FormatError
			if !errors.As(err, &format) || !strings.Contains(err.Error(), tc.want) || errors.Is(err, flax.ErrUnsupported) != tc.unsupported {
				t.Errorf("got %v, want %q, unsupported %v", err, tc.want, tc.unsupported)
			}
		})
	}
}

func TestTruncated(t *testing.T) {
	file := mapOf(text("a"), array(list("\x02"), "float32", data8), text("b"), chunked(mapOf(text("0"), "\x02"), array(list("\x02"), "float32", data8)), text("n"), "\xcd\x01\x00")
	for n := range len(file) {
		if _, err := openBytes(t, file[:n]); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut to %d of %d bytes: %v", n, len(file), err)
		}
	}
}

func FuzzOpen(f *testing.F) {
	f.Add([]byte(mapOf(text("a"), array(list("\x02"), "float32", data8), text("n"), "\xcd\x01\x00")))
	f.Add([]byte(chunked(mapOf(text("0"), "\x03"), array(list("\x01"), "float32", data8[:4]), array(list("\x02"), "float32", data8))))
	f.Add([]byte(list(text("x"), ext(3, "zz"), "\xc0")))
	path := filepath.Join(f.TempDir(), "f")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o666); err != nil {
			t.Fatal(err)
		}
		file, err := flax.Open(path)
		if err != nil {
			return
		}
		defer file.Close()
		for _, tensor := range file.Tensors() {
			var b bytes.Buffer
			if err := tensor.Emit(&b); err != nil || int64(b.Len()) != tensor.Bytes {
				t.Fatalf("%q: %d bytes, %v", tensor.Name, b.Len(), err)
			}
		}
	})
}
