//go:build unix

package formats

import (
	"errors"
	"os"
	"syscall"
)

// syncFile makes the bytes of a closed file survive a power cut.
func syncFile(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}

// syncDir makes the names in dir survive a power cut.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		// Some network file systems cannot sync a directory.
		err = nil
	}
	return errors.Join(err, d.Close())
}
