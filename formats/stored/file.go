package stored

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"sync"
	"time"
)

const (
	// copyBuffer is how much is copied at a time where the kernel does not.
	copyBuffer = 1 << 20
	// kernelChunk is how much one call may copy inside the kernel, so that
	// progress is seen and an interrupt is heard.
	kernelChunk = 64 << 20
)

// File is an open regular file. Its methods may be called from several
// goroutines.
type File struct {
	path     string
	file     *os.File
	size     int64     // when opened
	modified time.Time // when opened

	seek sync.Mutex // guards the position of file, which kernel copies use
}

// Open opens a regular file for reading. It looks before it opens, since
// opening a pipe would wait for a writer.
func Open(path string) (*File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", path)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if info, err = file.Stat(); err != nil {
		file.Close()
		return nil, err
	}
	return &File{path: path, file: file, size: info.Size(), modified: info.ModTime()}, nil
}

// Path returns the name that the file was opened by.
func (f *File) Path() string { return f.path }

// Size returns the size that the file had when it was opened.
func (f *File) Size() int64 { return f.size }

// Close closes the file.
func (f *File) Close() error { return f.file.Close() }

// ReadAt is io.ReaderAt: fewer bytes than asked for come with an error, which
// is io.EOF at the end of the file.
func (f *File) ReadAt(p []byte, off int64) (int, error) { return f.file.ReadAt(p, off) }

// ReadFull fills p from offset off. A file that ends before is an error that is
// io.ErrUnexpectedEOF and names the byte.
func (f *File) ReadFull(p []byte, off int64) error {
	n, err := f.file.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("byte %d: %w", off+int64(n), err)
}

// Check returns an error if the file is no longer the one that was opened: its
// size or its time of modification has changed. Bytes read in between may be
// of either version.
func (f *File) Check() error {
	info, err := f.file.Stat()
	if err != nil {
		return err
	}
	if info.Size() < f.size {
		return fmt.Errorf("file has %d bytes, had %d when opened: %w", info.Size(), f.size, io.ErrUnexpectedEOF)
	}
	if info.Size() != f.size || !info.ModTime().Equal(f.modified) {
		return fmt.Errorf("file was changed while it was read (%d bytes, had %d when opened)", info.Size(), f.size)
	}
	return nil
}

// CopyTo writes n bytes from offset off to w. Where w can read from a file it
// is given this one, so that the kernel can copy without showing us the bytes.
func (f *File) CopyTo(w io.Writer, off, n int64) error {
	if off < 0 || n < 0 || off > math.MaxInt64-n || off+n > f.size {
		return fmt.Errorf("bytes %d to %d are past the end of the file, %d", off, off+n, f.size)
	}
	if n == 0 {
		return nil
	}
	if to, ok := w.(io.ReaderFrom); ok && n >= copyBuffer {
		return f.kernelCopy(to, off, n)
	}
	if to, ok := w.(*fixed); ok && n <= int64(len(to.data)-to.n) {
		err := f.ReadFull(to.data[to.n:][:n], off)
		to.n += int(n)
		return err
	}
	buffer := make([]byte, min(copyBuffer, n))
	for n > 0 {
		part := buffer[:min(int64(len(buffer)), n)]
		if err := f.ReadFull(part, off); err != nil {
			return err
		}
		if _, err := w.Write(part); err != nil {
			return err
		}
		off += int64(len(part))
		n -= int64(len(part))
	}
	return nil
}

func (f *File) kernelCopy(to io.ReaderFrom, off, n int64) error {
	f.seek.Lock()
	defer f.seek.Unlock()
	if _, err := f.file.Seek(off, io.SeekStart); err != nil {
		return err
	}
	for n > 0 {
		part := min(n, kernelChunk)
		copied, err := to.ReadFrom(&io.LimitedReader{R: f.file, N: part})
		off += copied
		n -= copied
		if err != nil {
			return err
		}
		if copied < part {
			return fmt.Errorf("byte %d: %w", off, io.ErrUnexpectedEOF)
		}
	}
	return nil
}
