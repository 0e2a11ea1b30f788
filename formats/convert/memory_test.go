package convert_test

import (
	"path/filepath"
	"testing"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/convert"
)

// TestMemoryIsBounded: whatever the conversion, what is held of the source at a
// time is no more than the largest tensor.
func TestMemoryIsBounded(t *testing.T) {
	g := tiny{L: 3, H: 2, C: 256, I: 1024, T: 64, V: 1000, dtype: formats.F32, prefix: "transformer."}
	in := g.dir(t)
	largest := int64(4 * g.C * g.I)
	check := func(path string, o convert.Options) {
		c, err := convert.Open(path, convert.OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		p, err := convert.NewPlan(c, o)
		if err != nil {
			t.Fatal(err)
		}
		for _, tensor := range c.Tensors {
			largest = max(largest, tensor.Bytes)
		}
		if p.Memory > largest {
			t.Errorf("%s to %s %s: %d bytes are held, the largest tensor has %d", filepath.Base(path), o.To, o.Layout, p.Memory, largest)
		}
	}
	for _, target := range targets {
		check(in, target.o)
		b := filepath.Join(t.TempDir(), target.file)
		copyFile(t, filepath.Join(filepath.Dir(in), "config.json"), filepath.Join(filepath.Dir(b), "config.json"))
		run(t, in, b, target.o)
		check(b, convert.Options{To: convert.SafeTensors, Layout: "hf"})
	}
	// Nothing is held where bytes do not change their order.
	for _, o := range []convert.Options{{To: convert.TorchZip}, {To: convert.SafeTensors, DType: formats.F16}, {To: convert.SafeTensors, Vocab: 1024}} {
		c, err := convert.Open(in, convert.OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		p, err := convert.NewPlan(c, o)
		if err != nil {
			t.Fatal(err)
		}
		if p.Memory != 0 {
			t.Errorf("%+v: %d bytes are held", o, p.Memory)
		}
		c.Close()
	}
}
