//go:build conformance

package convert_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spdfctl/spdfctl/formats/convert"
)

func dataDir(t *testing.T, name string) string {
	t.Helper()
	root := os.Getenv("SPDF_DATA")
	if root == "" {
		t.Fatal("SPDF_DATA is not set")
	}
	return filepath.Join(root, name)
}

// files returns the checkpoints of a folder that can be opened.
func files(t *testing.T, folder, pattern string) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(dataDir(t, folder), pattern))
	if err != nil || len(all) == 0 {
		t.Fatalf("%s: no %s", folder, pattern)
	}
	var list []string
	for _, file := range all {
		c, err := convert.Open(file, convert.OpenOptions{})
		if err != nil {
			continue // their own packages test which are refused, and why
		}
		if len(c.Tensors) > 0 && len(c.Refusals) == 0 {
			list = append(list, file)
		}
		c.Close()
	}
	return list
}

// TestConformanceThereAndBack: every file of the data goes to every format that
// takes its names and back. Files of this project's writers, and of those whose
// bytes are canonical, come back to the same bytes.
func TestConformanceThereAndBack(t *testing.T) {
	forms := []struct{ ext, format string }{{".safetensors", convert.SafeTensors}, {".pt", convert.TorchZip}, {".npz", convert.Npz}, {".gguf", convert.GGUF}}
	for _, source := range []struct {
		folder, pattern string
		minimum         int
		ext, format     string // of the form that comes back
		original        bool   // to the bytes of the file itself
	}{
		{"safetensors", "*.safetensors", 5, ".safetensors", convert.SafeTensors, true},
		{"gguf", "*.gguf", 3, ".gguf", convert.GGUF, true},
		{"torch-files", "*.[pb][ti]*", 10, ".pt", convert.TorchZip, false},
		{"torch-thirdparty", "*.pt*", 70, ".pt", convert.TorchZip, false},
		{"npy-npz", "*.npz", 3, ".npz", convert.Npz, false},
		{"npy-npz-thirdparty", "*.npz", 1, ".npz", convert.Npz, false},
	} {
		list := files(t, source.folder, source.pattern)
		if len(list) < source.minimum {
			t.Errorf("%s: %d files can be opened, want %d", source.folder, len(list), source.minimum)
		}
		for _, file := range list {
			t.Run(source.folder+"/"+filepath.Base(file), func(t *testing.T) {
				keep := convert.Options{Layout: convert.Keep}
				a := file
				// Headers written by hand are padded and ordered otherwise.
				byHand := strings.HasPrefix(filepath.Base(file), "ok_") || strings.HasPrefix(filepath.Base(file), "up_")
				if !source.original || byHand {
					// The form that this project gives it: from then on bytes count.
					a = filepath.Join(t.TempDir(), "a"+source.ext)
					o := keep
					o.To = source.format
					run(t, file, a, o)
					same(t, a, file)
				}
				for _, form := range forms {
					dir := t.TempDir()
					b, back := filepath.Join(dir, "b"+form.ext), filepath.Join(dir, "back"+source.ext)
					o := keep
					o.To = form.format
					if _, err := attempt(a, b, o); err != nil {
						if form.format == convert.GGUF && strings.Contains(err.Error(), "limit 63") {
							continue // GGUF has no such long names
						}
						t.Fatal(err)
					}
					o.To = source.format
					run(t, b, back, o)
					sameFile(t, back, a)
				}
			})
		}
	}
}

// same compares two checkpoints tensor by tensor, under all names.
func same(t *testing.T, a, b string) {
	t.Helper()
	x, err := convert.Open(a, convert.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	y, err := convert.Open(b, convert.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer y.Close()
	d, err := convert.Compare(t.Context(), x, y, convert.Tolerance{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !d.Equal() {
		t.Errorf("%s and %s differ: %+v", a, b, d)
	}
}

// TestConformanceGPT2 brings the GPT-2s of the data, whatever they are in, to
// one layout; the weights that are the same model stay the same.
func TestConformanceGPT2(t *testing.T) {
	for _, file := range []string{"torch-files/gpt2_hf_zip.bin", "torch-files/gpt2_hf_legacy.bin", "torch-files/gpt2_noprefix_zip.bin", "torch-files/gpt2_fp16.pt",
		"torch-files/gpt2_bf16.pt", "torch-files/sharded", "torch-files/trainer_ckpt.pt", "gguf/gpt2_f32.gguf", "gguf/gpt2_f16.gguf", "gguf/gpt2_bf16.gguf", "npy-npz/gpt2_state.npz"} {
		t.Run(file, func(t *testing.T) {
			dir := t.TempDir()
			a := filepath.Join(dir, "a.safetensors")
			o := convert.Options{To: convert.SafeTensors, Layout: "cerebras"}
			run(t, filepath.Join(dataDir(t, ""), file), a, o)
			o.Layout = "hf"
			b, c := filepath.Join(dir, "b.safetensors"), filepath.Join(dir, "c.safetensors")
			run(t, a, b, o)
			o.Layout = "nanogpt"
			n := filepath.Join(dir, "n.safetensors")
			run(t, b, n, o)
			o.Layout = "hf"
			run(t, n, c, o)
			if diff := cmp.Diff(contents(t, c), contents(t, b)); diff != "" {
				t.Errorf("hf and back (-got +want):\n%s", diff)
			}
		})
	}
}
