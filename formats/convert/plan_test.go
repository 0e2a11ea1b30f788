package convert_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/convert"
	"github.com/spdfctl/spdfctl/formats/safetensors"
	"github.com/spdfctl/spdfctl/formats/stored"
	"github.com/spdfctl/spdfctl/formats/torch"
)

// every returns a tensor of every type, and of awkward shapes.
func every() []safetensors.Tensor {
	var list []safetensors.Tensor
	for k, d := range formats.DTypes() {
		for i, shape := range [][]int{{2, 4}, {4}, {0, 3}, {}} {
			info := formats.Info{DType: d, Shape: shape}
			n, err := info.NumBytes()
			if err != nil {
				continue // a scalar of less than a byte
			}
			data := make([]byte, n)
			for j := range data {
				data[j] = byte(k*31 + i*7 + j*3)
				if d == formats.BOOL {
					data[j] &= 1
				}
			}
			list = append(list, safetensors.Bytes(fmt.Sprintf("%s.%d", d, i), d, shape, data))
		}
	}
	return list
}

// TestEveryType carries all 22 types through every format that takes any names,
// to the same bytes; and metadata, and their absence.
func TestEveryType(t *testing.T) {
	for name, metadata := range map[string]map[string]string{
		"none": nil, "format": {"format": "pt"}, "empty": {}, "more": {"format": "pt", "é": "\"<&>", "spdf.x": ""},
	} {
		in := filepath.Join(t.TempDir(), "in.safetensors")
		if err := safetensors.WriteFile(in, false, every(), metadata); err != nil {
			t.Fatal(err)
		}
		for _, to := range []string{"x.pt", "x.npz", "x.gguf", "x.safetensors"} {
			t.Run(name+"/"+to, func(t *testing.T) {
				format := map[string]string{".pt": convert.TorchZip, ".npz": convert.Npz, ".gguf": convert.GGUF, ".safetensors": convert.SafeTensors}[filepath.Ext(to)]
				dir := t.TempDir()
				b := filepath.Join(dir, to)
				run(t, in, b, convert.Options{To: format, Layout: convert.Keep})
				back := filepath.Join(dir, "back.safetensors")
				run(t, b, back, convert.Options{To: convert.SafeTensors, Layout: convert.Keep})
				sameFile(t, back, in)
				again := filepath.Join(dir, "again"+filepath.Ext(to))
				run(t, back, again, convert.Options{To: format, Layout: convert.Keep})
				sameFile(t, again, b)
			})
		}
	}
}

// TestTied: a tied tensor is stored once and known under both names, through
// every format.
func TestTied(t *testing.T) {
	dir := t.TempDir()
	tied := stored.InMemory(formats.Info{Name: "wte", DType: formats.F32, Shape: []int{2}}, []byte("abcdefgh"))
	a := filepath.Join(dir, "a.pt")
	if err := formats.WriteAtomic(a, false, func(w io.Writer) error {
		return torch.Write(w, []stored.Tensor{tied}, torch.WriteOptions{Aliases: map[string][]string{"wte": {"head", "other"}}})
	}); err != nil {
		t.Fatal(err)
	}
	for _, to := range []struct {
		file string
		o    convert.Options
	}{
		{"b.safetensors", convert.Options{To: convert.SafeTensors}}, {"b.npz", convert.Options{To: convert.Npz}},
		{"b.gguf", convert.Options{To: convert.GGUF, Layout: convert.Keep}}, {"b.pt", convert.Options{To: convert.TorchZip}},
	} {
		dir := t.TempDir()
		b := filepath.Join(dir, to.file)
		run(t, a, b, to.o)
		c, err := convert.Open(b, convert.OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.Aliases, [][]string{{"wte", "head", "other"}}); diff != "" {
			t.Errorf("%s: aliases (-got +want):\n%s", to.file, diff)
		}
		c.Close()
		back := filepath.Join(dir, "back.pt")
		run(t, b, back, convert.Options{To: convert.TorchZip, Layout: convert.Keep})
		sameFile(t, back, a)
	}
}

func TestShards(t *testing.T) {
	in := gpt.dir(t)
	dir := filepath.Join(t.TempDir(), "shards")
	p := run(t, in, dir, convert.Options{To: convert.SafeTensors, ShardSize: 1000})
	files, err := filepath.Glob(filepath.Join(dir, "model-*-of-*.safetensors"))
	if err != nil || len(files) < 3 {
		t.Fatalf("shards are %v", files)
	}
	for _, file := range files {
		f, err := safetensors.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		size := int64(0)
		for _, info := range f.Infos() {
			n, _ := info.NumBytes()
			size += n
		}
		if size > 1000 && len(f.Infos()) > 1 {
			t.Errorf("%s has %d bytes of data", filepath.Base(file), size)
		}
		f.Close()
	}
	text, err := os.ReadFile(filepath.Join(dir, "model.safetensors.index.json"))
	if err != nil {
		t.Fatal(err)
	}
	var index struct {
		Metadata struct {
			TotalSize int64 `json:"total_size"`
		}
	}
	if err := json.Unmarshal(text, &index); err != nil || index.Metadata.TotalSize != p.Bytes {
		t.Errorf("total_size is %d, %v; want %d", index.Metadata.TotalSize, err, p.Bytes)
	}
	if _, err := os.Stat(filepath.Join(dir, "config.json")); err != nil {
		t.Error("config.json was not copied")
	}
	// One file again, and shards of another size from shards.
	back := filepath.Join(t.TempDir(), "back.safetensors")
	run(t, dir, back, convert.Options{To: convert.SafeTensors})
	sameFile(t, back, in)
	other := filepath.Join(t.TempDir(), "other")
	run(t, dir, other, convert.Options{To: convert.SafeTensors, ShardSize: 1 << 20})
	sameFile(t, filepath.Join(other, "model-00001-of-00001.safetensors"), in)
}

func TestPlanErrors(t *testing.T) {
	untied := gpt
	untied.untied = true
	more := append(gpt.tensors(), bytesOf("transformer.h.0.attn.rotary.inv_freq", 0, 4))
	fewer := gpt.tensors()[:len(gpt.tensors())-1]
	twice := append(gpt.tensors(), gpt.tensors()[0])
	twice[len(twice)-1].Name = "module.transformer.wte.weight"
	wrong := gpt.tensors()
	wrong[2] = safetensors.Bytes(wrong[2].Name, formats.F32, []int{7}, make([]byte, 28))
	mixed := gpt.tensors()
	mixed[0] = safetensors.Bytes(mixed[0].Name, formats.BF16, []int{gpt.V, gpt.C}, make([]byte, 2*gpt.V*gpt.C))
	for _, tc := range []struct {
		name    string
		tensors []safetensors.Tensor
		o       convert.Options
		want    string
	}{
		{"unknown tensor", more, convert.Options{Layout: "cerebras"}, `no rule for tensor "transformer.h.0.attn.rotary.inv_freq"`},
		{"missing tensor", fewer, convert.Options{Layout: "cerebras", Arch: "gpt2"}, "is there"},
		{"one weight twice", twice, convert.Options{Layout: "cerebras", Arch: "gpt2"}, "are the same weight"},
		{"shape", wrong, convert.Options{Layout: "cerebras", Arch: "gpt2"}, "ln_1.weight"},
		{"head of its own", untied.tensors(), convert.Options{Layout: "llmc", Arch: "gpt2"}, "the head has weights of its own"},
		{"no such layout", gpt.tensors(), convert.Options{Layout: "flax"}, "no layout \"flax\" to be written"},
		{"no such layout at all", gpt.tensors(), convert.Options{Layout: "x"}, `no layout "x"`},
		{"no such architecture", gpt.tensors(), convert.Options{Layout: "hf", Arch: "bert"}, `architecture "bert"`},
		{"nothing left", gpt.tensors(), convert.Options{Exclude: []string{"*"}}, "no tensors are left"},
		{"bad pattern", gpt.tensors(), convert.Options{Exclude: []string{"["}}, "syntax error in pattern"},
		{"shards of npz", gpt.tensors(), convert.Options{To: convert.Npz, ShardSize: 5}, "only safetensors are written in shards"},
		{"no such format", gpt.tensors(), convert.Options{To: "hdf5"}, `"hdf5" cannot be written`},
		{"cast to I8", gpt.tensors(), convert.Options{DType: formats.I8}, "I8 is not a type to cast to"},
		{"two types in one tensor", append(slices.Clone(mixed[:0]), mixedParts()...), convert.Options{Layout: "hf", Arch: "gpt2"}, "is made of"},
		{"llm.c without heads", gpt.tensors(), convert.Options{To: convert.LLMC}, "needs the number of heads"},
		{"nanoGPT without heads", gpt.tensors(), convert.Options{To: convert.TorchZip, Layout: "nanogpt"}, "needs the number of heads"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.o.To == "" {
				tc.o.To = convert.SafeTensors
			}
			out := filepath.Join(t.TempDir(), "out")
			_, err := attempt(writeFile(t, tc.tensors...), out, tc.o)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q in it", err, tc.want)
			}
			if left, _ := filepath.Glob(filepath.Dir(out) + "/*"); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// mixedParts is a Cerebras checkpoint in which q and k have different types.
func mixedParts() []safetensors.Tensor {
	var list []safetensors.Tensor
	add := func(name string, d formats.DType, shape ...int) {
		n, _ := formats.Info{DType: d, Shape: shape}.NumBytes()
		list = append(list, safetensors.Bytes(name, d, shape, make([]byte, n)))
	}
	add("embedding_layer.word_embeddings.weight", formats.F32, 5, 2)
	add("embedding_layer.position_embeddings.weight", formats.F32, 3, 2)
	h := "transformer_decoder.layers.0."
	for _, m := range []string{"q", "k", "v", "output"} {
		d := formats.F32
		if m == "k" {
			d = formats.F16
		}
		add(h+"self_attn.proj_"+m+"_dense_layer.weight", d, 2, 2)
		add(h+"self_attn.proj_"+m+"_dense_layer.bias", d, 2)
	}
	for _, n := range []string{"norm1", "norm3"} {
		add(h+n+".weight", formats.F32, 2)
		add(h+n+".bias", formats.F32, 2)
	}
	add(h+"ffn.ffn.0.linear_layer.weight", formats.F32, 8, 2)
	add(h+"ffn.ffn.0.linear_layer.bias", formats.F32, 8)
	add(h+"ffn.ffn.1.linear_layer.weight", formats.F32, 2, 8)
	add(h+"ffn.ffn.1.linear_layer.bias", formats.F32, 2)
	add("transformer_decoder.norm.weight", formats.F32, 2)
	add("transformer_decoder.norm.bias", formats.F32, 2)
	return list
}

// TestWrappers: what training code puts before names does not matter, its states
// and the causal mask are listed as dropped, a second copy of the head is found
// to be one.
func TestWrappers(t *testing.T) {
	var list []safetensors.Tensor
	for _, tensor := range gpt.tensors() {
		tensor.Name = "model._orig_mod." + tensor.Name
		list = append(list, tensor)
	}
	head := list[0]
	head.Name = "model._orig_mod.lm_head.weight"
	list = append(list, head,
		bytesOf("model._orig_mod.transformer.h.0.attn.bias", 0, 1, 1, gpt.T, gpt.T),
		bytesOf("optimizer.state.0.exp_avg", 0, 4), bytesOf("best_val_loss", 0))
	out := filepath.Join(t.TempDir(), "out.safetensors")
	p := run(t, writeFile(t, list...), out, convert.Options{To: convert.SafeTensors, Layout: "nanogpt"})
	var dropped []string
	for _, d := range p.Drops {
		dropped = append(dropped, d.Name)
	}
	slices.Sort(dropped)
	want := []string{"best_val_loss", "model._orig_mod.transformer.h.0.attn.bias", "optimizer.state.0.exp_avg"}
	if diff := cmp.Diff(dropped, want); diff != "" {
		t.Errorf("dropped (-got +want):\n%s", diff)
	}
	c, err := convert.Open(out, convert.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if diff := cmp.Diff(c.Aliases, [][]string{{"transformer.wte.weight", "lm_head.weight"}}); diff != "" {
		t.Errorf("aliases (-got +want):\n%s", diff)
	}
}

// TestUntiedHead keeps a head of its own where the layout has one.
func TestUntiedHead(t *testing.T) {
	g := gpt
	g.untied = true
	in := g.dir(t)
	for _, target := range []struct {
		file string
		o    convert.Options
		head string
	}{
		{"x.safetensors", convert.Options{To: convert.SafeTensors, Layout: "cerebras"}, "lm_head.weight"},
		{"x.gguf", convert.Options{To: convert.GGUF}, "output.weight"},
		{"y.safetensors", convert.Options{To: convert.SafeTensors, Layout: "nanogpt"}, "lm_head.weight"},
	} {
		dir := t.TempDir()
		b := filepath.Join(dir, target.file)
		run(t, in, b, target.o)
		if got := read(t, b)[target.head]; string(got.data) != string(read(t, in)["lm_head.weight"].data) {
			t.Errorf("%s: %s is not the head", target.file, target.head)
		}
		back := filepath.Join(dir, "back.safetensors")
		run(t, b, back, convert.Options{To: convert.SafeTensors, Layout: "hf"})
		sameFile(t, back, in)
	}
}

// TestVocab cuts and pads the embedding.
func TestVocab(t *testing.T) {
	in := gpt.dir(t)
	dir := t.TempDir()
	padded := filepath.Join(dir, "padded.safetensors")
	run(t, in, padded, convert.Options{To: convert.SafeTensors, Vocab: 16})
	got, want := read(t, padded)["transformer.wte.weight"], read(t, in)["transformer.wte.weight"]
	if got.info.String() != "F32 (16, 6)" || string(got.data[:len(want.data)]) != string(want.data) || strings.Trim(string(got.data[len(want.data):]), "\x00") != "" {
		t.Errorf("padded: %s, or other values", got.info)
	}
	cut := filepath.Join(dir, "cut.safetensors")
	p := run(t, padded, cut, convert.Options{To: convert.SafeTensors, Vocab: gpt.V})
	sameFile(t, cut, in)
	if len(p.Drops) != 1 || p.Drops[0].Name != "rows 11 to 15 of the embedding" {
		t.Errorf("drops are %v", p.Drops)
	}
}

// TestNoBiases: nanoGPT trains models without biases.
func TestNoBiases(t *testing.T) {
	full := gpt.dir(t)
	nano := filepath.Join(t.TempDir(), "nano.safetensors")
	run(t, full, nano, convert.Options{To: convert.SafeTensors, Layout: "nanogpt", Exclude: nil})
	var list []safetensors.Tensor
	for name, h := range read(t, nano) {
		if !strings.HasSuffix(name, ".bias") {
			list = append(list, safetensors.Bytes(name, h.info.DType, h.info.Shape, h.data))
		}
	}
	in := writeFile(t, list...)
	out := filepath.Join(t.TempDir(), "out.safetensors")
	p := run(t, in, out, convert.Options{To: convert.SafeTensors, Layout: "hf"})
	got := read(t, out)
	for name, h := range read(t, full) {
		want := h.data
		if strings.HasSuffix(name, ".bias") {
			want = make([]byte, len(want))
		}
		if string(got[name].data) != string(want) {
			t.Errorf("%q differs", name)
		}
	}
	if len(p.Notes) != 1 {
		t.Errorf("notes are %v", p.Notes)
	}
}

// TestFromFlax reads the layout of transformers' Flax models.
func TestFromFlax(t *testing.T) {
	in := gpt.dir(t)
	nano := filepath.Join(t.TempDir(), "nano.safetensors")
	run(t, in, nano, convert.Options{To: convert.SafeTensors, Layout: "nanogpt"})
	var list []safetensors.Tensor
	for name, h := range read(t, nano) {
		for _, end := range [][2]string{{"wte.weight", "wte.embedding"}, {"wpe.weight", "wpe.embedding"}, {"ln_1.weight", "ln_1.scale"}, {"ln_2.weight", "ln_2.scale"},
			{"ln_f.weight", "ln_f.scale"}, {".weight", ".kernel"}} {
			if base, ok := strings.CutSuffix(name, end[0]); ok {
				name = base + end[1]
				break
			}
		}
		list = append(list, safetensors.Bytes("params."+name, h.info.DType, h.info.Shape, h.data))
	}
	out := filepath.Join(t.TempDir(), "out.safetensors")
	p := run(t, writeFile(t, list...), out, convert.Options{To: convert.SafeTensors, Layout: "hf"})
	if p.From != "flax" {
		t.Errorf("the layout is taken for %q", p.From)
	}
	sameFile(t, out, in)
}

func TestHDF5IsRefused(t *testing.T) {
	for _, at := range []int{0, 512} {
		path := filepath.Join(t.TempDir(), "model.mdl")
		if err := os.WriteFile(path, append(make([]byte, at), "\x89HDF\r\n\x1a\n...."...), 0o666); err != nil {
			t.Fatal(err)
		}
		if _, err := convert.Open(path, convert.OpenOptions{}); !errors.Is(err, convert.ErrUnsupported) || !strings.Contains(err.Error(), "torch.save") {
			t.Errorf("signature at %d: got %v", at, err)
		}
	}
}

func TestExistingIsRefused(t *testing.T) {
	in := gpt.dir(t)
	if _, err := attempt(in, in, convert.Options{To: convert.SafeTensors}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("got %v, want fs.ErrExist", err)
	}
}

// TestInterrupted: a conversion that is stopped leaves nothing.
func TestInterrupted(t *testing.T) {
	c, err := convert.Open(gpt.dir(t), convert.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p, err := convert.NewPlan(c, convert.Options{To: convert.SafeTensors})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	dir := t.TempDir()
	err = p.Write(ctx, filepath.Join(dir, "x.safetensors"), false, func(int64) { stop() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestChangedSource: a source that changes while it is read is an error.
func TestChangedSource(t *testing.T) {
	in := gpt.dir(t)
	c, err := convert.Open(in, convert.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p, err := convert.NewPlan(c, convert.Options{To: convert.SafeTensors})
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(in)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func() error{
		"cut":     func() error { return os.Truncate(in, int64(len(data)-1)) },
		"emptied": func() error { return os.Truncate(in, 0) },
		"grown":   func() error { return os.WriteFile(in, append(data, 0), 0o666) },
	} {
		dir := t.TempDir()
		if err := change(); err != nil {
			t.Fatal(err)
		}
		if err := p.Write(context.Background(), filepath.Join(dir, "x.safetensors"), false, nil); err == nil {
			t.Errorf("%s: no error", name)
		}
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			t.Errorf("%s: left behind: %v", name, left)
		}
	}
}

func TestVerifyFindsDifferences(t *testing.T) {
	in := gpt.dir(t)
	out := filepath.Join(t.TempDir(), "out.safetensors")
	run(t, in, out, convert.Options{To: convert.SafeTensors})
	c, err := convert.Open(in, convert.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p, err := convert.NewPlan(c, convert.Options{To: convert.SafeTensors})
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)-1] ^= 1
	if err := os.WriteFile(out, data, 0o666); err != nil {
		t.Fatal(err)
	}
	found, err := p.Verify(context.Background(), out, nil)
	if err != nil || len(found) != 1 || !strings.Contains(found[0].Reason, "SHA-256") {
		t.Errorf("found %v, %v", found, err)
	}
	other := writeFile(t, bytesOf("x", 0, 3))
	if found, err = p.Verify(context.Background(), other, nil); err != nil || len(found) != len(p.Outputs)+1 {
		t.Errorf("found %d differences, %v", len(found), err)
	}
}

func TestCompare(t *testing.T) {
	float := func(name string, values ...float32) safetensors.Tensor {
		return safetensors.Float32s(name, []int{len(values)}, values)
	}
	negative := float32(math.Copysign(0, -1))
	nan := float32(math.NaN())
	a := writeFile(t, float("same", 1, nan), float("close", 1, 2), float("zero", 0), float("nan", 1), float("shape", 1, 2), float("inf", float32(math.Inf(1))), float("a", 1), bytesOf("int", 1, 3))
	b := writeFile(t, float("same", 1, nan), float("close", 1, 2.001), float("zero", negative), float("nan", nan), safetensors.Float32s("shape", []int{2, 1}, []float32{1, 2}),
		float("inf", 3), float("b", 1), bytesOf("int", 2, 3))
	half := filepath.Join(t.TempDir(), "half.safetensors")
	run(t, writeFile(t, float("x", 1, 1.0001)), half, convert.Options{To: convert.SafeTensors, DType: formats.F16})
	full := writeFile(t, float("x", 1, 1.0001))
	for _, tc := range []struct {
		name string
		a, b string
		tol  convert.Tolerance
		want map[string]string
		only int
	}{
		{"exact", a, b, convert.Tolerance{}, map[string]string{"close": "values", "zero": "bits", "nan": "nan", "shape": "shape", "inf": "values", "int": "values"}, 2},
		{"loose", a, b, convert.Tolerance{Rel: 1e-2}, map[string]string{"nan": "nan", "shape": "shape", "inf": "values", "int": "values"}, 2},
		{"itself", a, a, convert.Tolerance{}, map[string]string{}, 0},
		{"types", full, half, convert.Tolerance{}, map[string]string{"x": "dtype"}, 0},
		{"types, loose", full, half, convert.Tolerance{Abs: 1e-3}, map[string]string{}, 0},
		{"types, tight", full, half, convert.Tolerance{Abs: 1e-6}, map[string]string{"x": "values"}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			x, err := convert.Open(tc.a, convert.OpenOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer x.Close()
			y, err := convert.Open(tc.b, convert.OpenOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer y.Close()
			d, err := convert.Compare(context.Background(), x, y, tc.tol, nil)
			if err != nil {
				t.Fatal(err)
			}
			got := make(map[string]string)
			for _, v := range d.Different {
				got[v.Name] = v.Reason
			}
			if diff := cmp.Diff(got, tc.want); diff != "" {
				t.Errorf("different (-got +want):\n%s", diff)
			}
			if n := len(d.OnlyInA) + len(d.OnlyInB); n != tc.only || d.Equal() != (tc.only == 0 && len(tc.want) == 0) {
				t.Errorf("%d in one only, equal %v", n, d.Equal())
			}
		})
	}
}

func TestExamine(t *testing.T) {
	zeros := []float32{0, float32(math.Copysign(0, -1)), 1, 1e-45, 0}
	path := writeFile(t, safetensors.Float32s("f", []int{5}, zeros), bytesOf("u", 255, 3),
		safetensors.Bytes("c", formats.C64, []int{3}, []byte("\x00\x00\x00\x80\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x80\x00\x00\x00\x00")),
		safetensors.Bytes("e", formats.F8E8M0, []int{2}, []byte{0x80, 0}), safetensors.Bytes("f4", formats.F4, []int{2}, []byte{0}),
		safetensors.Bytes("many", formats.F32, []int{3000}, make([]byte, 12000)))
	c, err := convert.Open(path, convert.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	want := map[string][2]int64{"f": {3, 5}, "u": {1, 3}, "c": {2, 3}, "e": {1, 2}, "f4": {0, 0}, "many": {3000, 3000}}
	for _, tensor := range c.Tensors {
		e, err := convert.Examine(tensor, true)
		if err != nil {
			t.Fatal(err)
		}
		if got := [2]int64{e.Zeros, e.Elements}; got != want[tensor.Name] || len(e.SHA256) != 64 {
			t.Errorf("%s: %d zeros of %d, digest %q; want %v", tensor.Name, e.Zeros, e.Elements, e.SHA256, want[tensor.Name])
		}
	}
}

func TestScan(t *testing.T) {
	dir := t.TempDir()
	evil := "cposix\nsystem\n(S'true'\ntR."
	for name, tc := range map[string]struct {
		data   string
		format string
		safe   bool
	}{
		"a.pkl": {evil, "pickle", false}, "b.pkl": {"}(K\x01K\x02u.", "pickle", true}, "c.txt": {"hello", "pickle", false},
		"disguised.safetensors": {evil, "pickle", false},
		"d.npy":                 {"\x93NUMPY\x01\x00\x3e\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,), }       \n" + evil, convert.Npz, false},
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(tc.data), 0o666); err != nil {
			t.Fatal(err)
		}
		s, err := convert.Scan(path)
		if err != nil {
			t.Fatal(err)
		}
		if s.Format != tc.format || s.Safe() != tc.safe {
			t.Errorf("%s: %s, safe %v; want %s, %v: %+v", name, s.Format, s.Safe(), tc.format, tc.safe, s.Pickles)
		}
	}
	s, err := convert.Scan(gpt.dir(t))
	if err != nil || s.Format != convert.SafeTensors || !s.Safe() || len(s.Pickles) > 0 {
		t.Errorf("safetensors: %+v, %v", s, err)
	}
}
