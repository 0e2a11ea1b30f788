package train_test

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/spdfctl/spdfctl/formats/safetensors"
	"github.com/spdfctl/spdfctl/train"
	"github.com/spdfctl/spdfctl/train/data"
	"github.com/spdfctl/spdfctl/train/gpt"
	"github.com/spdfctl/spdfctl/train/optim"
)

// curveTolerance is relative, of the loss of every step, against PyTorch in
// float64; PyTorch's own float32 run is off by as much as curve.json says.
const curveTolerance = 1e-4

// curveText is the text of testdata/golden/curve.py.
type curveText struct{ seqLen int }

func (c curveText) Len() int { return 20000 }

func (c curveText) Batch(lo, hi int) (*data.Batch, error) {
	b := &data.Batch{B: hi - lo, T: c.seqLen}
	for i := lo; i < hi; i++ {
		start := i * 377 % (c.Len() - c.seqLen - 1)
		for k := start; k < start+c.seqLen; k++ {
			b.IDs = append(b.IDs, int32(k*k*3%97))
			n := k + 1
			b.Targets = append(b.Targets, int32(n*n*3%97))
		}
	}
	return b, nil
}

func (c curveText) InOrder(lo, hi int) (*data.Batch, error) { return c.Batch(lo, hi) }

// TestCurve trains 200 steps, in micro-batches, and holds the loss of each
// against PyTorch's from the same weights, data and schedule.
func TestCurve(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "testdata", "golden", "curve.json"))
	if err != nil {
		t.Fatal(err)
	}
	var want struct {
		Steps, Warmup, Batch int
		SeqLen               int     `json:"seq_len"`
		LR                   float64 `json:"lr"`
		MinLRRatio           float64 `json:"min_lr_ratio"`
		Losses               map[string][]float64
	}
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"dense", "masked"} {
		m, o := goldenModel(t, name)
		cfg := train.Defaults()
		cfg.AdamWConfig, cfg.GradClip = o, 1
		cfg.BatchSize, cfg.MicroBatchSize, cfg.SeqLen = want.Batch, 2, want.SeqLen
		cfg.MaxSteps, cfg.WarmupSteps, cfg.LR, cfg.MinLRRatio = want.Steps, want.Warmup, want.LR, want.MinLRRatio
		cfg.SaveEvery = 0
		r := &train.Run{Dir: t.TempDir(), Config: cfg, Model: m, Train: curveText{want.SeqLen}}
		worst, at := 0.0, 0
		r.OnStep = func(s train.Metrics) {
			w := want.Losses[name][s.Step-1]
			if d := math.Abs(s.Loss-w) / w; d > worst {
				worst, at = d, s.Step
			}
		}
		do(t, r)
		t.Logf("%s: loss from %.4f to %.4f, off by at most %.2g, at step %d", name, want.Losses[name][0], want.Losses[name][want.Steps-1], worst, at)
		if !(worst <= curveTolerance) {
			t.Errorf("%s: loss is off by %.2g at step %d, tolerance %g", name, worst, at, curveTolerance)
		}
	}
}

// goldenModel returns the model of a golden file at its start, and its optimizer.
func goldenModel(t *testing.T, name string) (*gpt.Model, optim.AdamWConfig) {
	t.Helper()
	base := filepath.Join("..", "testdata", "golden", "gpt2_"+name)
	text, err := os.ReadFile(base + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var g golden
	if err := json.Unmarshal(text, &g); err != nil {
		t.Fatal(err)
	}
	f, err := safetensors.Open(base + ".safetensors")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m, err := gpt.New(g.Config.WithDefaults(), goldenMasks(t, f, g.Config))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range m.Params {
		w := make([]float32, p.Size())
		if err := f.ReadFloat32(w, "init."+p.Name); err != nil {
			t.Fatal(err)
		}
		p.FromDense(p.W, w)
	}
	o := g.Optimizer
	return m, optim.AdamWConfig{Beta1: o.Beta1, Beta2: o.Beta2, Eps: o.Eps, WeightDecay: o.WeightDecay}
}
