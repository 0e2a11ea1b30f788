//go:build unix

package formats

import (
	"errors"
	"fmt"
	"math"
	"os"

	"golang.org/x/sys/unix"
)

// Map maps the first size bytes of f for reading and returns them with a
// function that takes the mapping away; f may be closed before. If the file is
// cut while it is mapped, touching what is gone ends the program unless it is
// done under CatchFault. It returns an error that is errors.ErrUnsupported where
// files cannot be mapped: read them then.
func Map(f *os.File, size int64) (data []byte, unmap func() error, err error) {
	switch {
	case size <= 0:
		return nil, nil, fmt.Errorf("formats: %s: mapping of %d bytes", f.Name(), size)
	case size > math.MaxInt:
		return nil, nil, fmt.Errorf("formats: %s: mapping of %d bytes, limit %d: %w", f.Name(), size, math.MaxInt, errors.ErrUnsupported)
	}
	data, err = unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ, unix.MAP_SHARED)
	if err == unix.ENODEV {
		err = errors.ErrUnsupported // some file systems offer only reads
	}
	if err != nil {
		return nil, nil, fmt.Errorf("formats: %s: mmap: %w", f.Name(), err)
	}
	return data, func() error { return unix.Munmap(data) }, nil
}
