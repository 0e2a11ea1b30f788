package train_test

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spdfctl/spdfctl/formats/tfevents"
	"github.com/spdfctl/spdfctl/train"
	"github.com/spdfctl/spdfctl/train/gpt"
)

// readCSV returns the rows of metrics.csv by column.
func readCSV(t *testing.T, dir string) (steps []int, losses, valLosses []string) {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, train.CSVFile))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	at := func(key string) int { return slices.Index(rows[0], key) }
	for _, row := range rows[1:] {
		step, err := strconv.Atoi(row[at("step")])
		if err != nil {
			t.Fatal(err)
		}
		steps, losses, valLosses = append(steps, step), append(losses, row[at("loss")]), append(valLosses, row[at("val_loss")])
	}
	return steps, losses, valLosses
}

// events returns the values that TensorBoard would show: of several files, the
// later one replaces the steps from its start on.
func events(t *testing.T, dir string) map[string]map[int64]tfevents.Value {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, tfevents.FilePrefix+"*"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no event file: %v", err)
	}
	slices.Sort(paths)
	shown := map[string]map[int64]tfevents.Value{}
	for _, path := range paths {
		err := tfevents.ReadFile(path, func(e tfevents.Event) error {
			for _, bySteps := range shown {
				for step := range bySteps {
					if e.Start && step >= e.Step {
						delete(bySteps, step)
					}
				}
			}
			for _, v := range e.Values {
				if shown[v.Tag] == nil {
					shown[v.Tag] = map[int64]tfevents.Value{}
				}
				shown[v.Tag][e.Step] = v
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return shown
}

// TestWatchFiles compares metrics.csv, the events and sparsity.jsonl of an
// interrupted and resumed run with metrics.jsonl.
func TestWatchFiles(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	r := newRun(t, dir)
	r.Config.SaveEvery = 5
	r.OnStep = func(m train.Metrics) {
		if m.Step == 7 {
			cancel()
		}
	}
	if _, err := r.Do(ctx); err == nil {
		t.Fatal("the run was not interrupted")
	}
	// As after kill -9: the checkpoint of step 7 is gone, the logs are ahead.
	if err := os.RemoveAll(filepath.Join(dir, train.CheckpointsDir, "step-00000007")); err != nil {
		t.Fatal(err)
	}
	resumed := newRun(t, dir)
	resumed.Config.SaveEvery = 5
	if err := resumed.Resume(filepath.Join(dir, train.CheckpointsDir, "step-00000005")); err != nil {
		t.Fatal(err)
	}
	do(t, resumed)

	text, err := os.ReadFile(filepath.Join(dir, train.MetricsFile))
	if err != nil {
		t.Fatal(err)
	}
	var wantSteps []int
	var wantLosses, wantVal []string
	shown := events(t, dir)
	for line := range strings.Lines(string(text)) {
		var m train.Metrics
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatal(err)
		}
		val := ""
		if m.ValLoss != nil {
			val = strconv.FormatFloat(*m.ValLoss, 'g', -1, 64)
		}
		wantSteps, wantLosses, wantVal = append(wantSteps, m.Step), append(wantLosses, strconv.FormatFloat(m.Loss, 'g', -1, 64)), append(wantVal, val)
		if got := shown["train/loss"][int64(m.Step)].Scalar; got != float32(m.Loss) {
			t.Errorf("step %d: event has loss %g, metrics.jsonl %g", m.Step, got, m.Loss)
		}
	}
	if len(wantSteps) != 12 {
		t.Errorf("metrics.jsonl has %d lines, want 12", len(wantSteps))
	}
	steps, losses, val := readCSV(t, dir)
	if d := cmp.Diff([]any{steps, losses, val}, []any{wantSteps, wantLosses, wantVal}); d != "" {
		t.Errorf("metrics.csv (-) differs from metrics.jsonl (+):\n%s", d)
	}

	m, err := gpt.Load(dir, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range m.Params {
		h := shown["weights/"+p.Name][12].Histogram
		if h == nil || h.Num != float64(len(p.W)) {
			t.Errorf("%s: histogram is %v, want one of the %d weights", p.Name, h, len(p.W))
		}
	}
	sparse, err := os.ReadFile(filepath.Join(dir, train.SparsityFile))
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(strings.TrimSpace(string(sparse)), "\n") {
		var got train.SparsityLine
		if err := json.Unmarshal([]byte(line), &got); err != nil {
			t.Fatal(err)
		}
		if want := []int{0, 5}[i]; got.Step != want || len(got.Tensors) != len(m.Masks.Masks) {
			t.Errorf("line %d of sparsity.jsonl is of step %d with %d matrices, want %d with %d", i+1, got.Step, len(got.Tensors), want, len(m.Masks.Masks))
		}
		for _, x := range got.Tensors {
			if x.Target == nil || *x.Target != 0.75 || x.Actual != 0.75 {
				t.Errorf("%s: target %v, actual %g, want 0.75", x.Name, x.Target, x.Actual)
			}
			if v := shown["sparsity/actual/"+x.Name][12].Scalar; v != 0.75 {
				t.Errorf("%s: event has sparsity %g, want 0.75", x.Name, v)
			}
		}
	}
}
