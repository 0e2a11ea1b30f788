//go:build pytorch

package torch_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/stored"
	"github.com/spdfctl/spdfctl/formats/torch"
)

// These tests need a Python with PyTorch: go test -tags pytorch, and the
// environment variable SPDF_PYTHON if it is not python3 in the PATH.

// python runs a program in testdata and decodes what it prints.
func python(t *testing.T, into any, program string, args ...string) {
	t.Helper()
	interpreter := os.Getenv("SPDF_PYTHON")
	if interpreter == "" {
		interpreter = "python3"
	}
	cmd := exec.Command(interpreter, append([]string{filepath.Join("testdata", program)}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(out, into); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
}

// seen is what dump.py prints: by name, dtype, shape and digest.
type seen map[string]struct {
	DType   string
	Shape   []int
	SHA256  string
	Storage string
}

func (s seen) sums() map[string]string {
	m := make(map[string]string)
	for name, t := range s {
		m[name] = formats.Info{DType: torchNames[t.DType], Shape: t.Shape}.String() + " " + t.SHA256
	}
	return m
}

// TestTorchLoadsOurs: torch.load with weights_only reads what Write writes, to
// the same values, tied tensors tied.
func TestTorchLoadsOurs(t *testing.T) {
	var tensors []stored.Tensor
	for _, name := range []string{"float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool", "complex64"} {
		d := torchNames[name]
		tensors = append(tensors, memory(name, d, 3, 4), memory(name+".scalar", d), memory(name+".empty", d, 0, 5), memory(name+".é\"'", d, 300))
	}
	path := filepath.Join(t.TempDir(), "ours.pt")
	for _, under := range []string{"", "model"} {
		o := torch.WriteOptions{Under: under, Aliases: map[string][]string{"float32": {"tied"}}}
		if under != "" {
			o.Fields = []torch.Field{{Key: "iter_num", Value: int64(1) << 40}, {Key: "args", Value: []torch.Field{{Key: "bias", Value: true}, {Key: "lr", Value: 0.5}, {Key: "none"}}}}
		}
		if err := writeFile(path, write(t, tensors, o)); err != nil {
			t.Fatal(err)
		}
		var got seen
		// PyTorch 1.13's weights_only does not know floats: plain dicts only.
		mode := "weights_only"
		if under != "" {
			mode = "whole"
		}
		python(t, &got, "dump.py", path, mode)
		want := make(map[string]string)
		prefix := ""
		if under != "" {
			prefix = under + "."
		}
		for name, sum := range sums(t, tensors) {
			want[prefix+name] = sum
		}
		want[prefix+"tied"] = want[prefix+"float32"]
		if diff := cmp.Diff(got.sums(), want); diff != "" {
			t.Errorf("under %q (-PyTorch +want):\n%s", under, diff)
		}
		if got[prefix+"tied"].Storage != got[prefix+"float32"].Storage {
			t.Errorf("under %q: the tied tensor has a storage of its own", under)
		}
	}
}

// TestAgainstTorchLoad compares checkpoints of the shape of a small GPT-2, in
// every container and type, with what torch.load makes of them.
func TestAgainstTorchLoad(t *testing.T) {
	dir := t.TempDir()
	var files []string
	python(t, &files, "gpt2.py", dir)
	if len(files) < 12 {
		t.Fatalf("%d files", len(files))
	}
	for _, file := range files {
		t.Run(file, func(t *testing.T) {
			path := filepath.Join(dir, file)
			var want seen
			python(t, &want, "dump.py", path, "whole")
			f, err := torch.Open(path, torch.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if diff := cmp.Diff(sums(t, f.Tensors()), want.sums()); diff != "" {
				t.Errorf("tensors (-got +PyTorch):\n%s", diff)
			}
		})
	}
}
