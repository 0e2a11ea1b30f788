package convert_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/convert"
	"github.com/spdfctl/spdfctl/formats/safetensors"
	"github.com/spdfctl/spdfctl/masks"
)

// halves writes a checkpoint with a moment and a dense tensor beside a 2:4
// matrix, and returns its path and its masks.
func halves(t *testing.T, dir string) (string, *masks.Set) {
	t.Helper()
	m, err := masks.RandomPattern(masks.Target{Name: "a.weight", Out: 5, In: 12}, 30, masks.Pattern{Kind: masks.NofM, A: 2, B: 4}, false, 1)
	if err != nil {
		t.Fatal(err)
	}
	set, err := masks.NewSet([]*masks.Mask{m}, masks.Recipe{Pattern: "2:4"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, 5*12*2)
	for e := range 5 * 12 {
		if m.Keep(e/12, e%12) && e%5 != 0 { // some kept zeros
			data[2*e], data[2*e+1] = byte(e), 0x80
		}
	}
	path := filepath.Join(dir, "dense.safetensors")
	tensors := []safetensors.Tensor{
		safetensors.Bytes("a.weight", formats.BF16, []int{5, 12}, data), safetensors.Bytes("exp_avg.a.weight", formats.BF16, []int{5, 12}, data),
		safetensors.Bytes("b.bias", formats.BF16, []int{20}, make([]byte, 40)),
	}
	if err := safetensors.WriteFile(path, false, tensors, map[string]string{"format": "pt"}); err != nil {
		t.Fatal(err)
	}
	return path, set
}

// sparse-24-bitmask there and back: the same bytes, and the same masks.
func TestSparse24RoundTrip(t *testing.T) {
	dir := t.TempDir()
	dense, set := halves(t, dir)
	packed, back := filepath.Join(dir, "packed.safetensors"), filepath.Join(dir, "back.safetensors")
	p := convertFile(t, dense, packed, convert.Options{To: convert.SafeTensors, Masks: set, Sparse: true, Sparse24: true})
	if want := int64(2*30*2 + 5*2 + 16 + 40); p.StoredBytes() != want {
		t.Errorf("%d bytes, want %d", p.StoredBytes(), want)
	}
	f, err := safetensors.Open(packed)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got, _ := f.Tensor("a.weight.compressed"); fmt.Sprint(got.Shape) != "[5 6]" {
		t.Errorf("compressed is %v", got.Shape)
	}
	convertFile(t, packed, back, convert.Options{To: convert.SafeTensors})
	if !bytes.Equal(fileBytes(t, back), fileBytes(t, dense)) {
		t.Error("other bytes come back")
	}
	list, _, err := openAny(t, packed).ReadMasks(convert.MasksBitmask24, nil)
	if err != nil || len(list) != 1 || !list[0].Equal(set.Masks[0]) {
		t.Errorf("other masks come back: %v", err)
	}
	plain := filepath.Join(dir, "plain.safetensors")
	convertFile(t, dense, plain, convert.Options{To: convert.SafeTensors, Masks: set, Sparse: true})
	if _, _, err := openAny(t, plain).ReadMasks(convert.MasksBitmask24, nil); err == nil || !strings.Contains(err.Error(), "has row_offsets: it is sparse-bitmask") {
		t.Errorf("sparse-bitmask read as 2:4: %v", err)
	}
}

func TestSparse24Refused(t *testing.T) {
	dense, _ := halves(t, t.TempDir())
	m, err := masks.RandomMask(masks.Target{Name: "a.weight", Out: 5, In: 12}, 30, 1)
	if err != nil {
		t.Fatal(err)
	}
	set := setOf(t, m)
	_, err = convert.NewPlan(openAny(t, dense), convert.Options{To: convert.SafeTensors, Masks: set, Sparse: true, Sparse24: true})
	if err == nil || !strings.Contains(err.Error(), "of the 4 elements from column") {
		t.Errorf("%v", err)
	}
}

// Both homes of the configuration, and a third of old files; fraction or
// percent, of all parameters (30 of 80) or of the matrices (30 of 60).
func TestStatedSparsity(t *testing.T) {
	dir := t.TempDir()
	dense, set := halves(t, dir)
	packed := filepath.Join(dir, "model.safetensors")
	convertFile(t, dense, packed, convert.Options{To: convert.SafeTensors, Masks: set, Sparse: true, Exclude: []string{"exp_avg.*"}})
	for _, c := range []struct{ number, want string }{
		{"0.5", ""}, {"50", ""}, {"0.375", ""}, {"37.5", ""}, {"0.4", ""}, {"0.51", ""}, {"null", ""},
		{"0.75", "global_sparsity is 0.75, the bitmasks prune 0.5 of their matrices and 0.375 of all parameters"},
		{"75", "global_sparsity is 75, the bitmasks prune 0.5 of their matrices and 0.375 of all parameters"},
		{"0.1", "global_sparsity is 0.1"}, {"101", "global_sparsity is 101, neither a fraction nor percent"}, {"-1", "neither a fraction nor percent"},
		{`"half"`, "sparsity_config: json: "},
	} {
		for _, home := range []string{
			`{"quantization_config": {"format": "dense", "sparsity_config": {"format": "sparse-bitmask", "global_sparsity": %s}}}`,
			`{"compression_config": {"sparsity_config": {"global_sparsity": %s}}}`,
			`{"quantization_config": {"bits": 4}, "sparsity_config": {"global_sparsity": %s}}`,
		} {
			text := fmt.Sprintf(home, c.number)
			if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(text), 0o666); err != nil {
				t.Fatal(err)
			}
			f := openAny(t, packed)
			if _, _, err := f.ReadMasks("", nil); c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%s: %v, want %q", text, err, c.want)
			}
		}
	}
}
