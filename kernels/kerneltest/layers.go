package kerneltest

import (
	"fmt"
	"math"

	"github.com/spdfctl/spdfctl/kernels"
)

// checkLayerNorm compares the exported functions, which split the rows, with
// the set's own row functions.
func checkLayerNorm(set *kernels.Set, short bool) error {
	rng := newRand(24)
	const eps = 1e-5
	for _, rows := range []int{0, 1, 7, 33, 100} {
		for _, c := range []int{1, 5, 64, 100} {
			x, dy := random(rng, rows*c), random(rng, rows*c)
			weight, bias := random(rng, c), random(rng, c)
			y, mean, rstd := make([]float32, rows*c), make([]float32, rows), make([]float32, rows)
			kernels.LayerNormForward(y, mean, rstd, x, weight, bias, rows, c, eps)
			row := make([]float32, c)
			for i := range rows {
				mu, r := set.NormRow(row, x[i*c:(i+1)*c], weight, bias, eps)
				if mu != mean[i] || r != rstd[i] || sameBits(row, y[i*c:(i+1)*c]) >= 0 {
					return fmt.Errorf("LayerNormForward of %d × %d: row %d differs from NormRow", rows, c, i)
				}
			}
			dx, dweight, dbias := random(rng, rows*c), random(rng, c), random(rng, c)
			dx0, dw0, db0 := clone(dx), clone(dweight), clone(dbias)
			kernels.LayerNormBackward(dx, dweight, dbias, dy, x, weight, mean, rstd, rows, c)
			unused := make([]float32, 2*c)
			for i := range rows {
				want := dx0[i*c : (i+1)*c]
				set.NormRowGrad(want, unused[:c], unused[c:], dy[i*c:(i+1)*c], x[i*c:(i+1)*c], weight, mean[i], rstd[i])
				if sameBits(dx[i*c:(i+1)*c], want) >= 0 {
					return fmt.Errorf("LayerNormBackward of %d × %d: row %d differs from NormRowGrad", rows, c, i)
				}
			}
			for j := range c {
				w, b := float64(dw0[j]), float64(db0[j])
				wMass, bMass := math.Abs(w), math.Abs(b)
				for i := range rows {
					d := float64(dy[i*c+j])
					p := d * (float64(x[i*c+j]) - float64(mean[i])) * float64(rstd[i])
					w, b = w+p, b+d
					wMass, bMass = wMass+math.Abs(p), bMass+math.Abs(d)
				}
				if err := first(named("dweight", agree(dweight[j], w, wMass, rows+5)), named("dbias", agree(dbias[j], b, bMass, rows+2))); err != nil {
					return fmt.Errorf("LayerNormBackward of %d × %d: column %d: %w", rows, c, j, err)
				}
			}
		}
	}
	return nil
}

func clone(x []float32) []float32 { return append([]float32(nil), x...) }

func checkEmbedding(set *kernels.Set, short bool) error {
	rng := newRand(25)
	const vocab, t, c, b = 11, 6, 19, 3
	ids := make([]int32, b*t)
	for i := range ids {
		ids[i] = int32(rng.IntN(vocab))
	}
	wte, wpe := random(rng, vocab*c), random(rng, t*c)
	y := make([]float32, b*t*c)
	kernels.EmbeddingForward(y, ids, wte, wpe, t, c)
	dy, dwte, dwpe := random(rng, b*t*c), random(rng, vocab*c), random(rng, t*c)
	wantE, wantP := clone(dwte), clone(dwpe)
	for i, id := range ids {
		for j := range c {
			if got, want := y[i*c+j], wte[int(id)*c+j]+wpe[i%t*c+j]; got != want {
				return fmt.Errorf("EmbeddingForward: token %d, channel %d: got %g, want %g", i, j, got, want)
			}
			wantE[int(id)*c+j] += dy[i*c+j]
			wantP[i%t*c+j] += dy[i*c+j]
		}
	}
	kernels.EmbeddingBackward(dwte, dwpe, dy, ids, t, c)
	if i := sameBits(dwte, wantE); i >= 0 {
		return fmt.Errorf("EmbeddingBackward: dwte[%d] is %g, want %g", i, dwte[i], wantE[i])
	}
	if i := sameBits(dwpe, wantP); i >= 0 {
		return fmt.Errorf("EmbeddingBackward: dwpe[%d] is %g, want %g", i, dwpe[i], wantP[i])
	}
	return nil
}

// logSumExp64 returns log(sum of exp(x)).
func logSumExp64(x []float32) float64 {
	m := math.Inf(-1)
	for _, v := range x {
		m = math.Max(m, float64(v))
	}
	var s float64
	for _, v := range x {
		s += math.Exp(float64(v) - m)
	}
	return m + math.Log(s)
}

func checkCrossEntropy(set *kernels.Set, short bool) error {
	rng := newRand(26)
	for _, v := range []int{1, 2, 17, 130, 4096, 4097, 9001} {
		rows := 6
		logits := random(rng, rows*v)
		kernels.Scale(logits, 5)
		targets := make([]int32, rows)
		for i := range targets {
			targets[i] = int32(rng.IntN(v))
		}
		targets[2] = -1
		losses, again := random(rng, rows), random(rng, rows)
		grad := clone(logits)
		scale := float32(0.37)
		kernels.CrossEntropy(again, grad, targets, rows, v)
		if sameBits(grad, logits) >= 0 {
			return fmt.Errorf("CrossEntropy of %d logits changed them", v)
		}
		kernels.SoftmaxCrossEntropy(losses, grad, targets, rows, v, scale)
		if i := sameBits(losses, again); i >= 0 {
			return fmt.Errorf("of %d logits: SoftmaxCrossEntropy gives loss %g, CrossEntropy %g", v, losses[i], again[i])
		}
		for i := range rows {
			row := logits[i*v : (i+1)*v]
			if targets[i] < 0 {
				if losses[i] != 0 || sameBits(grad[i*v:(i+1)*v], make([]float32, v)) >= 0 {
					return fmt.Errorf("of %d logits: a row without target has loss %g or a gradient", v, losses[i])
				}
				continue
			}
			lse := logSumExp64(row)
			x := float64(row[targets[i]])
			// The sum of exponentials is off by min(v, 4096) roundings of sums
			// and by the exponentials themselves.
			k := min(v, 4096) + 2*expUlps + 8
			if err := agree(losses[i], lse-x, 1+math.Abs(lse-x)/float64(k), k); err != nil {
				return fmt.Errorf("of %d logits: loss of row %d: %w", v, i, err)
			}
			for j := range row {
				p := math.Exp(float64(row[j]) - lse)
				d := p
				if int32(j) == targets[i] {
					d--
				}
				mass := float64(scale) * (p + math.Abs(d-p)/float64(k))
				// x[j]-max is rounded: exp turns that into a relative error.
				if err := agree(grad[i*v+j], float64(scale)*d, mass, 2*k+64); err != nil {
					return fmt.Errorf("of %d logits: gradient (%d,%d): %w", v, i, j, err)
				}
			}
		}
	}
	nan := float32(math.NaN())
	logits, losses := random(rng, 2*50), make([]float32, 2)
	logits[20] = nan
	kernels.CrossEntropy(losses, logits, []int32{3, 4}, 2, 50)
	if losses[0] == losses[0] || losses[1] != losses[1] {
		return fmt.Errorf("CrossEntropy with NaN in row 0: losses %g and %g", losses[0], losses[1])
	}
	return nil
}
