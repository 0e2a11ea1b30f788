package convert_test

import (
	"bytes"
	"fmt"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/convert"
	"github.com/spdfctl/spdfctl/formats/safetensors"
	"github.com/spdfctl/spdfctl/masks"
)

// weights are the tensors of a file, in memory.
type weights map[string]held

type held struct {
	info formats.Info
	data []byte
}

// aliasesOf returns the further names of tied tensors, each with the first one.
func aliasesOf(c *convert.Checkpoint) map[string]string {
	second := make(map[string]string)
	for _, group := range c.Aliases {
		for _, name := range group[1:] {
			second[name] = group[0]
		}
	}
	return second
}

// read loads a checkpoint, tied tensors once.
func read(t interface{ Fatal(...any) }, path string) weights {
	c, err := convert.Open(path, convert.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	second := aliasesOf(c)
	w := make(weights)
	for _, tensor := range c.Tensors {
		if second[tensor.Name] != "" {
			continue
		}
		data, err := tensor.Load()
		if err != nil {
			t.Fatal(err)
		}
		w[tensor.Name] = held{tensor.Info, data}
	}
	return w
}

// at returns element number i of a tensor of 4-byte elements.
func (w weights) at(name string, i int) string {
	return string(w[name].data[4*i : 4*i+4])
}

// A locator says where weight (i, j) of a matrix of GPT-2 lies in a layout: the
// tensor and the number of the element. Written from the definitions of the
// layouts, not from the tables that are tested.
type locator func(g tiny, layer int, matrix string, i, j int) (string, int)

var locators = map[string]locator{
	"hf": func(g tiny, l int, m string, i, j int) (string, int) {
		h := fmt.Sprintf("transformer.h.%d.", l)
		switch m {
		case "q", "k", "v":
			return h + "attn.c_attn.weight", j*3*g.C + map[string]int{"q": 0, "k": 1, "v": 2}[m]*g.C + i
		case "o":
			return h + "attn.c_proj.weight", j*g.C + i
		case "up":
			return h + "mlp.c_fc.weight", j*g.I + i
		}
		return h + "mlp.c_proj.weight", j*g.C + i
	},
	"nanogpt": func(g tiny, l int, m string, i, j int) (string, int) {
		h := fmt.Sprintf("transformer.h.%d.", l)
		switch m {
		case "q", "k", "v":
			return h + "attn.c_attn.weight", (map[string]int{"q": 0, "k": 1, "v": 2}[m]*g.C+i)*g.C + j
		case "o":
			return h + "attn.c_proj.weight", i*g.C + j
		case "up":
			return h + "mlp.c_fc.weight", i*g.C + j
		}
		return h + "mlp.c_proj.weight", i*g.I + j
	},
	"cerebras": func(g tiny, l int, m string, i, j int) (string, int) {
		h := fmt.Sprintf("transformer_decoder.layers.%d.", l)
		switch m {
		case "q", "k", "v":
			return h + "self_attn.proj_" + m + "_dense_layer.weight", i*g.C + j
		case "o":
			return h + "self_attn.proj_output_dense_layer.weight", i*g.C + j
		case "up":
			return h + "ffn.ffn.0.linear_layer.weight", i*g.C + j
		}
		return h + "ffn.ffn.1.linear_layer.weight", i*g.I + j
	},
	"gguf": func(g tiny, l int, m string, i, j int) (string, int) {
		h := fmt.Sprintf("blk.%d.", l)
		switch m {
		case "q", "k", "v":
			return h + "attn_qkv.weight", (map[string]int{"q": 0, "k": 1, "v": 2}[m]*g.C+i)*g.C + j
		case "o":
			return h + "attn_output.weight", i*g.C + j
		case "up":
			return h + "ffn_up.weight", i*g.C + j
		}
		return h + "ffn_down.weight", i*g.I + j
	},
	"llmc": func(g tiny, l int, m string, i, j int) (string, int) {
		switch m {
		case "q", "k", "v":
			return "qkvw", (l*3*g.C+map[string]int{"q": 0, "k": 1, "v": 2}[m]*g.C+i)*g.C + j
		case "o":
			return "attprojw", (l*g.C+i)*g.C + j
		case "up":
			return "fcw", (l*g.I+i)*g.C + j
		}
		return "fcprojw", (l*g.C+i)*g.I + j
	},
}

// maskNames are the names that masks have in a layout; the part is the matrix,
// for those that lie in one tensor.
func maskName(layout string, l int, m string) (name, part string) {
	fused := m == "q" || m == "k" || m == "v"
	h := fmt.Sprintf("h.%d.", l)
	switch layout {
	case "cerebras":
		name, _ = locators[layout](gpt, l, m, 0, 0)
		return name, ""
	case "gguf":
		name, _ = locators[layout](gpt, l, m, 0, 0)
	default:
		name = h + map[string]string{"q": "attn.c_attn", "k": "attn.c_attn", "v": "attn.c_attn", "o": "attn.c_proj", "up": "mlp.c_fc", "down": "mlp.c_proj"}[m] + ".weight"
	}
	if fused {
		part = m
	}
	return name, part
}

var matrices = []string{"q", "k", "v", "o", "up", "down"}

func (g tiny) shape(m string) (out, in int) {
	switch m {
	case "up":
		return g.I, g.C
	case "down":
		return g.C, g.I
	}
	return g.C, g.C
}

// pathFor returns where to write a layout, and how.
func pathFor(dir, layout string) (string, convert.Options) {
	if layout == "gguf" {
		return filepath.Join(dir, "x.gguf"), convert.Options{To: convert.GGUF, Layout: layout}
	}
	return filepath.Join(dir, layout+".safetensors"), convert.Options{To: convert.SafeTensors, Layout: layout}
}

// TestLayouts compares every weight of every layout with its place by
// definition.
func TestLayouts(t *testing.T) {
	hf := gpt.dir(t)
	want := read(t, hf)
	for layout, locate := range locators {
		path, o := pathFor(t.TempDir(), layout)
		if layout == "hf" {
			continue
		}
		run(t, hf, path, o)
		got := read(t, path)
		for l := range gpt.L {
			for _, m := range matrices {
				out, in := gpt.shape(m)
				for i := range out {
					for j := range in {
						name, k := locate(gpt, l, m, i, j)
						source, n := locators["hf"](gpt, l, m, i, j)
						if got.at(name, k) != want.at(source, n) {
							t.Fatalf("%s: weight (%d, %d) of %s in layer %d is not element %d of %q", layout, i, j, m, l, k, name)
						}
					}
				}
			}
		}
	}
}

// mask zeroes the pruned weights of tensors in a layout.
func (w weights) mask(g tiny, set *masks.Set, layout string) error {
	for l := range g.L {
		for _, m := range matrices {
			name, part := maskName(layout, l, m)
			mask := set.Find(name, part)
			if mask == nil {
				return fmt.Errorf("no mask %s#%s", name, part)
			}
			for i := range mask.Out {
				for j := range mask.In {
					if !mask.Keep(i, j) {
						tensor, k := locators[layout](g, l, m, i, j)
						if _, ok := w[tensor]; !ok {
							tensor = "model." + tensor // nanoGPT's ckpt.pt
						}
						clear(w[tensor].data[4*k : 4*k+4])
					}
				}
			}
		}
	}
	return nil
}

func (w weights) write(path string, metadata map[string]string) error {
	var list []safetensors.Tensor
	for name, h := range w {
		list = append(list, safetensors.Bytes(name, h.info.DType, h.info.Shape, h.data))
	}
	return safetensors.WriteFile(path, false, list, metadata)
}

// drawMasks draws masks of all matrices of a model, under the names of a layout.
func drawMasks(t *rapid.T, g tiny, layout string) *masks.Set {
	var list []*masks.Mask
	for l := range g.L {
		for _, m := range matrices {
			out, in := g.shape(m)
			name, part := maskName(layout, l, m)
			mask := masks.New(name, part, out, in)
			bits := rapid.SliceOfN(rapid.Bool(), out*in, out*in).Draw(t, "bits")
			for k, keep := range bits {
				mask.Put(k/in, k%in, keep)
			}
			list = append(list, mask)
		}
	}
	set, err := masks.NewSet(list, masks.Recipe{Method: "test", Pattern: "unstructured"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// formatsOf are the formats that the tests of masks write a layout in.
func formatsOf(layout string) []string {
	list := []string{convert.SafeTensors, convert.TorchZip, convert.Npz}
	switch layout {
	case "gguf":
		list = append(list, convert.GGUF)
	case "llmc":
		list = append(list, convert.LLMC)
	}
	return list
}

// TestMasksCommute: mask(convert(W)) = convert(mask(W)), between every two
// layouts in every format, and the masks come back as they were.
func TestMasksCommute(t *testing.T) {
	g := tiny{L: 2, H: 1, C: 3, I: 12, T: 2, V: 5, dtype: formats.F32, prefix: "transformer."}
	hf := g.dir(t)
	sources := make(map[string]string) // by layout and format
	for layout := range locators {
		for _, format := range formatsOf(layout) {
			path := filepath.Join(t.TempDir(), "x."+format)
			run(t, hf, path, convert.Options{To: format, Layout: layout})
			sources[layout+format] = path
		}
	}
	dir := t.TempDir()
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		names := rapid.SampledFrom([]string{"hf", "nanogpt", "cerebras", "gguf", "llmc"})
		from, to := names.Draw(rt, "from"), names.Draw(rt, "to")
		source := sources[from+rapid.SampledFrom(formatsOf(from)).Draw(rt, "source format")]
		format := rapid.SampledFrom(formatsOf(to)).Draw(rt, "format")
		set := drawMasks(rt, g, from)
		n++
		path := func(kind string) string { return filepath.Join(dir, fmt.Sprintf("%d-%s", n, kind)) }
		o := convert.Options{To: format, Layout: to, Masks: set, Heads: g.H}

		// convert, then mask.
		a, err := attempt(source, path("a."+format), o)
		if err != nil {
			rt.Fatal(err)
		}
		left := read(rt, path("a."+format))
		if err := left.mask(g, a.Masks, to); err != nil {
			rt.Fatal(err)
		}
		// Mask, then convert. The file must stay in the layout that it is in.
		w := read(rt, source)
		if err := w.mask(g, set, from); err != nil {
			rt.Fatal(err)
		}
		c, err := convert.Open(source, convert.OpenOptions{})
		if err != nil {
			rt.Fatal(err)
		}
		c.Close()
		if err := w.write(path("m.safetensors"), aliasesOf(c)); err != nil {
			rt.Fatal(err)
		}
		if from == "llmc" && to != "llmc" {
			o.Vocab = g.V // the padding of a file without a header is not known
		}
		if _, err := attempt(path("m.safetensors"), path("b."+format), o); err != nil {
			rt.Fatal(err)
		}
		right := read(rt, path("b."+format))
		if len(left) != len(right) {
			rt.Fatalf("%d and %d tensors", len(left), len(right))
		}
		for name, h := range left {
			if h.info.String() != right[name].info.String() || !bytes.Equal(h.data, right[name].data) {
				rt.Fatalf("%s to %s in %s: %q differs", from, to, format, name)
			}
		}
		// Back again: the same masks.
		o = convert.Options{To: convert.SafeTensors, Layout: from, Masks: a.Masks, Heads: g.H}
		if from != "llmc" && to == "llmc" {
			o.Vocab = g.V
		}
		b, err := attempt(path("b."+format), path("c.safetensors"), o)
		if err != nil {
			rt.Fatal(err)
		}
		for i, m := range set.Masks {
			if !m.Equal(b.Masks.Masks[i]) {
				rt.Fatalf("%s to %s and back: mask %s has changed", from, to, m.Key())
			}
		}
	})
}

// TestMaskOfTheFusedMatrix: one mask of all of c_attn is three.
func TestMaskOfTheFusedMatrix(t *testing.T) {
	hf := gpt.dir(t)
	mask := masks.New("transformer.h.0.attn.c_attn.weight", "", 3*gpt.C, gpt.C)
	mask.Put(0, 1, true)
	mask.Put(gpt.C, 2, true)
	set := setOf(t, mask)
	p := run(t, hf, filepath.Join(t.TempDir(), "x.safetensors"), convert.Options{To: convert.SafeTensors, Layout: "cerebras", Masks: set})
	if len(p.Masks.Masks) != 3 {
		t.Fatalf("%d masks, want 3", len(p.Masks.Masks))
	}
	const h = "transformer_decoder.layers.0.self_attn.proj_"
	q, k := p.Masks.Find(h+"q_dense_layer.weight", ""), p.Masks.Find(h+"k_dense_layer.weight", "")
	if q == nil || k == nil || q.Kept() != 1 || !q.Keep(0, 1) || k.Kept() != 1 || !k.Keep(0, 2) {
		t.Errorf("masks are %+v, %+v", q, k)
	}
}

func TestMaskErrors(t *testing.T) {
	hf := gpt.dir(t)
	for _, tc := range []struct {
		name, want string
		mask       *masks.Mask
		layout     string
	}{
		{"no such matrix", "no matrix of the layout hf", masks.New("h.9.attn.c_proj.weight", "", gpt.C, gpt.C), "cerebras"},
		{"no such part", "no matrix of the layout hf", masks.New("h.0.attn.c_attn.weight", "x", gpt.C, gpt.C), "cerebras"},
		{"shape", "mask is (6, 7), weight is (6, 6)", masks.New("h.0.attn.c_proj.weight", "", gpt.C, gpt.C+1), "cerebras"},
		{"shape, nothing moves", "mask is (6, 7), weight is (6, 6)", masks.New("h.0.attn.c_proj.weight", "", gpt.C, gpt.C+1), ""},
	} {
		set := setOf(t, tc.mask)
		_, err := attempt(hf, filepath.Join(t.TempDir(), "x.safetensors"), convert.Options{To: convert.SafeTensors, Layout: tc.layout, Masks: set})
		if err == nil || !bytes.Contains([]byte(err.Error()), []byte(tc.want)) {
			t.Errorf("%s: got %v, want %q in it", tc.name, err, tc.want)
		}
	}
}
