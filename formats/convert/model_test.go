package convert_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/convert"
	"github.com/spdfctl/spdfctl/formats/safetensors"
)

// tiny is a GPT-2 small enough to look at. No two sizes are equal.
type tiny struct {
	L, H, C, I, T, V int
	dtype            formats.DType
	prefix           string // "transformer." or ""
	untied           bool
}

var gpt = tiny{L: 2, H: 2, C: 6, I: 24, T: 5, V: 11, dtype: formats.F32, prefix: "transformer."}

// tensors makes the weights in GPT-2's own layout, (in, out) for matrices.
func (g tiny) tensors() []safetensors.Tensor {
	random := rand.New(rand.NewPCG(1, uint64(g.C)))
	var list []safetensors.Tensor
	add := func(name string, shape ...int) {
		n := 1
		for _, d := range shape {
			n *= d
		}
		values := make([]float32, n)
		for i := range values {
			values[i] = float32(random.NormFloat64())
		}
		list = append(list, safetensors.Bytes(name, g.dtype, shape, encode(g.dtype, values)))
	}
	p := g.prefix
	add(p+"wte.weight", g.V, g.C)
	add(p+"wpe.weight", g.T, g.C)
	for i := range g.L {
		h := fmt.Sprintf("%sh.%d.", p, i)
		add(h+"ln_1.weight", g.C)
		add(h+"ln_1.bias", g.C)
		add(h+"attn.c_attn.weight", g.C, 3*g.C)
		add(h+"attn.c_attn.bias", 3*g.C)
		add(h+"attn.c_proj.weight", g.C, g.C)
		add(h+"attn.c_proj.bias", g.C)
		add(h+"ln_2.weight", g.C)
		add(h+"ln_2.bias", g.C)
		add(h+"mlp.c_fc.weight", g.C, g.I)
		add(h+"mlp.c_fc.bias", g.I)
		add(h+"mlp.c_proj.weight", g.I, g.C)
		add(h+"mlp.c_proj.bias", g.C)
	}
	add(p+"ln_f.weight", g.C)
	add(p+"ln_f.bias", g.C)
	if g.untied {
		add("lm_head.weight", g.V, g.C)
	}
	return list
}

// encode writes values as elements of a type.
func encode(d formats.DType, values []float32) []byte {
	switch d {
	case formats.F16:
		b := make([]byte, 2*len(values))
		formats.EncodeF16(b, values)
		return b
	case formats.BF16:
		b := make([]byte, 2*len(values))
		formats.EncodeBF16(b, values)
		return b
	case formats.F32:
		var b bytes.Buffer
		for _, v := range values {
			bits := math.Float32bits(v)
			b.Write([]byte{byte(bits), byte(bits >> 8), byte(bits >> 16), byte(bits >> 24)})
		}
		return b.Bytes()
	}
	panic(d)
}

// dir makes a model directory and returns the path of the weights.
func (g tiny) dir(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	config, err := json.Marshal(map[string]any{
		"model_type": "gpt2", "n_layer": g.L, "n_head": g.H, "n_embd": g.C, "n_positions": g.T, "vocab_size": g.V, "layer_norm_epsilon": 1e-5,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), config, 0o666); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "model.safetensors")
	if err := safetensors.WriteFile(path, false, g.tensors(), map[string]string{"format": "pt"}); err != nil {
		t.Fatal(err)
	}
	return path
}

// run converts a file and verifies the result.
func run(t testing.TB, in, out string, o convert.Options) *convert.Plan {
	t.Helper()
	p, err := attempt(in, out, o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func attempt(in, out string, o convert.Options) (*convert.Plan, error) {
	c, err := convert.Open(in, convert.OpenOptions{})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	p, err := convert.NewPlan(c, o)
	if err != nil {
		return nil, err
	}
	if err := p.Write(context.Background(), out, false, nil); err != nil {
		return nil, err
	}
	differences, err := p.Verify(context.Background(), out, nil)
	if err != nil {
		return nil, err
	}
	if len(differences) > 0 {
		return nil, fmt.Errorf("result differs from the plan: %v", differences)
	}
	return p, nil
}

// contents returns description and bytes of every tensor of a checkpoint.
func contents(t testing.TB, path string) map[string]string {
	t.Helper()
	c, err := convert.Open(path, convert.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	m := make(map[string]string)
	for _, tensor := range c.Tensors {
		data, err := tensor.Load()
		if err != nil {
			t.Fatal(err)
		}
		m[tensor.Name] = fmt.Sprintf("%s %x", tensor.Info, sha256.Sum256(data))
	}
	return m
}

func sameFile(t testing.TB, got, want string) {
	t.Helper()
	a, err := os.ReadFile(got)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(want)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(a, b) {
		return
	}
	t.Errorf("%s has %d bytes, %s %d, or others", filepath.Base(got), len(a), filepath.Base(want), len(b))
	if diff := cmp.Diff(contents(t, got), contents(t, want)); diff != "" {
		t.Logf("tensors (-got +want):\n%s", diff)
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

// targets are the forms that a GPT-2 is carried through.
var targets = []struct {
	file string
	o    convert.Options
}{
	{"plain.pt", convert.Options{To: convert.TorchZip}},
	{"plain.npz", convert.Options{To: convert.Npz}},
	{"plain.gguf", convert.Options{To: convert.GGUF, Layout: convert.Keep}},
	{"gguf.gguf", convert.Options{To: convert.GGUF}},
	{"llmc.bin", convert.Options{To: convert.LLMC}},
	{"nanogpt.pt", convert.Options{To: convert.TorchZip, Layout: "nanogpt"}},
	{"nanogpt.safetensors", convert.Options{To: convert.SafeTensors, Layout: "nanogpt"}},
	{"nanogpt.npz", convert.Options{To: convert.Npz, Layout: "nanogpt"}},
	{"cerebras.pt", convert.Options{To: convert.TorchZip, Layout: "cerebras"}},
	{"cerebras.safetensors", convert.Options{To: convert.SafeTensors, Layout: "cerebras"}},
	{"cerebras.npz", convert.Options{To: convert.Npz, Layout: "cerebras"}},
	{"llmc.safetensors", convert.Options{To: convert.SafeTensors, Layout: "llmc"}},
}

// TestThereAndBack: a GPT-2 goes to every form and comes back to the same bytes,
// and every form goes to safetensors and comes back to the same bytes.
func TestThereAndBack(t *testing.T) {
	for _, d := range []formats.DType{formats.F32, formats.F16, formats.BF16} {
		for _, prefix := range []string{"transformer.", ""} {
			g := gpt
			g.dtype, g.prefix = d, prefix
			a := g.dir(t)
			for _, target := range targets {
				t.Run(fmt.Sprintf("%s/%s%s", d, prefix, target.file), func(t *testing.T) {
					if prefix == "" && target.o.To == convert.LLMC {
						return // the file cannot say that names had no prefix
					}
					dir := t.TempDir()
					copyFile(t, filepath.Join(filepath.Dir(a), "config.json"), filepath.Join(dir, "config.json"))
					b := filepath.Join(dir, target.file)
					run(t, a, b, target.o)
					back := filepath.Join(dir, "back.safetensors")
					run(t, b, back, convert.Options{To: convert.SafeTensors, Layout: "hf"})
					if target.o.To == convert.LLMC && d == formats.F16 {
						// llm.c has no F16: widened there, and the file cannot say so.
						return
					}
					sameFile(t, back, a)
					again := filepath.Join(dir, "again"+filepath.Ext(target.file))
					o := target.o
					if o.Layout == "" && o.To != convert.LLMC && o.To != convert.GGUF {
						o.Layout = convert.Keep
					}
					run(t, back, again, o)
					sameFile(t, again, b)
				})
			}
		}
	}
}
