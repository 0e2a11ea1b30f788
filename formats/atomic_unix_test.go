//go:build unix

package formats_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/spdfctl/spdfctl/formats"
)

// A symbolic link is replaced; what it points to is not ours to write.
func TestWriteAtomicReplacesLink(t *testing.T) {
	dir := t.TempDir()
	path, other := filepath.Join(dir, "a"), filepath.Join(dir, "other")
	if err := os.WriteFile(other, []byte("other"), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(other, path); err != nil {
		t.Fatal(err)
	}
	if err := formats.WriteAtomic(path, true, writeString("new")); err != nil {
		t.Fatal(err)
	}
	wantDir(t, dir, map[string]string{"a": "new", "other": "other"})
}

// Renaming onto a device would remove it for every process.
func TestWriteAtomicRefusesPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o666); err != nil {
		t.Fatal(err)
	}
	err := formats.WriteAtomic(path, true, writeString("x"))
	if err == nil || !strings.Contains(err.Error(), "is not a regular file") {
		t.Errorf("got error %v, want one about a regular file", err)
	}
}

// limitedDir, where set, makes the test binary the child of TestWriteAtomicNoSpace.
const limitedDir = "FORMATS_TEST_LIMITED_DIR"

// A process may not write files of more than RLIMIT_FSIZE bytes, which any user
// can lower: the kernel then refuses writes half-way, as on a full disk.
func TestWriteAtomicNoSpace(t *testing.T) {
	if dir := os.Getenv(limitedDir); dir != "" {
		writeTooMuch(t, dir)
		return
	}
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command(self, "-test.run=^TestWriteAtomicNoSpace$")
	child.Env = append(os.Environ(), limitedDir+"="+dir)
	if output, err := child.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, output)
	}
	wantDir(t, dir, map[string]string{"a": "before"})
}

func writeTooMuch(t *testing.T, dir string) {
	path := filepath.Join(dir, "a")
	if err := os.WriteFile(path, []byte("before"), 0o666); err != nil {
		t.Fatal(err)
	}
	const limit = 1 << 20
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: limit, Max: limit}); err != nil {
		t.Fatal(err)
	}
	err := formats.WriteAtomic(path, true, func(w io.Writer) error {
		_, err := w.Write(bytes.Repeat([]byte("x"), 2*limit))
		return err
	})
	if want := "write " + path + ": file too large"; !errors.Is(err, syscall.EFBIG) || err.Error() != want {
		t.Errorf("got error %v, want %s", err, want)
	}
}
