package formats

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// writeBuffer is the size of the buffer between write functions and the file.
const writeBuffer = 256 << 10

// WriteAtomic puts on path, all or nothing, what write writes: the bytes go to a
// temporary file beside it, which is synced and then given its name, and the
// directory is synced last. On any error, or a panic of write, the temporary
// file is removed and path is as it was.
//
// An existing path is refused with an error that is fs.ErrExist, before write
// is called, unless force is set; what is not a regular file or a symbolic link
// is refused always. A symbolic link is replaced, not followed. w is buffered.
func WriteAtomic(path string, force bool, write func(w io.Writer) error) error {
	if err := checkTarget(path, force, func(m fs.FileMode) bool { return m.IsRegular() }, "a regular file"); err != nil {
		return err
	}
	tmp, file, err := createBeside(path)
	if err != nil {
		return err
	}
	placed := false
	defer func() {
		if !placed {
			file.Close()
			os.Remove(tmp)
		}
	}()

	target := &targetWriter{file: file, path: path}
	buffered := bufio.NewWriterSize(target, writeBuffer)
	if err := write(buffered); err != nil {
		return err
	}
	if err := buffered.Flush(); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return target.rename(err)
	}
	if err := file.Close(); err != nil {
		return target.rename(err)
	}
	if err := place(tmp, path, force); err != nil {
		return err
	}
	placed = true
	return syncDir(filepath.Dir(path))
}

// checkTarget applies the rules on what may stand at path already.
func checkTarget(path string, force bool, replaceable func(fs.FileMode) bool, what string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !force:
		return &fs.PathError{Op: "write", Path: path, Err: fs.ErrExist}
	case info.Mode()&fs.ModeSymlink != 0 || replaceable(info.Mode()):
		return nil
	}
	return fmt.Errorf("formats: %s: exists and is not %s", path, what)
}

// createBeside creates a file with the permissions that os.Create would give
// (os.CreateTemp gives 0600, which would outlive the rename).
func createBeside(path string) (string, *os.File, error) {
	for range 100 {
		tmp := besideName(path, "tmp")
		file, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			// The name that failed is ours; the reader knows the target.
			return "", nil, &fs.PathError{Op: "create", Path: path, Err: cause(err)}
		}
		return tmp, file, nil
	}
	return "", nil, fmt.Errorf("formats: %s: no free temporary name beside it", path)
}

// besideName returns a hidden name in the directory of path. It need only be
// unlikely to be taken: the caller creates it exclusively.
func besideName(path, kind string) string {
	dir, base := filepath.Split(path)
	return filepath.Join(dir, fmt.Sprintf(".%s.%s-%016x", base, kind, rand.Uint64()))
}

// place gives tmp the name path. Without force it links, because a link, unlike
// a rename, fails if another process has taken the name since checkTarget.
func place(tmp, path string, force bool) error {
	if !force {
		err := os.Link(tmp, path)
		if err == nil {
			return os.Remove(tmp)
		}
		if errors.Is(err, fs.ErrExist) {
			return &fs.PathError{Op: "write", Path: path, Err: fs.ErrExist}
		}
		// The file system has no hard links: look once more, then rename.
		if _, err := os.Lstat(path); err == nil {
			return &fs.PathError{Op: "write", Path: path, Err: fs.ErrExist}
		}
	}
	if err := os.Rename(tmp, path); err != nil {
		return &fs.PathError{Op: "rename", Path: path, Err: cause(err)}
	}
	return nil
}

// targetWriter reports errors under the name that the caller asked for.
type targetWriter struct {
	file *os.File
	path string
}

func (t *targetWriter) Write(p []byte) (int, error) {
	n, err := t.file.Write(p)
	if err != nil {
		err = t.rename(err)
	}
	return n, err
}

func (t *targetWriter) rename(err error) error {
	return &fs.PathError{Op: "write", Path: t.path, Err: cause(err)}
}

// cause strips the operation and the path that package os adds to an error.
func cause(err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err
	}
	var linkErr *os.LinkError
	if errors.As(err, &linkErr) {
		return linkErr.Err
	}
	return err
}
