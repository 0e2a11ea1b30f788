package convert_test

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/spdfctl/spdfctl/formats/convert"
	"github.com/spdfctl/spdfctl/masks"
)

// What is exported is, tensor by tensor, what NumPy wrote of the same masks.
func TestExportIsTheFixture(t *testing.T) {
	dir := filepath.Join("testdata", "masks")
	list, _, err := openAny(t, filepath.Join(dir, "bitmask.safetensors")).ReadMasks("", nil)
	if err != nil {
		t.Fatal(err)
	}
	set, err := masks.NewSet(list, masks.Recipe{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	for file, layout := range map[string]string{"bool.npz": convert.MasksBool, "packed.npz": convert.MasksPacked, "nan.pt": convert.MasksNaN} {
		got, err := openAny(t, filepath.Join(dir, "model.pt")).ForeignMasks(layout, set)
		if err != nil {
			t.Fatal(err)
		}
		want := read(t, filepath.Join(dir, file))
		if len(got) != len(want) {
			t.Errorf("%s: %d tensors, want %d", file, len(got), len(want))
		}
		for _, g := range got {
			data, err := g.Load()
			if w := want[g.Name]; err != nil || g.Info.String() != w.info.String() || !bytes.Equal(data, w.data) {
				t.Errorf("%s: %q is %s, want %s, or its bytes differ (%v)", file, g.Name, g.Info, w.info, err)
			}
		}
	}
	// The weights that the fixture keeps, packed again: every part is the same.
	packed := filepath.Join(t.TempDir(), "packed.safetensors")
	convertFile(t, filepath.Join(dir, "bitmask.safetensors"), packed, convert.Options{To: convert.SafeTensors, Masks: set, Sparse: true})
	got, want := contentsOf(t, packed), contentsOf(t, filepath.Join(dir, "bitmask.safetensors"))
	if len(got) != len(want) || len(want) != 8 {
		t.Errorf("%d parts, want %d", len(got), len(want))
	}
	for name, w := range want {
		if g := got[name]; g.info.String() != w.info.String() || !bytes.Equal(g.data, w.data) {
			t.Errorf("%s is %s, want %s, or its bytes differ", name, g.info, w.info)
		}
	}
}
