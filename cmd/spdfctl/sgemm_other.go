//go:build !(linux && (amd64 || arm64))

package main

import (
	"fmt"
	"runtime"
)

func openSgemm(string) (*sgemmLibrary, error) {
	return nil, fmt.Errorf("libraries are loaded on Linux only (amd64, arm64), this is %s/%s", runtime.GOOS, runtime.GOARCH)
}
