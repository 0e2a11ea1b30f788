package convert_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spdfctl/spdfctl/formats/convert"
	"github.com/spdfctl/spdfctl/masks"
)

// The files are written by testdata/masks/make.py, with NumPy and PyTorch.
func TestReadMasks(t *testing.T) {
	dir := filepath.Join("testdata", "masks")
	text, err := os.ReadFile(filepath.Join(dir, "expected.json"))
	if err != nil {
		t.Fatal(err)
	}
	var want map[string][][]int
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		file, layout string
		model        bool
		n            int
		parameters   int // (5, 12) and (4, 8), and biases of 5 and 4
	}{
		{"torch.pt", "", false, 2, 101}, {"torch.pt", convert.MasksTorch, false, 2, 101}, {"cstorch.pt", "", false, 2, 92}, {"nan.pt", "", false, 2, 92},
		{"bool.npz", "", false, 2, 0}, {"bool.npz", convert.MasksBool, true, 2, 92}, {"packed.npz", "", true, 2, 92}, {"bitmask.safetensors", "", false, 2, 92},
		{"bitmask_module.safetensors", "", false, 2, 92}, {"bitmask24.safetensors", "", false, 1, 32},
	} {
		f := openAny(t, filepath.Join(dir, c.file))
		var model *convert.Checkpoint
		if c.model {
			model = openAny(t, filepath.Join(dir, "model.pt"))
		}
		list, parameters, err := f.ReadMasks(c.layout, model)
		if err != nil {
			t.Errorf("%s: %v", c.file, err)
			continue
		}
		if parameters != c.parameters {
			t.Errorf("%s: %d parameters, want %d", c.file, parameters, c.parameters)
		}
		if len(list) != c.n {
			t.Errorf("%s: %d masks, want %d", c.file, len(list), c.n)
		}
		for _, m := range list {
			compareMask(t, c.file, m, want[m.Name])
		}
	}
}

func compareMask(t *testing.T, file string, m *masks.Mask, want [][]int) {
	t.Helper()
	if len(want) != m.Out || len(want[0]) != m.In {
		t.Fatalf("%s: %q is (%d, %d)", file, m.Key(), m.Out, m.In)
	}
	for i := range m.Out {
		for j := range m.In {
			if m.Keep(i, j) != (want[i][j] == 1) {
				t.Errorf("%s: %q: (%d, %d) is kept: %v", file, m.Key(), i, j, m.Keep(i, j))
			}
		}
	}
}

func openAny(t *testing.T, path string) *convert.Checkpoint {
	t.Helper()
	c, err := convert.Open(path, convert.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// Damaged packed matrices are refused with what is wrong.
func TestReadMasksDamaged(t *testing.T) {
	dir := filepath.Join("testdata", "masks")
	change := func(file, name string, at int, to byte) string {
		data, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		offset := -1
		for _, i := range openInfos(t, filepath.Join(dir, file)) {
			if i.name == name {
				offset = int(i.offset)
			}
		}
		if offset < 0 {
			t.Fatalf("%s has no tensor %q", file, name)
		}
		data = bytes.Clone(data)
		data[offset+at] = to
		path := filepath.Join(t.TempDir(), file)
		if err := os.WriteFile(path, data, 0o666); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, c := range []struct {
		path, want string
	}{
		{change("bitmask.safetensors", "w1.weight.bitmask", 1, 0xff), "has a bit set past column 11"},
		{change("bitmask.safetensors", "w2.weight.bitmask", 0, 0xff), "bitmask keeps 20 elements, compressed has 16"},
		{change("bitmask.safetensors", "w2.weight.row_offsets", 8, 5), "row 1 begins at element 4, row_offsets says 5"},
		{change("bitmask.safetensors", "w2.weight.shape", 0, 9), "needs U8 (9, 1)"},
		{change("bitmask24.safetensors", "w2.weight.bitmask", 0, 0x97), "bitmask keeps 17 elements, compressed has 16"},
		{change("bitmask24.safetensors", "w2.weight.bitmask", 0, 0x71), "row 0 of bitmask keeps more than 2 of 4"},
	} {
		c2, err := convert.Open(c.path, convert.OpenOptions{})
		if err == nil {
			_, _, err = c2.ReadMasks("", nil)
			c2.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
	for _, c := range []struct{ file, layout, want string }{
		{"model.pt", convert.MasksTorch, "holds no masks as torch"},
		{"model.pt", convert.MasksBool, "want BOOL and two dimensions"},
		{"packed.npz", convert.MasksPacked, "a model has to give them"},
		{"nan.pt", "runes", "is no layout of masks"},
	} {
		if _, _, err := openAny(t, filepath.Join(dir, c.file)).ReadMasks(c.layout, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s as %s: %v, want %s", c.file, c.layout, err, c.want)
		}
	}
}

// place is where a tensor of a safetensors file lies.
type place struct {
	name   string
	offset int64
}

func openInfos(t *testing.T, path string) []place {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	n := int64(data[0]) | int64(data[1])<<8
	var header map[string]struct {
		Offsets [2]int64 `json:"data_offsets"`
	}
	if err := json.Unmarshal(data[8:8+n], &header); err != nil {
		t.Fatal(err)
	}
	var list []place
	for name, e := range header {
		list = append(list, place{name, 8 + n + e.Offsets[0]})
	}
	return list
}
