package convert_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/convert"
	"github.com/spdfctl/spdfctl/formats/npz"
	"github.com/spdfctl/spdfctl/formats/safetensors"
	"github.com/spdfctl/spdfctl/formats/stored"
	"github.com/spdfctl/spdfctl/formats/torch"
)

// foreignFile is a file of testdata/masks/make.py.
type foreignFile struct {
	name, layout string
	model        bool
}

var foreignFiles = []foreignFile{
	{"torch.pt", convert.MasksTorch, false}, {"cstorch.pt", convert.MasksCstorch, false}, {"nan.pt", convert.MasksNaN, false},
	{"bool.npz", convert.MasksBool, true}, {"packed.npz", convert.MasksPacked, true}, {"bitmask.safetensors", convert.MasksBitmask, false},
	{"bitmask_module.safetensors", convert.MasksBitmask, false}, {"bitmask24.safetensors", convert.MasksBitmask24, false},
}

// importedFrom returns the masks of a file as a text.
func importedFrom(path, layout string, model *convert.Checkpoint) (string, error) {
	c, err := convert.Open(path, convert.OpenOptions{})
	if err != nil {
		return "", err
	}
	defer c.Close()
	list, _, err := c.ReadMasks(layout, model)
	var b strings.Builder
	for _, m := range list {
		fmt.Fprintf(&b, "%s %d %d %x\n", m.Key(), m.Out, m.In, m.Bits)
	}
	return b.String(), err
}

// A flipped bit anywhere in a file is refused or changes no mask; a file that is
// cut is refused.
func TestMasksFlippedAndCut(t *testing.T) {
	model := openAny(t, filepath.Join("testdata", "masks", "model.pt"))
	for _, f := range foreignFiles {
		var like *convert.Checkpoint
		if f.model {
			like = model
		}
		whole := fileBytes(t, filepath.Join("testdata", "masks", f.name))
		path := filepath.Join(t.TempDir(), f.name)
		try := func(data []byte) (string, error) {
			if err := os.WriteFile(path, data, 0o666); err != nil {
				t.Fatal(err)
			}
			return importedFrom(path, f.layout, like)
		}
		want, err := try(whole)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(whole); i += 5 { // all of them were tried once
			data := bytes.Clone(whole)
			data[i] ^= 1 << (i % 8)
			if got, err := try(data); err == nil && got != want {
				t.Errorf("%s: bit %d of byte %d flipped: other masks", f.name, i%8, i)
			}
		}
		for n := 0; n < len(whole); n += 23 {
			if _, err := try(whole[:n]); err == nil {
				t.Errorf("%s: %d of %d bytes are accepted", f.name, n, len(whole))
			}
		}
	}
}

// contentsOf loads the tensors of a safetensors file as they are stored.
func contentsOf(t *testing.T, path string) weights {
	t.Helper()
	f, err := safetensors.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := make(weights)
	for _, info := range f.Infos() {
		data, err := f.Bytes(info.Name)
		if err != nil {
			t.Fatal(err)
		}
		w[info.Name] = held{info, bytes.Clone(data)}
	}
	return w
}

// rewrite writes a file with its tensors changed, in the same container, and
// returns the path.
func rewrite(t *testing.T, file string, change func([]held) []held) string {
	t.Helper()
	var list []held
	path := filepath.Join("testdata", "masks", file)
	if strings.HasSuffix(file, ".safetensors") { // Open would expand it
		for _, h := range contentsOf(t, path) {
			list = append(list, h)
		}
	} else {
		for name, h := range read(t, path) {
			h.info.Name = name
			list = append(list, h)
		}
	}
	var tensors []stored.Tensor
	var safe []safetensors.Tensor
	for _, h := range change(list) {
		tensors = append(tensors, stored.InMemory(h.info, h.data))
		safe = append(safe, safetensors.Bytes(h.info.Name, h.info.DType, h.info.Shape, h.data))
	}
	slices.SortFunc(tensors, func(a, b stored.Tensor) int { return strings.Compare(a.Name, b.Name) })
	var b bytes.Buffer
	var err error
	switch filepath.Ext(file) {
	case ".pt":
		err = torch.Write(&b, tensors, torch.WriteOptions{})
	case ".npz":
		err = npz.WriteZip(&b, tensors, nil)
	default:
		err = safetensors.Write(&b, safe, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), file)
	if err := os.WriteFile(path, b.Bytes(), 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

// Every layout, damaged in every way that it can be: the parts that are there
// contradict each other.
func TestMasksContradict(t *testing.T) {
	type change = func(h *held) bool // false drops the tensor
	drop := func(*held) bool { return false }
	set := func(at int, v byte) change { return func(h *held) bool { h.data[at] = v; return true } }
	as := func(d formats.DType, shape ...int) change {
		return func(h *held) bool {
			h.info.DType, h.info.Shape = d, shape
			n, _ := h.info.NumBytes()
			h.data = append(h.data, make([]byte, 512)...)[:n]
			return true
		}
	}
	for _, c := range []struct {
		file, tensor string
		how          string
		change       change
		want         string
	}{
		{"torch.pt", "w1.weight_mask", "value", set(0, 2), "element 0 is neither 0 nor 1"},
		{"torch.pt", "w1.weight_mask", "shape", as(formats.F32, 12, 5), "tensor \"w1.weight_mask\" is"},
		{"torch.pt", "w1.weight_mask", "type", as(formats.C64, 5, 12), "a mask of C64"},
		{"torch.pt", "w1.weight_mask", "missing", drop, `there is no "w1.weight_mask"`},
		{"torch.pt", "w1.weight_orig", "missing", drop, `there is neither "w1.weight" nor "w1.weight_orig"`},
		{"cstorch.pt", "w2.weight_mask", "value", set(3, 3), "element 3 is neither 0 nor 1"},
		{"cstorch.pt", "w2.weight_mask", "shape", as(formats.BOOL, 8, 4), "the weight"},
		{"cstorch.pt", "w2.weight_mask", "type", as(formats.C64, 4, 8), "a mask of C64"},
		{"cstorch.pt", "w2.weight", "missing", drop, `there is neither "w2.weight" nor "w2.weight_orig"`},
		{"nan.pt", "w1.weight", "infinite", func(h *held) bool { copy(h.data, []byte{0, 0, 0x80, 0x7f}); return true }, "these are no weights"},
		{"bool.npz", "w1.weight", "shape", as(formats.BOOL, 12, 5), "mask of \"w1.weight\" is [12 5], the weight is"},
		{"bool.npz", "w1.weight", "type", as(formats.U8, 5, 12), "want BOOL and two dimensions"},
		{"bool.npz", "w1.weight", "dimensions", as(formats.BOOL, 60), "want BOOL and two dimensions"},
		{"bool.npz", "w1.weight", "name", func(h *held) bool { h.info.Name = "w9.weight"; return true }, `mask of "w9.weight": the model has no such tensor`},
		{"packed.npz", "w1.weight", "length", as(formats.U8, 7), "60 elements need U8 of 8 bytes"},
		{"packed.npz", "w1.weight", "longer", as(formats.U8, 9), "60 elements need U8 of 8 bytes"},
		{"packed.npz", "w1.weight", "type", as(formats.I8, 8), "60 elements need U8 of 8 bytes"},
		{"packed.npz", "w1.weight", "padding", set(7, 0x0f), "has a bit set past element 59"},
		{"packed.npz", "w1.weight", "name", func(h *held) bool { h.info.Name = "w9.weight"; return true }, "the model has no such tensor"},
		{"bitmask.safetensors", "w1.weight.compressed", "length", as(formats.F32, 3), "compressed has 3"},
		{"bitmask.safetensors", "w1.weight.bitmask", "shape", as(formats.U8, 5, 3), "(5, 12) needs U8 (5, 2)"},
		{"bitmask.safetensors", "w1.weight.bitmask", "type", as(formats.I8, 5, 2), "(5, 12) needs U8 (5, 2)"},
		{"bitmask.safetensors", "w1.weight.row_offsets", "length", as(formats.I64, 4), "5 rows need I64 (5)"},
		{"bitmask.safetensors", "w1.weight.row_offsets", "type", as(formats.I32, 5), "5 rows need I64 (5)"},
		{"bitmask.safetensors", "w1.weight.row_offsets", "missing", drop, "there are no row_offsets"},
		{"bitmask.safetensors", "w1.weight.shape", "missing", drop, "of two I64"},
		{"bitmask.safetensors", "w1.weight.shape", "type", as(formats.I32, 4), "of two I64"},
		{"bitmask.safetensors", "w1.weight.bitmask", "missing", drop, `there is no "w1.weight.bitmask"`},
		{"bitmask.safetensors", "w1.weight.compressed", "missing", drop, `there is no "w1.weight.compressed"`},
		{"bitmask_module.safetensors", "w1.bitmask", "missing", drop, `there is no "w1.bitmask"`},
		{"bitmask_module.safetensors", "w1.compressed", "length", as(formats.F32, 3), "compressed has 3"},
		{"bitmask24.safetensors", "w2.weight.compressed", "shape", as(formats.F32, 4, 3), "2:4 of (4, 8) needs (4, 4)"},
		{"bitmask24.safetensors", "w2.weight.bitmask", "type", as(formats.I8, 4, 1), "(4, 8) needs U8 (4, 1)"},
		{"bitmask24.safetensors", "w2.weight.bitmask", "missing", drop, `there is no "w2.weight.bitmask"`},
	} {
		i := slices.IndexFunc(foreignFiles, func(f foreignFile) bool { return f.name == c.file })
		var model *convert.Checkpoint
		if foreignFiles[i].model {
			model = openAny(t, filepath.Join("testdata", "masks", "model.pt"))
		}
		changed := false
		path := rewrite(t, c.file, func(list []held) []held {
			var out []held
			for _, h := range list {
				if h.info.Name == c.tensor {
					changed = true
					if !c.change(&h) {
						continue
					}
				}
				out = append(out, h)
			}
			return out
		})
		if !changed {
			t.Fatalf("%s has no tensor %q", c.file, c.tensor)
		}
		if _, err := importedFrom(path, foreignFiles[i].layout, model); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %s of %s: %v, want %s", c.file, c.how, c.tensor, err, c.want)
		}
	}
}
