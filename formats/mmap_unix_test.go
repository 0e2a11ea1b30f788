//go:build unix

package formats_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/spdfctl/spdfctl/formats"
)

func TestMap(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	if err := os.WriteFile(path, []byte("mapped"), 0o666); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := formats.Map(file, 0); err == nil {
		t.Error("mapped nothing")
	}
	data, unmap, err := formats.Map(file, 6)
	if err != nil {
		t.Fatal(err)
	}
	// The mapping does not need the file.
	if err := file.Close(); err != nil {
		t.Error(err)
	}
	got := make([]byte, 6)
	if err := formats.CatchFault(func() { copy(got, data) }); err != nil || string(got) != "mapped" {
		t.Errorf("got %q, %v", got, err)
	}
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	if err := formats.CatchFault(func() { copy(got, data) }); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("after a cut: got error %v, want io.ErrUnexpectedEOF", err)
	}
	if err := unmap(); err != nil {
		t.Error(err)
	}
}
