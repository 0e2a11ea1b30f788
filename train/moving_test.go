package train_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spdfctl/spdfctl/formats/maskfile"
	"github.com/spdfctl/spdfctl/kernels"
	"github.com/spdfctl/spdfctl/masks"
	"github.com/spdfctl/spdfctl/train"
	"github.com/spdfctl/spdfctl/train/data"
	"github.com/spdfctl/spdfctl/train/gpt"
)

// everything turns on what could lose its place at a resume.
func everything(r *train.Run) {
	c := &r.Config
	c.Dropout, c.ZLoss, c.LabelSmoothing, c.Recompute = 0.1, 1e-3, 0.05, true
	c.SpikeFactor, c.KeepBest, c.Patience = 1.5, 1, 8
	c.MaskUpdateEvery = 2
}

// variants are runs whose masks move, or go.
var variants = map[string]func(r *train.Run){
	"rigl":    func(r *train.Run) { everything(r); r.Config.Dynamic = "rigl" },
	"set":     func(r *train.Run) { everything(r); r.Config.Dynamic = "set" },
	"gmp":     func(r *train.Run) { everything(r); r.Config.Dynamic = "gmp"; r.Target, _ = masks.ParseSparsity("0.9") },
	"densify": func(r *train.Run) { r.Config.DensifyAt, r.Config.DensifyWarmupSteps = 7, 2 },
	"supar":   func(r *train.Run) { r.Config.Parametrization, r.Config.BaseWidth = "supar", 8 },
	"densify keeping moments": func(r *train.Run) {
		r.Config.DensifyAt, r.Config.KeepMoments, r.Config.DensifyLR = 5, true, 1e-3
	},
}

// TestVariantsResumeExactly: for every variant a run that is interrupted before,
// at and after a move of its masks and taken up, on other thread counts, ends with the files of
// the uninterrupted one.
func TestVariantsResumeExactly(t *testing.T) {
	defer kernels.SetThreads(0)
	for name, vary := range variants {
		t.Run(name, func(t *testing.T) {
			kernels.SetThreads(1)
			r := newRun(t, t.TempDir())
			vary(r)
			whole := do(t, r)
			for _, at := range []int{1, 6, 7} {
				kernels.SetThreads(2 + at%2)
				dir := t.TempDir()
				ctx, cancel := context.WithCancel(context.Background())
				r := newRun(t, dir)
				vary(r)
				r.OnStep = func(m train.Metrics) {
					if m.Step == at {
						cancel()
					}
				}
				if _, err := r.Do(ctx); !errors.Is(err, context.Canceled) {
					t.Fatalf("interrupted at %d: %v", at, err)
				}
				r = newRun(t, dir)
				vary(r)
				if err := r.ResumeNewest(); err != nil {
					t.Fatal(err)
				}
				sameFiles(t, whole.Directory, do(t, r).Directory)
			}
		})
	}
}

// TestMasksMove: after a run with moving masks the counts are those asked for
// and the places are others than at the start.
func TestMasksMove(t *testing.T) {
	for _, c := range []struct {
		name     string
		sparsity string
		moves    bool
	}{{"rigl", "0.75", true}, {"set", "0.75", true}, {"gmp", "0.9", false}} {
		r := newRun(t, t.TempDir())
		variants[c.name](r)
		before := r.Model.Masks
		s := do(t, r)
		set, err := maskfile.Read(filepath.Join(s.Directory, gpt.MasksFile))
		if err != nil {
			t.Fatal(err)
		}
		want, err := masks.ParseSparsity(c.sparsity)
		if err != nil {
			t.Fatal(err)
		}
		grown := 0
		for _, m := range set.Masks {
			if m.Kept() != want.Kept(m.Total()) {
				t.Errorf("%s: %q keeps %d of %d, want %d", c.name, m.Key(), m.Kept(), m.Total(), want.Kept(m.Total()))
			}
			_, only, _ := m.Overlap(before.Find(m.Name, m.Part))
			grown += only
		}
		if (grown > 0) != c.moves {
			t.Errorf("%s: %d weights grew, want some: %t", c.name, grown, c.moves)
		}
	}
}

// TestDensifyInRun: the loss goes on where it was, all weights are there at the
// end, and the schedule starts again.
func TestDensifyInRun(t *testing.T) {
	r := newRun(t, t.TempDir())
	variants["densify"](r)
	lr := map[int]float64{}
	r.OnStep = func(m train.Metrics) { lr[m.Step] = m.LR }
	s := do(t, r)
	if r.Model.Masks != nil {
		t.Error("the model has masks after densify_at")
	}
	if _, err := os.Stat(filepath.Join(s.Directory, gpt.MasksFile)); err == nil {
		t.Error("the last checkpoint has masks")
	}
	if lr[8] != 0.5e-2 || lr[9] != 1e-2 || !(lr[7] < 0.3e-2) {
		t.Errorf("learning rates around densify_at are %g %g %g, want a decay, then a warm-up of two steps to 0.01", lr[7], lr[8], lr[9])
	}
}

// poison spoils the batches of one step, as damaged data would.
type poison struct {
	data.Source
	first, size int
	run         *train.Run
}

func (p *poison) Batch(lo, hi int) (*data.Batch, error) {
	w := p.run.Model.Param("ln_f.weight").W
	if lo >= p.first && lo < p.first+p.size {
		w[0] = float32(math.NaN())
	} else if w[0] != w[0] {
		w[0] = 1
	}
	return p.Source.Batch(lo, hi)
}

// TestPolicies: a batch that makes the loss NaN is skipped or gone around, and
// the run reaches its end; more than one way to do it is written down.
func TestPolicies(t *testing.T) {
	for policy, want := range map[string]string{
		"skip":     "step 6: loss is NaN, gradient norm is NaN: update skipped",
		"rollback": "rolled back to step 4, batches of 2 steps left out",
	} {
		r := newRun(t, t.TempDir())
		r.Config.OnNonFinite = policy
		r.Train = &poison{Source: r.Train, first: 5 * 4, size: 4, run: r}
		var warned []string
		r.Warn = func(line string) { warned = append(warned, line) }
		s := do(t, r)
		if s.Steps != 12 || math.IsNaN(s.Loss) {
			t.Errorf("%s: run ends at step %d with loss %g", policy, s.Steps, s.Loss)
		}
		log, err := os.ReadFile(filepath.Join(r.Dir, train.MetricsFile))
		if err != nil {
			t.Fatal(err)
		}
		if len(warned) != 1 || !strings.Contains(warned[0], want) || !strings.Contains(string(log), want) {
			t.Errorf("%s: warned of %q, want %q there and in the log", policy, warned, want)
		}
	}
}

// TestSpike: a loss above the factor is a spike.
func TestSpike(t *testing.T) {
	r := newRun(t, t.TempDir())
	r.Config.SpikeFactor, r.Config.OnSpike = 1.05, "stop"
	r.OnStep = func(m train.Metrics) {
		if m.Step == 5 {
			for _, p := range r.Model.Params {
				kernels.Scale(p.W, 4)
			}
		}
	}
	if _, err := r.Do(context.Background()); err == nil || !strings.Contains(err.Error(), "times the running mean") {
		t.Errorf("run with a spike: %v", err)
	}
}

// TestDamageFallsBack: with the newest checkpoint cut or flipped, in any file,
// the one before is taken, loudly, and the end is the same.
func TestDamageFallsBack(t *testing.T) {
	whole := do(t, newRun(t, t.TempDir()))
	dir := t.TempDir()
	newest := do(t, newRun(t, dir)).Directory
	for _, name := range []string{gpt.WeightsFile, gpt.MasksFile, gpt.ConfigFile, train.StateFile, train.SumsFile} {
		for _, damage := range []string{"flip", "cut", "remove"} {
			path := filepath.Join(newest, name)
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			switch damage {
			case "flip":
				b[len(b)/2] ^= 4
				err = os.WriteFile(path, b, 0o644)
			case "cut":
				err = os.Truncate(path, int64(len(b)/3))
			case "remove":
				err = os.Remove(path)
			}
			if err != nil {
				t.Fatal(err)
			}
			r := newRun(t, dir)
			var warned string
			r.Warn = func(line string) { warned += line }
			if err := r.ResumeNewest(); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(warned, "step-00000012 is damaged") {
				t.Errorf("%s, %s: warned %q", name, damage, warned)
			}
			if at, err := gpt.CheckpointDir(dir); err != nil || filepath.Base(at) != "step-00000008" {
				t.Errorf("%s, %s: latest is %s: %v", name, damage, at, err)
			}
			sameFiles(t, whole.Directory, do(t, r).Directory)
		}
	}
}

// TestVerify: the steps before the newest checkpoint lead to it, and to no other.
func TestVerify(t *testing.T) {
	dir := t.TempDir()
	do(t, newRun(t, dir))
	if steps, err := newRun(t, dir).Verify(context.Background()); err != nil || steps != 4 {
		t.Errorf("%d steps, %v, want 4 and the same bits", steps, err)
	}
	r := newRun(t, dir)
	other := newRun(t, t.TempDir())
	other.Train, _ = data.NewWindows(make(memory, 400), 12, 4)
	r.Train = other.Train
	var differs *train.ReplayError
	if _, err := r.Verify(context.Background()); !errors.As(err, &differs) {
		t.Errorf("with other data: %v, want a *ReplayError", err)
	}
}

func TestStopsEarly(t *testing.T) {
	r := newRun(t, t.TempDir())
	r.Config.EvalEvery, r.Config.Patience, r.Config.MinDelta = 1, 3, 100
	if s := do(t, r); s.Steps != 4 || !strings.Contains(s.Stopped, "3 validations") {
		t.Errorf("stopped at step %d: %q, want 4, because 3 validations were no better", s.Steps, s.Stopped)
	}
	r = newRun(t, t.TempDir())
	r.Config.MaxTime = 1
	s := do(t, r)
	if s.Steps != 0 || s.Stopped == "" {
		t.Errorf("with no time left: %d steps, %q", s.Steps, s.Stopped)
	}
}

func TestKeepBest(t *testing.T) {
	r := newRun(t, t.TempDir())
	r.Config.EvalEvery, r.Config.SaveEvery, r.Config.KeepLast, r.Config.KeepBest = 1, 0, 1, 2
	var losses []float64
	r.OnStep = func(m train.Metrics) { losses = append(losses, *m.ValLoss) }
	do(t, r)
	best := 0
	for i := range losses {
		if losses[i] < losses[best] {
			best = i
		}
	}
	for step := range losses {
		_, err := os.Stat(filepath.Join(r.Dir, train.CheckpointsDir, fmt.Sprintf("step-%08d", step+1)))
		if step == best && err != nil {
			t.Errorf("the best checkpoint, of step %d, is gone", step+1)
		}
	}
	list, err := filepath.Glob(filepath.Join(r.Dir, train.CheckpointsDir, "step-*"))
	if err != nil || len(list) > 3 {
		t.Errorf("%d checkpoints stay, want at most the last and two best: %v", len(list), err)
	}
}
