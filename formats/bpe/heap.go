package bpe

// ordered is an item of a heap: before reports whether it must come out first.
type ordered[T any] interface{ before(T) bool }

// heap is a binary heap without the boxing of container/heap.
type heap[T ordered[T]] []T

func (h *heap[T]) push(x T) {
	*h = append(*h, x)
	s := *h
	for i := len(s) - 1; i > 0; {
		up := (i - 1) / 2
		if !s[i].before(s[up]) {
			break
		}
		s[i], s[up] = s[up], s[i]
		i = up
	}
}

// pop removes and returns the first item of h, which is not empty.
func (h *heap[T]) pop() T {
	s := *h
	top := s[0]
	last := len(s) - 1
	s[0] = s[last]
	*h = s[:last]
	h.down(0)
	return top
}

// order makes a heap of items in any order.
func (h *heap[T]) order() {
	for i := len(*h)/2 - 1; i >= 0; i-- {
		h.down(i)
	}
}

func (h *heap[T]) down(i int) {
	s := *h
	for {
		k := 2*i + 1
		if k >= len(s) {
			return
		}
		if k+1 < len(s) && s[k+1].before(s[k]) {
			k++
		}
		if !s[k].before(s[i]) {
			return
		}
		s[i], s[k] = s[k], s[i]
		i = k
	}
}
