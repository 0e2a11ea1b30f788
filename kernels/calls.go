package kernels

import "sync"

// calls runs the parallel loops of one kernel. What a loop needs lies in a
// record of type T that is used again, where a closure would be allocated at
// every call: a training step that ran once allocates nothing the next time.
type calls[T any] struct {
	mu   sync.Mutex
	free []*call[T]
}

// call is one loop: its arguments and what it does with an index or a range.
type call[T any] struct {
	args    T
	n, size int
	body    func(a *T, i int)
	chunk   func(a *T, lo, hi int)

	runBody, runChunk func(i int) // bound to this record once
}

// parallel is Parallel with f(i) = body(&args, i). body captures nothing.
func (c *calls[T]) parallel(n int, args T, body func(a *T, i int)) {
	r := c.take()
	r.args, r.body = args, body
	Parallel(n, r.runBody)
	c.put(r)
}

// chunks calls chunk(&args, lo, hi) over [0, n) cut into chunks of size, in
// parallel. The cuts do not depend on the number of threads.
func (c *calls[T]) chunks(n, size int, args T, chunk func(a *T, lo, hi int)) {
	if n == 0 {
		return
	}
	r := c.take()
	r.args, r.n, r.size, r.chunk = args, n, size, chunk
	Parallel(ceilDiv(n, size), r.runChunk)
	c.put(r)
}

func (c *calls[T]) take() *call[T] {
	c.mu.Lock()
	defer c.mu.Unlock()
	if last := len(c.free) - 1; last >= 0 {
		r := c.free[last]
		c.free = c.free[:last]
		return r
	}
	r := new(call[T])
	r.runBody = func(i int) { r.body(&r.args, i) }
	r.runChunk = func(i int) { r.chunk(&r.args, i*r.size, min(r.n, (i+1)*r.size)) }
	return r
}

// put keeps r for the next loop, without what its arguments pointed to.
func (c *calls[T]) put(r *call[T]) {
	var none T
	r.args = none
	c.mu.Lock()
	c.free = append(c.free, r)
	c.mu.Unlock()
}
