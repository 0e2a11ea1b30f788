package data

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// parts returns sources of one-token windows whose ids tell source and window:
// window w of source k is 1000*k + w.
func parts(t testing.TB, seed uint64, sizes ...int) []*Windows {
	t.Helper()
	list := make([]*Windows, len(sizes))
	for k, n := range sizes {
		ids := count(n + 1)
		for i := range ids {
			ids[i] += int32(1000 * k)
		}
		w, err := NewWindows(ids, 1, Seed(seed, k))
		if err != nil {
			t.Fatal(err)
		}
		list[k] = w
	}
	return list
}

// TestBlendCounts: at is what a walk over all positions finds, the counts are
// exact after every round, and never further from the shares than promised.
func TestBlendCounts(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		shares := rapid.SliceOfN(rapid.Uint64Range(1, 50), 1, 7).Draw(rt, "shares")
		sizes := make([]int, len(shares))
		for k := range sizes {
			sizes[k] = k + 2
		}
		b, err := NewBlend(parts(t, 1, sizes...), shares)
		if err != nil {
			rt.Fatal(err)
		}
		var sum uint64
		for _, s := range shares {
			sum += s
		}
		have := make([]int, len(shares))
		for i := range int(2*sum) + 5 {
			for k, n := range b.Counts(i) {
				want := float64(i) * float64(shares[k]) / float64(sum)
				if n != have[k] || math.Abs(float64(n)-want) > float64(len(shares)-1)/2+1e-9 {
					rt.Fatalf("of %d sequences %d are of source %d, walked %d, share %g", i, n, k, have[k], want)
				}
				if uint64(i)%sum == 0 && float64(n) != want {
					rt.Fatalf("after %d rounds source %d has %d sequences, want %g", uint64(i)/sum, k, n, want)
				}
			}
			k, before := b.at(i)
			if before != have[k] {
				rt.Fatalf("sequence %d is number %d of source %d, walked %d", i, before, k, have[k])
			}
			have[k]++
		}
	})
}

// TestBlendIsItsSources: each source comes as it would alone, a batch does not
// depend on where it begins, and far positions are reached at once.
func TestBlendIsItsSources(t *testing.T) {
	list := parts(t, 9, 40, 40, 7)
	b, err := NewBlend(list, []uint64{7, 2, 1})
	if err != nil {
		t.Fatal(err)
	}
	whole, err := b.Batch(0, 300)
	if err != nil {
		t.Fatal(err)
	}
	var each [3][]int32
	for _, id := range whole.IDs {
		each[id/1000] = append(each[id/1000], id)
	}
	for k, got := range each {
		alone, err := list[k].Batch(0, len(got))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, alone.IDs) {
			t.Errorf("source %d comes as %v, alone as %v", k, got, alone.IDs)
		}
	}
	if len(each[0]) != 210 || len(each[1]) != 60 || len(each[2]) != 30 {
		t.Errorf("300 sequences are %d, %d and %d, want 210, 60 and 30", len(each[0]), len(each[1]), len(each[2]))
	}
	for i := range each[1] {
		if i > 0 && each[0][i]%1000 == each[1][i]%1000 && each[0][i-1]%1000 == each[1][i-1]%1000 {
			t.Fatalf("sources of one size go through their windows in step")
		}
	}
	part, err := b.Batch(123, 140)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(part.IDs, whole.IDs[123:140]) {
		t.Error("a batch depends on where it begins")
	}
	if _, err := b.Batch(1<<60, 1<<60+3); err != nil {
		t.Errorf("far out: %v", err)
	}
}

func TestShares(t *testing.T) {
	cases := []struct {
		weights []string
		want    []uint64
	}{
		{[]string{"0.7", "0.2", "0.1"}, []uint64{7, 2, 1}},
		{[]string{"3", "1.5"}, []uint64{2, 1}},
		{[]string{"100", "100"}, []uint64{1, 1}},
		{[]string{"0.333333", "0.666667"}, []uint64{333333, 666667}},
		{[]string{".5"}, []uint64{1}},
	}
	for _, c := range cases {
		got, err := Shares(c.weights)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("shares of %q are %v, %v; want %v", c.weights, got, err, c.want)
		}
	}
	for _, w := range []string{"", "0", "0.0", "-1", "1e3", "1/2", "x", ".", "1.2.3", "111111111111111111111"} {
		if got, err := Shares([]string{"1", w}); err == nil {
			t.Errorf("weight %q is accepted as %v", w, got)
		}
	}
	if got, err := Shares([]string{"9999999999999999999", "0.000000000000000001"}); err == nil {
		t.Errorf("shares over the limit are accepted as %v", got)
	}
	if _, err := NewBlend(parts(t, 0, 2, 2), []uint64{maxShares, 1}); err == nil {
		t.Error("a sum over the limit is accepted")
	}
	if _, err := NewBlend(nil, nil); err == nil {
		t.Error("a blend of nothing is accepted")
	}
	if _, err := NewBlend(parts(t, 0, 2, 2), []uint64{1, 0}); err == nil {
		t.Error("a share of 0 is accepted")
	}
}
