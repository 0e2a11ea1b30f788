package masks_test

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/spdfctl/spdfctl/masks"
)

var update = flag.Bool("update", false, "write the golden files")

// smallWeights are sizes of weights that depend on the target only: with ties,
// zeros and both widths.
func smallWeights(t masks.Target, old masks.Scores) (masks.Scores, error) {
	rng := rand.New(rand.NewPCG(uint64(t.Out), uint64(len(t.Key()))<<32|uint64(t.Key()[2])))
	s := masks.Scores{Narrow: old.Narrow[:0]}
	for range t.Total() {
		v := float32(max(rng.IntN(200)-40, 0)) / 8
		s.Narrow = append(s.Narrow, math.Float32bits(v))
	}
	if strings.Contains(t.Name, "c_proj") {
		for _, v := range s.Narrow {
			s.Wide = append(s.Wide, math.Float64bits(float64(math.Float32frombits(v))))
		}
		s.Narrow = nil
	}
	return s, nil
}

func pattern(t testing.TB, text string) masks.Pattern {
	t.Helper()
	p, err := masks.ParsePattern(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// goldenOptions are every method, distribution, pattern and scope that go
// together.
func goldenOptions(t testing.TB) (names []string, list []masks.Options) {
	for _, method := range []string{"random", "magnitude", "checkerboard", "from-zeros"} {
		for _, distribution := range []string{"uniform", "er", "erk"} {
			for _, text := range []string{"unstructured", "2:4", "1:8", "block:4x2", "balanced:row", "balanced:column"} {
				for _, scope := range []string{"layer", "row", "global"} {
					o := masks.Options{
						Method: method, Distribution: distribution, Pattern: pattern(t, text), Scope: scope, Sparsity: sparsity(t, "0.7"), Given: true,
						Seed: 5, Weights: smallWeights,
					}
					if method == "from-zeros" || o.Pattern.Kind == masks.NofM && distribution == "uniform" {
						o.Given = false
					}
					// The zeros of the weights have no pattern of their own.
					if o.Check() != nil || method == "from-zeros" && text != "unstructured" && text != "block:4x2" {
						continue
					}
					names = append(names, strings.Join([]string{method, distribution, text, scope}, " "))
					list = append(list, o)
				}
			}
		}
	}
	return names, list
}

func hash(s *masks.Set) string {
	var b strings.Builder
	for _, m := range s.Masks {
		fmt.Fprintln(&b, m.Key(), digest(m))
	}
	b.WriteString(s.Recipe.Parent)
	return digestText(b.String())
}

// Golden hashes: the same for 1 and 7 threads and in any order of the targets.
func TestCreateGolden(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	targets := gptTargets(2, 24)
	shuffled := slices.Clone(targets)
	rand.New(rand.NewPCG(3, 4)).Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	var lines []string
	names, list := goldenOptions(t)
	for i, o := range list {
		var want string
		for _, threads := range []int{1, 7} {
			for _, order := range [][]masks.Target{targets, shuffled} {
				runtime.GOMAXPROCS(threads)
				s, err := masks.Create(order, o)
				if err != nil {
					t.Fatalf("%s: %v", names[i], err)
				}
				for _, m := range s.Masks {
					if o.Pattern.Kind == masks.NofM && o.Distribution != "uniform" {
						continue // N differs from layer to layer
					}
					if err := o.Pattern.Holds(m); err != nil {
						t.Errorf("%s: %v", names[i], err)
					}
				}
				if want == "" {
					want = hash(s)
					lines = append(lines, fmt.Sprintf("%s: %d of %d %s", names[i], s.Kept(), s.Total(), want))
				} else if got := hash(s); got != want {
					t.Errorf("%s: %d threads, another order: %s, want %s", names[i], threads, got, want)
				}
			}
		}
	}
	path := filepath.Join("testdata", "create_golden.txt")
	got := strings.Join(lines, "\n") + "\n"
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("golden hashes differ:\n%s", got)
	}
}

// The slow twin of Magnitude: each group sorted.
func TestMagnitudeSlow(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		text := rapid.SampledFrom([]string{"unstructured", "2:4", "balanced:row", "balanced:column", "block:2x4", "row"}).Draw(r, "pattern")
		target := masks.Target{Name: "w", Out: 2 * rapid.IntRange(1, 6).Draw(r, "out"), In: 4 * rapid.IntRange(1, 6).Draw(r, "in")}
		rows := text == "row"
		if rows {
			text = "unstructured"
		}
		p := pattern(t, text)
		kept := p.Round(target, rapid.IntRange(0, target.Total()).Draw(r, "kept"))
		values := make([]float32, target.Total())
		s := masks.Scores{}
		wide := rapid.Bool().Draw(r, "wide")
		for i := range values {
			values[i] = float32(rapid.IntRange(0, 9).Draw(r, "w"))
			if wide {
				s.Wide = append(s.Wide, math.Float64bits(float64(values[i])))
			} else {
				s.Narrow = append(s.Narrow, math.Float32bits(values[i]))
			}
		}
		m, err := masks.Magnitude(target, kept, p, rows, s)
		if err != nil {
			r.Fatal(err)
		}
		// groups of places, each with its count
		var groups [][]int
		var counts []int
		group := func(of func(e int) int, n int, count func(g int) int) {
			groups, counts = make([][]int, n), make([]int, n)
			for e := range target.Total() {
				groups[of(e)] = append(groups[of(e)], e)
			}
			for g := range counts {
				counts[g] = count(g)
			}
		}
		even := func(n int) func(int) int {
			return func(g int) int {
				if g < kept%n {
					return kept/n + 1
				}
				return kept / n
			}
		}
		switch {
		case p.Kind == masks.NofM:
			group(func(e int) int { return e / 4 }, target.Total()/4, func(int) int { return kept * 4 / target.Total() })
		case p.Kind == masks.BalancedRows || rows:
			group(func(e int) int { return e / target.In }, target.Out, even(target.Out))
		case p.Kind == masks.BalancedColumns:
			group(func(e int) int { return e % target.In }, target.In, even(target.In))
		case p.Kind == masks.Block:
			sums := make([]float64, target.Total()/8)
			block := func(e int) int { return e/target.In/2*(target.In/4) + e%target.In/4 }
			for e, v := range values {
				sums[block(e)] += float64(v)
			}
			blocks := make([]int, len(sums))
			for i := range blocks {
				blocks[i] = i
			}
			stay := best(blocks, func(b int) float64 { return sums[b] }, kept/8)
			group(func(e int) int {
				if slices.Contains(stay, block(e)) {
					return 0
				}
				return 1
			}, 2, func(g int) int { return []int{kept, 0}[g] })
		default:
			group(func(int) int { return 0 }, 1, func(int) int { return kept })
		}
		var want []int
		for g, list := range groups {
			want = append(want, best(list, func(e int) float64 { return float64(values[e]) }, counts[g])...)
		}
		slices.Sort(want)
		if got := places(m, true); !slices.Equal(got, want) {
			r.Fatalf("%s: kept %v, want %v", text, got, want)
		}
	})
}

// With scope global the weights are those of one long sorted list.
func TestGlobalSlow(t *testing.T) {
	targets := gptTargets(1, 20)
	slices.SortFunc(targets, func(a, b masks.Target) int { return masks.CompareNames(a.Key(), b.Key()) })
	var all []float64
	for _, target := range targets {
		s, _ := smallWeights(target, masks.Scores{})
		for _, v := range s.Narrow {
			all = append(all, float64(math.Float32frombits(v)))
		}
		for _, v := range s.Wide {
			all = append(all, math.Float64frombits(v))
		}
	}
	places := make([]int, len(all))
	for i := range places {
		places[i] = i
	}
	sp := sparsity(t, "0.8")
	stay := best(places, func(e int) float64 { return all[e] }, sp.Kept(len(all)))
	set, err := masks.Create(targets, masks.Options{Method: "magnitude", Scope: "global", Sparsity: sp, Given: true, Weights: smallWeights})
	if err != nil {
		t.Fatal(err)
	}
	k, e := 0, 0
	for _, m := range set.Masks {
		for i := range m.Total() {
			want := k < len(stay) && stay[k] == e
			if want {
				k++
			}
			if m.Keep(i/m.In, i%m.In) != want {
				t.Fatalf("%s: weight %d is kept: %v, want %v", m.Key(), i, !want, want)
			}
			e++
		}
	}
}

func TestCreateGroups(t *testing.T) {
	targets := gptTargets(2, 24)
	s, err := masks.Create(targets, masks.Options{Sparsity: sparsity(t, "0.5"), Given: true, Groups: []masks.Group{
		{Match: "h.0.mlp.*", Sparsity: sparsity(t, "0.9")}, {Match: "*#v", Dense: true}, {Match: "h.0.*", Sparsity: sparsity(t, "0.25")},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range s.Masks {
		want := "0.5"
		switch {
		case m.Part == "v":
			t.Errorf("%s has a mask", m.Key())
		case strings.HasPrefix(m.Name, "h.0.mlp."):
			want = "0.9"
		case strings.HasPrefix(m.Name, "h.0."):
			want = "0.25"
		}
		if got := m.Kept(); got != sparsity(t, want).Kept(m.Total()) {
			t.Errorf("%s keeps %d of %d, want sparsity %s", m.Key(), got, m.Total(), want)
		}
	}
	if len(s.Masks) != 10 {
		t.Errorf("%d masks, want 10", len(s.Masks))
	}
}

func TestCreateRefuses(t *testing.T) {
	half := sparsity(t, "0.5")
	for _, c := range []struct {
		o    masks.Options
		want string
	}{
		{masks.Options{}, "no sparsity is asked for"},
		{masks.Options{Method: "best", Given: true}, "method \"best\" is none of"},
		{masks.Options{Distribution: "lamp", Given: true}, "distribution"},
		{masks.Options{Scope: "head", Given: true}, "scope"},
		{masks.Options{Sparsity: sparsity(t, "0.75"), Given: true, Pattern: pattern(t, "2:4")}, "pattern 2:4 prunes 2/4, the sparsity asked for is 0.75"},
		{masks.Options{Sparsity: half, Given: true, Scope: "row", Pattern: pattern(t, "balanced:row")}, "scope row"},
		{masks.Options{Sparsity: half, Given: true, Scope: "global", Distribution: "erk"}, "all weights compete"},
		{masks.Options{Sparsity: half, Given: true, Scope: "global", Method: "checkerboard"}, "checkerboard is of one matrix"},
		{masks.Options{Sparsity: half, Given: true, Method: "from-zeros"}, "from-zeros keeps what is not zero"},
		{masks.Options{Sparsity: half, Given: true, Compat: "cstorch", Distribution: "erk"}, "compat cstorch"},
		{masks.Options{Sparsity: half, Given: true, Pattern: pattern(t, "block:7x2")}, "does not divide into blocks"},
		{masks.Options{Pattern: pattern(t, "3:7")}, "24 columns do not divide into groups of 7"},
		{masks.Options{Sparsity: half, Given: true, Groups: []masks.Group{{Match: "wte"}}}, `group "wte" matches none`},
		{masks.Options{Sparsity: half, Given: true, Groups: []masks.Group{{Match: "*", Dense: true}}}, "are to stay dense"},
		{masks.Options{Sparsity: half, Given: true, Groups: []masks.Group{{Match: "["}}}, "syntax error in pattern"},
		{masks.Options{Method: "from-zeros", Pattern: pattern(t, "2:4"), Weights: smallWeights}, "2:4 allows 2"},
	} {
		if _, err := masks.Create(gptTargets(1, 24), c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
	for _, text := range []string{"", "2:2", "0:4", "4:2", "block:0x1", "block:4", "balanced", "2:4:6", "02:4", "1:99999", "block:1x+1"} {
		if _, err := masks.ParsePattern(text); err == nil {
			t.Errorf("pattern %q: no error", text)
		}
	}
}

// A layer that would exceed density 1 is dense, and the others are solved again.
func TestErdosCapacity(t *testing.T) {
	// Sums 4, 20, 40: with density 1/2 of 4+100+400 weights, eps = 252/64 > 1 for
	// the first; then (252-4)/60 on sums 20 and 40.
	got, err := masks.ErdosRenyi([][]int{{2, 2}, {10, 10}, {20, 20}}, sparsity(t, "0.5"))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []float64{1, 248.0 / 60 * 20 / 100, 248.0 / 60 * 40 / 400} {
		if math.Abs(got[i]-want) > 1e-15 {
			t.Errorf("density %d is %v, want %v", i, got[i], want)
		}
	}
	kept, err := masks.Erdos([]masks.Target{{Name: "c", Out: 20, In: 20}, {Name: "a", Out: 2, In: 2}, {Name: "b", Out: 10, In: 10}}, sparsity(t, "0.5"))
	if err != nil {
		t.Fatal(err)
	}
	// Shares 165 1/3, 4, 82 2/3: the missing weight goes to b.
	if !slices.Equal(kept, []int{165, 4, 83}) {
		t.Errorf("kept %v", kept)
	}
}
