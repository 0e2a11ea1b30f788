package data

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

type memory []int32

func (m memory) Len() int { return len(m) }
func (m memory) Read(dst []int32, off int) error {
	copy(dst, m[off:])
	return nil
}

func count(n int) memory {
	m := make(memory, n)
	for i := range m {
		m[i] = int32(i)
	}
	return m
}

// TestPermutation: every epoch deals every sequence exactly once.
func TestPermutation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 3000).Draw(t, "n")
		seed := rapid.Uint64().Draw(t, "seed")
		epoch := rapid.IntRange(0, 1<<30).Draw(t, "epoch")
		p := newPermutation(n, seed, epoch)
		seen := make([]bool, n)
		for i := range n {
			j := p.at(i)
			if j < 0 || j >= n || seen[j] {
				t.Fatalf("place %d of %d holds %d, which is outside or taken", i, n, j)
			}
			seen[j] = true
		}
	})
}

func TestEpochsDiffer(t *testing.T) {
	const n = 500
	order := func(seed uint64, epoch int) []int {
		p := newPermutation(n, seed, epoch)
		list := make([]int, n)
		for i := range list {
			list[i] = p.at(i)
		}
		return list
	}
	base := order(1, 0)
	if slices.Equal(base, order(1, 1)) || slices.Equal(base, order(2, 0)) {
		t.Error("another epoch or seed has the same order")
	}
	if !slices.Equal(base, order(1, 0)) {
		t.Error("the same epoch and seed has another order")
	}
	if slices.IsSorted(base) {
		t.Error("the order is not shuffled")
	}
}

func TestWindows(t *testing.T) {
	w, err := NewWindows(count(101), 10, 7)
	if err != nil {
		t.Fatal(err)
	}
	if w.Len() != 10 {
		t.Fatalf("%d windows of 10 in 101 tokens, want 10", w.Len())
	}
	var firsts []int32
	for i := range 10 {
		b, err := w.Batch(i, i+1)
		if err != nil {
			t.Fatal(err)
		}
		for j := range 10 {
			if b.IDs[j] != b.IDs[0]+int32(j) || b.Targets[j] != b.IDs[j]+1 {
				t.Fatalf("window %d: ids %v targets %v", i, b.IDs, b.Targets)
			}
		}
		firsts = append(firsts, b.IDs[0])
	}
	slices.Sort(firsts)
	for i, f := range firsts {
		if int(f) != 10*i {
			t.Fatalf("windows start at %v", firsts)
		}
	}
	// A batch is the concatenation of its sequences, wherever it is cut.
	whole, err := w.Batch(3, 17)
	if err != nil {
		t.Fatal(err)
	}
	part, err := w.Batch(12, 17)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(whole.IDs[90:], part.IDs) {
		t.Error("a batch depends on where it starts")
	}
	inOrder, err := w.InOrder(2, 4)
	if err != nil {
		t.Fatal(err)
	}
	if inOrder.IDs[0] != 20 || inOrder.Targets[19] != 40 {
		t.Errorf("windows 2 to 4 in order run from %d to target %d, want 20 and 40", inOrder.IDs[0], inOrder.Targets[19])
	}
	if _, err := NewWindows(count(10), 10, 0); err == nil {
		t.Error("a stream without the last target is accepted")
	}
}

func TestExamples(t *testing.T) {
	list := []Example{
		{Tokens: []int32{1, 2, 9, 5, 6, 9}, Prompt: 3},
		{Tokens: []int32{3, 9, 7, 9}, Prompt: 2},
	}
	x, err := NewExamples(list, 8, 9, 0)
	if err != nil {
		t.Fatal(err)
	}
	b, err := x.InOrder(0, 2)
	if err != nil {
		t.Fatal(err)
	}
	wantIDs := []int32{1, 2, 9, 5, 6, 3, 9, 7, 9, 9}
	wantTargets := []int32{Ignore, Ignore, 5, 6, 9, Ignore, 7, 9, Ignore, Ignore}
	if b.B != 2 || b.T != 5 || !slices.Equal(b.IDs, wantIDs) || !slices.Equal(b.Targets, wantTargets) {
		t.Errorf("batch is (%d, %d) ids %v targets %v, want (2, 5) %v %v", b.B, b.T, b.IDs, b.Targets, wantIDs, wantTargets)
	}
	if got := b.Counted(); got != 5 {
		t.Errorf("%d targets are counted, want 5", got)
	}
	if got := x.MeanLen(); got != 4 {
		t.Errorf("mean length is %d, want (5+3)/2 = 4", got)
	}
	cut, err := NewExamples(list, 4, 9, 0)
	if err != nil {
		t.Fatal(err)
	}
	if b, err = cut.InOrder(0, 1); err != nil || b.T != 4 {
		t.Errorf("an example cut to 4 tokens has %d: %v", b.T, err)
	}
	if _, err := NewExamples(list, 2, 9, 0); err == nil {
		t.Error("a prompt that fills the context is accepted")
	}
	if _, err := NewExamples(nil, 8, 9, 0); err == nil {
		t.Error("an empty list is accepted")
	}
}

// TestGroupByLength: over whole epochs every example comes as often as without
// groups, batches have far less padding, and a batch is the same however it is cut.
func TestGroupByLength(t *testing.T) {
	const n, batch = 256, 4 // the stream of two pools is one epoch
	list := make([]Example, n)
	for i := range list {
		list[i] = Example{Tokens: make([]int32, 2+i*37%n), Prompt: 1}
		list[i].Tokens[0] = int32(i)
	}
	padding := func(group bool) (pad int, seen []int) {
		x, err := NewExamples(list, 1000, 0, 3)
		if err != nil {
			t.Fatal(err)
		}
		if group {
			x.GroupByLength(batch)
		}
		seen = make([]int, n)
		for lo := 0; lo < 2*n; lo += batch {
			b, err := x.Batch(lo, lo+batch)
			if err != nil {
				t.Fatal(err)
			}
			half, err := x.Batch(lo+batch/2, lo+batch)
			if err != nil {
				t.Fatal(err)
			}
			for i := range batch {
				first := b.IDs[i*b.T]
				seen[first]++
				pad += b.T - (len(list[first].Tokens) - 1)
				if i >= batch/2 && half.IDs[(i-batch/2)*half.T] != first {
					t.Fatalf("group %v: example %d of batch %d depends on where the batch is cut", group, i, lo/batch)
				}
			}
		}
		return pad, seen
	}
	plain, each := padding(false)
	grouped, seen := padding(true)
	if grouped*4 > plain {
		t.Errorf("%d ids of padding, without groups %d: not a quarter", grouped, plain)
	}
	if !slices.Equal(each, seen) || slices.Min(seen) != 2 {
		t.Errorf("two epochs deal the examples %v times, without groups %v", seen, each)
	}
}
