package kerneltest

import (
	"context"
	"math"
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

	x, dy, y, dx  []float32 // long enough for panels
	dense, ddense []float32
	sparse        *kernels.Sparse
	w, wt, dw     []float32 // wt: w as the transpose walks it
}

// NewDense returns a workload of random numbers for the dense products.
func NewDense(s Shape) *Workload {
	rng := newRand(40)
	rows := kernels.PanelLen(s.Tokens, 1)
	return &Workload{
		Shape: s, Density: 1,
		x: random(rng, rows*s.In), dy: random(rng, rows*s.Out),
		y: make([]float32, rows*s.Out), dx: make([]float32, rows*s.In),
		dense: random(rng, s.Out*s.In), ddense: make([]float32, s.Out*s.In),
	}
}

// NewWorkload returns a workload of random numbers. Every weight is pruned with
// probability sparsity, which is in [0, 1).
func NewWorkload(s Shape, sparsity float64) *Workload {
	return NewDense(s).Prune(sparsity)
}

// Prune returns a workload on the same numbers for the sparse products, too.
func (w *Workload) Prune(sparsity float64) *Workload {
	s, pruned := w.Shape, *w
	w = &pruned
	w.sparse = kernels.NewSparse(s.Out, s.In, randomBits(newRand(41), s.Out, s.In, sparsity))
	kept := w.sparse.Kept()
	w.w, w.wt, w.dw = make([]float32, kept), make([]float32, kept), make([]float32, kept)
	w.sparse.Gather(w.w, w.dense, s.In, 1)
	w.SparseTranspose()
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

// BF16Forward computes y = x Wᵀ with factors rounded to bf16.
func (w *Workload) BF16Forward() {
	kernels.BF16.GemmNT(w.y, w.Out, w.x, w.In, w.dense, w.In, w.Tokens, w.Out, w.In, false)
}

// BF16BackwardInput computes dx = dy W with factors rounded to bf16.
func (w *Workload) BF16BackwardInput() {
	kernels.BF16.GemmNN(w.dx, w.In, w.dy, w.Out, w.dense, w.In, w.Tokens, w.In, w.Out, false)
}

// BF16BackwardWeight computes dW += dyᵀ x with factors rounded to bf16.
func (w *Workload) BF16BackwardWeight() {
	kernels.BF16.GemmTN(w.ddense, w.In, w.dy, w.Out, w.x, w.In, w.Out, w.In, w.Tokens, true)
}

// ForwardWith computes y = x Wᵀ with somebody else's product, row-major:
// c (m, n) = a (m, k) times the transpose of b (n, k).
func (w *Workload) ForwardWith(gemmNT func(m, n, k int, a []float32, lda int, b []float32, ldb int, c []float32, ldc int)) {
	gemmNT(w.Tokens, w.Out, w.In, w.x, w.In, w.dense, w.In, w.y, w.Out)
}

// SparseForward computes y = x Wᵀ over the kept weights.
func (w *Workload) SparseForward() {
	w.sparse.Forward(w.y, w.Out, w.x, w.In, w.w, w.Tokens)
}

// SparseBackwardInput computes dx = dy W over the kept weights.
func (w *Workload) SparseBackwardInput() {
	w.sparse.BackwardInput(w.dx, w.In, w.dy, w.Out, w.wt, w.Tokens, false)
}

// SparseTranspose renews the values that SparseBackwardInput reads, which a
// training step does once.
func (w *Workload) SparseTranspose() { w.sparse.Transpose(w.wt, w.w) }

// SparseBackwardWeight computes dW += dyᵀ x at the kept places.
func (w *Workload) SparseBackwardWeight() {
	w.sparse.BackwardWeight(w.dw, w.dy, w.Out, w.x, w.In, w.Tokens)
}

// The sparse products on activations that lie in panels before and after, as
// those of an MLP do in training. The numbers are the same, read as panels.

// SparseForwardPanels is SparseForward in panels.
func (w *Workload) SparseForwardPanels() {
	w.sparse.Forward(w.y, kernels.InPanels, w.x, kernels.InPanels, w.w, w.Tokens)
}

// SparseBackwardInputPanels is SparseBackwardInput in panels.
func (w *Workload) SparseBackwardInputPanels() {
	w.sparse.BackwardInput(w.dx, kernels.InPanels, w.dy, kernels.InPanels, w.wt, w.Tokens, false)
}

// SparseBackwardWeightPanels is SparseBackwardWeight in panels.
func (w *Workload) SparseBackwardWeightPanels() {
	w.sparse.BackwardWeight(w.dw, w.dy, kernels.InPanels, w.x, kernels.InPanels, w.Tokens)
}

// How often Interleave goes through its functions, and the length of a call that
// needs none before it to warm the caches.
const (
	roundsMin, roundsMax = 5, 15
	longCall             = 50 * time.Millisecond
)

// Timed is a function to be timed, and how long to wait after it for threads that
// still spin to go to sleep.
type Timed struct {
	Func func()
	Rest time.Duration
}

// Interleave times functions beside each other, so that a change of the clock
// or a busy neighbour meets them all: in each of five to fifteen rounds, of which
// there are more while they keep within budget for each function, every function is
// called once untimed, to warm the caches and wake its threads, unless it is long,
// and then at least once, until a fifteenth of budget is spent. It returns the median
// time of a call of each, or ctx's error.
func Interleave(ctx context.Context, budget time.Duration, fs ...Timed) ([]time.Duration, error) {
	times := make([][]time.Duration, len(fs))
	for round, begin := 0, time.Now(); round < roundsMin || round < roundsMax && time.Since(begin) < 2*budget*time.Duration(len(fs)); round++ {
		for i, f := range fs {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			if round == 0 || times[i][0] < longCall {
				f.Func()
			}
			for start := time.Now(); ; {
				t := time.Now()
				f.Func()
				times[i] = append(times[i], time.Since(t))
				if time.Since(start) >= budget/roundsMax {
					break
				}
			}
			time.Sleep(f.Rest)
		}
	}
	medians := make([]time.Duration, len(fs))
	for i, t := range times {
		slices.Sort(t)
		medians[i] = t[len(t)/2]
	}
	return medians, nil
}

// fastest calls f for budget and returns the time of its fastest call: for
// what a machine can do at most, whatever disturbed the other calls.
func fastest(budget time.Duration, f func()) time.Duration {
	best := time.Duration(math.MaxInt64)
	for start := time.Now(); time.Since(start) < budget || best == math.MaxInt64; {
		t := time.Now()
		f()
		best = min(best, time.Since(t))
	}
	return best
}

// Peak returns the multiply-adds that the set does on registers alone, on all
// threads at once, as FLOP/s: what no product of the set can exceed.
func Peak(set *kernels.Set, budget time.Duration) float64 {
	return peak(set.FMALoop, set.FMALoopAdds, budget)
}

// BF16Peak is Peak of the set's bf16 multiply-adds. The set must have them.
func BF16Peak(set *kernels.Set, budget time.Duration) float64 {
	return peak(set.BF16.DotLoop, set.BF16.DotLoopAdds, budget)
}

func peak(loop func(n int), loopAdds int, budget time.Duration) float64 {
	const adds = 1 << 27 // a millisecond and more
	trips, threads := adds/loopAdds, kernels.Threads()
	// More than one task a thread would measure the slowest thread's luck.
	t := fastest(budget, func() {
		kernels.Parallel(threads, func(int) { loop(trips) })
	})
	return 2 * float64(trips) * float64(loopAdds*threads) / t.Seconds()
}

// bandwidthBytes is far beyond the last-level cache of a core.
const bandwidthBytes = 128 << 20

// Bandwidth returns the bytes that all threads together read from memory in a
// second.
func Bandwidth(set *kernels.Set, budget time.Duration) float64 {
	const chunk = 1 << 14
	x := make([]float32, bandwidthBytes/4)
	for i := range x {
		x[i] = 1 // pages that nobody wrote are one page of zeros
	}
	threads := kernels.Threads()
	part := len(x) / threads
	t := fastest(budget, func() {
		kernels.Parallel(threads, func(i int) {
			for lo := i * part; lo+chunk <= (i+1)*part; lo += chunk {
				set.SumSquares(x[lo:][:chunk])
			}
		})
	})
	return 4 * float64(part/chunk*chunk*threads) / t.Seconds()
}
