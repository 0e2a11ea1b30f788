//go:build !unix

package formats

import (
	"errors"
	"fmt"
	"os"
)

// Map returns an error that is errors.ErrUnsupported: outside Unix files are
// read, not mapped.
func Map(f *os.File, _ int64) (data []byte, unmap func() error, err error) {
	return nil, nil, fmt.Errorf("formats: %s: mmap: %w", f.Name(), errors.ErrUnsupported)
}
