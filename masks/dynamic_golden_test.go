package masks_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/spdfctl/spdfctl/masks"
)

// goldenSchedule is a schedule in the words of testdata/dynamic.py.
type goldenSchedule struct {
	Kind              string
	Init, Final, Rate float64
	Begin, End, Every int
	Repeat            bool
	Values            []float64
}

func (s goldenSchedule) schedule() masks.Schedule {
	return masks.Schedule{
		Kind: s.Kind, Init: s.Init, Final: s.Final, Rate: s.Rate, Begin: s.Begin, End: s.End, Every: s.Every, Repeat: s.Repeat, Values: s.Values,
	}
}

// movesGolden is the output of testdata/dynamic.py, which shares no code with
// this package.
type movesGolden struct {
	Schedules []struct {
		Schedule goldenSchedule
		Steps    []int
		Values   []float64
		Kept     []int
	}
	Cases []struct {
		Method, Name, Part string
		Out, In            int
		Sparsity           string
		Seed               uint64
		Drop, Schedule     goldenSchedule
		Steps              []struct {
			Step      int
			Weights   []float32
			Gradients []float32
			Dropped   int
			Kept      []int
		}
	}
}

func readMoves(t *testing.T) movesGolden {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "dynamic_golden.json"))
	if err != nil {
		t.Fatal(err)
	}
	var golden movesGolden
	if err := json.Unmarshal(text, &golden); err != nil {
		t.Fatal(err)
	}
	return golden
}

func TestScheduleGolden(t *testing.T) {
	kinds := map[string]bool{}
	for _, c := range readMoves(t).Schedules {
		s := c.Schedule.schedule()
		if err := s.Check(); err != nil {
			t.Fatal(err)
		}
		kinds[s.Kind] = true
		for i, step := range c.Steps {
			if got := s.At(step); got != c.Values[i] {
				t.Errorf("%+v: step %d gives %v, want %v", c.Schedule, step, got, c.Values[i])
			}
			if got := s.Kept(step, 1001); got != c.Kept[i] {
				t.Errorf("%+v: step %d keeps %d of 1001, want %d", c.Schedule, step, got, c.Kept[i])
			}
		}
	}
	for _, kind := range []string{masks.Constant, masks.Linear, masks.Cubic, masks.Exponential, masks.Power, masks.Cosine, masks.Cyclic} {
		if !kinds[kind] {
			t.Errorf("no golden of the schedule %s", kind)
		}
	}
}

func TestMovesGolden(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range readMoves(t).Cases {
		target := masks.Target{Name: c.Name, Part: c.Part, Out: c.Out, In: c.In}
		m, err := masks.RandomMask(target, sparsity(t, c.Sparsity).Kept(target.Total()), c.Seed)
		if err != nil {
			t.Fatal(err)
		}
		seen[c.Method] = true
		for _, s := range c.Steps {
			keep := m.Kept()
			drop := masks.DropCount(keep, 0)
			if c.Method == "gmp" {
				keep = min(c.Schedule.schedule().Kept(s.Step, target.Total()), keep)
			} else {
				drop = masks.DropCount(keep, c.Drop.schedule().At(s.Step))
			}
			if drop != s.Dropped {
				t.Errorf("%s, step %d: %d go, want %d", c.Method, s.Step, drop, s.Dropped)
			}
			before := m
			switch c.Method {
			case "gmp":
				m, err = masks.MagnitudeUpdate(m, s.Weights, keep)
			case "set":
				m, err = masks.SETUpdate(m, s.Weights, drop, keep, c.Seed, s.Step)
			case "rigl":
				m, err = masks.RigLUpdate(m, s.Weights, s.Gradients, masks.Placement{RowStride: c.In, ColStride: 1, Elements: target.Total()}, drop, keep)
			}
			if err != nil {
				t.Fatalf("%s, step %d: %v", c.Method, s.Step, err)
			}
			if got := places(m, true); !slices.Equal(got, s.Kept) {
				t.Fatalf("%s, step %d keeps %v, want %v", c.Method, s.Step, got, s.Kept)
			}
			if m.Kept() != keep || m.Check() != nil || m.Target() != before.Target() {
				t.Errorf("%s, step %d: %d kept, want %d; %v", c.Method, s.Step, m.Kept(), keep, m.Check())
			}
		}
	}
	if len(seen) != 3 {
		t.Errorf("goldens of %v, want gmp, set and rigl", seen)
	}
}
