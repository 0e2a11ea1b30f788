package safetensors_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	library "github.com/nlpodyssey/safetensors"
	"pgregory.net/rapid"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/safetensors"
)

// drawTensors draws tensors of every type and of shapes with and without
// elements, under names that need escapes, and their bytes by name.
func drawTensors(t *rapid.T) ([]safetensors.Tensor, map[string][]byte) {
	names := rapid.SliceOfNDistinct(rapid.String(), 0, 8, rapid.ID[string]).Draw(t, "names")
	data := make(map[string][]byte)
	var tensors []safetensors.Tensor
	for _, name := range names {
		d := rapid.SampledFrom(formats.DTypes()).Draw(t, "dtype")
		shape := rapid.SliceOfN(rapid.IntRange(0, 4), 0, 4).Draw(t, "shape")
		if d.Bits() < 8 {
			shape = append(shape, 4) // whole bytes
		}
		info := formats.Info{Name: name, DType: d, Shape: shape}
		n, err := info.NumBytes()
		if err != nil {
			t.Fatal(err)
		}
		b := rapid.SliceOfN(rapid.Byte(), int(n), int(n)).Draw(t, "data")
		data[name] = b
		tensors = append(tensors, safetensors.Bytes(name, d, shape, b))
	}
	return tensors, data
}

func TestRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.safetensors")
	rapid.Check(t, func(t *rapid.T) {
		tensors, data := drawTensors(t)
		metadata := rapid.OneOf(rapid.Just(map[string]string(nil)), rapid.MapOf(rapid.String(), rapid.String())).Draw(t, "metadata")

		var first, second bytes.Buffer
		if err := safetensors.Write(&first, tensors, metadata); err != nil {
			t.Fatal(err)
		}
		if err := safetensors.Write(&second, rapid.Permutation(tensors).Draw(t, "order"), metadata); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(first.Bytes(), second.Bytes()) {
			t.Fatal("the bytes depend on the order of the arguments")
		}

		if err := os.WriteFile(path, first.Bytes(), 0o666); err != nil {
			t.Fatal(err)
		}
		f, err := safetensors.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if diff := cmp.Diff(f.Metadata(), metadata); diff != "" {
			t.Fatalf("metadata (-got +want):\n%s", diff)
		}
		infos := f.Infos()
		if len(infos) != len(tensors) {
			t.Fatalf("got %d tensors, want %d", len(infos), len(tensors))
		}
		for _, want := range tensors {
			got, ok := f.Lookup(want.Name)
			if diff := cmp.Diff(got, want.Info); !ok || diff != "" {
				t.Fatalf("%q: found %t (-got +want):\n%s", want.Name, ok, diff)
			}
			b, err := f.Bytes(want.Name)
			if err != nil || !bytes.Equal(b, data[want.Name]) {
				t.Fatalf("%q: got % x, %v, want % x", want.Name, b, err, data[want.Name])
			}
		}
		checkLibrary(t, first.Bytes(), infos, data)
	})
}

// checkLibrary has the library read the file, if it knows all element types.
func checkLibrary(t *rapid.T, content []byte, infos []formats.Info, data map[string][]byte) {
	for _, info := range infos {
		if _, err := library.ParseDType(string(info.DType)); err != nil {
			return
		}
	}
	st, err := library.Deserialize(content)
	if err != nil {
		t.Fatalf("library: %v", err)
	}
	for name, want := range data {
		if got, ok := st.Tensor(name); !ok || !bytes.Equal(got.Data(), want) {
			t.Fatalf("library: %q: got % x, %t, want % x", name, got.Data(), ok, want)
		}
	}
}
