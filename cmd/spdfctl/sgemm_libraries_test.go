//go:build sgemm && linux && (amd64 || arm64)

package main

import (
	"path/filepath"
	"testing"
)

// TestSgemmLibraries loads every OpenBLAS, BLIS and oneDNN that Debian's paths
// hold and has each multiply; openSgemms checks the product.
func TestSgemmLibraries(t *testing.T) {
	var paths []string
	for _, pattern := range []string{
		"/usr/lib/*-linux-gnu/openblas-*/libopenblas.so.0",
		"/usr/lib/*-linux-gnu/blis-*/libblis.so.?",
		"/usr/lib/*-linux-gnu/libdnnl.so.?",
	} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, found...)
	}
	if len(paths) == 0 {
		t.Fatal("no library found; install libopenblas0 or libdnnl")
	}
	libraries, err := openSgemms(paths, 2)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range libraries {
		t.Logf("%s: %s, threads can be set: %t", l.path, l.symbol, l.setThreads != nil)
		if l.setThreads == nil {
			t.Errorf("%s: no way to set its threads", l.path)
		}
	}
}
