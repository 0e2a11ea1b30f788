package formats

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// AtomicDir puts at path, all or nothing, a directory that fill fills: fill
// gets an empty temporary directory beside path; what it leaves there is synced,
// and the directory is then renamed. On any error, or a panic of fill, the
// temporary directory is removed and path is as it was.
//
// An existing path is refused with an error that is fs.ErrExist, before fill is
// called, unless force is set: then the existing directory is moved aside before
// the rename and removed after it. What is not a directory is never replaced,
// nor are ".", ".." and the root.
func AtomicDir(path string, force bool, fill func(tmp string) error) error {
	path = filepath.Clean(path)
	if base := filepath.Base(path); base == "." || base == ".." || path == filepath.Dir(path) {
		return fmt.Errorf("formats: %s: cannot be replaced as a whole", path)
	}
	if err := checkTarget(path, force, fs.FileMode.IsDir, "a directory"); err != nil {
		return err
	}
	tmp, err := mkdirBeside(path)
	if err != nil {
		return err
	}
	placed := false
	defer func() {
		if !placed {
			os.RemoveAll(tmp)
		}
	}()

	if err := fill(tmp); err != nil {
		return err
	}
	if err := syncTree(tmp); err != nil {
		return err
	}
	old, err := swapDir(tmp, path, force)
	if err != nil {
		return err
	}
	placed = true
	if err := syncDir(filepath.Dir(path)); err != nil {
		return err
	}
	if old != "" {
		return os.RemoveAll(old)
	}
	return nil
}

func mkdirBeside(path string) (string, error) {
	for range 100 {
		tmp := besideName(path, "tmp")
		err := os.Mkdir(tmp, 0o777)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return "", &fs.PathError{Op: "create", Path: path, Err: cause(err)}
		}
		return tmp, nil
	}
	return "", fmt.Errorf("formats: %s: no free temporary name beside it", path)
}

// syncTree syncs every file and directory below root, and root.
func syncTree(root string) error {
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir():
			return syncDir(path)
		case entry.Type().IsRegular():
			return syncFile(path)
		}
		return nil
	})
}

// swapDir renames tmp to path. What stood there, if anything, ends up at old;
// if the rename fails it is put back.
func swapDir(tmp, path string, force bool) (old string, err error) {
	if _, err := os.Lstat(path); err == nil {
		// Rename would silently replace an empty directory.
		if !force {
			return "", &fs.PathError{Op: "write", Path: path, Err: fs.ErrExist}
		}
		old = besideName(path, "old")
		if err := os.Rename(path, old); err != nil {
			return "", &fs.PathError{Op: "rename", Path: path, Err: cause(err)}
		}
	}
	if err := os.Rename(tmp, path); err != nil {
		err = &fs.PathError{Op: "rename", Path: path, Err: cause(err)}
		if old != "" {
			err = errors.Join(err, os.Rename(old, path))
		}
		return "", err
	}
	return old, nil
}
