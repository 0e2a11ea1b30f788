package safetensors_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/safetensors"
)

func TestReadFloat32(t *testing.T) {
	values := []float32{0, float32(math.Copysign(0, -1)), 1, -2.5, 65504, float32(math.Inf(-1)), 0.099975586}
	f64 := make([]byte, 0, 8*len(values))
	for _, v := range values {
		f64 = binary.LittleEndian.AppendUint64(f64, math.Float64bits(float64(v)))
	}
	f16, bf16 := make([]byte, 2*len(values)), make([]byte, 2*len(values))
	formats.EncodeF16(f16, values)
	formats.EncodeBF16(bf16, values)
	shape := []int{len(values)}
	f, err := open(t, write(t, []safetensors.Tensor{
		safetensors.Float32s("F32", shape, values),
		safetensors.Bytes("F64", formats.F64, shape, f64),
		safetensors.Bytes("F16", formats.F16, shape, f16),
		safetensors.Bytes("BF16", formats.BF16, shape, bf16),
		safetensors.Bytes("U8", formats.U8, []int{1}, []byte{0}), // so that the data before it are not aligned
		safetensors.Bytes("scalar", formats.F32, nil, []byte{0, 0, 0x80, 0x3f}),
		safetensors.Bytes("empty", formats.F32, []int{0, 3}, nil),
	}, nil))
	if err != nil {
		t.Fatal(err)
	}
	rounded := append([]float32(nil), values...)
	rounded[4], rounded[6] = 65536, 0.100097656 // neighbours in BF16
	for name, want := range map[string][]float32{
		"F32": values, "F64": values, "F16": values, "BF16": rounded, "scalar": {1}, "empty": {},
	} {
		got := make([]float32, len(want))
		if err := f.ReadFloat32(got, name); err != nil {
			t.Error(err)
		}
		for i := range want {
			if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
				t.Errorf("%s: got %v, want %v", name, got, want)
				break
			}
		}
	}
}

func TestReadFloat32Rejects(t *testing.T) {
	f, err := open(t, write(t, []safetensors.Tensor{
		safetensors.Float32s("a", []int{2, 3}, make([]float32, 6)),
		safetensors.Bytes("i", formats.I64, []int{1}, make([]byte, 8)),
		safetensors.Bytes("q", formats.F8E4M3, []int{1}, make([]byte, 1)),
	}, nil))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		tensor      string
		n           int
		want        string
		unsupported bool
	}{
		{"a", 5, `tensor "a": F32 (2, 3) has 6 elements, dst has 5`, false},
		{"a", 7, `tensor "a": F32 (2, 3) has 6 elements, dst has 7`, false},
		{"b", 6, `no tensor "b"`, false},
		{"i", 1, `tensor "i": I64 (1) has no exact or rounded float32 form`, true},
		{"q", 1, `tensor "q": F8_E4M3 (1) has no exact or rounded float32 form`, true},
	}
	for _, test := range tests {
		err := f.ReadFloat32(make([]float32, test.n), test.tensor)
		if err == nil || !strings.Contains(err.Error(), "x.safetensors: "+test.want) {
			t.Errorf("got error %v, want %q", err, test.want)
		}
		if got := errors.Is(err, safetensors.ErrUnsupported); got != test.unsupported {
			t.Errorf("%v: is ErrUnsupported: got %t, want %t", err, got, test.unsupported)
		}
	}
}

func TestLookup(t *testing.T) {
	f, err := open(t, write(t, []safetensors.Tensor{safetensors.Float32s("a", []int{2}, make([]float32, 2))}, nil))
	if err != nil {
		t.Fatal(err)
	}
	got, ok := f.Lookup("a")
	if diff := cmp.Diff(got, formats.Info{Name: "a", DType: "F32", Shape: []int{2}}); diff != "" || !ok {
		t.Errorf("ok is %t (-got +want):\n%s", ok, diff)
	}
	if _, ok := f.Lookup("b"); ok {
		t.Error("found a tensor that is not there")
	}
	if _, err := f.Tensor("b"); err == nil {
		t.Error("Tensor: found a tensor that is not there")
	}
}

func TestClosed(t *testing.T) {
	f, err := open(t, write(t, []safetensors.Tensor{safetensors.Float32s("a", []int{2}, make([]float32, 2))}, nil))
	if err != nil {
		t.Fatal(err)
	}
	tensor, err := f.Tensor("a")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	_, bytesErr := f.Bytes("a")
	for name, err := range map[string]error{
		"Bytes":       bytesErr,
		"ReadFloat32": f.ReadFloat32(make([]float32, 2), "a"),
		"Tensor":      tensor.WriteTo(new(bytes.Buffer)),
	} {
		if !errors.Is(err, fs.ErrClosed) {
			t.Errorf("%s: got error %v, want fs.ErrClosed", name, err)
		}
	}
}

func TestOpenPaths(t *testing.T) {
	content := []byte(write(t, nil, nil))
	put := func(dir string, names ...string) {
		for _, name := range names {
			if err := os.WriteFile(filepath.Join(dir, name), content, 0o666); err != nil {
				t.Fatal(err)
			}
		}
	}
	empty, model, other, both := t.TempDir(), t.TempDir(), t.TempDir(), t.TempDir()
	put(model, "model.safetensors", "masks.safetensors")
	put(other, "masks.safetensors")
	put(both, "model.safetensors", "model.safetensors.index.json")
	for _, test := range []struct {
		path, want string
	}{
		{filepath.Join(empty, "no"), "no such file"},
		{empty, "holds neither model.safetensors nor model.safetensors.index.json"},
		{other, "holds neither"},
		{both, "holds both model.safetensors and model.safetensors.index.json"},
		{model, ""},
		{filepath.Join(model, "masks.safetensors"), ""},
	} {
		f, err := safetensors.Open(test.path)
		switch {
		case err == nil && test.want != "":
			t.Errorf("opened, want an error with %q", test.want)
		case err != nil && (test.want == "" || !strings.Contains(err.Error(), test.want)):
			t.Errorf("got error %v, want %q", err, test.want)
		}
		if err == nil {
			f.Close()
		}
	}
	if _, err := safetensors.Open(empty); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("empty directory: got error %v, want fs.ErrNotExist", err)
	}
}

// Many may read at once, and Close waits for them.
func TestConcurrentReads(t *testing.T) {
	values := make([]float32, 1<<16)
	for i := range values {
		values[i] = float32(i)
	}
	f, err := open(t, write(t, []safetensors.Tensor{safetensors.Float32s("a", []int{len(values)}, values)}, nil))
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for {
				dst := make([]float32, len(values))
				err := f.ReadFloat32(dst, "a")
				if errors.Is(err, fs.ErrClosed) {
					return
				}
				if err != nil || dst[len(dst)-1] != values[len(values)-1] {
					t.Errorf("got %v, %v", dst[len(dst)-1], err)
					return
				}
			}
		})
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	group.Wait()
}
