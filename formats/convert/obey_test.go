package convert_test

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/convert"
	"github.com/spdfctl/spdfctl/formats/safetensors"
	"github.com/spdfctl/spdfctl/formats/stored"
	"github.com/spdfctl/spdfctl/masks"
)

// apply writes a checkpoint with what a set prunes +0, in its own format and
// layout, and returns how many weights were not.
func apply(t *testing.T, in, out string, set *masks.Set) (zero int, changed int64) {
	t.Helper()
	c := openAny(t, in)
	zero, count, err := c.Prune(set)
	if err != nil {
		t.Fatal(err)
	}
	o := convert.Options{To: c.Format, Layout: convert.Keep}
	if c.Format == convert.LLMC {
		o.Layout = ""
	}
	p, err := convert.NewPlan(c, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Write(context.Background(), out, false, nil); err != nil {
		t.Fatal(err)
	}
	return zero, count()
}

// Masks under the names of GPT-2, and those of the layout itself, find their
// weights in every layout and format: the places are those of the definitions
// (locators), and nothing else changes.
func TestPruneEveryLayout(t *testing.T) {
	hf := gpt.dir(t)
	for layout, locate := range locators {
		for _, format := range formatsOf(layout) {
			for _, names := range []string{"hf", layout} {
				set := gptMasks(t, names)
				path, out := filepath.Join(t.TempDir(), "x."+format), filepath.Join(t.TempDir(), "y."+format)
				run(t, hf, path, convert.Options{To: format, Layout: layout})
				all := set.Total() - set.Kept()
				awake, pruned, err := openAny(t, path).FindAwake(set)
				if err != nil || pruned != all || len(awake) != len(set.Masks) {
					t.Fatalf("%s in %s: %d masks are broken, of %d pruned, %v", layout, format, len(awake), pruned, err)
				}
				for i, a := range awake {
					if m := set.Masks[i]; a.Mask != m || a.Count != m.Total()-m.Kept() || [2]int{a.Row, a.Col} != firstPruned(m) {
						t.Errorf("%s in %s: %s: %+v, want %v", layout, format, m.Key(), a, firstPruned(m))
					}
				}
				if zero, changed := apply(t, path, out, set); zero != all || changed != int64(all) {
					t.Errorf("%s in %s: %d pruned and %d changed, want %d", layout, format, zero, changed, all)
				}
				got, want := read(t, out), read(t, path)
				for l := range gpt.L {
					for _, m := range matrices {
						mask := set.Find(maskName(names, l, m))
						for e := range mask.Total() {
							if i, j := e/mask.In, e%mask.In; !mask.Keep(i, j) {
								name, at := locate(gpt, l, m, i, j)
								if _, ok := want[name]; !ok {
									name = "model." + name // nanoGPT's ckpt.pt
								}
								clear(want[name].data[4*at : 4*at+4])
							}
						}
					}
				}
				if !slices.Equal(slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want))) {
					t.Fatalf("%s in %s: other tensors", layout, format)
				}
				for name, h := range want {
					if !bytes.Equal(got[name].data, h.data) || got[name].info.String() != h.info.String() {
						t.Errorf("%s in %s, names of %s: %q is another", layout, format, names, name)
					}
				}
				if awake, _, err := openAny(t, out).FindAwake(set); err != nil || len(awake) != 0 {
					t.Errorf("%s in %s: still %v, %v", layout, format, awake, err)
				}
			}
		}
	}
}

// firstPruned is the first weight of a mask, row by row, that it prunes.
func firstPruned(m *masks.Mask) [2]int {
	for e := range m.Total() {
		if !m.Keep(e/m.In, e%m.In) {
			return [2]int{e / m.In, e % m.In}
		}
	}
	return [2]int{-1, -1}
}

// One weight that woke up is found where it is, be it -0 or NaN, in shards and in
// PyTorch's; so is one moment.
func TestFindAwakePlaces(t *testing.T) {
	set := gptMasks(t, "hf")
	clean := weightsAndMoments(t, set)
	for _, c := range []struct {
		tensor, matrix string
		layer          int
		last           byte
	}{
		{"transformer.h.1.attn.c_attn.weight", "k", 1, 0x80}, {"transformer.h.0.mlp.c_proj.weight", "down", 0, 0x7f}, {"exp_avg.h.1.attn.c_attn.weight", "v", 1, 0x80},
	} {
		w := make(weights)
		for name, h := range clean {
			w[name] = held{h.info, bytes.Clone(h.data)}
		}
		mask := set.Find(maskName("hf", c.layer, c.matrix))
		at := firstPruned(mask)
		_, k := locators["hf"](gpt, c.layer, c.matrix, at[0], at[1])
		w[c.tensor].data[4*k+3] = c.last
		dir := t.TempDir()
		path := filepath.Join(dir, "x.safetensors")
		if err := w.write(path, nil); err != nil {
			t.Fatal(err)
		}
		run(t, path, filepath.Join(dir, "shards"), convert.Options{To: convert.SafeTensors, ShardSize: 2000})
		run(t, path, filepath.Join(dir, "x.bin"), convert.Options{To: convert.TorchZip})
		for _, in := range []string{path, filepath.Join(dir, "shards"), filepath.Join(dir, "x.bin")} {
			awake, pruned, err := openAny(t, in).FindAwake(set)
			if err != nil || pruned != 3*(set.Total()-set.Kept()) || len(awake) != 1 {
				t.Fatalf("%s: %v of %d, %v", in, awake, pruned, err)
			}
			if a := awake[0]; a.Mask != mask || a.Tensor != c.tensor || a.Count != 1 || [2]int{a.Row, a.Col} != at {
				t.Errorf("%s: %+v, want %s at %v", in, a, mask.Key(), at)
			}
			out := filepath.Join(t.TempDir(), "y.safetensors")
			if zero, changed := apply(t, in, out, set); zero != pruned || changed != 1 {
				t.Errorf("%s: %d of %d changed", in, changed, zero)
			}
		}
	}
}

// Every type of whole bytes, in rows that end within a word of the mask.
func TestPruneEveryType(t *testing.T) {
	m, err := masks.RandomMask(masks.Target{Name: "a.weight", Out: 3, In: 131}, 100, 1)
	if err != nil {
		t.Fatal(err)
	}
	set := setOf(t, m)
	for _, d := range formats.DTypes() {
		if d.Bits()%8 != 0 {
			continue
		}
		size := d.Bits() / 8
		data := bytes.Repeat([]byte{1}, m.Total()*size)
		path, out := filepath.Join(t.TempDir(), "x.safetensors"), filepath.Join(t.TempDir(), "y.safetensors")
		if err := safetensors.WriteFile(path, false, []safetensors.Tensor{safetensors.Bytes("a.weight", d, []int{3, 131}, data)}, nil); err != nil {
			t.Fatal(err)
		}
		if _, changed := apply(t, path, out, set); changed != 293 {
			t.Errorf("%s: %d changed, want 293", d, changed)
		}
		got := read(t, out)["a.weight"].data
		for e := range m.Total() {
			want := byte(0)
			if m.Keep(e/131, e%131) {
				want = 1
			}
			if !bytes.Equal(got[e*size:(e+1)*size], bytes.Repeat([]byte{want}, size)) {
				t.Fatalf("%s: element %d is % x", d, e, got[e*size:(e+1)*size])
			}
		}
	}
}

// Rows of GGUF's q and k that are interleaved: pruning them is pruning those of
// Hugging Face's, under the names of that.
func TestPruneInterleaved(t *testing.T) {
	hf := llamaDir(t, "llama")
	dir := t.TempDir()
	gguf, back := filepath.Join(dir, "x.gguf"), filepath.Join(dir, "back.safetensors")
	run(t, hf, gguf, convert.Options{To: convert.GGUF})
	ms, err := openAny(t, gguf).Matrices("")
	if err != nil {
		t.Fatal(err)
	}
	s, err := masks.ParseSparsity("0.5")
	if err != nil {
		t.Fatal(err)
	}
	set, err := masks.Random(ms.Targets, s, 1)
	if err != nil {
		t.Fatal(err)
	}
	awake, _, err := openAny(t, gguf).FindAwake(set)
	if err != nil || len(awake) != len(set.Masks) {
		t.Fatal(awake, err)
	}
	for _, a := range awake {
		if [2]int{a.Row, a.Col} != firstPruned(a.Mask) {
			t.Errorf("%s: first at (%d, %d)", a.Mask.Key(), a.Row, a.Col)
		}
	}
	apply(t, gguf, filepath.Join(dir, "y.gguf"), set)
	apply(t, hf, filepath.Join(dir, "y.safetensors"), set)
	run(t, filepath.Join(dir, "y.gguf"), back, convert.Options{To: convert.SafeTensors})
	sameFile(t, back, filepath.Join(dir, "y.safetensors"))
}

func TestObeyErrors(t *testing.T) {
	hf := gpt.dir(t)
	quantised := filepath.Join(t.TempDir(), "q.gguf")
	writeGGUF(t, quantised, stored.Tensor{
		Info: formats.Info{Name: "a.weight", DType: "Q8_0", Shape: []int{2, 32}}, Bytes: 68, Offset: -1,
		WriteTo: stored.InMemory(formats.Info{DType: formats.U8, Shape: []int{68}}, make([]byte, 68)).WriteTo,
	})
	for _, c := range []struct {
		path, want string
		mask       *masks.Mask
	}{
		{hf, "no matrix of the layout hf", masks.New("h.9.mlp.c_fc.weight", "", gpt.I, gpt.C)},
		{hf, "no matrix of the layout hf", masks.New("wte.weight", "x", gpt.V, gpt.C)},
		{hf, "mask is (6, 24), weight is (24, 6)", masks.New("h.0.mlp.c_fc.weight", "", gpt.C, gpt.I)},
		{quantised, "elements of Q8_0 are no whole bytes", masks.New("a.weight", "", 2, 32)},
		{quantised, `no tensor that is this matrix (as a model: `, masks.New("b.weight", "", 2, 32)},
	} {
		set := setOf(t, c.mask)
		if _, _, err := openAny(t, c.path).FindAwake(set); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(c.want, "Q8_0") && !errors.Is(err, convert.ErrUnsupported) {
			t.Errorf("FindAwake: %v, want %s", err, c.want)
		}
		if _, _, err := openAny(t, c.path).Prune(set); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Prune: %v, want %s", err, c.want)
		}
	}
}
