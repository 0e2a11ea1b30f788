package kernels_test

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"testing"

	"github.com/spdfctl/spdfctl/kernels"
)

// referenceBits is the SHA-256 of what the reference computes in
// TestReferenceBits. It is the same on every machine and changes only when the
// order of a sum does, which is a numeric change.
const referenceBits = "57341f13573203c89cd95f63bb8d0dcddb2e568569fff45e9dc9c9c1b1cb8b06"

// sequence returns n numbers in [-1, 1) that need no library to be the same
// everywhere.
func sequence(n int, seed uint32) []float32 {
	x := make([]float32, n)
	for i := range x {
		seed = seed*1664525 + 1013904223
		x[i] = float32(int32(seed)>>8) / (1 << 23)
	}
	return x
}

func TestReferenceBits(t *testing.T) {
	before := kernels.Current().Name
	t.Cleanup(func() {
		if err := kernels.Use(before); err != nil {
			t.Error(err)
		}
	})
	if err := kernels.Use("go"); err != nil {
		t.Fatal(err)
	}
	h := sha256.New()
	add := func(x []float32) {
		for _, v := range x {
			h.Write(binary.LittleEndian.AppendUint32(nil, math.Float32bits(v)))
		}
	}
	const m, n, k = 70, 37, 300
	a, b, c := sequence(m*k, 1), sequence(n*k, 2), make([]float32, m*n)
	kernels.GemmNN(c, n, a, k, b, n, m, n, k, false)
	add(c)
	kernels.GemmNT(c, n, a, k, b, k, m, n, k, true)
	add(c)
	kernels.GemmTN(c, n, a, m, b, n, m, n, k, true)
	add(c)
	kernels.GemmNT(c, n, a, k, b, k, 1, n, k, false)
	add(c[:n])

	bits := make([]byte, k*((n+7)/8))
	for i, v := range sequence(len(bits), 3) {
		bits[i] = byte(v * 127)
	}
	s := kernels.NewSparse(k, n, bits)
	w, x, dy := sequence(s.Kept(), 4), sequence(m*n, 5), sequence(m*k, 6)
	y, dx, dw := make([]float32, m*k), make([]float32, m*n), make([]float32, s.Kept())
	s.Forward(y, k, x, n, w, m)
	wt := make([]float32, s.Kept())
	s.Transpose(wt, w)
	s.BackwardInput(dx, n, dy, k, wt, m, false)
	s.BackwardWeight(dw, dy, k, x, n, m)
	add(y)
	add(dx)
	add(dw)
	s.Forward(y, k, x, n, w, 1)
	add(y[:k])

	const bs, steps, nh, hs = 1, 70, 2, 5
	qkv := sequence(bs*steps*3*nh*hs, 7)
	out, lse, dqkv := make([]float32, bs*steps*nh*hs), make([]float32, bs*nh*steps), make([]float32, len(qkv))
	kernels.AttentionForward(out, lse, qkv, bs, steps, nh, hs)
	kernels.AttentionBackward(dqkv, dy[:len(out)], qkv, out, lse, bs, steps, nh, hs)
	add(out)
	add(lse)
	add(dqkv)

	g := make([]float32, m*k)
	kernels.GELUForward(g, dy)
	add(g)
	kernels.GELUBackward(g, y, dy)
	add(g)
	mean, rstd := make([]float32, m), make([]float32, m)
	kernels.LayerNormForward(g, mean, rstd, dy, a[:k], b[:k], m, k, 1e-5)
	add(g)
	kernels.LayerNormBackward(g, c[:k], c[k:2*k], dy, y, a[:k], mean, rstd, m, k)
	add(g)
	add(c)
	losses, targets := make([]float32, m), make([]int32, m)
	kernels.SoftmaxCrossEntropy(losses, dy, targets, m, k, 0.25)
	add(losses)
	add(dy)
	v := make([]float32, m*k)
	kernels.AdamW(dy, a, g, v, kernels.AdamWParams{LR: 1e-3, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, WeightDecay: 0.1, C1: 0.1, C2: 0.001})
	add(dy)
	add(v)
	if got := fmt.Sprintf("%x", h.Sum(nil)); got != referenceBits {
		t.Errorf("the reference computes other bits: SHA-256 is %s, want %s", got, referenceBits)
	}
}
