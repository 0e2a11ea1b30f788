package kernels_test

import (
	"testing"

	"github.com/spdfctl/spdfctl/kernels"
)

// TestSparseAllocations: a sparse product that ran once allocates nothing the
// next time, for one token, a few and more than a group of panels.
func TestSparseAllocations(t *testing.T) {
	const out, in = 500, 450
	bits := make([]byte, out*((in+7)/8))
	for i := range bits {
		bits[i] = byte(i * 37)
	}
	s := kernels.NewSparse(out, in, bits)
	w, wt, dw := make([]float32, s.Kept()), make([]float32, s.Kept()), make([]float32, s.Kept())
	for _, threads := range []int{1, 2} {
		withThreads(t, threads)
		for _, tokens := range []int{1, 20, 1100} {
			x, y := make([]float32, kernels.PanelLen(tokens, in)), make([]float32, kernels.PanelLen(tokens, out))
			dx, px := make([]float32, len(x)), make([]float32, len(x))
			for name, f := range map[string]func(){
				"Transpose":      func() { s.Transpose(wt, w) },
				"Forward":        func() { s.Forward(y, out, x, in, w, tokens) },
				"BackwardInput":  func() { s.BackwardInput(dx, in, y, out, wt, tokens, true) },
				"BackwardWeight": func() { s.BackwardWeight(dw, y, out, x, in, tokens) },
				"Backward":       func() { s.Backward(dx, in, dw, y, out, x, in, wt, tokens, false) },
				"in panels": func() {
					kernels.PackPanels(px, x, in, tokens, in)
					s.Forward(y, kernels.InPanels, px, kernels.InPanels, w, tokens)
				},
			} {
				// A thread that comes late to one call borrows later in another.
				for range 20 {
					f()
				}
				if got := testing.AllocsPerRun(20, f); got != 0 {
					t.Errorf("%s of %d tokens, %d threads: allocates %g times, want 0", name, tokens, threads, got)
				}
			}
		}
	}
}
