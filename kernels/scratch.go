package kernels

import (
	"math/bits"
	"sync"
)

// scratchPool keeps work buffers by size class. Unlike a sync.Pool it survives
// garbage collections, so that a step that ran once allocates nothing the next
// time; it never holds more than was in use at one moment.
type scratchPool struct {
	mu   sync.Mutex
	free [48][]*scratch
}

// scratch is a borrowed buffer of unspecified content.
type scratch struct {
	data  []float32
	class int
}

var scratches scratchPool

// borrow returns a buffer of n float32 whose content is unspecified.
func borrow(n int) *scratch {
	class, size := sizeClass(n)
	p := &scratches
	p.mu.Lock()
	if list := p.free[class]; len(list) > 0 {
		s := list[len(list)-1]
		p.free[class] = list[:len(list)-1]
		p.mu.Unlock()
		s.data = s.data[:n]
		return s
	}
	p.mu.Unlock()
	return &scratch{data: make([]float32, n, size), class: class}
}

// giveBack returns a borrowed buffer.
func (s *scratch) giveBack() {
	p := &scratches
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
