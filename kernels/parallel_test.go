package kernels_test

import (
	"sync/atomic"
	"testing"

	"github.com/spdfctl/spdfctl/kernels"
)

// withThreads runs the rest of the test with n threads.
func withThreads(t *testing.T, n int) {
	t.Helper()
	before := kernels.Threads()
	kernels.SetThreads(n)
	t.Cleanup(func() { kernels.SetThreads(before) })
}

func TestParallelCallsEachIndexOnce(t *testing.T) {
	for _, threads := range []int{1, 2, 3, 7} {
		withThreads(t, threads)
		for _, n := range []int{0, 1, 2, 5, 1000} {
			calls := make([]atomic.Int32, n)
			kernels.Parallel(n, func(i int) { calls[i].Add(1) })
			for i := range calls {
				if got := calls[i].Load(); got != 1 {
					t.Errorf("%d threads, n = %d: index %d ran %d times, want 1", threads, n, i, got)
				}
			}
		}
	}
}

func TestParallelNestedRunsSerially(t *testing.T) {
	withThreads(t, 4)
	kernels.Parallel(8, func(i int) {
		inside := 0 // not atomic: the race detector sees a second thread
		kernels.Parallel(100, func(j int) {
			if j != inside {
				t.Errorf("nested call ran index %d as number %d", j, inside)
			}
			inside++
		})
		if inside != 100 {
			t.Errorf("nested call ran %d of 100", inside)
		}
	})
}

func TestParallelPassesOnPanics(t *testing.T) {
	for _, threads := range []int{1, 4} {
		withThreads(t, threads)
		for _, at := range []int{0, 3, 99} {
			func() {
				defer func() {
					if got := recover(); got != "boom" {
						t.Errorf("%d threads, panic at %d: recovered %v, want boom", threads, at, got)
					}
				}()
				kernels.Parallel(100, func(i int) {
					if i == at {
						panic("boom")
					}
				})
				t.Errorf("%d threads, panic at %d: Parallel returned", threads, at)
			}()
		}
		// The pool is usable afterwards, with all threads.
		var calls atomic.Int32
		kernels.Parallel(10, func(int) { calls.Add(1) })
		if got := calls.Load(); got != 10 {
			t.Errorf("after a panic: %d calls, want 10", got)
		}
	}
}
