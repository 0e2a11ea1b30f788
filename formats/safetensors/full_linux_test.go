package safetensors_test

import (
	"errors"
	"os"
	"syscall"
	"testing"

	"github.com/spdfctl/spdfctl/formats/safetensors"
)

// /dev/full refuses every write as a full disk does.
func TestWriteNoSpace(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	err = safetensors.Write(full, []safetensors.Tensor{safetensors.Float32s("a", []int{1}, []float32{1})}, nil)
	if want := "safetensors: header: write /dev/full: no space left on device"; !errors.Is(err, syscall.ENOSPC) || err.Error() != want {
		t.Errorf("got error %v, want %s", err, want)
	}
}
