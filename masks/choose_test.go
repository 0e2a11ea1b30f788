package masks

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// byScore is the definition: all indices sorted by their scores, the largest
// first, of equal ones the earlier.
func byScore[T score](scores []T) []int {
	order := make([]int, len(scores))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(scores[b], scores[a]) })
	return order
}

// largest returns the indices of the k largest scores, in order.
func largest[T score](scores []T, k int) []int {
	return slices.Sorted(slices.Values(byScore(scores)[:k]))
}

// places returns the bits that are set in a line.
func places(line []byte) []int {
	var list []int
	for i := range 8 * len(line) {
		if line[i>>3]>>(i&7)&1 != 0 {
			list = append(list, i)
		}
	}
	return list
}

// fillers make lists that a radix could stumble over: all digits different, a few
// values, one value, a bucket that holds nearly all.
var fillers = map[string]func(rng *rand.Rand) uint64{
	"any":    func(rng *rand.Rand) uint64 { return rng.Uint64() },
	"normal": func(rng *rand.Rand) uint64 { return uint64(math.Float32bits(float32(math.Abs(rng.NormFloat64())))) },
	"few":    func(rng *rand.Rand) uint64 { return uint64(rng.IntN(3)) * 0x10001 },
	"one":    func(*rand.Rand) uint64 { return 7 },
	"zeros":  func(rng *rand.Rand) uint64 { return uint64(max(rng.IntN(100)-95, 0)) << 20 },
	"bucket": func(rng *rand.Rand) uint64 { return 0x3f800000 | uint64(rng.IntN(1<<12)) },
	"top":    func(rng *rand.Rand) uint64 { return ^uint64(rng.IntN(2)) },
}

func TestKeepLine(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	wide, narrow := new(selector[uint64]), new(selector[uint32])
	for what, filler := range fillers {
		for _, n := range []int{1, 7, 8, fewScores, fewScores + 1, 2048, shortList, shortList + 5} {
			scores, short := make([]uint64, n), make([]uint32, n)
			for i := range scores {
				scores[i] = filler(rng)
				short[i] = uint32(scores[i])
			}
			line := make([]byte, (n+7)/8)
			order, orderShort := byScore(scores), byScore(short)
			for _, k := range []int{0, n / 4, n - 1, n} {
				wide.keepLine(line, scores, k)
				if !slices.Equal(places(line), slices.Sorted(slices.Values(order[:k]))) {
					t.Errorf("%s: %d of %d scores of 64 bits: not the largest", what, k, n)
				}
				narrow.keepLine(line, short, k)
				if !slices.Equal(places(line), slices.Sorted(slices.Values(orderShort[:k]))) {
					t.Errorf("%s: %d of %d scores of 32 bits: not the largest", what, k, n)
				}
			}
		}
	}
}

// What Create counts on the way saves a pass and changes nothing.
func TestDigestCounts(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	target := Target{Name: "w", Out: 300, In: 301} // rows with padding
	for what, filler := range fillers {
		s, w := Scores{}, Scores{}
		for range target.Total() {
			v := filler(rng)
			s.Narrow, w.Wide = append(s.Narrow, uint32(v)), append(w.Wide, v)
		}
		for _, scores := range []Scores{s, w} {
			want, err := Magnitude(target, 20000, Pattern{}, false, scores)
			if err != nil {
				t.Fatal(err)
			}
			scores.counts = new([1 << radixBits]int)
			scores.digest(scores.counts)
			got, err := Magnitude(target, 20000, Pattern{}, false, scores)
			if err != nil {
				t.Fatal(err)
			}
			if !got.Equal(want) || got.Kept() != 20000 || got.Check() != nil {
				t.Errorf("%s: %d kept, another mask: %v", what, got.Kept(), !got.Equal(want))
			}
		}
	}
}

func TestBestOf(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		scores := rapid.SliceOfN(rapid.SampledFrom([]uint64{0, 1, 2, 1 << 40, ^uint64(0)}), 1, wordGroup).Draw(t, "scores")
		n := rapid.IntRange(0, len(scores)).Draw(t, "n")
		want := uint64(0)
		for _, i := range largest(scores, n) {
			want |= 1 << i
		}
		at := rapid.IntRange(0, 20).Draw(t, "at")
		if len(scores) == 4 {
			if got := bestOfFour(scores[0], scores[1], scores[2], scores[3], uint64(n)); uint64(got) != want {
				t.Fatalf("%d of %v: %04b, want %04b", n, scores, got, want)
			}
		}
		if got := bestOf(slices.Clone(scores), n); got != want {
			t.Fatalf("%d of %v: %b, want %b", n, scores, got, want)
		}
		row := make([]byte, 11)
		orBits(row, at, want)
		for i, p := range places(row) {
			if p -= at; p < 0 || want>>p&1 == 0 || i >= n {
				t.Fatalf("%b from bit %d on sets bit %d", want, at, p+at)
			}
		}
		if len(places(row)) != n {
			t.Fatalf("%d bits are set, want %d", len(places(row)), n)
		}
	})
}
