//go:build !unix

package formats

import (
	"errors"
	"os"
)

// syncFile makes the bytes of a closed file survive a power cut. Windows flushes
// only through handles that are open for writing.
func syncFile(path string) error {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}

// syncDir does nothing: outside Unix a directory cannot be synced through a handle.
func syncDir(string) error { return nil }
