package formats_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/spdfctl/spdfctl/formats"
)

// TestWriteAtomicCopies writes bytes and parts of a file in turns, shorter and
// longer than the buffer.
func TestWriteAtomicCopies(t *testing.T) {
	dir := t.TempDir()
	content := make([]byte, 1<<20)
	for i := range content {
		content[i] = byte(i * 7)
	}
	from := filepath.Join(dir, "from")
	if err := os.WriteFile(from, content, 0o666); err != nil {
		t.Fatal(err)
	}
	var want bytes.Buffer
	to := filepath.Join(dir, "to")
	err := formats.WriteAtomic(to, false, func(w io.Writer) error {
		f, err := os.Open(from)
		if err != nil {
			return err
		}
		defer f.Close()
		for _, n := range []int64{1, 300 << 10, 10, 700 << 10} {
			fmt.Fprintf(io.MultiWriter(w, &want), "part of %d bytes\n", n)
			at, err := f.Seek(0, io.SeekCurrent)
			if err != nil {
				return err
			}
			copied, err := w.(io.ReaderFrom).ReadFrom(&io.LimitedReader{R: f, N: n})
			if err != nil || copied != n {
				return fmt.Errorf("copied %d of %d bytes: %w", copied, n, err)
			}
			want.Write(content[at : at+n])
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(to)
	if err != nil || !bytes.Equal(got, want.Bytes()) {
		t.Errorf("%d bytes, want %d, or others: %v", len(got), want.Len(), err)
	}
}
