package formats

import (
	"io"
)

// ReadFrom lets what WriteAtomic passes to its function copy from a file inside
// the kernel (copy_file_range on Linux) where package os can. The disk is asked
// to begin with what has been copied, so that the sync at the end, which has to
// wait for all of it, does not start from nothing.
func (t *targetWriter) ReadFrom(r io.Reader) (int64, error) {
	n, err := t.file.ReadFrom(r)
	if err != nil {
		return n, t.rename(err)
	}
	if n >= writeBuffer {
		if end, err := t.file.Seek(0, io.SeekCurrent); err == nil {
			beginWriting(t.file, end-n, n)
		}
	}
	return n, nil
}
