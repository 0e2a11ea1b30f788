package kernels

import (
	"math/rand/v2"
	"testing"
)

// TestMatch holds the pairs of a tile to what the code of a tile needs, and the
// matching to what it is for.
func TestMatch(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, tc := range []struct {
		rows, slab int
		density    float64
		shared     float64 // fraction of the kept weights, at least
	}{
		{blockRows, 64, 0.5, 0.63}, {blockRows, 64, 0.25, 0.47}, {blockRows, 96, 0.1, 0.34},
		{blockRows, 384, 0.01, 0.2}, {7, 64, 0.3, 0}, {1, 64, 0.5, 0}, {50, 64, 0.01, 0},
	} {
		bits := make([]byte, tc.rows*tc.slab/8)
		for i := range tc.rows * tc.slab {
			if rng.Float64() < tc.density {
				bits[i/8] |= 1 << (i % 8)
			}
		}
		var p pairing
		p.read(bitMatrix{n: tc.rows, width: tc.slab, bits: bits}, 0, 0, tc.slab)
		seen := make([]int, tc.rows)
		shared := 0
		for i, q := range p.match() {
			both := p.shared(q.a, q.b)
			seen[q.a]++
			if q.a == q.b {
				both = 0
			} else {
				seen[q.b]++
			}
			b := both + q.own
			if q.shared != both || q.own < 0 || q.left < 0 || both+q.own+q.left != p.ones[q.a] || q.a != q.b && b != p.ones[q.b] {
				t.Fatalf("%v: pair %d is %+v of rows that keep %d and %d", tc, i, q, p.ones[q.a], p.ones[q.b])
			}
			shared += 2 * both
		}
		for r, n := range seen {
			if want := min(1, p.ones[r]); n != want {
				t.Errorf("%v: row %d, which keeps %d, is in %d pairs, want %d", tc, r, p.ones[r], n, want)
			}
		}
		if got := float64(shared) / float64(max(1, p.kept)); got < tc.shared {
			t.Errorf("%v: %.3f of the kept weights are shared, want %.3f at least", tc, got, tc.shared)
		}
	}
}
