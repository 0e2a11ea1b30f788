package tokens

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
)

// BinExtension is the end of the name of a file of nanoGPT or llm.c.
const BinExtension = ".bin"

// binHeader is the size of llm.c's header: 256 numbers of 4 bytes.
const binHeader = 1024

// binKind is a kind of file that holds ids and nothing of their tokenizer.
type binKind struct {
	name           string
	magic, version uint32
	start, width   int
	vocab          Vocab // of the tokenizer that the kind is written with
}

var binKinds = []binKind{
	{"llm.c, gpt-2", 20240520, 1, binHeader, 2, Vocab{Size: 50257, EOT: 50256}},
	{"llm.c, llama-3", 20240801, 7, binHeader, 4, Vocab{Size: 128256, EOT: 128000}},
}

var nanoGPT = binKind{name: "nanoGPT", width: 2, vocab: Vocab{Size: 50257, EOT: 50256}}

// headFields is how many numbers at the start of a file of llm.c, whatever it
// holds, may differ from 0; those behind them in its header are 0.
const headFields = 8

// parseBin reads the head of a file that has size bytes. A file of nanoGPT has no
// header: it is what is no other kind. Its first ids cannot be taken for a magic
// number, whose lower half is no id of GPT-2's.
func parseBin(head []byte, size int64) (binKind, int, error) {
	kind := nanoGPT
	if len(head) >= 4 {
		magic := binary.LittleEndian.Uint32(head)
		for _, k := range binKinds {
			if k.magic == magic {
				kind = k
			}
		}
	}
	if kind.start == 0 {
		return kind, int(size / 2), checkHeadless(head, size)
	}
	if len(head) < binHeader || size < binHeader {
		return kind, 0, kindf(ErrSize, "file is %d bytes, the header alone takes %d", size, binHeader)
	}
	if v := binary.LittleEndian.Uint32(head[4:]); v != kind.version {
		return kind, 0, kindf(ErrUnsupported, "%s: version is %d, this program reads %d", kind.name, v, kind.version)
	}
	count := int64(int32(binary.LittleEndian.Uint32(head[8:])))
	if have := size - binHeader; count < 0 || count != have/int64(kind.width) || have%int64(kind.width) != 0 {
		return kind, 0, kindf(ErrSize, "%s: %d ids of %d bytes do not fill a file of %d bytes, which has room for %d",
			kind.name, count, kind.width, size, have/int64(kind.width))
	}
	return kind, int(count), nil
}

// checkHeadless returns an error for a file without a header of ids that is not
// one of nanoGPT, as far as its head shows.
func checkHeadless(head []byte, size int64) error {
	for _, prefix := range []string{"PK\x03\x04", "GGUF", magic} {
		if bytes.HasPrefix(head, []byte(prefix)) {
			return kindf(ErrNotShard, "file begins with %q: it holds no bare ids", prefix)
		}
	}
	if size == 0 || size%2 != 0 {
		return kindf(ErrSize, "file is %d bytes, ids take 2 each", size)
	}
	if len(head) < binHeader {
		return nil
	}
	if allZero(head[4*headFields : binHeader]) {
		return kindf(ErrNotShard, "file begins like a header of llm.c with magic number %d, want %d or %d",
			binary.LittleEndian.Uint32(head), binKinds[0].magic, binKinds[1].magic)
	}
	for i := 2; i < binHeader; i += 4 {
		if binary.LittleEndian.Uint16(head[i:]) > 1 {
			return nil
		}
	}
	return kindf(ErrUnsupported, "every second number of 2 bytes is 0 or 1: the ids seem to take 4 bytes, which llm.c writes behind a header")
}

// edgeIDs is how many ids at either end of a .bin file are compared with the
// vocabulary when it is opened; those between are when they are read.
const edgeIDs = 1 << 16

// OpenBin opens files of nanoGPT or llm.c as one sequence of ids, mapped as they
// are. The files say nothing of the tokenizer: vocab does or, if its Size is 0,
// their kind, that is GPT-2's or Llama 3's. It returns a *FormatError for a file
// that is of no kind or of another than the first, that is cut short, or that has
// an id outside the vocabulary at its start or end.
func OpenBin(paths []string, vocab Vocab) (*Shards, error) {
	if len(paths) == 0 || len(paths) > maxShards {
		return nil, fmt.Errorf("tokens: %d files, outside 1 to %d", len(paths), maxShards)
	}
	if vocab.Size != 0 {
		if err := vocab.check(); err != nil {
			return nil, fmt.Errorf("tokens: %w", err)
		}
	}
	s := &Shards{starts: []int{0}}
	var first binKind
	for i, path := range paths {
		var kind binKind
		one, err := openShard(path, binHeader, func(head []byte, size int64) (l layout, err error) {
			kind, l.count, err = parseBin(head, size)
			if err == nil && i > 0 && kind.name != first.name {
				err = fmt.Errorf("file is of %s, the first of %s", kind.name, first.name)
			}
			if l.start, l.width, l.vocab = kind.start, kind.width, vocab.Size; vocab.Size == 0 {
				l.vocab = kind.vocab.Size
			}
			return l, err
		})
		if err != nil {
			s.Close()
			return nil, err
		}
		s.add(one)
		if err := one.checkEdges(); err != nil {
			s.Close()
			return nil, &FormatError{path, err}
		}
		if i == 0 {
			first = kind
		}
		s.index.Shards = append(s.index.Shards, Shard{File: filepath.Base(path), Tokens: one.layout.count})
	}
	if vocab.Size == 0 {
		vocab = first.vocab
	}
	s.index.Format, s.index.DType = first.name, fmt.Sprintf("uint%d", 8*first.width)
	s.index.VocabSize, s.index.EOT, s.index.TokenizerHash = vocab.Size, vocab.EOT, vocab.Hash
	s.index.Tokens = int64(s.Len())
	return s, nil
}

// checkEdges reads the ids at both ends.
func (s *shard) checkEdges() error {
	ids := make([]int32, min(edgeIDs, s.layout.count))
	if err := s.read(ids, 0); err != nil {
		return err
	}
	return s.read(ids, s.layout.count-len(ids))
}

// BinVocab returns the vocabulary that the kind of a .bin file is written with:
// GPT-2's of 50,257 ids or Llama 3's of 128,256.
func BinVocab(path string) (Vocab, error) {
	f, err := os.Open(path)
	if err != nil {
		return Vocab{}, fmt.Errorf("tokens: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Vocab{}, fmt.Errorf("tokens: %w", err)
	}
	head := make([]byte, binHeader)
	n, err := f.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return Vocab{}, fmt.Errorf("tokens: %w", err)
	}
	kind, _, err := parseBin(head[:n], info.Size())
	if err != nil {
		return Vocab{}, &FormatError{path, err}
	}
	return kind.vocab, nil
}

// BinFiles returns the .bin files that path names, to train and to validate on: a
// file, the files that match a pattern as data/fineweb_train_*.bin, or those of a
// folder without shards of its own. In a folder a file is for training or
// validation if its name has the word train, or val, valid or validation; if no
// name has one, all are for training. No file at all means that path is something
// else. It returns an error for a folder in which only some names have such a
// word, and for a pattern that is none.
func BinFiles(path string) (train, val []string, err error) {
	info, err := os.Stat(path)
	switch {
	case err == nil && !info.IsDir() && strings.HasSuffix(path, BinExtension):
		return []string{path}, nil, nil
	case err == nil && info.IsDir():
		return binFolder(path)
	case err != nil && strings.HasSuffix(path, BinExtension) && strings.ContainsAny(path, "*?["):
		files, err := filepath.Glob(path)
		if err != nil {
			return nil, nil, fmt.Errorf("tokens: %s: %w", path, err)
		}
		if len(files) == 0 {
			return nil, nil, fmt.Errorf("tokens: %s: no such file", path)
		}
		return files, nil, nil
	}
	return nil, nil, nil
}

// binFolder is BinFiles for a folder.
func binFolder(dir string) (train, val []string, err error) {
	entries, err := os.ReadDir(dir) // in the order of names
	if err != nil {
		return nil, nil, fmt.Errorf("tokens: %w", err)
	}
	var other []string
	for _, e := range entries {
		name := e.Name()
		if name == IndexFile || name == TrainDir && e.IsDir() {
			return nil, nil, nil
		}
		if e.IsDir() || !strings.HasSuffix(name, BinExtension) {
			continue
		}
		words := strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return !unicode.IsLetter(r) })
		has := func(list ...string) bool {
			return slices.ContainsFunc(list, func(w string) bool { return slices.Contains(words, w) })
		}
		switch path := filepath.Join(dir, name); {
		case has("train"):
			train = append(train, path)
		case has("val", "valid", "validation"):
			val = append(val, path)
		default:
			other = append(other, path)
		}
	}
	switch {
	case len(train)+len(val) == 0:
		return other, nil, nil
	case len(other) > 0:
		return nil, nil, fmt.Errorf("tokens: %s: neither train nor val is in the name, as in others of the folder", other[0])
	}
	return train, val, nil
}
