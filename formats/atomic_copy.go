package formats

import (
	"io"
)

// ReadFrom lets what WriteAtomic passes to its function copy from a file inside
// the kernel (copy_file_range on Linux) where package os can.
func (t *targetWriter) ReadFrom(r io.Reader) (int64, error) {
	n, err := t.file.ReadFrom(r)
	if err != nil {
		err = t.rename(err)
	}
	return n, err
}
