package kernels

import (
	"math/rand/v2"
	"testing"
)

// TestSparseMemory holds the structure to at most eight bytes per kept weight,
// both orientations together.
func TestSparseMemory(t *testing.T) {
	const out, in = 768, 3072
	for _, sparsity := range []float64{0.25, 0.5, 0.75, 0.9, 0.95, 0.99} {
		rng := rand.New(rand.NewPCG(1, 2))
		bits := make([]byte, out*in/8)
		for i := range out * in {
			if rng.Float64() >= sparsity {
				bits[i/8] |= 1 << (i % 8)
			}
		}
		s := NewSparse(out, in, bits)
		size := 2*(len(s.rows.code)+len(s.cols.code)+len(s.order)) + 16*(len(s.rows.tiles)+len(s.cols.tiles))
		per := float64(size) / float64(s.Kept())
		t.Logf("sparsity %g: %.2f bytes per kept weight", sparsity, per)
		if per > 8 {
			t.Errorf("sparsity %g: %.2f bytes per kept weight, want 8 at most", sparsity, per)
		}
	}
}
