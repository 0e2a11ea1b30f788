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
	b := newBatch(hi-lo, w.t)
	for i := range b.B {
		if err := w.deal(b, i, lo+i); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// InOrder returns the windows lo to hi as they follow each other in the text.
func (w *Windows) InOrder(lo, hi int) (*Batch, error) {
	b := newBatch(hi-lo, w.t)
	for i := range b.B {
		if err := w.read(b, i, lo+i); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// deal puts sequence at of the shuffled stream into a row of b.
func (w *Windows) deal(b *Batch, row, at int) error { return w.read(b, row, place(at, w.n, w.seed)) }

// read puts a window into a row of b.
func (w *Windows) read(b *Batch, row, window int) error {
	buf := make([]int32, w.t+1)
	if err := w.tokens.Read(buf, window*w.t); err != nil {
		return err
	}
	copy(b.IDs[row*w.t:], buf[:w.t])
	copy(b.Targets[row*w.t:], buf[1:])
	return nil
}
