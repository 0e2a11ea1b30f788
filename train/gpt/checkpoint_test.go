package gpt_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spdfctl/spdfctl/formats/maskfile"
	"github.com/spdfctl/spdfctl/formats/safetensors"
	"github.com/spdfctl/spdfctl/masks"
	"github.com/spdfctl/spdfctl/train/gpt"
)

// TestCheckpointRoundTrip: writing and loading changes no bit, and writing
// again gives the same files.
func TestCheckpointRoundTrip(t *testing.T) {
	for _, sparsity := range []string{"", "0.75"} {
		m := newTiny(t, sparsity, gpt.MaskTargets(tiny))
		a, b := t.TempDir(), t.TempDir()
		if err := m.WriteCheckpoint(a, 10); err != nil {
			t.Fatal(err)
		}
		got, err := gpt.Load(a, false)
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range m.Params {
			q := got.Params[i]
			if p.Name != q.Name || len(p.W) != len(q.W) {
				t.Fatalf("sparsity %q: %s has %d weights, %s came back with %d", sparsity, p.Name, len(p.W), q.Name, len(q.W))
			}
			for j := range p.W {
				if p.W[j] != q.W[j] {
					t.Fatalf("sparsity %q: %s[%d] is %g, was %g", sparsity, p.Name, j, q.W[j], p.W[j])
				}
			}
		}
		if err := got.WriteCheckpoint(b, 10); err != nil {
			t.Fatal(err)
		}
		files, err := os.ReadDir(a)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			x, _ := os.ReadFile(filepath.Join(a, f.Name()))
			y, _ := os.ReadFile(filepath.Join(b, f.Name()))
			if !bytes.Equal(x, y) {
				t.Errorf("sparsity %q: %s differs after a round trip", sparsity, f.Name())
			}
		}
		dense, err := gpt.Load(a, true)
		if err != nil {
			t.Fatal(err)
		}
		if total, kept := dense.Counts(); total != kept || dense.Masks != nil {
			t.Errorf("sparsity %q: loaded dense, %d of %d weights are kept", sparsity, kept, total)
		}
	}
}

// TestLayout pins the tensor names, shapes and config keys that transformers
// reads.
func TestLayout(t *testing.T) {
	m := newTiny(t, "0.5", gpt.MaskTargets(tiny))
	dir := t.TempDir()
	if err := m.WriteCheckpoint(dir, 10); err != nil {
		t.Fatal(err)
	}
	f, err := safetensors.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for name, want := range map[string][]int{
		"transformer.wte.weight":             {11, 8},
		"transformer.wpe.weight":             {7, 8},
		"transformer.h.1.ln_1.weight":        {8},
		"transformer.h.1.attn.c_attn.weight": {8, 24},
		"transformer.h.1.attn.c_attn.bias":   {24},
		"transformer.h.1.attn.c_proj.weight": {8, 8},
		"transformer.h.1.mlp.c_fc.weight":    {8, 20},
		"transformer.h.1.mlp.c_fc.bias":      {20},
		"transformer.h.1.mlp.c_proj.weight":  {20, 8},
		"transformer.ln_f.bias":              {8},
	} {
		info, ok := f.Lookup(name)
		if !ok || len(info.Shape) != len(want) || info.Shape[0] != want[0] || info.Shape[len(want)-1] != want[len(want)-1] {
			t.Errorf("%s has shape %v, want %v", name, info.Shape, want)
		}
	}
	if n := len(f.Infos()); n != 2+2*12+2 {
		t.Errorf("%d tensors, want 28", n)
	}
	if got := f.Metadata()["format"]; got != "pt" {
		t.Errorf("metadata format is %q, want pt", got)
	}
	text, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := json.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]any{
		"model_type": "gpt2", "activation_function": "gelu_new", "n_embd": 8.0, "n_layer": 2.0, "n_head": 2.0,
		"n_positions": 7.0, "n_inner": 20.0, "vocab_size": 11.0, "eos_token_id": 10.0, "tie_word_embeddings": true,
	} {
		if config[key] != want {
			t.Errorf("config.json: %s is %v, want %v", key, config[key], want)
		}
	}
}

// TestLoadRefuses changes one thing at a time in a good checkpoint.
func TestLoadRefuses(t *testing.T) {
	rewrite := func(change func(list []safetensors.Tensor) []safetensors.Tensor) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			path := filepath.Join(dir, gpt.WeightsFile)
			f, err := safetensors.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			var list []safetensors.Tensor
			for _, info := range f.Infos() {
				b, err := f.Bytes(info.Name)
				if err != nil {
					t.Fatal(err)
				}
				list = append(list, safetensors.Bytes(info.Name, info.DType, info.Shape, bytes.Clone(b)))
			}
			f.Close()
			if err := safetensors.WriteFile(path, true, change(list), nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	config := func(old, new string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			path := filepath.Join(dir, gpt.ConfigFile)
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Contains(text, []byte(old)) {
				t.Fatalf("config.json has no %s", old)
			}
			if err := os.WriteFile(path, bytes.Replace(text, []byte(old), []byte(new), 1), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		name, want string
		damage     func(t *testing.T, dir string)
	}{
		{"missing tensor", `"ln_f.weight" is missing`, rewrite(func(l []safetensors.Tensor) []safetensors.Tensor {
			var out []safetensors.Tensor
			for _, x := range l {
				if x.Name != "transformer.ln_f.weight" {
					out = append(out, x)
				}
			}
			return out
		})},
		{"unknown tensor", `"transformer.extra" is not part`, rewrite(func(l []safetensors.Tensor) []safetensors.Tensor {
			return append(l, safetensors.Float32s("transformer.extra", []int{1}, []float32{1}))
		})},
		{"untied head", `"lm_head.weight" differs`, rewrite(func(l []safetensors.Tensor) []safetensors.Tensor {
			return append(l, safetensors.Float32s("lm_head.weight", []int{11, 8}, make([]float32, 88)))
		})},
		{"config says deeper", `"h.2.ln_1.weight" is missing, config.json has n_layer 3`, config(`"n_layer": 2`, `"n_layer": 3`)},
		{"config says shallower", `"transformer.h.1.`, config(`"n_layer": 2`, `"n_layer": 1`)},
		{"config says wider", "config.json makes it [11 16]", config(`"n_embd": 8`, `"n_embd": 16`)},
		{"config says more words", "config.json makes it [12 8]", config(`"vocab_size": 11`, `"vocab_size": 12`)},
		{"heads do not divide", "n_head 3", config(`"n_head": 2`, `"n_head": 3`)},
		{"other architecture", `model_type is "llama"`, config(`"gpt2"`, `"llama"`)},
		{"other activation", `activation_function is "relu"`, config(`"gelu_new"`, `"relu"`)},
		{"untied", "tie_word_embeddings", config(`"tie_word_embeddings": true`, `"tie_word_embeddings": false`)},
		{"not JSON", "config.json", config(`{`, `[`)},
		{"a pruned weight woke up", "the mask prunes it", rewrite(func(l []safetensors.Tensor) []safetensors.Tensor {
			for i, x := range l {
				if x.Name == "transformer.h.0.attn.c_proj.weight" {
					ones := make([]float32, 64)
					for j := range ones {
						ones[j] = 1
					}
					l[i] = safetensors.Float32s(x.Name, x.Shape, ones)
				}
			}
			return l
		})},
		{"masks of another model", "mask is (16, 16), weight is (8, 8)", func(t *testing.T, dir string) {
			wide := tiny
			wide.NEmbd = 16
			s, err := masks.ParseSparsity("0.5")
			if err != nil {
				t.Fatal(err)
			}
			set, err := masks.Random(gpt.MaskTargets(wide), s, 1)
			if err != nil {
				t.Fatal(err)
			}
			if err := maskfile.Write(filepath.Join(dir, gpt.MasksFile), true, set); err != nil {
				t.Fatal(err)
			}
		}},
		{"empty weights", "safetensors", func(t *testing.T, dir string) { os.Truncate(filepath.Join(dir, gpt.WeightsFile), 0) }},
		{"cut weights", "safetensors", func(t *testing.T, dir string) { os.Truncate(filepath.Join(dir, gpt.WeightsFile), 3000) }},
		{"no weights", "safetensors", func(t *testing.T, dir string) { os.Remove(filepath.Join(dir, gpt.WeightsFile)) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := newTiny(t, "0.5", gpt.MaskTargets(tiny)).WriteCheckpoint(dir, 10); err != nil {
				t.Fatal(err)
			}
			if _, err := gpt.Load(dir, false); err != nil {
				t.Fatal(err)
			}
			c.damage(t, dir)
			_, err := gpt.Load(dir, false)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

// TestLoadLayouts: the published checkpoints have no prefix, older ones carry
// constants, some store the tied head again, some are half precision.
func TestLoadLayouts(t *testing.T) {
	m := newTiny(t, "", nil)
	dir := t.TempDir()
	if err := m.WriteCheckpoint(dir, 10); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, gpt.WeightsFile)
	f, err := safetensors.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	var list []safetensors.Tensor
	for _, info := range f.Infos() {
		b, err := f.Bytes(info.Name)
		if err != nil {
			t.Fatal(err)
		}
		b = bytes.Clone(b)
		name := strings.TrimPrefix(info.Name, "transformer.")
		list = append(list, safetensors.Bytes(name, info.DType, info.Shape, b))
		if name == "wte.weight" {
			list = append(list, safetensors.Bytes("lm_head.weight", info.DType, info.Shape, b))
		}
	}
	f.Close()
	list = append(list, safetensors.Float32s("h.0.attn.bias", []int{1, 1, 2, 2}, []float32{1, 0, 1, 1}),
		safetensors.Float32s("h.1.attn.masked_bias", []int{}, []float32{-1e4}))
	if err := safetensors.WriteFile(path, true, list, nil); err != nil {
		t.Fatal(err)
	}
	got, err := gpt.Load(dir, false)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range m.Params {
		for j := range p.W {
			if got.Params[i].W[j] != p.W[j] {
				t.Fatalf("%s[%d] is %g, was %g", p.Name, j, got.Params[i].W[j], p.W[j])
			}
		}
	}
}

// FuzzConfig: whatever config.json says, it is an error or a valid shape.
func FuzzConfig(f *testing.F) {
	good, err := tiny.MarshalHF(10)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"n_embd": 1e9, "n_layer": -1}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := gpt.ParseConfig(text)
		if err != nil {
			return
		}
		again, err := c.MarshalHF(0)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := gpt.ParseConfig(again); err != nil || back != c {
			t.Fatalf("config %+v came back as %+v: %v", c, back, err)
		}
	})
}
