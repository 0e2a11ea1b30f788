package masks_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/spdfctl/spdfctl/masks"
)

func TestSchedule(t *testing.T) {
	for _, c := range []struct {
		what string
		s    masks.Schedule
		want map[int]float64
	}{
		{"constant", masks.Fixed(0.75), map[int]float64{0: 0.75, 9: 0.75}},
		{"linear", masks.Schedule{Kind: masks.Linear, Init: 0.25, Final: 0.75, Begin: 10, End: 20}, map[int]float64{0: 0.25, 10: 0.25, 15: 0.5, 20: 0.75, 99: 0.75}},
		{"slope", masks.Schedule{Kind: masks.Linear, Init: 0.5, Rate: 0.125}, map[int]float64{0: 0.5, 2: 0.75, 4: 1, 9: 1}},
		{"cubic", masks.Schedule{Kind: masks.Cubic, Final: 0.8, End: 4}, map[int]float64{0: 0, 4: 0.8, 7: 0.8, 2: near(0.7)}},
		{"exponential", masks.Schedule{Kind: masks.Exponential, Final: 1, Rate: -math.Ln2}, map[int]float64{0: 0, 1: 0.5, 2: 0.75}},
		{"power", masks.Schedule{Kind: masks.Power, Init: 0.5, Rate: 0.5}, map[int]float64{0: 0.5, 1: 0.25, 3: 0.0625}},
		{"cosine", masks.CosineDrop(0.5, 0, 100), map[int]float64{0: 0.5, 50: 0.25, 100: 0, 150: 0}},
		{"cosine again", masks.Schedule{Kind: masks.Cosine, Init: 0.5, End: 100, Repeat: true}, map[int]float64{100: 0, 150: 0.25, 200: 0.5}},
		{"cyclic", masks.Schedule{Kind: masks.Cyclic, Values: []float64{0.5, 0.75}, Every: 10}, map[int]float64{0: 0.5, 9: 0.5, 10: 0.75, 20: 0.5}},
	} {
		if err := c.s.Check(); err != nil {
			t.Errorf("%s: %v", c.what, err)
		}
		for step, want := range c.want {
			if got := c.s.At(step); got != want {
				t.Errorf("%s: step %d gives %v, want %v", c.what, step, got, want)
			}
		}
	}
	for _, s := range []masks.Schedule{
		{}, {Kind: "sine"}, {Kind: masks.Constant, Init: 75}, {Kind: masks.Linear, Final: 0.5}, {Kind: masks.Cyclic}, {Kind: masks.Constant, Init: math.NaN()},
		{Kind: masks.Cosine, Begin: 5, End: 5}, {Kind: masks.Cyclic, Every: 1, Values: []float64{2}}, {Kind: masks.Exponential, Rate: math.Inf(1)},
		{Kind: masks.Power, Rate: -1},
	} {
		if s.Check() == nil {
			t.Errorf("%+v: no error", s)
		}
	}
	if got := masks.Fixed(0.1).Kept(3, 5); got != 4 { // 0.1 * 5 is 0.5, rounded up
		t.Errorf("kept %d, want 4", got)
	}
}

// near rounds a value as Schedule.At does.
func near(v float64) float64 { return math.Round(v*(1<<30)) / (1 << 30) }

func TestUpdates(t *testing.T) {
	u := masks.Updates{Every: 3, Begin: 2, End: 9}
	list := masks.Updates{Steps: []int{1, 5}}
	var due, listed []int
	for step := range 15 {
		if u.Due(step) {
			due = append(due, step)
		}
		if list.Due(step) {
			listed = append(listed, step)
		}
	}
	if !slices.Equal(due, []int{2, 5, 8}) || !slices.Equal(listed, []int{1, 5}) {
		t.Errorf("due at %v and %v", due, listed)
	}
}

// moved holds a mask, its kept weights and a dense gradient.
func moved(t *testing.T) (m *masks.Mask, weights, grad []float32) {
	t.Helper()
	m, err := masks.RandomMask(masks.Target{Name: "w", Out: 13, In: 21}, 80, 1)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 80 {
		weights = append(weights, float32(rng.IntN(41)-20)) // with ties
	}
	for range m.Total() {
		grad = append(grad, float32(rng.IntN(41)-20))
	}
	return m, weights, grad
}

// The slow twin of dropping and growing: sort all places.
func best(places []int, score func(place int) float64, n int) []int {
	list := slices.Clone(places)
	slices.SortStableFunc(list, func(a, b int) int {
		switch d := score(b) - score(a); {
		case d < 0:
			return -1
		case d > 0:
			return 1
		}
		return 0
	})
	list = list[:n]
	slices.Sort(list)
	return list
}

func places(m *masks.Mask, keep bool) []int {
	var list []int
	for e := range m.Total() {
		if m.Keep(e/m.In, e%m.In) == keep {
			list = append(list, e)
		}
	}
	return list
}

func TestRigLUpdate(t *testing.T) {
	m, weights, grad := moved(t)
	kept := places(m, true)
	const drop = 24
	stay := best(kept, func(e int) float64 { i, _ := slices.BinarySearch(kept, e); return math.Abs(float64(weights[i])) }, 80-drop)
	var free []int
	for e := range m.Total() {
		if !slices.Contains(stay, e) {
			free = append(free, e)
		}
	}
	// The gradient lies as a Conv1D stores it: (in, out).
	stored := make([]float32, m.Total())
	for e, g := range grad {
		stored[e%m.In*m.Out+e/m.In] = g
	}
	for _, keep := range []int{80, 40, 120} {
		grown := best(free, func(e int) float64 { return math.Abs(float64(grad[e])) }, max(keep-(80-drop), 0))
		want := append(slices.Clone(best(stay, func(e int) float64 { i, _ := slices.BinarySearch(kept, e); return math.Abs(float64(weights[i])) }, min(keep, 80-drop))), grown...)
		slices.Sort(want)
		next, err := masks.RigLUpdate(m, weights, stored, masks.Placement{RowStride: 1, ColStride: m.Out, Elements: m.Total()}, drop, keep)
		if err != nil {
			t.Fatal(err)
		}
		if got := places(next, true); !slices.Equal(got, want) {
			t.Errorf("keep %d: %v, want %v", keep, got, want)
		}
		if err := next.Check(); err != nil {
			t.Error(err)
		}
	}
}

func TestSETUpdate(t *testing.T) {
	m, weights, _ := moved(t)
	const drop = 24
	a, err := masks.SETUpdate(m, weights, drop, 80, 5, 100)
	if err != nil {
		t.Fatal(err)
	}
	b, err := masks.SETUpdate(m, weights, drop, 80, 5, 100)
	if err != nil {
		t.Fatal(err)
	}
	other, err := masks.SETUpdate(m, weights, drop, 80, 5, 200)
	if err != nil {
		t.Fatal(err)
	}
	if !a.Equal(b) || a.Equal(other) || a.Kept() != 80 {
		t.Errorf("equal %v, other step equal %v, kept %d", a.Equal(b), a.Equal(other), a.Kept())
	}
	pruned, err := masks.MagnitudeUpdate(m, weights, 80-drop)
	if err != nil {
		t.Fatal(err)
	}
	if both, only, _ := pruned.Overlap(a); only != 0 || both != 80-drop {
		t.Errorf("%d of the large weights are gone", only)
	}
	const golden = "0524d02f"
	if got := digest(a)[:8]; got != golden {
		t.Errorf("SHA-256 starts %s, want %s", got, golden)
	}
}

func TestUpdateRefuses(t *testing.T) {
	m, weights, grad := moved(t)
	whole := masks.Placement{RowStride: m.In, ColStride: 1, Elements: m.Total()}
	for what, f := range map[string]func() error{
		"weights":   func() error { _, err := masks.MagnitudeUpdate(m, weights[1:], 5); return err },
		"keep":      func() error { _, err := masks.MagnitudeUpdate(m, weights, 81); return err },
		"drop":      func() error { _, err := masks.SETUpdate(m, weights, 81, 80, 0, 0); return err },
		"keep all":  func() error { _, err := masks.SETUpdate(m, weights, 8, 274, 0, 0); return err },
		"gradients": func() error { _, err := masks.RigLUpdate(m, weights, grad[1:], whole, 8, 80); return err },
		"placement": func() error { _, err := masks.RigLUpdate(m, weights, grad, masks.Placement{}, 8, 80); return err },
	} {
		if f() == nil {
			t.Errorf("%s: no error", what)
		}
	}
}

// What grows is +0, what stays keeps its bits.
func TestCarry(t *testing.T) {
	m, weights, grad := moved(t)
	next, err := masks.RigLUpdate(m, weights, grad, masks.Placement{RowStride: m.In, ColStride: 1, Elements: m.Total()}, 24, 90)
	if err != nil {
		t.Fatal(err)
	}
	got := make([]float32, 90)
	for i := range got {
		got[i] = float32(math.NaN())
	}
	masks.Carry(got, weights, next, m)
	before := places(m, true)
	for k, e := range places(next, true) {
		want := float32(0)
		if i, ok := slices.BinarySearch(before, e); ok {
			want = weights[i]
		}
		if math.Float32bits(got[k]) != math.Float32bits(want) {
			t.Errorf("place %d is %g, want %g", e, got[k], want)
		}
	}
}

func TestDropCount(t *testing.T) {
	for _, c := range []struct {
		kept     int
		fraction float64
		want     int
	}{{100, 0.3, 30}, {7, 0.5, 3}, {7, 2, 7}, {7, -1, 0}} {
		if got := masks.DropCount(c.kept, c.fraction); got != c.want {
			t.Errorf("%g of %d is %d, want %d", c.fraction, c.kept, got, c.want)
		}
	}
}
