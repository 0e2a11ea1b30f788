package convert_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/convert"
	"github.com/spdfctl/spdfctl/formats/safetensors"
	"github.com/spdfctl/spdfctl/masks"
)

// llamaDir makes a model of the Llama family: 2 layers, 12 channels, 3 heads of
// 4, 1 head of keys and values.
func llamaDir(t testing.TB, arch string) string {
	t.Helper()
	const layers, c, heads, kv, size, inner, vocab = 2, 12, 3, 1, 4, 20, 7
	dir := t.TempDir()
	config, err := json.Marshal(map[string]any{
		"model_type": arch, "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv, "hidden_size": c,
		"intermediate_size": inner, "vocab_size": vocab, "max_position_embeddings": 64, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), config, 0o666); err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(3, 4))
	var list []safetensors.Tensor
	add := func(name string, shape ...int) {
		n := 1
		for _, d := range shape {
			n *= d
		}
		values := make([]float32, n)
		for i := range values {
			values[i] = random.Float32()
		}
		list = append(list, safetensors.Bytes(name, formats.F32, shape, encode(formats.F32, values)))
	}
	add("model.embed_tokens.weight", vocab, c)
	for i := range layers {
		h := fmt.Sprintf("model.layers.%d.", i)
		add(h+"input_layernorm.weight", c)
		add(h+"self_attn.q_proj.weight", heads*size, c)
		add(h+"self_attn.k_proj.weight", kv*size, c)
		add(h+"self_attn.v_proj.weight", kv*size, c)
		add(h+"self_attn.o_proj.weight", c, heads*size)
		if arch == "qwen2" {
			add(h+"self_attn.q_proj.bias", heads*size)
			add(h+"self_attn.k_proj.bias", kv*size)
			add(h+"self_attn.v_proj.bias", kv*size)
		}
		add(h+"post_attention_layernorm.weight", c)
		add(h+"mlp.gate_proj.weight", inner, c)
		add(h+"mlp.up_proj.weight", inner, c)
		add(h+"mlp.down_proj.weight", c, inner)
	}
	add("model.norm.weight", c)
	add("lm_head.weight", vocab, c)
	path := filepath.Join(dir, "model.safetensors")
	if err := safetensors.WriteFile(path, false, list, map[string]string{"format": "pt"}); err != nil {
		t.Fatal(err)
	}
	return path
}

// permuted is the row that llama.cpp's converter puts at row r: numpy's
// w.reshape(heads, 2, size/2, in).swapaxes(1, 2).reshape(heads*size, in).
func permuted(r, size int) int {
	head, within := r/size, r%size
	return head*size + within%2*(size/2) + within/2
}

func TestLlama(t *testing.T) {
	for _, arch := range []string{"llama", "mistral", "qwen2"} {
		t.Run(arch, func(t *testing.T) {
			hf := llamaDir(t, arch)
			dir := t.TempDir()
			copyFile(t, filepath.Join(filepath.Dir(hf), "config.json"), filepath.Join(dir, "config.json"))
			path := filepath.Join(dir, "x.gguf")
			run(t, hf, path, convert.Options{To: convert.GGUF})
			want, got := read(t, hf), read(t, path)
			const c, size = 12, 4
			for _, m := range []struct {
				gguf, hf string
				rows     int
				permuted bool
			}{
				{"blk.1.attn_q.weight", "model.layers.1.self_attn.q_proj.weight", 12, arch != "qwen2"},
				{"blk.1.attn_k.weight", "model.layers.1.self_attn.k_proj.weight", 4, arch != "qwen2"},
				{"blk.1.attn_v.weight", "model.layers.1.self_attn.v_proj.weight", 4, false},
				{"blk.0.ffn_gate.weight", "model.layers.0.mlp.gate_proj.weight", 20, false},
				{"output.weight", "lm_head.weight", 7, false},
			} {
				for r := range m.rows {
					from := r
					if m.permuted {
						from = permuted(r, size)
					}
					for j := range c {
						if got.at(m.gguf, r*c+j) != want.at(m.hf, from*c+j) {
							t.Fatalf("%s: row %d is not row %d of %s", m.gguf, r, from, m.hf)
						}
					}
				}
			}
			back := filepath.Join(dir, "back.safetensors")
			run(t, path, back, convert.Options{To: convert.SafeTensors})
			sameFile(t, back, hf)
			again := filepath.Join(dir, "again.gguf")
			run(t, back, again, convert.Options{To: convert.GGUF})
			sameFile(t, again, path)
		})
	}
}

// TestLlamaMask: the rows of a mask of q move with the rows of q.
func TestLlamaMask(t *testing.T) {
	hf := llamaDir(t, "llama")
	mask := masks.New("model.layers.0.self_attn.q_proj.weight", "", 12, 12)
	for r := range 12 {
		mask.Put(r, r, true)
	}
	set := setOf(t, mask)
	dir := t.TempDir()
	p := run(t, hf, filepath.Join(dir, "x.gguf"), convert.Options{To: convert.GGUF, Masks: set})
	got := p.Masks.Find("blk.0.attn_q.weight", "")
	if got == nil {
		t.Fatalf("masks are %v", p.Masks.Masks)
	}
	for r := range 12 {
		for j := range 12 {
			if got.Keep(r, j) != (permuted(r, 4) == j) {
				t.Fatalf("weight (%d, %d) is kept: %v", r, j, got.Keep(r, j))
			}
		}
	}
	q := run(t, filepath.Join(dir, "x.gguf"), filepath.Join(dir, "y.safetensors"), convert.Options{To: convert.SafeTensors, Masks: p.Masks})
	if len(q.Masks.Masks) != 1 || !q.Masks.Masks[0].Equal(mask) {
		t.Error("the mask has not come back")
	}
}

// TestLlamaMasksCommute: mask(convert(W)) = convert(mask(W)), there and back.
// Here every matrix is a tensor of its own, stored (out, in), under the name of
// its mask.
func TestLlamaMasksCommute(t *testing.T) {
	prune := func(w weights, set *masks.Set) {
		for _, m := range set.Masks {
			for k := range m.Out * m.In {
				if !m.Keep(k/m.In, k%m.In) {
					clear(w[m.Name].data[4*k : 4*k+4])
				}
			}
		}
	}
	for _, arch := range []string{"llama", "qwen2"} {
		hf := llamaDir(t, arch)
		dir := t.TempDir()
		path := func(name string) string { return filepath.Join(dir, arch+name) }
		run(t, hf, path("x.gguf"), convert.Options{To: convert.GGUF})
		for _, tc := range []struct {
			from string
			o    convert.Options
		}{
			{hf, convert.Options{To: convert.GGUF, Layout: "gguf"}},
			{hf, convert.Options{To: convert.TorchZip, Layout: "gguf"}},
			{path("x.gguf"), convert.Options{To: convert.SafeTensors, Layout: "hf"}},
			{path("x.gguf"), convert.Options{To: convert.Npz, Layout: "hf"}},
		} {
			random := rand.New(rand.NewPCG(5, 6))
			w := read(t, tc.from)
			var list []*masks.Mask
			for name, h := range w {
				if len(h.info.Shape) != 2 || strings.Contains(name, "embd") || strings.Contains(name, "embed_tokens") {
					continue
				}
				m := masks.New(name, "", h.info.Shape[0], h.info.Shape[1])
				for k := range m.Out * m.In {
					m.Put(k/m.In, k%m.In, random.IntN(2) == 0)
				}
				list = append(list, m)
			}
			set, err := masks.NewSet(list, masks.Recipe{}, 0)
			if err != nil {
				t.Fatal(err)
			}
			o := tc.o
			o.Masks, o.Heads, o.KVHeads, o.Arch = set, 3, 1, arch
			what := fmt.Sprintf("%s of %s to %s", arch, filepath.Base(tc.from), o.To)
			a := path(o.To + ".a")
			p := run(t, tc.from, a, o)
			left := read(t, a)
			prune(left, p.Masks)

			prune(w, set)
			if err := w.write(path(o.To+".masked"), nil); err != nil {
				t.Fatal(err)
			}
			b := path(o.To + ".b")
			run(t, path(o.To+".masked"), b, o)
			right := read(t, b)
			if len(left) != len(right) || len(p.Masks.Masks) != len(list) {
				t.Fatalf("%s: %d and %d tensors, %d masks of %d", what, len(left), len(right), len(p.Masks.Masks), len(list))
			}
			for name, h := range left {
				if !bytes.Equal(h.data, right[name].data) {
					t.Errorf("%s: %q differs", what, name)
				}
			}
		}
	}
}

func TestLlamaNeedsHeads(t *testing.T) {
	hf := llamaDir(t, "llama")
	if err := os.Remove(filepath.Join(filepath.Dir(hf), "config.json")); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "x.gguf")
	_, err := attempt(hf, out, convert.Options{To: convert.GGUF, Arch: "llama"})
	if err == nil || !strings.Contains(err.Error(), "--heads") {
		t.Errorf("got %v, want a word about --heads", err)
	}
	if _, err := attempt(hf, out, convert.Options{To: convert.GGUF, Arch: "llama", Heads: 3, KVHeads: 1}); err != nil {
		t.Error(err)
	}
}
