//go:build conformance

package gguf_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spdfctl/spdfctl/formats/gguf"
)

// TestConformance reads files of ollama's writer, and writes them again to the
// same bytes.
func TestConformance(t *testing.T) {
	root := os.Getenv("SPDF_DATA")
	if root == "" {
		t.Fatal("SPDF_DATA is not set")
	}
	files, err := filepath.Glob(filepath.Join(root, "gguf", "*.gguf"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files in %s", root)
	}
	types := map[int]string{0: "F32", 1: "F16", 30: "BF16"}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(strings.TrimSuffix(file, ".gguf") + ".manifest.json")
			if err != nil {
				t.Fatal(err)
			}
			var want struct {
				KV      map[string]any
				Version int
				Tensors map[string]struct {
					SHA256 string
					Shape  []int `json:"torch_shape"`
					Type   int
				}
			}
			if err := json.Unmarshal(text, &want); err != nil {
				t.Fatal(err)
			}
			f, err := gguf.Open(file)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if f.Version() != want.Version {
				t.Errorf("version %d, want %d", f.Version(), want.Version)
			}
			for key, w := range want.KV {
				got, ok := f.Lookup(key)
				if l, isList := got.(gguf.List); isList {
					if s, isText := w.(string); isText {
						got, w = fmt.Sprintf("array[%d]", len(l.Items)), s
					} else {
						got = l.Items
					}
				}
				if !ok || fmt.Sprint(got) != fmt.Sprint(w) {
					t.Errorf("%s is %v, want %v", key, got, w)
				}
			}
			if len(f.Metadata()) != len(want.KV) || len(f.Tensors()) != len(want.Tensors) {
				t.Errorf("%d entries, %d tensors; want %d, %d", len(f.Metadata()), len(f.Tensors()), len(want.KV), len(want.Tensors))
			}
			for _, tensor := range f.Tensors() {
				w := want.Tensors[tensor.Name]
				content, err := tensor.Load()
				if err != nil {
					t.Fatal(err)
				}
				sum := sha256.Sum256(content)
				if string(tensor.DType) != types[w.Type] || !slices.Equal(tensor.Shape, w.Shape) || hex.EncodeToString(sum[:]) != w.SHA256 {
					t.Errorf("%q is %s %x, want type %d %v %s", tensor.Name, tensor.Info, sum, w.Type, w.Shape, w.SHA256)
				}
			}
			original, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var again bytes.Buffer
			if err := gguf.Write(&again, f.Metadata(), f.Tensors()); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(again.Bytes(), original) {
				t.Errorf("written again it has %d bytes, had %d, or others", again.Len(), len(original))
			}
		})
	}
}
