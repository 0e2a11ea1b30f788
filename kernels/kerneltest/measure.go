package kerneltest

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/spdfctl/spdfctl/kernels"
)

// Shape is a product as a model has it: a batch of tokens times a weight
// matrix of out × in.
type Shape struct{ Tokens, In, Out int }

// ModelShapes are the products of GPT-2 small's blocks for 512 tokens: the
// attention's projections and the two halves of the MLP.
var ModelShapes = []Shape{{512, 768, 768}, {512, 768, 3072}, {512, 3072, 768}}

// FLOPs returns the floating-point operations of one product of this shape, 2
// per multiply-add, when only a fraction density of the weights is kept.
func (s Shape) FLOPs(density float64) float64 {
	return 2 * float64(s.Tokens) * float64(s.In) * float64(s.Out) * density
}

// Workload is what the products of one shape need: activations, gradients and
// a weight matrix with a random mask.
type Workload struct {
	Shape
	Density float64 // the realised one

	x, dy, y, dx, dense, ddense []float32
	sparse                      *kernels.Sparse
	w, dw                       []float32
}

// NewWorkload returns a workload of random numbers. Every weight is pruned with
// probability sparsity, which is in [0, 1).
func NewWorkload(s Shape, sparsity float64) *Workload {
	rng := newRand(40)
	w := &Workload{
		Shape: s,
		x:     random(rng, s.Tokens*s.In), dy: random(rng, s.Tokens*s.Out),
		y: make([]float32, s.Tokens*s.Out), dx: make([]float32, s.Tokens*s.In),
		dense: random(rng, s.Out*s.In), ddense: make([]float32, s.Out*s.In),
		sparse: kernels.NewSparse(s.Out, s.In, randomBits(rng, s.Out, s.In, sparsity)),
	}
	w.w, w.dw = make([]float32, w.sparse.Kept()), make([]float32, w.sparse.Kept())
	w.sparse.Gather(w.w, w.dense, s.In, 1)
	w.Density = float64(w.sparse.Kept()) / float64(s.Out*s.In)
	return w
}

func randomBits(rng *rand.Rand, out, in int, sparsity float64) []byte {
	stride := (in + 7) / 8
	bits := make([]byte, out*stride)
	for i := range out {
		for j := range in {
			if rng.Float64() >= sparsity {
				bits[i*stride+j/8] |= 1 << (j % 8)
			}
		}
	}
	return bits
}

// The three products of a linear layer, dense and sparse.

// DenseForward computes y = x Wᵀ with the dense kernels.
func (w *Workload) DenseForward() {
	kernels.GemmNT(w.y, w.Out, w.x, w.In, w.dense, w.In, w.Tokens, w.Out, w.In, false)
}

// DenseBackwardInput computes dx = dy W with the dense kernels.
func (w *Workload) DenseBackwardInput() {
	kernels.GemmNN(w.dx, w.In, w.dy, w.Out, w.dense, w.In, w.Tokens, w.In, w.Out, false)
}

// DenseBackwardWeight computes dW += dyᵀ x with the dense kernels.
func (w *Workload) DenseBackwardWeight() {
	kernels.GemmTN(w.ddense, w.In, w.dy, w.Out, w.x, w.In, w.Out, w.In, w.Tokens, true)
}

// SparseForward computes y = x Wᵀ over the kept weights.
func (w *Workload) SparseForward() {
	w.sparse.Forward(w.y, w.Out, w.x, w.In, w.w, w.Tokens)
}

// SparseBackwardInput computes dx = dy W over the kept weights.
func (w *Workload) SparseBackwardInput() {
	w.sparse.BackwardInput(w.dx, w.In, w.dy, w.Out, w.w, w.Tokens, false)
}

// SparseBackwardWeight computes dW += dyᵀ x at the kept places.
func (w *Workload) SparseBackwardWeight() {
	w.sparse.BackwardWeight(w.dw, w.dy, w.Out, w.x, w.In, w.Tokens)
}

// Median calls f once to warm up and then at least three times, until budget
// is spent, and returns the median time of a call.
func Median(budget time.Duration, f func()) time.Duration {
	f()
	var times []time.Duration
	for start := time.Now(); len(times) < 3 || time.Since(start) < budget; {
		t := time.Now()
		f()
		times = append(times, time.Since(t))
	}
	slices.Sort(times)
	return times[len(times)/2]
}

// Peak returns the FLOP/s of the set's tile with both operands in the
// first-level cache, on all threads at once: what no dense product of the set
// can exceed.
func Peak(set *kernels.Set, budget time.Duration) float64 {
	const kc, rounds = 128, 200
	threads := kernels.Threads()
	a, b := make([]float32, kc*set.MR), make([]float32, kc*set.NR)
	c := make([][]float32, threads)
	for i := range c {
		c[i] = make([]float32, set.MR*set.NR+64) // apart, so that no cache line is shared
	}
	// More than one task a thread would measure the slowest thread's luck.
	t := Median(budget, func() {
		kernels.Parallel(threads, func(i int) {
			for range rounds {
				set.Tile(c[i], set.NR, a, b, kc, true)
			}
		})
	})
	return 2 * kc * rounds * float64(set.MR*set.NR*threads) / t.Seconds()
}
