package kernels

import (
	"math/bits"
	"sync"
)

// scratchPool keeps work buffers by size class. Unlike a sync.Pool it survives
// garbage collections, so that a step that ran once allocates nothing the next
// time; it never holds more than was in use at one moment.
type scratchPool[T float32 | float64] struct {
	mu   sync.Mutex
	free [48][]*buffer[T]
}

// buffer is a borrowed buffer of unspecified content.
type buffer[T float32 | float64] struct {
	pool  *scratchPool[T]
	data  []T
	class int
}

// scratch is what nearly everything borrows.
type scratch = buffer[float32]

var (
	scratches   scratchPool[float32]
	scratches64 scratchPool[float64]
)

// borrow returns a buffer of n float32 whose content is unspecified.
func borrow(n int) *scratch { return scratches.borrow(n) }

// borrow64 is borrow for float64.
func borrow64(n int) *buffer[float64] { return scratches64.borrow(n) }

func (p *scratchPool[T]) borrow(n int) *buffer[T] {
	class, size := sizeClass(n)
	p.mu.Lock()
	if list := p.free[class]; len(list) > 0 {
		s := list[len(list)-1]
		p.free[class] = list[:len(list)-1]
		p.mu.Unlock()
		s.data = s.data[:n]
		return s
	}
	p.mu.Unlock()
	return &buffer[T]{pool: p, data: make([]T, n, size), class: class}
}

// giveBack returns a borrowed buffer.
func (s *buffer[T]) giveBack() {
	p := s.pool
	p.mu.Lock()
	p.free[s.class] = append(p.free[s.class], s)
	p.mu.Unlock()
}

// sizeClass rounds n up to a power of two of at least 1024.
func sizeClass(n int) (class, size int) {
	class = max(10, bits.Len(uint(max(n, 1)-1)))
	return class, 1 << class
}

// workspace is a set of borrowed buffers that are given back together.
type workspace struct {
	taken []*scratch
}

// take borrows n float32 of unspecified content.
func (w *workspace) take(n int) []float32 {
	s := borrow(n)
	w.taken = append(w.taken, s)
	return s.data
}

// release gives all back.
func (w *workspace) release() {
	for _, s := range w.taken {
		s.giveBack()
	}
	w.taken = w.taken[:0]
}
