//go:build conformance

package torch_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/stored"
	"github.com/spdfctl/spdfctl/formats/torch"
)

// dataDir returns a folder of the data that SPDF_DATA names.
func dataDir(t *testing.T, name string) string {
	t.Helper()
	root := os.Getenv("SPDF_DATA")
	if root == "" {
		t.Fatal("SPDF_DATA is not set")
	}
	return filepath.Join(root, name)
}

// fileEntry is what the manifests say of one file.
type fileEntry struct {
	Expect  string
	Note    string
	Tensors map[string]struct {
		DType  string
		Shape  []int
		SHA256 string
		Kind   string
		Value  any // of what is no tensor
	}
}

func readManifest(t *testing.T, dir string) map[string]fileEntry {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	// Python writes numbers that JSON does not have.
	text = regexp.MustCompile(`-?\b(Infinity|NaN)\b`).ReplaceAll(text, []byte("null"))
	var m map[string]fileEntry
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	if len(m) == 0 {
		t.Fatal("manifest is empty")
	}
	return m
}

// dtypeNames are PyTorch's names of the element types.
var dtypeNames = map[string]formats.DType{
	"float64": formats.F64, "float32": formats.F32, "float16": formats.F16, "bfloat16": formats.BF16,
	"int64": formats.I64, "int32": formats.I32, "int16": formats.I16, "int8": formats.I8, "uint8": formats.U8,
	"bool": formats.BOOL, "complex64": formats.C64,
}

func digest(t *testing.T, tensor stored.Tensor) string {
	t.Helper()
	h := sha256.New()
	if err := tensor.Emit(h); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func TestConformanceFiles(t *testing.T) {
	for _, folder := range []string{"torch-files", "torch-thirdparty"} {
		dir := dataDir(t, folder)
		for name, want := range readManifest(t, dir) {
			t.Run(folder+"/"+name, func(t *testing.T) {
				f, err := torch.Open(filepath.Join(dir, name), torch.Options{})
				if want.Expect == "refuse" {
					var unsafe *torch.UnsafeError
					if !errors.As(err, &unsafe) {
						t.Fatalf("got %v, want an UnsafeError", err)
					}
					t.Log(err)
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				got := make(map[string]stored.Tensor)
				for _, tensor := range f.Tensors() {
					got[tensor.Name] = tensor
				}
				for name, w := range want.Tensors {
					if w.Kind != "" { // a sparse tensor: refused by name
						if !slices.ContainsFunc(f.Refusals(), func(r torch.Refusal) bool { return r.Name == name }) {
							t.Errorf("%q is %s, and is not among the refusals %v", name, w.Kind, f.Refusals())
						}
						continue
					}
					if w.DType == "" { // a value: listed
						i := slices.IndexFunc(f.Leaves(), func(l torch.Leaf) bool { return l.Name == name })
						if i < 0 {
							t.Errorf("%q is not among the leaves", name)
						} else if l := f.Leaves()[i]; fmt.Sprint(l.Value) != fmt.Sprint(w.Value) && l.Text != fmt.Sprint(w.Value) {
							t.Errorf("%q is %v (%s), want %v", name, l.Value, l.Text, w.Value)
						}
						continue
					}
					tensor, ok := got[name]
					if !ok {
						t.Errorf("%q is missing", name)
						continue
					}
					delete(got, name)
					if dtype := dtypeNames[w.DType]; tensor.DType != dtype || !slices.Equal(tensor.Shape, w.Shape) {
						t.Errorf("%q is %s, want %s %v", name, tensor.Info, dtype, w.Shape)
					}
					if sum := digest(t, tensor); sum != w.SHA256 {
						t.Errorf("%q has the digest %s, want %s", name, sum, w.SHA256)
					}
				}
				for name := range got {
					t.Errorf("%q is not in the manifest", name)
				}
			})
		}
	}
}
