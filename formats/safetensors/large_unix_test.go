//go:build unix && (amd64 || arm64)

package safetensors

import (
	"runtime"
	"testing"
)

// Opening costs the header, not the data. (Time would depend on the machine.)
func TestOpenLargeAllocatesLittle(t *testing.T) {
	const size = 8 << 30
	path, _ := sparseFile(t, size)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	data, err := f.Bytes("a")
	if err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if len(data) != size || data[0] != 0 || data[size-1] != 0 {
		t.Errorf("got %d bytes, want %d zeros", len(data), size)
	}
	const limit = 64 << 10
	if got := after.TotalAlloc - before.TotalAlloc; got > limit {
		t.Errorf("allocated %d bytes, want at most %d", got, limit)
	}
}
