//go:build linux && (amd64 || arm64)

package main

import (
	"fmt"
	"strings"

	"github.com/ebitengine/purego"
)

// threadSetters are the functions that set the number of threads, the
// library's own before OpenMP's. Both OpenBLAS builds, BLIS, oneDNN and MKL
// have one of them.
var threadSetters = []string{"openblas_set_num_threads", "bli_thread_set_num_threads", "MKL_Set_Num_Threads", "omp_set_num_threads"}

// openSgemm loads a library and finds its product: dnnl_sgemm, else
// cblas_sgemm. Sizes are passed in 64 bits: a library with 32-bit integers
// reads the lower half of the register or stack slot.
func openSgemm(path string) (*sgemmLibrary, error) {
	lib, err := purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, fmt.Errorf("cannot be loaded: %s", strings.TrimPrefix(err.Error(), path+": "))
	}
	l := &sgemmLibrary{path: path}
	if p, err := purego.Dlsym(lib, "dnnl_sgemm"); err == nil {
		l.symbol = "dnnl_sgemm"
		var f func(transA, transB int64, m, n, k int64, alpha float32, a *float32, lda int64, b *float32, ldb int64, beta float32, c *float32, ldc int64) int32
		purego.RegisterFunc(&f, p)
		l.multiply = func(m, n, k int, a []float32, lda int, b []float32, ldb int, c []float32, ldc int) {
			f('N', 'T', int64(m), int64(n), int64(k), 1, &a[0], int64(lda), &b[0], int64(ldb), 0, &c[0], int64(ldc))
		}
	} else if p, err := purego.Dlsym(lib, "cblas_sgemm"); err == nil {
		const rowMajor, noTrans, trans = 101, 111, 112
		l.symbol = "cblas_sgemm"
		var f func(order, transA, transB, m, n, k int64, alpha float32, a *float32, lda int64, b *float32, ldb int64, beta float32, c *float32, ldc int64)
		purego.RegisterFunc(&f, p)
		l.multiply = func(m, n, k int, a []float32, lda int, b []float32, ldb int, c []float32, ldc int) {
			f(rowMajor, noTrans, trans, int64(m), int64(n), int64(k), 1, &a[0], int64(lda), &b[0], int64(ldb), 0, &c[0], int64(ldc))
		}
	} else {
		return nil, fmt.Errorf("has neither cblas_sgemm nor dnnl_sgemm")
	}
	for _, name := range threadSetters {
		if p, err := purego.Dlsym(lib, name); err == nil {
			var set func(n int64)
			purego.RegisterFunc(&set, p)
			l.setThreads = func(n int) { set(int64(n)) }
			break
		}
	}
	return l, nil
}
