//go:build conformance

package safetensors_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/safetensors"
)

// TestConformance opens every file of $SPDF_DATA/safetensors and compares with
// its manifest. What is accepted is copied and must come out the same.
func TestConformance(t *testing.T) {
	data := os.Getenv("SPDF_DATA")
	if data == "" {
		t.Fatal("SPDF_DATA is not set")
	}
	dir := filepath.Join(data, "safetensors")
	text, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var manifest map[string]struct {
		Expect  string
		Size    int
		Tensors map[string]struct {
			DType  formats.DType
			Shape  []int
			SHA256 string
		}
	}
	if err := json.Unmarshal(text, &manifest); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != len(manifest) || len(files) == 0 {
		t.Errorf("got %d files, the manifest has %d", len(files), len(manifest))
	}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			want, ok := manifest[filepath.Base(path)]
			if !ok {
				t.Fatal("not in the manifest")
			}
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if len(content) != want.Size {
				t.Fatalf("got %d bytes, want %d", len(content), want.Size)
			}
			f, err := safetensors.Open(path)
			if want.Expect != "ok" {
				var format *safetensors.FormatError
				if !errors.As(err, &format) {
					t.Errorf("got error %v, want a FormatError for %s", err, want.Expect)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			for name, tensor := range want.Tensors {
				info, _ := f.Lookup(name)
				if diff := cmp.Diff(info, formats.Info{Name: name, DType: tensor.DType, Shape: tensor.Shape}); diff != "" {
					t.Errorf("%s (-got +want):\n%s", name, diff)
				}
				b, err := f.Bytes(name)
				if err != nil {
					t.Fatal(err)
				}
				if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != tensor.SHA256 {
					t.Errorf("%s: the hash differs", name)
				}
			}
			if n := len(f.Infos()); want.Tensors != nil && n != len(want.Tensors) {
				t.Errorf("got %d tensors, want %d", n, len(want.Tensors))
			}
			checkCopy(t, f)
		})
	}
}

// checkCopy writes all tensors of f and demands the same tensors back.
func checkCopy(t *testing.T, f *safetensors.File) {
	t.Helper()
	var tensors []safetensors.Tensor
	for _, info := range f.Infos() {
		tensor, err := f.Tensor(info.Name)
		if err != nil {
			t.Fatal(err)
		}
		tensors = append(tensors, tensor)
	}
	again, err := open(t, write(t, tensors, f.Metadata()))
	if err != nil {
		t.Fatal(err)
	}
	byName := func(a, b formats.Info) int { return bytes.Compare([]byte(a.Name), []byte(b.Name)) }
	got, want := again.Infos(), f.Infos()
	slices.SortFunc(got, byName)
	slices.SortFunc(want, byName)
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("tensors of the copy (-got +want):\n%s", diff)
	}
	if diff := cmp.Diff(again.Metadata(), f.Metadata()); diff != "" {
		t.Errorf("metadata of the copy (-got +want):\n%s", diff)
	}
	for _, info := range want {
		a, err := f.Bytes(info.Name)
		if err != nil {
			t.Fatal(err)
		}
		b, err := again.Bytes(info.Name)
		if err != nil || !bytes.Equal(a, b) {
			t.Errorf("%s: the bytes of the copy differ, error %v", info.Name, err)
		}
	}
}
