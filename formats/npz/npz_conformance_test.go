//go:build conformance

package npz_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/npz"
)

// array is what the manifests say of one array.
type array struct {
	DType  string
	Shape  []int
	SHA256 string `json:"sha256_c_order_le"`
	Values []int64
	Expect string
}

var numpyTypes = map[string]formats.DType{
	"f4": formats.F32, "f8": formats.F64, "f2": formats.F16, "i8": formats.I64, "i4": formats.I32, "u1": formats.U8, "b1": formats.BOOL,
}

func TestConformance(t *testing.T) {
	root := os.Getenv("SPDF_DATA")
	if root == "" {
		t.Fatal("SPDF_DATA is not set")
	}
	for _, folder := range []string{"npy-npz", "npy-npz-thirdparty"} {
		dir := filepath.Join(root, folder)
		text, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
		if err != nil {
			t.Fatal(err)
		}
		var manifest map[string]json.RawMessage
		if err := json.Unmarshal(text, &manifest); err != nil {
			t.Fatal(err)
		}
		for name, raw := range manifest {
			t.Run(folder+"/"+name, func(t *testing.T) {
				want := make(map[string]array)
				if strings.HasSuffix(name, ".npz") {
					err = json.Unmarshal(raw, &want)
				} else {
					var one array
					err = json.Unmarshal(raw, &one)
					want[""] = one
				}
				if err != nil {
					t.Fatal(err)
				}
				f, err := npz.Open(filepath.Join(dir, name))
				if want[""].Expect != "" {
					if err == nil {
						t.Fatalf("opened, want %s", want[""].Expect)
					}
					t.Log(err)
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				if len(f.Tensors()) != len(want) {
					t.Errorf("%d arrays, want %d", len(f.Tensors()), len(want))
				}
				for _, tensor := range f.Tensors() {
					w := want[tensor.Name]
					if len(w.DType) < 2 || tensor.DType != numpyTypes[w.DType[1:]] || !slices.Equal(tensor.Shape, w.Shape) {
						t.Errorf("%q is %s, want %s %v", tensor.Name, tensor.Info, w.DType, w.Shape)
						continue
					}
					content, err := tensor.Load()
					if err != nil {
						t.Fatal(err)
					}
					if w.Values != nil {
						var b bytes.Buffer
						if err := binary.Write(&b, binary.LittleEndian, w.Values); err != nil || !bytes.Equal(b.Bytes(), content) {
							t.Errorf("%q has other values, %v", tensor.Name, err)
						}
						continue
					}
					sum := sha256.Sum256(content)
					if got := hex.EncodeToString(sum[:]); got != w.SHA256 {
						t.Errorf("%q has the digest %s, want %s", tensor.Name, got, w.SHA256)
					}
				}
			})
		}
	}
}
