package masks_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"gonum.org/v1/gonum/stat"
	"gonum.org/v1/gonum/stat/distuv"

	"github.com/spdfctl/spdfctl/masks"
)

func sparsity(t testing.TB, text string) masks.Sparsity {
	t.Helper()
	s, err := masks.ParseSparsity(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func digest(m *masks.Mask) string {
	sum := m.SHA256()
	return hex.EncodeToString(sum[:])
}

// The digests were computed by testdata/generator.py, which shares no code with
// this package. They are part of the file format: a change here makes every
// published mask irreproducible.
func TestRandomGolden(t *testing.T) {
	for _, c := range []struct {
		name, part string
		out, in    int
		sparsity   string
		seed       uint64
		kept       int
		sha256     string
	}{
		{"w", "", 4, 11, "0.75", 7, 11, "14d1ff9d3731aed834e63396576ed2ab9c92dd5bff672e3e8682769ca8d84cbb"},
		{"h.0.attn.c_attn.weight", "q", 64, 64, "0.75", 0, 1024, "a231152e69f581907eea026938df5b7111d5fbb2564e904afa91dd304eaf2e92"},
		{"h.0.attn.c_attn.weight", "k", 64, 64, "0.75", 0, 1024, "c09fa03b3416e975d1ed076d2308b359641e96dbfd2e8d0f1dc76f516012f096"},
		{"h.11.mlp.c_fc.weight", "", 301, 77, "0.9", 18446744073709551615, 2318, "43ae395270e1f580b1246e4bfa683005e29feb822252fad0c5de055b708582cd"},
		{"h.3.mlp.c_proj.weight", "", 192, 768, "0.5", 42, 73728, "c9fbf6c96f2470af487710d1bc452fbb7122179d6535eee7aed6751076ad3c28"},
		{"größe", "ß", 1, 1000, "2/3", 1, 333, "297b5f406c1f9ca7ee73431e4d971120da60be1d8f86804bc4d2dcd99575a136"},
	} {
		m, err := masks.RandomMask(masks.Target{Name: c.name, Part: c.part, Out: c.out, In: c.in}, sparsity(t, c.sparsity).Kept(c.out*c.in), c.seed)
		if err != nil {
			t.Fatal(err)
		}
		if got := m.Kept(); got != c.kept {
			t.Errorf("%s: kept %d, want %d", m.Key(), got, c.kept)
		}
		if got := digest(m); got != c.sha256 {
			t.Errorf("%s: SHA-256 %s, want %s", m.Key(), got, c.sha256)
		}
	}
}

func gptTargets(layers, c int) []masks.Target {
	var list []masks.Target
	for l := range layers {
		h := fmt.Sprintf("h.%d.", l)
		for _, part := range []string{"q", "k", "v"} {
			list = append(list, masks.Target{Name: h + "attn.c_attn.weight", Part: part, Out: c, In: c})
		}
		list = append(list,
			masks.Target{Name: h + "attn.c_proj.weight", Out: c, In: c},
			masks.Target{Name: h + "mlp.c_fc.weight", Out: 4 * c, In: c},
			masks.Target{Name: h + "mlp.c_proj.weight", Out: c, In: 4 * c})
	}
	return list
}

func random(t testing.TB, targets []masks.Target, text string, seed uint64) *masks.Set {
	t.Helper()
	s, err := masks.Random(targets, sparsity(t, text), seed)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func equalSets(t *testing.T, what string, got, want *masks.Set) {
	t.Helper()
	if len(got.Masks) != len(want.Masks) {
		t.Fatalf("%s: %d masks, want %d", what, len(got.Masks), len(want.Masks))
	}
	for i, m := range want.Masks {
		if !got.Masks[i].Equal(m) {
			t.Errorf("%s: mask %q differs", what, m.Key())
		}
	}
}

func TestRandomOrderFree(t *testing.T) {
	targets := gptTargets(12, 100) // a width that pads rows
	want := random(t, targets, "0.75", 3)

	shuffled := slices.Clone(targets)
	rng := rand.New(rand.NewPCG(1, 2))
	rng.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	equalSets(t, "shuffled targets", random(t, shuffled, "0.75", 3), want)

	for _, m := range random(t, gptTargets(13, 100), "0.75", 3).Masks {
		if w := want.Find(m.Name, m.Part); w != nil && !w.Equal(m) {
			t.Errorf("a thirteenth layer changed mask %q", m.Key())
		}
	}
	for _, target := range targets {
		one := random(t, []masks.Target{target}, "0.75", 3)
		if !one.Masks[0].Equal(want.Find(target.Name, target.Part)) {
			t.Errorf("mask %q alone differs", target.Key())
		}
	}
}

func TestRandomThreads(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	targets := []masks.Target{{Name: "a", Out: 1200, In: 1001}, {Name: "b", Out: 3, In: 100003}, {Name: "c", Out: 70000, In: 3}}
	var want *masks.Set
	for _, n := range []int{1, 2, 3, 7} {
		runtime.GOMAXPROCS(n)
		got := random(t, targets, "0.9", 5)
		if want == nil {
			want = got
		}
		equalSets(t, fmt.Sprintf("%d threads", n), got, want)
	}
}

func TestRandomKeysDiffer(t *testing.T) {
	seen := map[string]string{}
	for _, c := range []struct {
		name, part string
		seed       uint64
	}{
		{"ab", "c", 0}, {"a", "bc", 0}, {"abc", "", 0}, {"ab", "c", 1}, {"ab", "c", 1 << 63}, {"abd", "", 0}, {"Abc", "", 0},
	} {
		m, err := masks.RandomMask(masks.Target{Name: c.name, Part: c.part, Out: 64, In: 64}, 1024, c.seed)
		if err != nil {
			t.Fatal(err)
		}
		what := fmt.Sprint(c)
		if other, ok := seen[digest(m)]; ok {
			t.Errorf("%s and %s have one mask", what, other)
		}
		seen[digest(m)] = what
	}
}

func TestRandomNested(t *testing.T) {
	target := []masks.Target{{Name: "w", Out: 128, In: 130}}
	dense := random(t, target, "0", 9).Masks[0]
	if dense.Kept() != dense.Total() || dense.PaddingRow() >= 0 {
		t.Errorf("sparsity 0 keeps %d of %d", dense.Kept(), dense.Total())
	}
	wider := dense
	for _, text := range []string{"0.1", "0.5", "0.75", "0.9", "0.999"} {
		m := random(t, target, text, 9).Masks[0]
		if want := sparsity(t, text).Kept(m.Total()); m.Kept() != want {
			t.Errorf("sparsity %s keeps %d, want %d", text, m.Kept(), want)
		}
		if both, _, only := wider.Overlap(m); only != 0 || both != m.Kept() {
			t.Errorf("sparsity %s keeps %d weights that a lower one prunes", text, only)
		}
		wider = m
	}
}

// chiSquare returns the probability of counts at least as uneven as kept, when
// each cell holds size weights and kept weights were drawn without
// replacement, which shrinks the variance of a cell by 1 - density.
func chiSquare(kept []float64, size float64) float64 {
	total := 0.0
	for _, k := range kept {
		total += k
	}
	expected := make([]float64, len(kept))
	for i := range expected {
		expected[i] = total / float64(len(kept))
	}
	density := total / (size * float64(len(kept)))
	x := stat.ChiSquare(kept, expected) / (1 - density)
	return distuv.ChiSquared{K: float64(len(kept) - 1)}.Survival(x)
}

func TestRandomUniform(t *testing.T) {
	// The seeds are fixed, so the test cannot flake; a p-value this small or
	// this large would still be one in ten thousand for a fair generator.
	const extreme = 1e-4
	const out, in = 400, 480
	for seed := range uint64(8) {
		for _, text := range []string{"0.5", "0.75", "0.99"} {
			m := random(t, []masks.Target{{Name: "w", Out: out, In: in}}, text, seed).Masks[0]
			var (
				rows    = make([]float64, out)
				cols    = make([]float64, in)
				columns = make([]float64, 8) // of a byte
				tiles   = make([]float64, (out/20)*(in/20))
				pairs   = make([]float64, 4) // kept or not, of a weight and the next one
			)
			for i := range out {
				for j := range in {
					if m.Keep(i, j) {
						rows[i]++
						cols[j]++
						columns[j%8]++
						tiles[i/20*(in/20)+j/20]++
					}
					if j%2 == 0 {
						p := 0
						if m.Keep(i, j) {
							p++
						}
						if m.Keep(i, j+1) {
							p += 2
						}
						pairs[p]++
					}
				}
			}
			for _, c := range []struct {
				what string
				p    float64
			}{
				{"rows", chiSquare(rows, in)},
				{"columns", chiSquare(cols, out)},
				{"bits of a byte", chiSquare(columns, out*in/8)},
				{"20x20 tiles", chiSquare(tiles, 400)},
				{"neighbours", pairsPValue(pairs, 1-m.Sparsity())},
			} {
				if c.p < extreme || c.p > 1-extreme {
					t.Errorf("seed %d, sparsity %s: %s: p = %g", seed, text, c.what, c.p)
				}
			}
		}
	}
}

// pairsPValue is the probability of pairs at least as far from independence;
// the density is known, which leaves one degree of freedom.
func pairsPValue(pairs []float64, density float64) float64 {
	n := pairs[0] + pairs[1] + pairs[2] + pairs[3]
	d, e := density, 1-density
	expected := []float64{n * e * e, n * d * e, n * d * e, n * d * d}
	return distuv.ChiSquared{K: 2}.Survival(stat.ChiSquare(pairs, expected))
}

// Masks of different names or seeds share as many weights as chance gives.
func TestRandomIndependent(t *testing.T) {
	const n = 300 * 300
	base := random(t, []masks.Target{{Name: "h.0", Out: 300, In: 300}}, "0.75", 0).Masks[0]
	for _, c := range []struct {
		name string
		seed uint64
	}{{"h.1", 0}, {"h.2", 0}, {"h.0", 1}, {"h.0", 2}, {"h.0", 1 << 32}} {
		m := random(t, []masks.Target{{Name: c.name, Out: 300, In: 300}}, "0.75", c.seed).Masks[0]
		both, _, _ := base.Overlap(m)
		// Hypergeometric: mean n/16, variance n * (1/4)^2 * (3/4)^2 = n*9/256.
		z := (float64(both) - n/16) / (300 * 3.0 / 16)
		if z < -4 || z > 4 {
			t.Errorf("%s, seed %d shares %d weights, %.1f sigmas off", c.name, c.seed, both, z)
		}
	}
}

func TestRandomErrors(t *testing.T) {
	for _, c := range []struct {
		what string
		list []masks.Target
	}{
		{"no targets", nil},
		{"twice", []masks.Target{{Name: "a", Out: 1, In: 1}, {Name: "a", Out: 2, In: 2}}},
		{"no name", []masks.Target{{Out: 1, In: 1}}},
		{"hash in name", []masks.Target{{Name: "a#q", Out: 1, In: 1}}},
		{"hash in part", []masks.Target{{Name: "a", Part: "#", Out: 1, In: 1}}},
		{"not UTF-8", []masks.Target{{Name: "a\xff", Out: 1, In: 1}}},
		{"control character", []masks.Target{{Name: "a\n", Out: 1, In: 1}}},
		{"no rows", []masks.Target{{Name: "a", Out: 0, In: 1}}},
		{"negative", []masks.Target{{Name: "a", Out: 1, In: -1}}},
		{"overflow", []masks.Target{{Name: "a", Out: 1 << 33, In: 1 << 33}}},
	} {
		if _, err := masks.Random(c.list, sparsity(t, "0.5"), 0); err == nil {
			t.Errorf("%s: no error", c.what)
		}
	}
	for _, kept := range []int{-1, 5} {
		if _, err := masks.RandomMask(masks.Target{Name: "a", Out: 2, In: 2}, kept, 0); err == nil {
			t.Errorf("%d weights to keep of 4: no error", kept)
		}
	}
}

func digestText(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}
