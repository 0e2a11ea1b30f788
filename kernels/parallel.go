package kernels

import (
	"runtime"
	"sync/atomic"
)

var (
	threads atomic.Int64 // 0: GOMAXPROCS
	busy    atomic.Bool  // a Parallel with more than one worker is running
)

// SetThreads sets the number of threads that Parallel uses; 0, the default,
// means all usable cores (GOMAXPROCS, which follows cgroup limits).
// It panics if n is negative.
func SetThreads(n int) {
	must(n >= 0, "kernels: SetThreads: negative count")
	threads.Store(int64(n))
}

// Threads returns the number of threads that Parallel uses.
func Threads() int {
	if n := threads.Load(); n > 0 {
		return int(n)
	}
	return runtime.GOMAXPROCS(0)
}

// Parallel calls f(0) … f(n-1), each once, on up to Threads() threads, and
// returns when all are done. The order is unspecified, so f(i) must own what it
// writes. A call made while another is running (from inside f, or from another
// goroutine) runs serially: the threads are taken already. A panic in f
// reaches the caller of Parallel after the other threads have stopped.
func Parallel(n int, f func(i int)) {
	workers := min(Threads(), n)
	if workers <= 1 || !busy.CompareAndSwap(false, true) {
		for i := range n {
			f(i)
		}
		return
	}
	defer busy.Store(false)
	team.run(workers, n, f)
}

func ceilDiv(a, b int) int { return (a + b - 1) / b }
