package torch

import (
	"bytes"
	"io"
	"math"
)

// window is how much is read ahead. It also bounds the lines of the text
// opcodes: numbers, memo keys, names, strings of protocol 0.
const window = 64 << 10

// byteSource reads a pickle from where it lies, up to end. Nothing is allocated
// for bytes that are not there.
type byteSource struct {
	r   io.ReaderAt
	pos int64 // of the next byte
	end int64

	window []byte // bytes that have been read ahead, from pos on
	buffer []byte
}

func newByteSource(r io.ReaderAt, pos, end int64) *byteSource {
	return &byteSource{r: r, pos: pos, end: end}
}

func bytesSource(data []byte) *byteSource {
	return newByteSource(bytes.NewReader(data), 0, int64(len(data)))
}

// fill makes what is read ahead at least n bytes, n <= window.
func (s *byteSource) fill(n int) error {
	if s.buffer == nil {
		s.buffer = make([]byte, min(window, s.end-s.pos))
	}
	have := copy(s.buffer, s.window)
	want := int(min(int64(len(s.buffer)), s.end-s.pos))
	if want < n {
		return s.truncated(uint64(n))
	}
	got, err := s.r.ReadAt(s.buffer[have:want], s.pos+int64(have))
	if have+got < n {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return malformed("byte %d: %w", s.pos+int64(have+got), err)
	}
	s.window = s.buffer[:have+got]
	return nil
}

func (s *byteSource) truncated(n uint64) error {
	return malformed("byte %d: %d bytes are wanted, %d are left: %w", s.pos, n, s.end-s.pos, io.ErrUnexpectedEOF)
}

func (s *byteSource) skip(n int) {
	s.window = s.window[n:]
	s.pos += int64(n)
}

// byte reads one byte.
func (s *byteSource) byte() (byte, error) {
	if len(s.window) == 0 {
		if err := s.fill(1); err != nil {
			return 0, err
		}
	}
	b := s.window[0]
	s.skip(1)
	return b, nil
}

// take reads n bytes. The slice is valid until the next call.
func (s *byteSource) take(n uint64) ([]byte, error) {
	if n > math.MaxInt64 || int64(n) > s.end-s.pos {
		return nil, s.truncated(n)
	}
	if n > maxPickle {
		return nil, unsupported("byte %d: one value of %d bytes, limit %d", s.pos, n, maxPickle)
	}
	if n <= window {
		if n > uint64(len(s.window)) {
			if err := s.fill(int(n)); err != nil {
				return nil, err
			}
		}
		b := s.window[:n:n]
		s.skip(int(n))
		return b, nil
	}
	b := make([]byte, n)
	if got, err := s.r.ReadAt(b, s.pos); got < len(b) {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, malformed("byte %d: %w", s.pos+int64(got), err)
	}
	s.pos += int64(n)
	s.window = nil
	return b, nil
}

// advance skips n bytes without reading them.
func (s *byteSource) advance(n int64) error {
	if n < 0 || n > s.end-s.pos {
		return s.truncated(uint64(n))
	}
	if n <= int64(len(s.window)) {
		s.skip(int(n))
		return nil
	}
	s.pos += n
	s.window = nil
	return nil
}

// uint reads a little-endian number of n bytes, n <= 8.
func (s *byteSource) uint(n int) (uint64, error) {
	b, err := s.take(uint64(n))
	if err != nil {
		return 0, err
	}
	v := uint64(0)
	for i := n - 1; i >= 0; i-- {
		v = v<<8 | uint64(b[i])
	}
	return v, nil
}

// line reads up to a newline, which it drops.
func (s *byteSource) line() ([]byte, error) {
	if i := bytes.IndexByte(s.window, '\n'); i >= 0 {
		b := s.window[:i:i]
		s.skip(i + 1)
		return b, nil
	}
	limit := int(min(window, s.end-s.pos))
	if limit == 0 {
		return nil, s.truncated(1)
	}
	if len(s.window) < limit {
		if err := s.fill(limit); err != nil {
			return nil, err
		}
	}
	i := bytes.IndexByte(s.window[:limit], '\n')
	if i < 0 {
		return nil, malformed("byte %d: line does not end within %d bytes", s.pos, limit)
	}
	b := s.window[:i:i]
	s.skip(i + 1)
	return b, nil
}
