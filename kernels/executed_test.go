package kernels_test

import (
	"testing"

	"github.com/spdfctl/spdfctl/kernels"
)

// worked returns what f added to the counters.
func worked(f func()) kernels.ExecutedWork {
	a := kernels.Executed()
	f()
	b := kernels.Executed()
	sub := func(x, y kernels.Work) kernels.Work {
		return kernels.Work{Useful: x.Useful - y.Useful, Issued: x.Issued - y.Issued}
	}
	return kernels.ExecutedWork{Dense: sub(b.Dense, a.Dense), Sparse: sub(b.Sparse, a.Sparse), Attention: sub(b.Attention, a.Attention)}
}

// Dense products count m*n*k, whatever the path and the blocks.
func TestExecutedDense(t *testing.T) {
	for _, s := range []struct{ m, n, k int }{{1, 7, 5}, {4, 300, 9}, {5, 33, 3}, {130, 70, 300}, {64, 64, 512}, {2, 0, 3}, {0, 2, 3}, {3, 2, 0}} {
		a, b, c := make([]float32, s.m*s.k+1), make([]float32, s.n*s.k+1), make([]float32, s.m*s.n+1)
		for name, f := range map[string]func(){
			"NN": func() { kernels.GemmNN(c, max(1, s.n), a, max(1, s.k), b, max(1, s.n), s.m, s.n, s.k, false) },
			"NT": func() { kernels.GemmNT(c, max(1, s.n), a, max(1, s.k), b, max(1, s.k), s.m, s.n, s.k, false) },
			"TN": func() { kernels.GemmTN(c, max(1, s.n), a, max(1, s.m), b, max(1, s.n), s.m, s.n, s.k, true) },
		} {
			w := worked(f)
			if want := int64(s.m * s.n * s.k); w.Dense.Useful != want || w.Dense.Issued < want {
				t.Errorf("%s %v: %+v multiply-adds, want %d", name, s, w.Dense, want)
			}
			if w.Sparse.Useful+w.Attention.Useful != 0 {
				t.Errorf("%s %v: counted elsewhere: %+v", name, s, w)
			}
		}
	}
}

// Sparse products count tokens times kept weights; padding is up to whole
// panels.
func TestExecutedSparse(t *testing.T) {
	const out, in = 37, 150
	bits := make([]byte, out*((in+7)/8))
	for i := range bits {
		bits[i] = byte(i * 37)
	}
	s := kernels.NewSparse(out, in, bits)
	kept := s.Kept()
	w, dw := make([]float32, kept), make([]float32, kept)
	for _, tokens := range []int{1, 4, 5, 64, 200} {
		x, y := make([]float32, tokens*in), make([]float32, tokens*out)
		for name, tc := range map[string]struct {
			f     func()
			times int
		}{
			"forward":         {func() { s.Forward(y, out, x, in, w, tokens) }, 1},
			"backward input":  {func() { s.BackwardInput(x, in, y, out, w, tokens, false) }, 1},
			"backward weight": {func() { s.BackwardWeight(dw, y, out, x, in, tokens) }, 1},
			"backward":        {func() { s.Backward(make([]float32, tokens*in), in, dw, y, out, x, in, w, tokens, false) }, 2},
		} {
			got := worked(tc.f).Sparse
			want := int64(tc.times * kept * tokens)
			panels := (tokens + kernels.PanelTokens - 1) / kernels.PanelTokens
			if most := int64(tc.times * kept * panels * kernels.PanelTokens); got.Useful != want || got.Issued < want || got.Issued > most {
				t.Errorf("%s of %d tokens: %+v multiply-adds, want %d, at most %d with padding", name, tokens, got, want, most)
			}
		}
	}
}

// Attention leaves out blocks of keys that lie in the future.
func TestExecutedAttention(t *testing.T) {
	const b, nt, nh, hs = 2, 600, 2, 16
	c := nh * hs
	qkv, out, lse := make([]float32, b*nt*3*c), make([]float32, b*nt*c), make([]float32, b*nh*nt)
	got := worked(func() { kernels.AttentionForward(out, lse, qkv, b, nt, nh, hs) }).Attention
	full, causal := int64(2*b*nh*nt*nt*hs), int64(b*nh*nt*(nt+1)*hs)
	if got.Useful < causal || got.Useful >= full || got.Issued < got.Useful {
		t.Errorf("forward: %+v multiply-adds, want %d to %d", got, causal, full)
	}
	back := worked(func() { kernels.AttentionBackward(make([]float32, len(qkv)), out, qkv, out, lse, b, nt, nh, hs) }).Attention
	// Five products of a block where the forward pass has two.
	if 2*back.Useful != 5*got.Useful {
		t.Errorf("backward: %d multiply-adds, forward %d, want 5/2 of it", back.Useful, got.Useful)
	}
}
