package gpt_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/spdfctl/spdfctl/formats/safetensors"
	"github.com/spdfctl/spdfctl/masks"
	"github.com/spdfctl/spdfctl/train/gpt"
)

// goldenTolerance is relative, in norm per tensor, against PyTorch in float64.
const goldenTolerance = 1e-5

// golden is one case of testdata/golden; see its README.
type golden struct {
	Config  gpt.Config  `json:"config"`
	Batch   int         `json:"batch"`
	SeqLen  int         `json:"seq_len"`
	IDs     [][][]int32 `json:"ids"` // (steps, B, T+1)
	tensors *safetensors.File
}

// openGolden reads a case and builds its model from the initial weights.
func openGolden(t *testing.T, name string) (*golden, *gpt.Model) {
	t.Helper()
	base := filepath.Join("..", "..", "testdata", "golden", "gpt2_"+name)
	text, err := os.ReadFile(base + ".json")
	if err != nil {
		t.Fatal(err)
	}
	g := &golden{}
	if err := json.Unmarshal(text, g); err != nil {
		t.Fatal(err)
	}
	if g.tensors, err = safetensors.Open(base + ".safetensors"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.tensors.Close() })
	g.Config = g.Config.WithDefaults()
	m, err := gpt.New(g.Config, g.masks(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range m.Params {
		p.FromDense(p.W, g.tensor(t, "init."+p.Name, p.Size()))
	}
	return g, m
}

// masks returns the masks of the case, nil if it is dense.
func (g *golden) masks(t *testing.T) *masks.Set {
	t.Helper()
	var list []*masks.Mask
	for _, x := range gpt.MaskTargets(g.Config) {
		k := masks.New(x.Name, x.Part, x.Out, x.In)
		if _, ok := g.tensors.Lookup("mask." + k.Key()); !ok {
			continue
		}
		bits, err := g.tensors.Bytes("mask." + k.Key())
		if err != nil {
			t.Fatal(err)
		}
		copy(k.Bits, bits)
		list = append(list, k)
	}
	if list == nil {
		return nil
	}
	set, err := masks.NewSet(list, masks.Recipe{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func (g *golden) tensor(t *testing.T, name string, n int) []float32 {
	t.Helper()
	x := make([]float32, n)
	if err := g.tensors.ReadFloat32(x, name); err != nil {
		t.Fatal(err)
	}
	return x
}

// batch returns the inputs and targets of one step.
func (g *golden) batch(step int) (ids, targets []int32) {
	for _, row := range g.IDs[step] {
		ids = append(ids, row[:len(row)-1]...)
		targets = append(targets, row[1:]...)
	}
	return ids, targets
}

// TestGolden compares logits and all gradients with PyTorch's.
func TestGolden(t *testing.T) {
	for _, name := range []string{"dense", "masked"} {
		t.Run(name, func(t *testing.T) {
			g, m := openGolden(t, name)
			ids, targets := g.batch(0)
			n := len(ids)
			logits := make([]float32, n*g.Config.VocabSize)
			if err := m.Logits(logits, ids, g.Batch, g.SeqLen); err != nil {
				t.Fatal(err)
			}
			if e := relative(logits, g.tensor(t, "logits", len(logits))); !(e < goldenTolerance) {
				t.Errorf("logits are off by %.2g", e)
			}
			if _, _, err := m.LossAndGrad(ids, targets, g.Batch, g.SeqLen, 1/float32(n)); err != nil {
				t.Fatal(err)
			}
			for _, p := range m.Params {
				got := make([]float32, p.Size())
				p.Dense(got, p.Grad)
				e := relative(got, g.tensor(t, "grad."+p.Name, p.Size()))
				if !(e < goldenTolerance) {
					t.Errorf("gradient of %s is off by %.2g", p.Name, e)
				}
			}
		})
	}
}
