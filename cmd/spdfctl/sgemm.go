package main

import (
	"fmt"
	"runtime"
)

// sgemmNT computes c (m, n) = a (m, k) times the transpose of b (n, k), all
// row-major with the given row strides.
type sgemmNT = func(m, n, k int, a []float32, lda int, b []float32, ldb int, c []float32, ldc int)

// sgemmLibrary is a library of others with a dense float32 product.
type sgemmLibrary struct {
	path     string
	symbol   string // its product
	multiply sgemmNT
	// setThreads is nil if the library has no way to be told.
	setThreads func(n int)
}

// openSgemms loads the libraries. Their OpenMP threads belong to the thread
// that calls, so the calling goroutine stays on its thread from then on.
func openSgemms(paths []string, threads int) ([]*sgemmLibrary, error) {
	var list []*sgemmLibrary
	if len(paths) > 0 {
		runtime.LockOSThread()
	}
	for _, path := range paths {
		l, err := openSgemm(path)
		if err != nil {
			return nil, fmt.Errorf("kernels bench: --against %s: %w", path, err)
		}
		if l.setThreads != nil {
			l.setThreads(threads)
		}
		if err := l.check(); err != nil {
			return nil, fmt.Errorf("kernels bench: --against %s: %w", path, err)
		}
		list = append(list, l)
	}
	return list, nil
}

// check multiplies small integers, whose product is exact, so that a library
// with another calling convention is found out before it is timed.
func (l *sgemmLibrary) check() error {
	const m, n, k, lda, ldb, ldc = 5, 3, 7, 8, 9, 4
	a, b, c := make([]float32, m*lda), make([]float32, n*ldb), make([]float32, m*ldc)
	for i := range a {
		a[i] = float32(i % 11)
	}
	for i := range b {
		b[i] = float32(i%5) - 2
	}
	l.multiply(m, n, k, a, lda, b, ldb, c, ldc)
	for i := range m {
		for j := range n {
			var want float32
			for p := range k {
				want += a[i*lda+p] * b[j*ldb+p]
			}
			if got := c[i*ldc+j]; got != want {
				return fmt.Errorf("%s: element (%d, %d) of a product is %g, want %g", l.symbol, i, j, got, want)
			}
		}
	}
	return nil
}
