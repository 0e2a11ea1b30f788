package tokens

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"

	"github.com/spdfctl/spdfctl/formats"
)

// Shards is an open sequence of token ids. Its methods may be called from
// several goroutines at once, except Close.
type Shards struct {
	index  Index
	shards []*shard
	starts []int // of each shard, and the end of the last
}

// shard is one open file.
type shard struct {
	path   string
	layout layout
	sum    *[32]byte    // SHA-256 that the ids should have; nil: not known
	file   *os.File     // for reading, where mapping is not supported
	data   []byte       // nil: not mapped
	unmap  func() error // if mapped
}

// layout says where the ids of a file lie, and what they are below.
type layout struct {
	start, width int // bytes before the ids, and of one
	count, vocab int
}

// Open opens a directory that holds an index.json, or a single shard. It maps
// the files and compares headers, sizes and index, but reads no ids. A file that
// is damaged gives a *FormatError. Close it after use.
func Open(path string) (*Shards, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("tokens: %w", err)
	}
	if !info.IsDir() {
		return openFile(path)
	}
	index, err := readIndex(path)
	if err != nil {
		return nil, err
	}
	s := &Shards{index: index, starts: []int{0}}
	for i, entry := range index.Shards {
		one, h, err := openTok(filepath.Join(path, entry.File))
		if err != nil {
			s.Close()
			return nil, err
		}
		s.add(one)
		if err := index.matches(i, h); err != nil {
			s.Close()
			return nil, &FormatError{one.path, err}
		}
	}
	return s, nil
}

func openFile(path string) (*Shards, error) {
	one, h, err := openTok(path)
	if err != nil {
		return nil, err
	}
	s := &Shards{starts: []int{0}, index: Index{
		Format: indexFormat, Version: version, DType: h.vocab.dtype(), VocabSize: h.vocab.Size, EOT: h.vocab.EOT,
		TokenizerHash: h.vocab.Hash, Tokens: int64(h.count),
		Shards: []Shard{{File: filepath.Base(path), Tokens: h.count, SHA256: fmt.Sprintf("%x", h.sum)}},
	}}
	s.add(one)
	return s, nil
}

func (s *Shards) add(one *shard) {
	s.shards = append(s.shards, one)
	s.starts = append(s.starts, s.Len()+one.layout.count)
}

// openTok opens a file of our own format.
func openTok(path string) (*shard, header, error) {
	var h header
	s, err := openShard(path, headerSize, func(head []byte, size int64) (l layout, err error) {
		h, err = parseHeader(head, size)
		return layout{headerSize, h.vocab.width(), h.count, h.vocab.Size}, err
	})
	if err == nil {
		s.sum = &h.sum
	}
	return s, h, err
}

// openShard opens a file whose layout parse makes of its first bytes and its size.
func openShard(path string, head int, parse func(head []byte, size int64) (layout, error)) (*shard, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("tokens: %w", err)
	}
	s := &shard{path: path, file: f}
	if err := s.open(head, parse); err != nil {
		s.close()
		return nil, &FormatError{path, err}
	}
	return s, nil
}

func (s *shard) open(head int, parse func(head []byte, size int64) (layout, error)) error {
	info, err := s.file.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return kindf(ErrNotShard, "not a regular file")
	}
	b := make([]byte, head)
	n, err := s.file.ReadAt(b, 0)
	if err != nil && err != io.EOF {
		return err
	}
	if s.layout, err = parse(b[:n], info.Size()); err != nil {
		return err
	}
	data, unmap, err := formats.Map(s.file, info.Size())
	if errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	if err != nil {
		return err
	}
	s.data, s.unmap = data, unmap
	// A mapping outlives its file, and there may be more shards than a process
	// may have open.
	err = s.file.Close()
	s.file = nil
	return err
}

func (s *shard) close() error {
	var err error
	if s.unmap != nil {
		err = s.unmap()
		s.data, s.unmap = nil, nil
	}
	if s.file != nil {
		err = errors.Join(err, s.file.Close())
		s.file = nil
	}
	return err
}

// Close lets go of the files.
func (s *Shards) Close() error {
	var errs []error
	for _, one := range s.shards {
		errs = append(errs, one.close())
	}
	return errors.Join(errs...)
}

// Len returns the number of tokens.
func (s *Shards) Len() int { return s.starts[len(s.starts)-1] }

// VocabSize returns V: every id that Read gives is below it.
func (s *Shards) VocabSize() int { return s.index.VocabSize }

// EOT returns the id that follows every document, if there is one.
func (s *Shards) EOT() (id int32, ok bool) { return max(s.index.EOT, 0), s.index.EOT >= 0 }

// TokenizerHash returns the Hash of the tokenizer that made the ids, or "".
func (s *Shards) TokenizerHash() string { return s.index.TokenizerHash }

// Index returns what index.json says. For a single shard the documents, bytes
// and sources are missing.
func (s *Shards) Index() Index { return s.index }

// Read fills dst with the tokens from position off on, across shards. It returns
// an error if they are not all there, if an id is not below VocabSize, or if a
// file was cut since it was opened; dst may be changed then.
func (s *Shards) Read(dst []int32, off int) error {
	if off < 0 || off > s.Len() || len(dst) > s.Len()-off {
		return fmt.Errorf("tokens: %d ids from %d on: there are %d", len(dst), off, s.Len())
	}
	// The last shard that begins at or before off.
	i := sort.SearchInts(s.starts, off+1) - 1
	for ; len(dst) > 0; i++ {
		from := off - s.starts[i]
		n := min(len(dst), s.shards[i].layout.count-from)
		if err := s.shards[i].read(dst[:n], from); err != nil {
			return &FormatError{s.shards[i].path, err}
		}
		dst, off = dst[n:], off+n
	}
	return nil
}

// readChunk is the ids that are read at a time from a file that is not mapped.
const readChunk = 4096

// read fills dst with the ids of the shard from position from on.
func (s *shard) read(dst []int32, from int) error {
	width := s.layout.width
	if s.data != nil {
		var err error
		begin := s.layout.start + from*width
		fault := formats.CatchFault(func() { err = s.decode(dst, s.data[begin:begin+len(dst)*width], from) })
		return errors.Join(fault, err)
	}
	var buf [4 * readChunk]byte
	for len(dst) > 0 {
		n := min(len(dst), readChunk)
		part := buf[:n*width]
		if got, err := s.file.ReadAt(part, int64(s.layout.start+from*width)); got < len(part) {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		if err := s.decode(dst[:n], part, from); err != nil {
			return err
		}
		dst, from = dst[n:], from+n
	}
	return nil
}

// decode turns bytes into ids; from is the position of the first, for errors.
func (s *shard) decode(dst []int32, b []byte, from int) error {
	size := uint32(s.layout.vocab)
	if s.layout.width == 2 {
		for i := range dst {
			id := uint32(binary.LittleEndian.Uint16(b[2*i:]))
			if id >= size {
				return fmt.Errorf("id %d at %d is outside the vocabulary of %d", id, from+i, size)
			}
			dst[i] = int32(id)
		}
		return nil
	}
	for i := range dst {
		id := binary.LittleEndian.Uint32(b[4*i:])
		if id >= size {
			return fmt.Errorf("id %d at %d is outside the vocabulary of %d", id, from+i, size)
		}
		dst[i] = int32(id)
	}
	return nil
}

// Verify reads everything and returns a *FormatError that is ErrChecksum if a
// shard does not hold the ids it was written with. Of .bin files, which have no
// hash, it only compares the ids with the vocabulary.
func (s *Shards) Verify() error {
	ids := make([]int32, 1<<16)
	b := make([]byte, 0, 4*len(ids))
	for _, one := range s.shards {
		sum := sha256.New()
		for from := 0; from < one.layout.count; from += len(ids) {
			part := ids[:min(len(ids), one.layout.count-from)]
			if err := one.read(part, from); err != nil {
				return &FormatError{one.path, err}
			}
			b = appendIDs(b[:0], part, one.layout.width)
			sum.Write(b)
		}
		if got := [32]byte(sum.Sum(nil)); one.sum != nil && got != *one.sum {
			return &FormatError{one.path, kindf(ErrChecksum, "sha256 of the ids is %x, the header has %x", got, *one.sum)}
		}
	}
	return nil
}
