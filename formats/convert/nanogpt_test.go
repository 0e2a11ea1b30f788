package convert_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spdfctl/spdfctl/formats/convert"
)

// TestNanoGPTResumes: the optimizer beside the weights counts every parameter
// once, matrices in the first group, as nanoGPT's configure_optimizers does.
func TestNanoGPTResumes(t *testing.T) {
	for _, tc := range []struct {
		name              string
		biases            bool
		matrices, vectors int
	}{
		{"biases", true, 2 + 4*gpt.L, 2 + 8*gpt.L},
		{"no biases", false, 2 + 4*gpt.L, 1 + 2*gpt.L},
	} {
		list := gpt.tensors()
		if !tc.biases {
			kept := list[:0]
			for _, tensor := range list {
				if !strings.HasSuffix(tensor.Name, ".bias") {
					kept = append(kept, tensor)
				}
			}
			list = kept
		}
		out := filepath.Join(t.TempDir(), "ckpt.pt")
		run(t, writeFile(t, list...), out, convert.Options{To: convert.TorchZip, Layout: "nanogpt", Heads: gpt.H})
		c, err := convert.Open(out, convert.OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		values := make(map[string]string)
		for _, l := range c.Leaves {
			values[l.Name] = l.Text
		}
		const group = "optimizer.param_groups."
		n := tc.matrices + tc.vectors
		for name, want := range map[string]string{
			"model_args.bias":        map[bool]string{true: "True", false: "False"}[tc.biases],
			"iter_num":               "0",
			group + "0.weight_decay": "0.1",
			group + "0.params.0":     "0",
			group + "1.weight_decay": "0.0",
			group + "1.params.0":     fmt.Sprint(tc.matrices),
			fmt.Sprintf("%s1.params.%d", group, tc.vectors-1): fmt.Sprint(n - 1),
			fmt.Sprintf("%s0.params.%d", group, tc.matrices):  "",
			fmt.Sprintf("%s1.params.%d", group, tc.vectors):   "",
		} {
			if values[name] != want {
				t.Errorf("%s: %s is %q, want %q", tc.name, name, values[name], want)
			}
		}
	}
}
