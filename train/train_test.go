package train_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spdfctl/spdfctl/formats/safetensors"
	"github.com/spdfctl/spdfctl/kernels"
	"github.com/spdfctl/spdfctl/train"
	"github.com/spdfctl/spdfctl/train/data"
	"github.com/spdfctl/spdfctl/train/gpt"
)

// sameFiles compares every file of two checkpoint directories byte by byte.
func sameFiles(t *testing.T, a, b string) {
	t.Helper()
	entries, err := os.ReadDir(a)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) < 4 {
		t.Fatalf("%s holds %d files, want config, weights, state and sums", a, len(entries))
	}
	for _, e := range entries {
		x, err := os.ReadFile(filepath.Join(a, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		y, err := os.ReadFile(filepath.Join(b, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(x, y) {
			t.Errorf("%s differs between %s and %s", e.Name(), a, b)
		}
	}
}

// TestResumeIsExact stops a run in the middle and compares what comes out of
// the resumed one with the uninterrupted run, bit for bit.
func TestResumeIsExact(t *testing.T) {
	whole := do(t, newRun(t, t.TempDir()))

	dir := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	r := newRun(t, dir)
	r.OnStep = func(m train.Metrics) {
		if m.Step == 6 {
			cancel()
		}
	}
	resumedFrom, err := r.Do(ctx)
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("interrupted run: %v, want %v", err, context.Canceled)
	}
	resumed := newRun(t, dir)
	at, err := gpt.CheckpointDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if want := "step-00000006"; filepath.Base(at) != want {
		t.Fatalf("the interrupted run left %s, want %s", at, want)
	}
	if err := resumed.Resume(at); err != nil {
		t.Fatal(err)
	}
	s := do(t, resumed)
	sameFiles(t, whole.Directory, s.Directory)
	if s.Tokens != whole.Tokens || s.Loss != whole.Loss || *s.ValLoss != *whole.ValLoss {
		t.Errorf("resumed run ends with %d tokens, loss %g, validation %g; uninterrupted %d, %g, %g",
			s.Tokens, s.Loss, *s.ValLoss, whole.Tokens, whole.Loss, *whole.ValLoss)
	}
	if s.Time <= resumedFrom.Time {
		t.Errorf("resumed run counts %v of training, the interrupted part alone had %v", s.Time, resumedFrom.Time)
	}
	log, err := os.ReadFile(filepath.Join(dir, train.MetricsFile))
	if err != nil {
		t.Fatal(err)
	}
	if got := bytes.Count(log, []byte("\n")); got != 12 {
		t.Errorf("metrics.jsonl has %d lines after the resume, want 12", got)
	}
}

// newBlendRun is newRun on three weighted texts, validated on two of them.
func newBlendRun(t *testing.T, dir string) *train.Run {
	t.Helper()
	r := newRun(t, dir)
	var parts []*data.Windows
	for k := range 3 {
		text := make(memory, 100+100*k)
		for i := range text {
			text[i] = int32((k + 2) * i * i % 17)
		}
		w, err := data.NewWindows(text, 12, data.Seed(4, k))
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, w)
	}
	blend, err := data.NewBlend(parts, []uint64{5, 2, 2})
	if err != nil {
		t.Fatal(err)
	}
	r.Train = blend
	r.Valid = []train.Validation{{Name: "a", Weight: 5, Set: parts[0]}, {Name: "b", Weight: 2, Set: parts[1]}}
	r.Config.MaxSteps, r.Config.SaveEvery = 6, 1
	return r
}

// TestBlendResumesAnywhere takes a run on several sources up at every step of it.
func TestBlendResumesAnywhere(t *testing.T) {
	whole := do(t, newBlendRun(t, t.TempDir()))
	if len(whole.ValLosses) != 2 {
		t.Fatalf("validation losses are %v, want those of a and b", whole.ValLosses)
	}
	mean := (5*whole.ValLosses["a"] + 2*whole.ValLosses["b"]) / 7
	if got := *whole.ValLoss; math.Abs(got-mean) > 1e-12 || whole.ValLosses["a"] == whole.ValLosses["b"] {
		t.Errorf("validation loss is %g, want the mean %g of %v by weight", got, mean, whole.ValLosses)
	}
	checkpoints := filepath.Dir(whole.Directory)
	for step := 1; step < 6; step++ {
		r := newBlendRun(t, t.TempDir())
		if err := r.Resume(filepath.Join(checkpoints, fmt.Sprintf("step-%08d", step))); err != nil {
			t.Fatal(err)
		}
		s := do(t, r)
		sameFiles(t, whole.Directory, s.Directory)
		if *s.ValLoss != *whole.ValLoss || s.ValLosses["b"] != whole.ValLosses["b"] {
			t.Errorf("from step %d: validation %v, want %v", step, s.ValLosses, whole.ValLosses)
		}
	}
}

// TestThreadsDoNotMatter trains with several worker counts.
func TestThreadsDoNotMatter(t *testing.T) {
	defer kernels.SetThreads(0)
	kernels.SetThreads(1)
	one := do(t, newRun(t, t.TempDir()))
	for _, n := range []int{2, 3, 7} {
		kernels.SetThreads(n)
		sameFiles(t, one.Directory, do(t, newRun(t, t.TempDir())).Directory)
	}
}

// TestPrunedStaysZero looks at every checkpoint: pruned weights are exactly
// +0, and moments exist for the kept weights only.
func TestPrunedStaysZero(t *testing.T) {
	r := newRun(t, t.TempDir())
	r.Config.SaveEvery = 1
	do(t, r)
	for step := 1; step <= r.Config.MaxSteps; step++ {
		dir := filepath.Join(r.Dir, train.CheckpointsDir, "step-000000"+string(rune('0'+step/10))+string(rune('0'+step%10)))
		f, err := safetensors.Open(filepath.Join(dir, gpt.WeightsFile))
		if err != nil {
			t.Fatal(err)
		}
		state, err := safetensors.Open(filepath.Join(dir, train.StateFile))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range r.Model.Params {
			if !p.Masked() {
				continue
			}
			w := make([]float32, p.Size())
			if err := f.ReadFloat32(w, "transformer."+p.Name); err != nil {
				t.Fatal(err)
			}
			zero := 0
			for _, x := range w {
				if math.Float32bits(x) == 0 {
					zero++
				}
			}
			// A kept weight is never exactly 0 after a step of AdamW.
			if want := p.Size() - len(p.W); zero != want {
				t.Errorf("step %d: %s has %d weights of exactly +0, want the %d pruned ones", step, p.Name, zero, want)
			}
			for _, moment := range []string{"m.", "v."} {
				info, ok := state.Lookup(moment + p.Name)
				if !ok || len(info.Shape) != 1 || info.Shape[0] != len(p.W) {
					t.Errorf("step %d: moment %s%s has shape %v, want the %d kept weights", step, moment, p.Name, info.Shape, len(p.W))
				}
			}
		}
		state.Close()
		f.Close()
	}
}

// TestResumeRefuses damages a checkpoint in the ways it can go bad.
func TestResumeRefuses(t *testing.T) {
	flip := func(name string) func(t *testing.T, dir string, r *train.Run) {
		return func(t *testing.T, dir string, r *train.Run) {
			path := filepath.Join(dir, name)
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			b[len(b)-1] ^= 1
			if err := os.WriteFile(path, b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	cut := func(name string) func(t *testing.T, dir string, r *train.Run) {
		return func(t *testing.T, dir string, r *train.Run) {
			path := filepath.Join(dir, name)
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(path, info.Size()/2); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		name, want string
		damage     func(t *testing.T, dir string, r *train.Run)
	}{
		{"weights flipped", "SHA256SUMS", flip(gpt.WeightsFile)},
		{"masks flipped", "SHA256SUMS", flip(gpt.MasksFile)},
		{"weights cut", "SHA256SUMS", cut(gpt.WeightsFile)},
		{"state flipped", "SHA256SUMS", flip(train.StateFile)},
		{"sums flipped", "SHA256SUMS", flip(train.SumsFile)},
		{"state cut", "SHA256SUMS", cut(train.StateFile)},
		{"state missing", train.StateFile, func(t *testing.T, dir string, r *train.Run) { os.Remove(filepath.Join(dir, train.StateFile)) }},
		{"config changed", "configuration differs", func(t *testing.T, dir string, r *train.Run) { r.Config.LR *= 2 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := do(t, newRun(t, t.TempDir()))
			r := newRun(t, t.TempDir())
			c.damage(t, s.Directory, r)
			err := r.Resume(s.Directory)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("resume: %v, want an error with %q", err, c.want)
			}
		})
	}
}

// TestStopsAtNaN: a loss that is not finite ends the run before it reaches the
// weights, and the checkpoints before it stay.
func TestStopsAtNaN(t *testing.T) {
	r := newRun(t, t.TempDir())
	r.OnStep = func(m train.Metrics) {
		if m.Step == 5 {
			r.Model.Param("ln_f.weight").W[0] = float32(math.NaN())
		}
	}
	_, err := r.Do(context.Background())
	if err == nil || !strings.Contains(err.Error(), "step 6: loss is NaN") {
		t.Fatalf("run with a NaN: %v, want it to stop at step 6", err)
	}
	dir, err := gpt.CheckpointDir(r.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := gpt.Load(dir, false); err != nil || filepath.Base(dir) != "step-00000004" {
		t.Errorf("newest checkpoint %s: %v, want a whole step-00000004", dir, err)
	}
}

// TestLearns: the loss of a predictable text falls far below a uniform guess.
func TestLearns(t *testing.T) {
	r := newRun(t, t.TempDir())
	r.Config.MaxSteps, r.Config.SaveEvery = 150, 0
	s := do(t, r)
	if uniform := math.Log(17); !(s.Loss < uniform/4) {
		t.Errorf("loss is %.3f after 150 steps, want below a quarter of %.3f", s.Loss, uniform)
	}
	if s.FLOPs != 150*4*10 {
		t.Errorf("FLOPs are %g, want steps * sequences * FLOPs per sequence = %d", s.FLOPs, 150*4*10)
	}
}

func TestKeepLast(t *testing.T) {
	r := newRun(t, t.TempDir())
	r.Config.SaveEvery, r.Config.KeepLast = 3, 2
	do(t, r)
	entries, err := os.ReadDir(filepath.Join(r.Dir, train.CheckpointsDir))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if got, want := strings.Join(names, " "), "latest step-00000009 step-00000012"; got != want {
		t.Errorf("checkpoints are %s, want %s", got, want)
	}
}

func TestConfigValidate(t *testing.T) {
	for _, c := range []struct {
		want string
		set  func(c *train.Config)
	}{
		{"batch_size is 0", func(c *train.Config) { c.BatchSize = 0 }},
		{"max_steps is 0", func(c *train.Config) { c.MaxSteps = 0 }},
		{"learning rate NaN", func(c *train.Config) { c.LR = math.NaN() }},
		{"learning rate -1", func(c *train.Config) { c.LR = -1 }},
		{"beta2 1 ", func(c *train.Config) { c.Beta2 = 1 }},
		{"grad_clip is -1", func(c *train.Config) { c.GradClip = -1 }},
		{`schedule "step"`, func(c *train.Config) { c.LRSchedule = "step" }},
		{"warm-up of 2000 steps in a run of 1000", func(c *train.Config) { c.WarmupSteps = 2000 }},
	} {
		cfg := train.Defaults()
		if err := cfg.Validate(); err != nil {
			t.Fatal(err)
		}
		c.set(&cfg)
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want an error with %q", err, c.want)
		}
	}
}
