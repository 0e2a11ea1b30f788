package tokens

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spdfctl/spdfctl/formats"
)

// IndexFile is the name of the file that lists the shards of a directory.
const IndexFile = "index.json"

const (
	indexFormat = "spdf.tokens"
	maxIndex    = 64 << 20
	maxShards   = 1_000_000
)

// Index is what index.json says about a directory of shards.
type Index struct {
	Format        string  `json:"format"`
	Version       int     `json:"version"`
	DType         string  `json:"dtype"` // of the ids in the files: uint16 or uint32
	VocabSize     int     `json:"vocab_size"`
	EOT           int32   `json:"eot_token_id"` // -1: none
	TokenizerHash string  `json:"tokenizer_sha256"`
	Documents     int64   `json:"documents"`
	Bytes         int64   `json:"bytes"`  // of text, end-of-text ids not counted
	Tokens        int64   `json:"tokens"` // end-of-text ids counted
	Shards        []Shard `json:"shards"`
	Sources       []File  `json:"sources"`
}

// Shard is one file of a directory of shards.
type Shard struct {
	File   string `json:"file"` // beside the index
	Tokens int    `json:"tokens"`
	SHA256 string `json:"sha256"` // of the ids, as in the header
}

// File is a file that text came from.
type File struct {
	Path   string `json:"path"` // as it was given
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

func (x Index) vocab() Vocab { return Vocab{x.VocabSize, x.EOT, x.TokenizerHash} }

// check returns an error for an index that no writer makes.
func (x Index) check() error {
	if x.Format != indexFormat {
		return fmt.Errorf("format is %.40q, want %q", x.Format, indexFormat)
	}
	if x.Version != version {
		return kindf(ErrUnsupported, "version is %d, this program reads %d", x.Version, version)
	}
	if err := x.vocab().check(); err != nil {
		return err
	}
	if want := x.vocab().dtype(); x.DType != want {
		return fmt.Errorf("dtype is %.40q, want %s for a vocabulary of %d", x.DType, want, x.VocabSize)
	}
	if len(x.Shards) > maxShards {
		return fmt.Errorf("%d shards, limit %d", len(x.Shards), maxShards)
	}
	var sum int64
	seen := make(map[string]bool)
	for _, s := range x.Shards {
		// A name with a directory could reach any file of the machine.
		if s.File == "" || s.File != filepath.Base(s.File) || !filepath.IsLocal(s.File) || strings.ContainsAny(s.File, `/\:`) {
			return fmt.Errorf("shard %.80q is not a plain file name", s.File)
		}
		if seen[s.File] {
			return fmt.Errorf("shard %.80q is listed twice", s.File)
		}
		seen[s.File] = true
		if s.Tokens < 0 || int64(s.Tokens) > x.Tokens-sum {
			return fmt.Errorf("shard %.80q has %d tokens, %d are left of %d in all", s.File, s.Tokens, x.Tokens-sum, x.Tokens)
		}
		sum += int64(s.Tokens)
	}
	if sum != x.Tokens {
		return fmt.Errorf("tokens are %d, those of the shards add up to %d", x.Tokens, sum)
	}
	if x.Documents < 0 || x.Bytes < 0 {
		return fmt.Errorf("%d documents of %d bytes: negative", x.Documents, x.Bytes)
	}
	return nil
}

// readIndex reads the index of dir. A directory that holds the two halves of a
// split has none of its own.
func readIndex(dir string) (Index, error) {
	path := filepath.Join(dir, IndexFile)
	f, err := os.Open(path)
	if err != nil {
		if _, splitErr := os.Stat(filepath.Join(dir, TrainDir, IndexFile)); splitErr == nil {
			return Index{}, fmt.Errorf("tokens: %s: holds %s and %s, open one of them: %w", dir, TrainDir, ValDir, err)
		}
		return Index{}, fmt.Errorf("tokens: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxIndex+1))
	if err != nil {
		return Index{}, fmt.Errorf("tokens: %w", err)
	}
	if len(data) > maxIndex {
		return Index{}, &FormatError{path, fmt.Errorf("file is over %d bytes, the limit", maxIndex)}
	}
	x, err := parseIndex(data)
	if err != nil {
		return Index{}, &FormatError{path, err}
	}
	return x, nil
}

func parseIndex(data []byte) (Index, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	var x Index
	if err := dec.Decode(&x); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return x, kindf(ErrSize, "JSON is cut short")
		}
		return x, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return x, errors.New("JSON object is followed by more")
	}
	return x, x.check()
}

func (x Index) write(dir string) error {
	return formats.WriteAtomic(filepath.Join(dir, IndexFile), false, func(w io.Writer) error {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return enc.Encode(x)
	})
}

// matches returns an error if h is not the header of shard i.
func (x Index) matches(i int, h header) error {
	s := x.Shards[i]
	switch {
	case h.vocab != x.vocab():
		return fmt.Errorf("vocabulary %d, end of text %d, tokenizer %.12q; the index has %d, %d, %.12q",
			h.vocab.Size, h.vocab.EOT, h.vocab.Hash, x.VocabSize, x.EOT, x.TokenizerHash)
	case h.count != s.Tokens:
		return kindf(ErrSize, "%d tokens, the index has %d", h.count, s.Tokens)
	case hex.EncodeToString(h.sum[:]) != s.SHA256:
		return kindf(ErrChecksum, "sha256 %.12x, the index has %.12s", h.sum, s.SHA256)
	}
	return nil
}
