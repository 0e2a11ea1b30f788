package main

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spdfctl/spdfctl/formats/maskfile"
	"github.com/spdfctl/spdfctl/formats/safetensors"
	"github.com/spdfctl/spdfctl/masks"
	"github.com/spdfctl/spdfctl/train/gpt"
)

// spdfctl runs a command line in this process.
func spdfctl(args ...string) (code int, stdout, stderr string) {
	var out, log bytes.Buffer
	code = run(args, &out, &log)
	return code, out.String(), log.String()
}

// maskAndWeights writes the masks of a model of one block and a checkpoint in
// which no weight is zero, and returns their paths.
func maskAndWeights(t *testing.T, dir string) (mask, weights string) {
	t.Helper()
	c := gpt.Config{NLayer: 1, NEmbd: 6, NHead: 2, NInner: 11, NCtx: 4, VocabSize: 7}.WithDefaults()
	s, err := masks.ParseSparsity("0.75")
	if err != nil {
		t.Fatal(err)
	}
	set, err := masks.Random(gpt.MaskTargets(c), s, 1)
	if err != nil {
		t.Fatal(err)
	}
	mask, weights = filepath.Join(dir, "mask.safetensors"), filepath.Join(dir, "model.safetensors")
	if err := maskfile.Write(mask, false, set); err != nil {
		t.Fatal(err)
	}
	m, err := gpt.New(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	var tensors []safetensors.Tensor
	for _, p := range m.Params {
		for i := range p.W {
			p.W[i] = float32(i + 1)
		}
		tensors = append(tensors, safetensors.Float32s("transformer."+p.Name, p.Shape, p.W))
	}
	if err := safetensors.WriteFile(weights, false, tensors, map[string]string{"format": "pt"}); err != nil {
		t.Fatal(err)
	}
	return mask, weights
}

// edit changes one float32 of a tensor in a file.
func edit(t *testing.T, path, tensor string, index int, value float32) {
	t.Helper()
	f, err := safetensors.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var tensors []safetensors.Tensor
	for _, info := range f.Infos() {
		data, err := f.Bytes(info.Name)
		if err != nil {
			t.Fatal(err)
		}
		x := make([]float32, len(data)/4)
		if err := f.ReadFloat32(x, info.Name); err != nil {
			t.Fatal(err)
		}
		if info.Name == tensor {
			x[index] = value
		}
		tensors = append(tensors, safetensors.Float32s(info.Name, info.Shape, x))
	}
	if err := safetensors.WriteFile(path, true, tensors, f.Metadata()); err != nil {
		t.Fatal(err)
	}
}

func TestMaskVerifyWeights(t *testing.T) {
	dir := t.TempDir()
	mask, dense := maskAndWeights(t, dir)
	sparse := filepath.Join(dir, "sparse.safetensors")

	code, stdout, stderr := spdfctl("mask", "verify", mask, "--weights", dense)
	if code != exitDifference || !strings.Contains(stderr, "208 of 208 pruned weights are not +0, the first is (0, ") {
		t.Errorf("dense weights: exit %d, %s%s", code, stdout, stderr)
	}
	if code, stdout, stderr = spdfctl("mask", "apply", mask, dense, "-o", sparse); code != exitOK || stdout != "" || !strings.Contains(stderr, "208 pruned weights are +0, 208 of them were not before") {
		t.Fatalf("apply: exit %d, %s%s", code, stdout, stderr)
	}
	if code, _, stderr = spdfctl("mask", "apply", mask, dense, "-o", sparse); code != exitFailed || !strings.Contains(stderr, "hint: --force replaces it") {
		t.Errorf("apply over a file: exit %d, %s", code, stderr)
	}
	if code, stdout, stderr = spdfctl("mask", "verify", mask, "--weights", sparse); code != exitOK || !strings.HasSuffix(stdout, "\n208 pruned weights are +0\n") {
		t.Errorf("sparse weights: exit %d, %s%s", code, stdout, stderr)
	}
	// Applying it again changes nothing, byte for byte.
	again := filepath.Join(dir, "again.safetensors")
	if code, stdout, stderr = spdfctl("mask", "apply", mask, sparse, "-o", again, "--json"); code != exitOK {
		t.Errorf("apply again: exit %d, %s", code, stderr)
	}
	var report struct{ Pruned, Changed, Total int }
	if err := json.Unmarshal([]byte(stdout), &report); err != nil || report.Pruned != 208 || report.Changed != 0 || report.Total != 276 {
		t.Errorf("apply again: %s %v", stdout, err)
	}
	if !bytes.Equal(readFile(t, sparse), readFile(t, again)) {
		t.Error("apply again: other bytes")
	}

	// -0 and the smallest number are not +0; what is kept may be anything.
	set, err := maskfile.Read(mask)
	if err != nil {
		t.Fatal(err)
	}
	v := set.Find("h.0.attn.c_attn.weight", "v")
	for _, value := range []float32{float32(math.Copysign(0, -1)), math.SmallestNonzeroFloat32, float32(math.NaN())} {
		for i := range v.Out {
			for j := range v.In {
				if (i+j)%4 != 0 {
					continue // a quarter will do
				}
				damaged := filepath.Join(t.TempDir(), "damaged.safetensors")
				if err := os.WriteFile(damaged, readFile(t, sparse), 0o644); err != nil {
					t.Fatal(err)
				}
				edit(t, damaged, "transformer.h.0.attn.c_attn.weight", j*18+12+i, value) // stored (in, 3*out), v last
				want := exitDifference
				if v.Keep(i, j) {
					want = exitOK
				}
				code, stdout, _ := spdfctl("mask", "verify", mask, "--weights", damaged, "--json")
				if code != want {
					t.Errorf("%g at (%d, %d), kept %v: exit %d", value, i, j, v.Keep(i, j), code)
				}
				var verdict maskVerdict
				if err := json.Unmarshal([]byte(stdout), &verdict); err != nil {
					t.Fatal(err)
				}
				if want == exitDifference {
					if n := verdict.Weights.Tensors; verdict.OK || len(n) != 1 || n[0] != (weightsLeft{v.Name, "v", "transformer." + v.Name, 1, [2]int{i, j}}) {
						t.Errorf("%g at (%d, %d): %s", value, i, j, stdout)
					}
				}
			}
		}
	}
}

// A run directory stands for its newest checkpoint.
func TestMaskVerifyRunDirectory(t *testing.T) {
	run := t.TempDir()
	dir := filepath.Join(run, "checkpoints", "step-00000010")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	mask, dense := maskAndWeights(t, dir)
	if err := os.Rename(mask, filepath.Join(dir, gpt.MasksFile)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, gpt.ConfigFile), []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(run, "checkpoints", "latest"), []byte("step-00000010\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := spdfctl("mask", "apply", run, run, "-o", dense, "--force"); code != exitOK {
		t.Fatalf("apply: exit %d, %s", code, stderr)
	}
	if code, stdout, stderr := spdfctl("mask", "verify", run, "--weights", run); code != exitOK {
		t.Errorf("verify: exit %d, %s%s", code, stdout, stderr)
	}
}

// A changed byte of the bits is a difference, exit code 3; a file that is no
// mask file is a failure, exit code 1.
func TestMaskVerifyDamage(t *testing.T) {
	mask, weights := maskAndWeights(t, t.TempDir())
	content := readFile(t, mask)
	content[len(content)-2] ^= 0x10
	if err := os.WriteFile(mask, content, 0o644); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := spdfctl("mask", "verify", mask, "--json")
	if code != exitDifference || stdout != "" || !strings.Contains(stderr, `mask "h.0.mlp.c_proj.weight": SHA-256 is `) {
		t.Errorf("flipped bit: exit %d, %s%s", code, stdout, stderr)
	}
	for _, command := range [][]string{{"inspect", mask}, {"diff", mask, mask}, {"apply", mask, weights, "-o", mask + ".out"}} {
		if code, stdout, _ := spdfctl(append([]string{"mask"}, command...)...); code != exitFailed || stdout != "" {
			t.Errorf("%s: exit %d, %s", command[0], code, stdout)
		}
	}
	if code, _, stderr := spdfctl("mask", "verify", weights); code != exitFailed || !strings.Contains(stderr, "this is no mask file") {
		t.Errorf("no mask file: exit %d, %s", code, stderr)
	}
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
