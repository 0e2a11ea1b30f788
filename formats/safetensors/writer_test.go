package safetensors_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/safetensors"
)

func write(t *testing.T, tensors []safetensors.Tensor, metadata map[string]string) string {
	t.Helper()
	var b bytes.Buffer
	if err := safetensors.Write(&b, tensors, metadata); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// The first four are what the unit tests of the reference expect it to write.
func TestWriteGolden(t *testing.T) {
	six := []float32{0, 1, 2, 3, 4, 5}
	const sixBytes = "\x00\x00\x00\x00\x00\x00\x80\x3f\x00\x00\x00\x40\x00\x00\x40\x40\x00\x00\x80\x40\x00\x00\xa0\x40"
	tests := []struct {
		name     string
		tensors  []safetensors.Tensor
		metadata map[string]string
		want     string
	}{
		{"nothing", nil, nil, "\x08\x00\x00\x00\x00\x00\x00\x00{}      "},
		{
			"metadata alone", nil, map[string]string{"framework": "pt"},
			"\x28\x00\x00\x00\x00\x00\x00\x00" + `{"__metadata__":{"framework":"pt"}}     `,
		},
		{
			"a header of a multiple of 8 bytes", []safetensors.Tensor{safetensors.Float32s("attn.0", []int{1, 2, 3}, six)}, nil,
			"\x40\x00\x00\x00\x00\x00\x00\x00" + `{"attn.0":{"dtype":"F32","shape":[1,2,3],"data_offsets":[0,24]}}` + sixBytes,
		},
		{
			"packed", []safetensors.Tensor{safetensors.Bytes("attn.0", formats.F4, []int{1, 2}, []byte{0})}, nil,
			"\x40\x00\x00\x00\x00\x00\x00\x00" + `{"attn.0":{"dtype":"F4","shape":[1,2],"data_offsets":[0,1]}}    ` + "\x00",
		},
		{
			"order", []safetensors.Tensor{
				safetensors.Bytes("b", formats.U8, []int{1}, []byte{1}),
				safetensors.Bytes("a", formats.U8, []int{1}, []byte{2}),
				safetensors.Bytes("z", formats.I64, nil, []byte{3, 0, 0, 0, 0, 0, 0, 0}),
				safetensors.Bytes("e", formats.F16, []int{0}, nil),
				safetensors.Bytes("c", formats.F16, []int{0}, nil),
				safetensors.Bytes("B", formats.U8, []int{1}, []byte{4}),
			}, map[string]string{"z": "1", "a": "2"},
			"\x60\x01\x00\x00\x00\x00\x00\x00" + `{"__metadata__":{"a":"2","z":"1"},` +
				`"z":{"dtype":"I64","shape":[],"data_offsets":[0,8]},` +
				`"c":{"dtype":"F16","shape":[0],"data_offsets":[8,8]},` +
				`"e":{"dtype":"F16","shape":[0],"data_offsets":[8,8]},` +
				`"B":{"dtype":"U8","shape":[1],"data_offsets":[8,9]},` +
				`"a":{"dtype":"U8","shape":[1],"data_offsets":[9,10]},` +
				`"b":{"dtype":"U8","shape":[1],"data_offsets":[10,11]}} ` +
				"\x03\x00\x00\x00\x00\x00\x00\x00\x04\x02\x01",
		},
		{
			// As serde_json escapes: nothing that need not be.
			"escapes", nil, map[string]string{"k": "\"\\/<>&\u2028\x7f\b\t\n\v\f\r\x00\x1fé😀"},
			"\x48\x00\x00\x00\x00\x00\x00\x00" + `{"__metadata__":{"k":"\"\\/<>&` + "\u2028\x7f" + `\b\t\n\u000b\f\r\u0000\u001f` + "é😀" + `"}} `,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := write(t, test.tensors, test.metadata)
			if diff := cmp.Diff(got, test.want); diff != "" {
				t.Errorf("bytes (-got +want):\n%s", diff)
			}
			slices.Reverse(test.tensors)
			if again := write(t, test.tensors, test.metadata); again != got {
				t.Errorf("in reverse order: got other bytes")
			}
			if _, err := open(t, got); err != nil {
				t.Errorf("does not open: %v", err)
			}
		})
	}
}

// Every element type keeps its name, its rank in the layout and its bytes.
func TestWriteEveryDType(t *testing.T) {
	var tensors []safetensors.Tensor
	for i, d := range formats.DTypes() {
		tensors = append(tensors, safetensors.Bytes(fmt.Sprint("t", i), d, []int{4}, bytes.Repeat([]byte{byte(i)}, d.Bits()/2)))
	}
	f, err := open(t, write(t, tensors, nil))
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(tensors)
	for i, info := range f.Infos() {
		want := tensors[i].Info
		if diff := cmp.Diff(info, want); diff != "" {
			t.Errorf("tensor %d (-got +want):\n%s", i, diff)
		}
		got, err := f.Bytes(info.Name)
		if err != nil {
			t.Fatal(err)
		}
		if want := bytes.Repeat([]byte{byte(21 - i)}, want.DType.Bits()/2); !bytes.Equal(got, want) {
			t.Errorf("%s: got % x, want % x", info.Name, got, want)
		}
	}
}

// multi_layer.safetensors was written by the reference: copying it tensor by
// tensor must give the same file.
func TestWriteCopiesReference(t *testing.T) {
	const path = "testdata/multi_layer.safetensors"
	f, err := safetensors.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var tensors []safetensors.Tensor
	for _, info := range f.Infos() {
		tensor, err := f.Tensor(info.Name)
		if err != nil {
			t.Fatal(err)
		}
		tensors = append(tensors, tensor)
	}
	slices.Reverse(tensors)
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := write(t, tensors, f.Metadata()); sha256.Sum256([]byte(got)) != sha256.Sum256(want) {
		t.Error("the copy differs from the file")
	}
}

func TestWriteRejects(t *testing.T) {
	one := func(name string, d formats.DType, shape []int, data int) []safetensors.Tensor {
		return []safetensors.Tensor{safetensors.Bytes(name, d, shape, make([]byte, data))}
	}
	stopped := errors.New("stopped")
	tests := []struct {
		name     string
		tensors  []safetensors.Tensor
		metadata map[string]string
		want     string
	}{
		{"name taken", one("__metadata__", "F32", []int{1}, 4), nil, `safetensors: tensor "__metadata__": the name is taken by the format`},
		{"name not UTF-8", one("\xff", "F32", []int{1}, 4), nil, `safetensors: tensor "\xff": name is not UTF-8`},
		{"name twice", append(one("a", "F32", []int{1}, 4), one("a", "U8", []int{1}, 1)...), nil, `safetensors: tensor "a": given twice`},
		{"dtype unknown", one("a", "f32", []int{1}, 4), nil, `safetensors: tensor "a": dtype "f32" is unknown`},
		{"negative dimension", one("a", "F32", []int{-1}, 4), nil, `safetensors: tensor "a": shape (-1) has a negative dimension`},
		{"rank", one("a", "U8", make([]int, 65), 0), nil, `safetensors: tensor "a": shape has 65 dimensions, limit 64`},
		{"overflow", one("a", "U8", []int{1 << 30, 1 << 30, 1 << 30}, 0), nil, `elements`},
		{"packed with a rest", one("a", "F6_E3M2", []int{3}, 3), nil, `18 bits`},
		{"sum overflows", bigTensors(17), nil, `data is longer than 9223372036854775807 bytes`},
		{"metadata key not UTF-8", nil, map[string]string{"\xff": ""}, `safetensors: metadata "\xff": not UTF-8`},
		{"metadata value not UTF-8", nil, map[string]string{"k": "\xff"}, `safetensors: metadata "k": not UTF-8`},
		{"header over the limit", nil, map[string]string{"k": strings.Repeat("x", 100_000_000)}, "limit 100000000"},
		{"too many tensors", make([]safetensors.Tensor, 1<<17+1), nil, "safetensors: 131073 tensors to write, limit 131072"},
		{"too few bytes", one("a", "F32", []int{2}, 7), nil, `safetensors: tensor "a": 7 bytes were written, its shape takes 8`},
		{"too many bytes", one("a", "F32", []int{2}, 9), nil, `safetensors: tensor "a": 9 bytes were written, its shape takes 8`},
		{"no bytes", one("a", "F32", nil, 0), nil, `safetensors: tensor "a": 0 bytes were written, its shape takes 4`},
		{"too few floats", []safetensors.Tensor{safetensors.Float32s("a", []int{3}, make([]float32, 2))}, nil, `safetensors: tensor "a": 8 bytes were written, its shape takes 12`},
		{"too many bytes, error dropped", []safetensors.Tensor{{
			Info:    formats.Info{Name: "a", DType: "U8", Shape: []int{2}},
			WriteTo: func(w io.Writer) error { w.Write([]byte("abc")); w.Write([]byte("ab")); return nil },
		}}, nil, `safetensors: tensor "a": 5 bytes were written, its shape takes 2`},
		{"error of the tensor", []safetensors.Tensor{{
			Info:    formats.Info{Name: "a", DType: "U8", Shape: []int{2}},
			WriteTo: func(io.Writer) error { return stopped },
		}}, nil, `safetensors: tensor "a": stopped`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			err := safetensors.WriteFile(filepath.Join(dir, "a"), false, test.tensors, test.metadata)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got error %v, want %q", err, test.want)
			}
			var format *safetensors.FormatError
			if !errors.As(err, &format) && !errors.Is(err, safetensors.ErrUnsupported) && !errors.Is(err, stopped) {
				t.Errorf("got %T, want a typed error", err)
			}
			if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
				t.Errorf("got %v, %v in the directory, want nothing", entries, err)
			}
		})
	}
}

// bigTensors returns n tensors of 2^59 bytes that are never written.
func bigTensors(n int) []safetensors.Tensor {
	var tensors []safetensors.Tensor
	for i := range n {
		tensors = append(tensors, safetensors.Bytes(fmt.Sprint(i), "U8", []int{1 << 30, 1 << 29}, nil))
	}
	return tensors
}

// failingWriter fails after n bytes, as a disk that is full.
type failingWriter struct {
	n   int
	err error
}

func (w *failingWriter) Write(p []byte) (int, error) {
	if len(p) > w.n {
		n := w.n
		w.n = 0
		return n, w.err
	}
	w.n -= len(p)
	return len(p), nil
}

// Wherever writing fails, the error is the writer's, under the name of what was
// being written.
func TestWriteFails(t *testing.T) {
	full := errors.New("no space left")
	tensors := []safetensors.Tensor{
		safetensors.Float32s("a", []int{1000}, make([]float32, 1000)),
		safetensors.Bytes("b", "U8", []int{1000}, make([]byte, 1000)),
	}
	size := len(write(t, tensors, nil))
	header := size - 5000
	for n := range size {
		err := safetensors.Write(&failingWriter{n, full}, tensors, nil)
		want := `safetensors: tensor "b": no space left`
		switch {
		case n < header:
			want = `safetensors: header: no space left`
		case n < header+4000:
			want = `safetensors: tensor "a": no space left`
		}
		if !errors.Is(err, full) || err.Error() != want {
			t.Fatalf("after %d bytes: got error %v, want %s", n, err, want)
		}
	}
}

// A tensor may write by ReadFrom, and is counted all the same.
func TestWriteFromReader(t *testing.T) {
	for _, tc := range []struct {
		name    string
		data    string
		bounded bool
		want    string
	}{
		{"bounded", "abcd", true, ""},
		{"not bounded", "abcd", false, ""},
		{"too few", "abc", true, `safetensors: tensor "a": 3 bytes were written, its shape takes 4`},
		{"too many", "abcde", true, `safetensors: tensor "a": 5 bytes were written, its shape takes 4`},
		{"too many, not bounded", "abcde", false, `safetensors: tensor "a": 5 bytes were written, its shape takes 4`},
	} {
		tensor := safetensors.Tensor{Info: formats.Info{Name: "a", DType: formats.U8, Shape: []int{4}}, WriteTo: func(w io.Writer) error {
			var r io.Reader = strings.NewReader(tc.data)
			if tc.bounded {
				r = io.LimitReader(r, int64(len(tc.data)))
			}
			_, err := w.(io.ReaderFrom).ReadFrom(r)
			return err
		}}
		var b bytes.Buffer // reads from readers
		err := safetensors.Write(&b, []safetensors.Tensor{tensor}, nil)
		if tc.want == "" {
			if err != nil || !strings.HasSuffix(b.String(), tc.data) {
				t.Errorf("%s: got %v, %q", tc.name, err, b.String())
			}
		} else if err == nil || err.Error() != tc.want {
			t.Errorf("%s: got %v, want %s", tc.name, err, tc.want)
		}
	}
}
