package formats_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spdfctl/spdfctl/formats"
)

func writeString(s string) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := io.WriteString(w, s)
		return err
	}
}

// wantDir fails unless dir holds exactly the files, with their content, which
// also means: no temporary file left.
func wantDir(t *testing.T, dir string, want map[string]string) {
	t.Helper()
	got := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		got[filepath.ToSlash(name)] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("files (-got +want):\n%s", diff)
	}
}

func TestWriteAtomic(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	if err := formats.WriteAtomic(path, false, writeString("one")); err != nil {
		t.Fatal(err)
	}
	called := false
	err := formats.WriteAtomic(path, false, func(io.Writer) error { called = true; return nil })
	if !errors.Is(err, fs.ErrExist) || called {
		t.Errorf("existing path: got error %v, write called %t; want fs.ErrExist, not called", err, called)
	}
	wantDir(t, dir, map[string]string{"a": "one"})
	if err := formats.WriteAtomic(path, true, writeString("two")); err != nil {
		t.Fatal(err)
	}
	wantDir(t, dir, map[string]string{"a": "two"})
}

// The permissions are those of os.Create, not those of a temporary file.
func TestWriteAtomicPermissions(t *testing.T) {
	dir := t.TempDir()
	atomic, plain := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	if err := formats.WriteAtomic(atomic, false, writeString("")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(plain, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	got, err := os.Stat(atomic)
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.Stat(plain)
	if err != nil {
		t.Fatal(err)
	}
	if got.Mode() != want.Mode() {
		t.Errorf("got mode %v, want %v", got.Mode(), want.Mode())
	}
}

func TestWriteAtomicLeavesNothing(t *testing.T) {
	broken := errors.New("broken")
	partial := func(w io.Writer) error {
		// More than any buffer, so that some of it is in the file.
		if _, err := w.Write(bytes.Repeat([]byte("x"), 1<<20)); err != nil {
			return err
		}
		return broken
	}
	for _, before := range []map[string]string{{}, {"a": "before"}} {
		dir := t.TempDir()
		for name, content := range before {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		path := filepath.Join(dir, "a")
		if err := formats.WriteAtomic(path, true, partial); !errors.Is(err, broken) {
			t.Errorf("got error %v, want %v", err, broken)
		}
		wantDir(t, dir, before)
		func() {
			defer func() {
				if recover() == nil {
					t.Error("panic of write did not get through")
				}
			}()
			formats.WriteAtomic(path, true, func(io.Writer) error { panic("in write") })
		}()
		wantDir(t, dir, before)
	}
}

// Another process may take the name while write runs.
func TestWriteAtomicDoesNotClobber(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	err := formats.WriteAtomic(path, false, func(w io.Writer) error {
		return os.WriteFile(path, []byte("theirs"), 0o666)
	})
	if !errors.Is(err, fs.ErrExist) {
		t.Errorf("got error %v, want fs.ErrExist", err)
	}
	wantDir(t, dir, map[string]string{"a": "theirs"})
}

func TestWriteAtomicRefusesDirectory(t *testing.T) {
	dir := t.TempDir()
	err := formats.WriteAtomic(dir, true, writeString("x"))
	if err == nil || !strings.Contains(err.Error(), "exists and is not a regular file") {
		t.Errorf("got error %v, want one about a regular file", err)
	}
	if err := formats.WriteAtomic(filepath.Join(dir, "no", "a"), false, writeString("x")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing directory: got error %v, want fs.ErrNotExist", err)
	}
	wantDir(t, dir, map[string]string{})
}

func fillDir(files map[string]string) func(string) error {
	return func(tmp string) error {
		for name, content := range files {
			path := filepath.Join(tmp, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
				return err
			}
			if err := os.WriteFile(path, []byte(content), 0o666); err != nil {
				return err
			}
		}
		return nil
	}
}

func TestAtomicDir(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "step")
	if err := formats.AtomicDir(path, false, fillDir(map[string]string{"a": "1", "sub/b": "2"})); err != nil {
		t.Fatal(err)
	}
	called := false
	err := formats.AtomicDir(path, false, func(string) error { called = true; return nil })
	if !errors.Is(err, fs.ErrExist) || called {
		t.Errorf("existing path: got error %v, fill called %t; want fs.ErrExist, not called", err, called)
	}
	wantDir(t, dir, map[string]string{"step/a": "1", "step/sub/b": "2"})
	// A trailing separator names the same directory.
	if err := formats.AtomicDir(path+string(filepath.Separator), true, fillDir(map[string]string{"c": "3"})); err != nil {
		t.Fatal(err)
	}
	wantDir(t, dir, map[string]string{"step/c": "3"})
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 {
		t.Errorf("got %v beside the directory, want nothing", entries)
	}
}

// An empty directory is something too; rename alone would replace it.
func TestAtomicDirRefusesEmptyDirectory(t *testing.T) {
	if err := formats.AtomicDir(t.TempDir(), false, fillDir(nil)); !errors.Is(err, fs.ErrExist) {
		t.Errorf("got error %v, want fs.ErrExist", err)
	}
}

func TestAtomicDirLeavesNothing(t *testing.T) {
	broken := errors.New("broken")
	for _, before := range []map[string]string{{}, {"step/a": "before"}} {
		dir := t.TempDir()
		if err := fillDir(before)(dir); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "step")
		err := formats.AtomicDir(path, true, func(tmp string) error {
			return errors.Join(fillDir(map[string]string{"a": "half", "sub/b": "half"})(tmp), broken)
		})
		if !errors.Is(err, broken) {
			t.Errorf("got error %v, want %v", err, broken)
		}
		wantDir(t, dir, before)
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		if want := min(1, len(before)); len(entries) != want {
			t.Errorf("got %d entries %v, want %d", len(entries), entries, want)
		}
	}
}

func TestAtomicDirRefuses(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("kept"), 0o666); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	for _, path := range []string{".", "..", "", string(filepath.Separator), file} {
		err := formats.AtomicDir(path, true, func(string) error { t.Error("fill called"); return nil })
		if err == nil {
			t.Errorf("%q: got no error", path)
		}
	}
	wantDir(t, dir, map[string]string{"file": "kept"})
}
