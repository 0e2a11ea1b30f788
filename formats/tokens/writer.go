package tokens

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spdfctl/spdfctl/formats"
)

// DefaultShardTokens is the number of ids in a shard: 32 MiB of two bytes each.
const DefaultShardTokens = 1 << 24

// MaxShardTokens bounds the ids of a shard, since a Writer holds one in memory.
const MaxShardTokens = 1 << 27

// Writer writes ids to the shards of a directory. It is used by one goroutine.
type Writer struct {
	dir         string // "": write nothing
	vocab       Vocab
	shardTokens int
	data        []byte // of the shard that is not full yet
	index       Index
}

// Create starts a directory of shards of shardTokens ids each. It makes the
// directory if it does not exist; Close completes it. Shards are written whole,
// each as soon as it is full; a directory without index.json is not complete.
func Create(dir string, vocab Vocab, shardTokens int) (*Writer, error) {
	w, err := NewCounter(vocab, shardTokens)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, fmt.Errorf("tokens: %w", err)
	}
	w.dir = dir
	return w, nil
}

// NewCounter returns a Writer that puts nothing on disk: its Close returns what
// the index.json of a directory would say.
func NewCounter(vocab Vocab, shardTokens int) (*Writer, error) {
	if err := vocab.check(); err != nil {
		return nil, fmt.Errorf("tokens: %w", err)
	}
	if shardTokens < 1 || shardTokens > MaxShardTokens {
		return nil, fmt.Errorf("tokens: shards of %d tokens, outside 1 to %d", shardTokens, MaxShardTokens)
	}
	return &Writer{vocab: vocab, shardTokens: shardTokens, index: Index{
		Format: indexFormat, Version: version, DType: vocab.dtype(),
		VocabSize: vocab.Size, EOT: vocab.EOT, TokenizerHash: vocab.Hash,
		Shards: []Shard{}, Sources: []File{},
	}}, nil
}

// Append adds ids. It returns an error if one is not in the vocabulary.
func (w *Writer) Append(ids []int32) error {
	for _, id := range ids {
		if id < 0 || int(id) >= w.vocab.Size {
			return fmt.Errorf("tokens: %s: id %d is outside the vocabulary of %d", w.dir, id, w.vocab.Size)
		}
	}
	width := w.vocab.width()
	for len(ids) > 0 {
		n := min(len(ids), w.shardTokens-len(w.data)/width)
		w.data = appendIDs(w.data, ids[:n], width)
		ids = ids[n:]
		if len(w.data) == w.shardTokens*width {
			if err := w.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// EndDocument adds the end-of-text id, if the vocabulary has one, and counts a
// document of the given bytes of text.
func (w *Writer) EndDocument(bytes int64) error {
	w.index.Documents++
	w.index.Bytes += bytes
	if w.vocab.EOT < 0 {
		return nil
	}
	return w.Append([]int32{w.vocab.EOT})
}

// AddSources records files that the text came from.
func (w *Writer) AddSources(files ...File) { w.index.Sources = append(w.index.Sources, files...) }

// Close writes what is left, then index.json, and returns what that says.
func (w *Writer) Close() (Index, error) {
	if len(w.data) > 0 {
		if err := w.flush(); err != nil {
			return Index{}, err
		}
	}
	if w.dir == "" {
		return w.index, nil
	}
	if err := w.index.write(w.dir); err != nil {
		return Index{}, fmt.Errorf("tokens: %w", err)
	}
	return w.index, nil
}

// flush writes the ids that wait as one shard.
func (w *Writer) flush() error {
	if len(w.index.Shards) == maxShards {
		return fmt.Errorf("tokens: %s: over %d shards, the limit", w.dir, maxShards)
	}
	h := header{vocab: w.vocab, count: len(w.data) / w.vocab.width(), sum: sha256.Sum256(w.data)}
	name := fmt.Sprintf("shard-%05d%s", len(w.index.Shards), Extension)
	if err := w.writeShard(name, h); err != nil {
		return fmt.Errorf("tokens: %w", err)
	}
	w.index.Shards = append(w.index.Shards, Shard{File: name, Tokens: h.count, SHA256: hex.EncodeToString(h.sum[:])})
	w.index.Tokens += int64(h.count)
	w.data = w.data[:0]
	return nil
}

func (w *Writer) writeShard(name string, h header) error {
	if w.dir == "" {
		return nil
	}
	return formats.WriteAtomic(filepath.Join(w.dir, name), false, func(f io.Writer) error {
		if _, err := f.Write(h.marshal()); err != nil {
			return err
		}
		_, err := f.Write(w.data)
		return err
	})
}

// appendIDs appends ids as little-endian numbers of width bytes.
func appendIDs(dst []byte, ids []int32, width int) []byte {
	for _, id := range ids {
		if width == 2 {
			dst = binary.LittleEndian.AppendUint16(dst, uint16(id))
		} else {
			dst = binary.LittleEndian.AppendUint32(dst, uint32(id))
		}
	}
	return dst
}
