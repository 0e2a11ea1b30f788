package data

import "fmt"

// Tokens is a stream of token ids.
type Tokens interface {
	Len() int
	Read(dst []int32, off int) error
}

// Windows cuts a token stream into sequences of T tokens, one after the other,
// and deals them in a random order that changes every epoch.
type Windows struct {
	tokens Tokens
	t, n   int
	seed   uint64
}

// NewWindows returns the windows of t tokens of a stream. It returns an error
// if the stream is shorter than one window and the target of its last token.
func NewWindows(tokens Tokens, t int, seed uint64) (*Windows, error) {
	n := (tokens.Len() - 1) / t
	if n < 1 {
		return nil, fmt.Errorf("data: %d tokens, one sequence of %d needs %d", tokens.Len(), t, t+1)
	}
	return &Windows{tokens: tokens, t: t, n: n, seed: seed}, nil
}

// Len returns the number of windows.
func (w *Windows) Len() int { return w.n }

// Batch returns sequences lo to hi of the shuffled stream.
func (w *Windows) Batch(lo, hi int) (*Batch, error) {
	return w.read(lo, hi, func(i int) int { return place(i, w.n, w.seed) })
}

// InOrder returns the windows lo to hi as they follow each other in the text.
func (w *Windows) InOrder(lo, hi int) (*Batch, error) {
	return w.read(lo, hi, func(i int) int { return i })
}

// read returns the windows which(lo) to which(hi-1).
func (w *Windows) read(lo, hi int, which func(i int) int) (*Batch, error) {
	b := &Batch{B: hi - lo, T: w.t}
	b.IDs = make([]int32, b.B*b.T)
	b.Targets = make([]int32, b.B*b.T)
	buf := make([]int32, w.t+1)
	for i := lo; i < hi; i++ {
		if err := w.tokens.Read(buf, which(i)*w.t); err != nil {
			return nil, err
		}
		copy(b.IDs[(i-lo)*w.t:], buf[:w.t])
		copy(b.Targets[(i-lo)*w.t:], buf[1:][:w.t])
	}
	return b, nil
}
