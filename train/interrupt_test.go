package train_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spdfctl/spdfctl/train"
	"github.com/spdfctl/spdfctl/train/data"
	"github.com/spdfctl/spdfctl/train/gpt"
)

// logged returns the lines of metrics.jsonl without what the clock decides.
func logged(t *testing.T, dir string) (lines []map[string]any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, train.MetricsFile))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatal(err)
		}
		delete(m, "seconds")
		delete(m, "tokens_per_second")
		lines = append(lines, m)
	}
	return lines
}

// asker calls back when batches are asked for.
type asker struct {
	*data.Windows
	batch, inOrder func(lo int)
}

func (a *asker) Batch(lo, hi int) (*data.Batch, error) {
	a.batch(lo)
	return a.Windows.Batch(lo, hi)
}

func (a *asker) InOrder(lo, hi int) (*data.Batch, error) {
	a.inOrder(lo)
	return a.Windows.InOrder(lo, hi)
}

// TestInterruptedInside interrupts a run inside a backward pass, in the middle of
// validations, the last one too, and in a sample: what is resumed ends with the
// files and the lines of the run that nobody touched.
func TestInterruptedInside(t *testing.T) {
	start := func(dir string, cancel func(place string, step int)) *train.Run {
		r := newRun(t, dir)
		r.Config.LogEvery, r.Config.KeepBest, r.Config.Patience, r.Config.SampleEvery = 3, 1, 10, 5
		step := 0
		both := &asker{Windows: r.Train.(*data.Windows)}
		both.batch = func(lo int) {
			step = lo/r.Config.BatchSize + 1
			r.Model.Observe(func(_ gpt.Stage, block int, backward bool) {
				if backward && block == 1 {
					cancel("backward", step)
				}
			})
		}
		both.inOrder = func(lo int) {
			if lo > 0 {
				cancel("validation", step)
			}
		}
		r.Train, r.Valid = both, []train.Validation{{Weight: 1, Set: both}}
		r.Sample = func(ctx context.Context, step int) error {
			cancel("sample", step)
			return ctx.Err()
		}
		return r
	}
	nowhere := func(string, int) {}
	r := start(t.TempDir(), nowhere)
	whole := do(t, r)
	for _, c := range []struct {
		place    string
		step, at int // at: of the checkpoint that is left
	}{{"backward", 7, 6}, {"validation", 8, 8}, {"validation", 12, 12}, {"sample", 10, 10}} {
		dir := t.TempDir()
		ctx, cancel := context.WithCancel(context.Background())
		left := start(dir, func(place string, step int) {
			if place == c.place && step == c.step {
				cancel()
			}
		})
		if _, err := left.Do(ctx); !errors.Is(err, context.Canceled) {
			t.Fatalf("interrupted in the %s of step %d: %v", c.place, c.step, err)
		}
		if at, err := gpt.CheckpointDir(dir); err != nil || filepath.Base(at) != fmt.Sprintf("step-%08d", c.at) {
			t.Errorf("interrupted in the %s of step %d: left %s, %v", c.place, c.step, at, err)
		}
		resumed := start(dir, nowhere)
		if err := resumed.ResumeNewest(); err != nil {
			t.Fatal(err)
		}
		sameFiles(t, whole.Directory, do(t, resumed).Directory)
		if d := cmp.Diff(logged(t, r.Dir), logged(t, dir)); d != "" {
			t.Errorf("interrupted in the %s of step %d, metrics.jsonl (-whole +resumed):\n%s", c.place, c.step, d)
		}
		_, want, wantVal := readCSV(t, r.Dir)
		_, got, gotVal := readCSV(t, dir)
		if d := cmp.Diff([]any{want, wantVal}, []any{got, gotVal}); d != "" {
			t.Errorf("interrupted in the %s of step %d, metrics.csv (-whole +resumed):\n%s", c.place, c.step, d)
		}
	}
}

// TestRollbacksApart: a run goes around any number of bad batches that are apart,
// and stops at one that it never comes past.
func TestRollbacksApart(t *testing.T) {
	bad := func(r *train.Run, is func(step int) bool) {
		r.Config.MaxSteps, r.Config.OnNonFinite, r.Config.SaveEvery = 24, "rollback", 1
		w := func() []float32 { return r.Model.Param("ln_f.weight").W }
		r.Train = &asker{Windows: r.Train.(*data.Windows), batch: func(lo int) {
			if w()[0] = 1; is(lo/r.Config.BatchSize + 1) {
				w()[0] = float32(math.NaN())
			}
		}}
	}
	r := newRun(t, t.TempDir())
	bad(r, func(step int) bool { return step%3 == 0 })
	warned := 0
	r.Warn = func(string) { warned++ }
	if s := do(t, r); s.Steps != 24 || warned < 7 {
		t.Errorf("%d steps with %d rollbacks, want 24 with at least 7", s.Steps, warned)
	}
	r = newRun(t, t.TempDir())
	bad(r, func(step int) bool { return step > 5 })
	if _, err := r.Do(context.Background()); err == nil || !strings.Contains(err.Error(), "rolled back 5 times without coming past it") {
		t.Errorf("with bad batches only: %v", err)
	}
}

// TestTargetOfGMP: the target of every matrix is the sparsity at which pruning
// ends, and in the end it is the actual one.
func TestTargetOfGMP(t *testing.T) {
	r := newRun(t, t.TempDir())
	variants["gmp"](r)
	do(t, r)
	text, err := os.ReadFile(filepath.Join(r.Dir, train.SparsityFile))
	if err != nil {
		t.Fatal(err)
	}
	var got train.SparsityLine
	for line := range strings.Lines(string(text)) {
		if err := json.Unmarshal([]byte(line), &got); err != nil {
			t.Fatal(err)
		}
		for _, x := range got.Tensors {
			if x.Target == nil || *x.Target != 0.9 {
				t.Fatalf("step %d: %s has target %v, want 0.9", got.Step, x.Name, x.Target)
			}
		}
	}
	for _, x := range got.Tensors {
		if math.Abs(x.Actual-0.9) > 0.005 { // half a weight of the smallest
			t.Errorf("%s ends at %g, want 0.9", x.Name, x.Actual)
		}
	}
}

// TestNotesInCSV: a validation before the first step has a row of metrics.csv, a
// skipped step has none, also when the table is written anew.
func TestNotesInCSV(t *testing.T) {
	r := newRun(t, t.TempDir())
	r.Config.EvalAtStart, r.Config.OnNonFinite = true, "skip"
	r.Train = &poison{Source: r.Train, first: 5 * 4, size: 4, run: r}
	do(t, r)
	steps, losses, val := readCSV(t, r.Dir)
	if len(steps) != 12 || steps[0] != 0 || losses[0] != "" || val[0] == "" || slices.Contains(steps, 6) {
		t.Errorf("rows are of steps %v with losses %q and validations %q, want a validation at 0 and no row for 6", steps, losses, val)
	}
	again := newRun(t, r.Dir)
	again.Config = r.Config
	if err := again.ResumeNewest(); err != nil {
		t.Fatal(err)
	}
	do(t, again)
	steps2, losses2, val2 := readCSV(t, r.Dir)
	if d := cmp.Diff([]any{steps, losses, val}, []any{steps2, losses2, val2}); d != "" {
		t.Errorf("written anew (+) metrics.csv differs:\n%s", d)
	}
}
