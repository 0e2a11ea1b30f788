package masks

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// sortedMask is the definition of RandomMask: sort all draws, ties by index,
// and keep the first.
func sortedMask(t Target, kept int, seed uint64) *Mask {
	key := streamKey(seed, t.Name, t.Part)
	type weight struct {
		draw  uint64
		index int
	}
	all := make([]weight, t.Total())
	state := key
	for e := range all {
		state += splitMixGamma
		all[e] = weight{splitMix(state), e}
	}
	slices.SortFunc(all, func(a, b weight) int {
		if a.draw != b.draw {
			if a.draw < b.draw {
				return -1
			}
			return 1
		}
		return a.index - b.index
	})
	m := New(t.Name, t.Part, t.Out, t.In)
	for _, w := range all[:kept] {
		m.Put(w.index/t.In, w.index%t.In, true)
	}
	return m
}

func TestRandomMaskIsSortedMask(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		target := Target{
			Name: rapid.SampledFrom([]string{"w", "h.0.mlp.c_fc.weight"}).Draw(t, "name"),
			Part: rapid.SampledFrom([]string{"", "q"}).Draw(t, "part"),
			Out:  rapid.IntRange(1, 90).Draw(t, "out"),
			In:   rapid.IntRange(1, 90).Draw(t, "in"),
		}
		kept := rapid.IntRange(0, target.Total()).Draw(t, "kept")
		seed := rapid.Uint64().Draw(t, "seed")
		got, err := RandomMask(target, kept, seed)
		if err != nil {
			t.Fatal(err)
		}
		if want := sortedMask(target, kept, seed); !got.Equal(want) {
			t.Fatalf("(%d, %d), %d kept, seed %d: differs from the sorted draws", target.Out, target.In, kept, seed)
		}
		if err := got.Check(); err != nil {
			t.Fatal(err)
		}
	})
}

// The window is an expectation: when it is missed, or is all draws, the result
// is the same.
func TestKeepSmallestAnyWindow(t *testing.T) {
	target := Target{Name: "w", Out: 123, In: 321}
	for _, kept := range []int{0, 1, 2, 100, 9871, target.Total() / 2, target.Total() - 1, target.Total()} {
		want := sortedMask(target, kept, 1)
		for _, sigmas := range []float64{0, 1e-6, 0.01, 1, firstSigmas, 1e3, 1e18} {
			m := New(target.Name, target.Part, target.Out, target.In)
			keepSmallest(m, streamKey(1, "w", ""), kept, sigmas)
			if !m.Equal(want) {
				t.Errorf("%d kept, window of %g sigmas: differs from the sorted draws", kept, sigmas)
			}
		}
	}
}

// The published outputs of SplitMix64 for the seed 1234567.
//
// Source: Rosetta Code, "Pseudo-random numbers/Splitmix64".
func TestSplitMix(t *testing.T) {
	want := []uint64{6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821}
	state := uint64(1234567)
	for i, w := range want {
		state += splitMixGamma
		if got := splitMix(state); got != w {
			t.Errorf("output %d is %d, want %d", i, got, w)
		}
	}
}

// The groups of a random N:M mask are those of Magnitude on the draws turned
// round.
func TestRandomGroups(t *testing.T) {
	for _, c := range []struct{ n, m, out, in int }{
		{0, 4, 3, 8}, {1, 4, 3, 8}, {2, 4, 5, 64}, {3, 4, 5, 64}, {4, 4, 2, 8}, {2, 4, 7, 12}, {1, 3, 4, 33}, {4, 8, 3, 40}, {7, 8, 3, 24}, {15, 32, 2, 96}, {40, 64, 2, 64}, {30, 100, 3, 300},
	} {
		p := Pattern{NofM, 1, c.m}
		target := Target{Name: "w", Out: c.out, In: c.in}
		kept := c.n * target.Total() / c.m
		got, err := RandomPattern(target, kept, p, false, 3)
		if err != nil {
			t.Fatal(err)
		}
		want, err := Magnitude(target, kept, p, false, Scores{Wide: randomScores(target, p, 3)})
		if err != nil {
			t.Fatal(err)
		}
		if !got.Equal(want) {
			t.Errorf("%d:%d of (%d, %d): other weights", c.n, c.m, c.out, c.in)
		}
	}
}

func TestExactPattern(t *testing.T) {
	for want, patterns := range map[string][]string{"2:4": {"2:4", "2:4"}, "1:8": {"1:8"}, "unstructured": {"2:4", "1:4"}, "3:6": {"3:6"}} {
		var list []*Mask
		for _, text := range patterns {
			p, err := ParsePattern(text)
			if err != nil {
				t.Fatal(err)
			}
			target := Target{Name: "w", Out: 9, In: 48}
			m, err := RandomPattern(target, p.A*target.Total()/p.B, p, false, 1)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, m)
		}
		if got := ExactPattern(list).String(); got != want {
			t.Errorf("%v are %s, want %s", patterns, got, want)
		}
		list[0].Put(0, 0, !list[0].Keep(0, 0))
		if got := ExactPattern(list); got.Kind != Unstructured {
			t.Errorf("%v and a weight more or less are %s", patterns, got)
		}
	}
}
