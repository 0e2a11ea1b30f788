package safetensors

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spdfctl/spdfctl/formats"
)

// source is one open file. The descriptor stays open beside the mapping to see
// whether the file has been cut since.
type source struct {
	file   *os.File
	size   int64  // when opened
	mapped []byte // nil: read through file
	unmap  func() error
}

// openSource opens a regular file. It looks before it opens, since opening a
// pipe would wait for a writer.
func openSource(path string) (*source, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("safetensors: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("safetensors: %s: not a regular file", path)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("safetensors: %w", err)
	}
	if info, err = file.Stat(); err != nil {
		file.Close()
		return nil, fmt.Errorf("safetensors: %w", err)
	}
	return &source{file: file, size: info.Size()}, nil
}

// mapAll maps the file if that can be done; otherwise it is read.
func (s *source) mapAll() {
	if data, unmap, err := formats.Map(s.file, s.size); err == nil {
		s.mapped, s.unmap = data, unmap
	}
}

func (s *source) close() error {
	var err error
	if s.mapped != nil {
		err = s.unmap()
		s.mapped = nil
	}
	return errors.Join(err, s.file.Close())
}

// checkSize returns an error if the file has been cut: touching the mapping past
// its end would kill the process.
func (s *source) checkSize() error {
	info, err := s.file.Stat()
	if err != nil {
		return err
	}
	if info.Size() < s.size {
		return fmt.Errorf("file has %d bytes, had %d when opened: %w", info.Size(), s.size, io.ErrUnexpectedEOF)
	}
	return nil
}

// read fills dst from offset off.
func (s *source) read(dst []byte, off int64) error {
	if s.mapped != nil {
		return formats.CatchFault(func() { copy(dst, s.mapped[off:off+int64(len(dst))]) })
	}
	n, err := s.file.ReadAt(dst, off)
	if n == len(dst) {
		return nil
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("byte %d: %w", off+int64(n), err)
}
