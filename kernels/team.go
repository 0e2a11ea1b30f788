package kernels

import (
	"runtime"
	"sync/atomic"
	"time"
)

// Waking a sleeping thread takes tens of microseconds, longer than many a
// product of a small layer. A worker therefore looks for the next job for
// idleSpin before it sleeps, and the caller for the end of the job likewise.
const idleSpin = 100 * time.Microsecond

// spinLooks is how often a waiting thread looks before it offers its processor
// to other goroutines and reads the clock.
const spinLooks = 64

// team is the workers of Parallel; busy guards it.
var team workerTeam

// workerTeam runs one job at a time: the calls of one function for n indices.
type workerTeam struct {
	workers []*worker // they live for ever

	// f and n belong to the job. A thread reads them only while it holds an
	// index, and the job cannot end before that index is done.
	f func(i int)
	n int

	// undrawn is the number of indices nobody has taken; less than 0 is none.
	undrawn atomic.Int64
	_       [56]byte // counters of different writers on lines of their own
	// unfinished is the number of indices that are not done.
	unfinished atomic.Int64
	_          [56]byte
	limit      atomic.Int64 // workers that may take part
	panicked   atomic.Bool
	cause      any // of the first panic
	waiting    atomic.Bool
	done       chan struct{} // wakes the caller
}

// worker is one thread beside the caller's.
type worker struct {
	asleep atomic.Bool
	wake   chan struct{}
}

// run does a job on the caller and threads-1 workers.
func (t *workerTeam) run(threads, n int, f func(i int)) {
	if t.done == nil {
		t.done = make(chan struct{}, 1)
	}
	for len(t.workers) < threads-1 {
		w := &worker{wake: make(chan struct{}, 1)}
		t.workers = append(t.workers, w)
		go t.serve(w, int64(len(t.workers)))
	}
	t.f, t.n = f, n
	t.limit.Store(int64(threads - 1))
	t.unfinished.Store(int64(n))
	t.undrawn.Store(int64(n))
	for _, w := range t.workers[:threads-1] {
		if w.asleep.CompareAndSwap(true, false) {
			w.wake <- struct{}{}
		}
	}
	t.work()
	if !spin(threads, func() bool { return t.unfinished.Load() == 0 }) {
		t.waiting.Store(true)
		if t.unfinished.Load() != 0 || !t.waiting.CompareAndSwap(true, false) {
			<-t.done
		}
	}
	t.f = nil // what it refers to may be large
	if t.panicked.Swap(false) {
		cause := t.cause
		t.cause = nil
		panic(cause)
	}
}

// serve is the life of the worker with a number from 1 on.
func (t *workerTeam) serve(w *worker, number int64) {
	work := func() bool { return t.undrawn.Load() > 0 && number <= t.limit.Load() }
	for {
		if !spin(int(t.limit.Load())+1, work) {
			w.asleep.Store(true)
			if !work() || !w.asleep.CompareAndSwap(true, false) {
				<-w.wake
			}
		}
		t.work()
	}
}

// spin looks for ready until idleSpin has passed. More threads than processors
// only take time from each other by it.
func spin(threads int, ready func() bool) bool {
	if ready() {
		return true
	}
	if threads > runtime.GOMAXPROCS(0) {
		return false
	}
	for start := time.Now(); time.Since(start) < idleSpin; runtime.Gosched() {
		for range spinLooks {
			if ready() {
				return true
			}
		}
	}
	return false
}

// work runs indices until none is left. The first panic wins; the indices that
// nobody has drawn are dropped then.
func (t *workerTeam) work() {
	defer func() {
		if r := recover(); r != nil {
			if t.panicked.CompareAndSwap(false, true) {
				t.cause = r
			}
			t.finish(1 + max(0, t.undrawn.Swap(0)))
		}
	}()
	for {
		left := t.undrawn.Add(-1)
		if left < 0 {
			return
		}
		t.f(t.n - 1 - int(left))
		t.finish(1)
	}
}

// finish counts indices as done and wakes the caller after the last.
func (t *workerTeam) finish(indices int64) {
	if t.unfinished.Add(-indices) == 0 && t.waiting.CompareAndSwap(true, false) {
		t.done <- struct{}{}
	}
}
