package kernels

import "sync/atomic"

// Work is a number of multiply-adds.
type Work struct {
	// Useful ones have both operands in the caller's matrices. Attention counts
	// whole blocks of scores up to the diagonal.
	Useful int64
	// Issued ones include those on padding: tiles that hang over the rim, panels
	// filled up with zeros.
	Issued int64
}

// ExecutedWork is what the products have done since the process started, one
// multiply-add being two FLOPs. Everything else, such as LayerNorm, softmax or
// AdamW, is not counted.
type ExecutedWork struct {
	Dense     Work // GemmNN, GemmNT, GemmTN
	Sparse    Work // Forward, BackwardInput, BackwardWeight, Backward of Sparse
	Attention Work // AttentionForward, AttentionBackward
}

// workCount counts work from any goroutine: one addition per task or block, so
// that it costs nothing beside it.
type workCount struct{ useful, issued atomic.Int64 }

var denseWork, sparseWork, attentionWork workCount

func (w *workCount) add(useful, issued int) {
	w.useful.Add(int64(useful))
	w.issued.Add(int64(issued))
}

func (w *workCount) load() Work { return Work{w.useful.Load(), w.issued.Load()} }

// Executed returns the work done so far. Its differences are exact where no
// product is running.
func Executed() ExecutedWork {
	return ExecutedWork{denseWork.load(), sparseWork.load(), attentionWork.load()}
}
