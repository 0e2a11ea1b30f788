package convert_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/convert"
	"github.com/spdfctl/spdfctl/formats/safetensors"
)

// FuzzCarried: what a conversion may have left in the metadata of a file, and a
// config.json beside it, are input like any other: they are used, or refused.
func FuzzCarried(f *testing.F) {
	f.Add(`{"types":{"x":{"dtype":"F6_E2M3","shape":[4]}},"narrow":{"x":"F16"},"aliases":{"x":["y"]},"unprefixed":true}`, `[{"key":"k","value":{"type":"uint32","v":5}}]`, `{"n_layer":2}`)
	f.Add(`{"plain":true,"config":{"n_head":2},"gguf":[]}`, `[{"key":"a","value":{"type":"array","of":"string","items":[{"v":"x"},{"b":"/w=="}]}}]`, `{"model_type":"llama","num_attention_heads":-1}`)
	f.Add(`{"made":true,"metadata":{"a":"b"}}`, `[{"key":"f","value":{"type":"float32","v":"NaN"}}]`, `[]`)
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, side, entries, config string) {
		in := filepath.Join(dir, "in.safetensors")
		tensors := []safetensors.Tensor{
			safetensors.Bytes("x", formats.U8, []int{3}, []byte{1, 2, 3}),
			safetensors.Bytes("wte.weight", formats.F32, []int{2, 1}, make([]byte, 8)),
		}
		if safetensors.WriteFile(in, true, tensors, map[string]string{"spdf.side": side, "gguf": entries}) != nil {
			return // not UTF-8
		}
		if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o666); err != nil {
			t.Fatal(err)
		}
		c, err := convert.Open(in, convert.OpenOptions{})
		if err != nil {
			return
		}
		defer c.Close()
		for i, o := range []convert.Options{
			{To: convert.SafeTensors}, {To: convert.TorchZip}, {To: convert.Npz}, {To: convert.GGUF}, {To: convert.SafeTensors, Layout: "cerebras"},
		} {
			p, err := convert.NewPlan(c, o)
			if err != nil {
				continue
			}
			out := filepath.Join(dir, "out"+string(rune('0'+i)))
			if err := p.Write(context.Background(), out, true, nil); err != nil {
				continue
			}
			again, err := convert.Open(out, convert.OpenOptions{})
			if err != nil {
				t.Fatalf("%s: what was written cannot be read: %v", o.To, err)
			}
			if len(again.Tensors) < len(p.Outputs) {
				t.Errorf("%s: %d tensors, want %d", o.To, len(again.Tensors), len(p.Outputs))
			}
			again.Close()
		}
	})
}
