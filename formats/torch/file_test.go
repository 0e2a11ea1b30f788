package torch_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/stored"
	"github.com/spdfctl/spdfctl/formats/torch"
)

// fixture is what expected.json says of one file.
type fixture struct {
	Tensors map[string]struct {
		DType  string
		Shape  []int
		SHA256 string
	}
	Refusals []string
	Unsafe   string
}

// torchNames are PyTorch's names of the element types in the fixtures.
var torchNames = map[string]formats.DType{
	"float64": formats.F64, "float32": formats.F32, "float16": formats.F16, "bfloat16": formats.BF16,
	"int64": formats.I64, "int32": formats.I32, "int16": formats.I16, "int8": formats.I8, "uint8": formats.U8,
	"bool": formats.BOOL, "complex64": formats.C64,
}

func readFixtures(t testing.TB) map[string]fixture {
	t.Helper()
	text, err := os.ReadFile("testdata/expected.json")
	if err != nil {
		t.Fatal(err)
	}
	var all map[string]fixture
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// sums returns name, description and digest of each tensor of an open file.
func sums(t testing.TB, tensors []stored.Tensor) map[string]string {
	t.Helper()
	m := make(map[string]string)
	for _, tensor := range tensors {
		h := sha256.New()
		if err := tensor.Emit(h); err != nil {
			t.Fatal(err)
		}
		m[tensor.Name] = tensor.Info.String() + " " + hex.EncodeToString(h.Sum(nil))
	}
	return m
}

func TestFixtures(t *testing.T) {
	for name, want := range readFixtures(t) {
		t.Run(name, func(t *testing.T) {
			f, err := torch.Open(filepath.Join("testdata", name), torch.Options{})
			if want.Unsafe != "" {
				var unsafe *torch.UnsafeError
				if !errors.As(err, &unsafe) || unsafe.Global != want.Unsafe {
					t.Fatalf("got %v, want an UnsafeError about %s", err, want.Unsafe)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			wantSums := make(map[string]string)
			for name, w := range want.Tensors {
				wantSums[name] = formats.Info{DType: torchNames[w.DType], Shape: w.Shape}.String() + " " + w.SHA256
			}
			if diff := cmp.Diff(sums(t, f.Tensors()), wantSums); diff != "" {
				t.Errorf("tensors (-got +want):\n%s", diff)
			}
			var refused []string
			for _, r := range f.Refusals() {
				refused = append(refused, r.Name)
			}
			if !slices.Equal(refused, want.Refusals) {
				t.Errorf("refusals are %v, want %v", f.Refusals(), want.Refusals)
			}
		})
	}
}

func open(t testing.TB, name string) *torch.File {
	t.Helper()
	f, err := torch.Open(filepath.Join("testdata", name), torch.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestAliases(t *testing.T) {
	for _, name := range []string{"views.pt", "views_legacy.pt", "deflated.pt"} {
		got := open(t, name).Aliases()
		if diff := cmp.Diff(got, [][]string{{"tied", "head"}}); diff != "" {
			t.Errorf("%s (-got +want):\n%s", name, diff)
		}
	}
}

// TestPlaces makes sure that what is contiguous in the file is read in place.
func TestPlaces(t *testing.T) {
	inPlace := map[string]bool{
		"base": true, "row": true, "tied": true, "head": true, "scalar": true, "empty": true,
		"transposed": false, "slice": false, "repeated": false, "permuted": false,
	}
	for name, any := range map[string]bool{"views.pt": true, "views_legacy.pt": true, "deflated.pt": false} {
		f := open(t, name)
		data, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		for _, tensor := range f.Tensors() {
			want := any && inPlace[tensor.Name]
			if (tensor.Offset >= 0) != want {
				t.Errorf("%s: %q is at offset %d, in place: want %v", name, tensor.Name, tensor.Offset, want)
			}
			content, err := tensor.Load()
			if err != nil {
				t.Fatal(err)
			}
			if want && !bytes.Equal(content, data[tensor.Offset:tensor.Offset+tensor.Bytes]) {
				t.Errorf("%s: %q is not at offset %d", name, tensor.Name, tensor.Offset)
			}
		}
	}
}

func TestLeaves(t *testing.T) {
	got := make(map[string]any)
	for _, l := range open(t, "trainer.pt").Leaves() {
		got[l.Name] = l.Value
		if l.Value == nil && l.Type != "NoneType" {
			got[l.Name] = l.Text
		}
	}
	want := map[string]any{
		"optimizer.param_groups.0.lr": 1e-3, "optimizer.param_groups.0.betas.0": 0.9, "optimizer.param_groups.0.betas.1": 0.999,
		"optimizer.param_groups.0.eps": 1e-8, "optimizer.param_groups.0.weight_decay": 0.01, "optimizer.param_groups.0.amsgrad": false,
		"optimizer.param_groups.0.foreach": nil, "optimizer.param_groups.0.maximize": false, "optimizer.param_groups.0.capturable": false,
		"optimizer.param_groups.0.params.0": int64(0), "optimizer.param_groups.0.params.1": int64(1),
		"optimizer.param_groups.0.params.2": int64(2), "optimizer.param_groups.0.params.3": int64(3),
		"iter_num": int64(7), "best": nil, "config.name": "tiny", "config.sparsity": 0.75, "config.betas.0": 0.9, "config.betas.1": 0.95,
		"config.big": "1180591620717411303424", "list.1": "x",
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("leaves (-got +want):\n%s", diff)
	}
}

func TestSkipObjects(t *testing.T) {
	f, err := torch.Open("testdata/evil.pt", torch.Options{SkipObjects: true})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if n := len(f.Tensors()); n != 1 {
		t.Errorf("%d tensors, want 1", n)
	}
	want := []torch.Leaf{{Name: "x", Type: "posix.system", Text: "<posix.system>"}}
	if diff := cmp.Diff(f.Leaves(), want); diff != "" {
		t.Errorf("leaves (-got +want):\n%s", diff)
	}
	f, err = torch.Open("testdata/module.pt", torch.Options{SkipObjects: true})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if n := len(f.Tensors()); n != 0 {
		t.Errorf("module: %d tensors, want 0: modules are not looked into", n)
	}
}

func TestOpenDirectory(t *testing.T) {
	dir := t.TempDir()
	if _, err := torch.Open(dir, torch.Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("empty directory: got %v", err)
	}
	copyFile(t, "testdata/views.pt", filepath.Join(dir, "pytorch_model.bin"))
	f, err := torch.Open(dir, torch.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if n := len(f.Tensors()); n != 10 {
		t.Errorf("%d tensors, want 10", n)
	}
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, data, 0o666); err != nil {
		t.Fatal(err)
	}
}

func TestIndex(t *testing.T) {
	const one, two = "pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"
	for _, tc := range []struct {
		name, index, want string
	}{
		{"good", `{"metadata":{"total_size":1},"weight_map":{"half":"` + one + `","p":"` + two + `","list.0":"` + two + `"}}`, "half"},
		{"missing tensor", `{"weight_map":{"nope":"` + one + `"}}`, "weight_map says"},
		{"wrong shard", `{"weight_map":{"p":"` + one + `"}}`, "weight_map says"},
		{"twice", `{"weight_map":{"p":"` + one + `","p":"` + two + `"}}`, "occurs twice"},
		{"two maps", `{"weight_map":{},"weight_map":{}}`, "occurs twice"},
		{"path", `{"weight_map":{"p":"../` + one + `"}}`, "has a path in it"},
		{"absolute", `{"weight_map":{"p":"/etc/passwd"}}`, "has a path in it"},
		{"itself", `{"weight_map":{"p":"pytorch_model.bin.index.json"}}`, "is not the name of a file"},
		{"no map", `{}`, "no weight_map"},
		{"a list", `[]`, "want an object"},
		{"trailing", `{"weight_map":{"p":"` + one + `"}} x`, "something follows"},
		{"cut", `{"weight_map":{"p":`, "index"},
		{"no such shard", `{"weight_map":{"p":"other.bin"}}`, "no such file"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			// The first shard holds more than the good index names: only "half".
			writeShard(t, filepath.Join(dir, one), "types.pt", "half")
			copyFile(t, "testdata/parameter.pt", filepath.Join(dir, two))
			if err := os.WriteFile(filepath.Join(dir, "pytorch_model.bin.index.json"), []byte(tc.index), 0o666); err != nil {
				t.Fatal(err)
			}
			f, err := torch.Open(dir, torch.Options{})
			if tc.name == "good" {
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				names := sums(t, f.Tensors())
				if len(names) != 3 || names["half"] == "" || names["p"] == "" {
					t.Errorf("got %v", names)
				}
				return
			}
			if err == nil || !bytes.Contains([]byte(err.Error()), []byte(tc.want)) {
				t.Errorf("got %v, want %q in it", err, tc.want)
			}
		})
	}
}

// writeShard writes some tensors of a fixture to a file of their own.
func writeShard(t *testing.T, path, from string, names ...string) {
	t.Helper()
	f := open(t, from)
	var some []stored.Tensor
	for _, tensor := range f.Tensors() {
		if slices.Contains(names, tensor.Name) {
			some = append(some, tensor)
		}
	}
	var b bytes.Buffer
	if err := torch.Write(&b, some, torch.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o666); err != nil {
		t.Fatal(err)
	}
}

// TestTruncated cuts every fixture at every byte: an error, or, behind the data,
// the same tensors.
func TestTruncated(t *testing.T) {
	for name, want := range readFixtures(t) {
		if want.Unsafe != "" {
			continue
		}
		data, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "cut")
		if err := os.WriteFile(path, data, 0o666); err != nil {
			t.Fatal(err)
		}
		for n := len(data) - 1; n >= 0; n-- {
			if err := os.Truncate(path, int64(n)); err != nil {
				t.Fatal(err)
			}
			f, err := torch.Open(path, torch.Options{})
			if err != nil {
				continue
			}
			got := sums(t, f.Tensors())
			f.Close()
			for tensor, w := range want.Tensors {
				if info := (formats.Info{DType: torchNames[w.DType], Shape: w.Shape}).String(); got[tensor] != info+" "+w.SHA256 {
					t.Fatalf("%s cut to %d of %d bytes: %q is %s", name, n, len(data), tensor, got[tensor])
				}
			}
		}
	}
}
