package tokens

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
)

// Extension is the end of the name of a token shard.
const Extension = ".tok"

const (
	magic      = "spdf.tok"
	version    = 1
	headerSize = 128
	maxVocab   = 1 << 24
)

// Vocab identifies the ids of a shard.
type Vocab struct {
	Size int    // every id is below it
	EOT  int32  // id between documents; -1: none
	Hash string // SHA-256 of the tokenizer in hexadecimal; "": unknown
}

// check returns an error for a vocabulary that no shard can have.
func (v Vocab) check() error {
	if v.Size < 1 || v.Size > maxVocab {
		return fmt.Errorf("vocabulary size is %d, outside 1 to %d", v.Size, maxVocab)
	}
	if v.EOT < -1 || int(v.EOT) >= v.Size {
		return fmt.Errorf("end-of-text id is %d, outside -1 to %d", v.EOT, v.Size-1)
	}
	if v.Hash == "" {
		return nil
	}
	if sum, err := hex.DecodeString(v.Hash); err != nil || len(sum) != 32 || hex.EncodeToString(sum) != v.Hash || allZero(sum) {
		return fmt.Errorf("tokenizer hash %.80q is not 64 lower-case hexadecimal digits", v.Hash)
	}
	return nil
}

// width returns the bytes of an id.
func (v Vocab) width() int {
	if v.Size > math.MaxUint16+1 {
		return 4
	}
	return 2
}

// dtype names the type of an id as NumPy does.
func (v Vocab) dtype() string { return fmt.Sprintf("uint%d", 8*v.width()) }

// header is the first headerSize bytes of a shard.
type header struct {
	vocab Vocab
	count int
	sum   [32]byte
}

func (h header) marshal() []byte {
	b := make([]byte, 0, headerSize)
	b = append(b, magic...)
	b = binary.LittleEndian.AppendUint32(b, version)
	b = binary.LittleEndian.AppendUint32(b, uint32(h.vocab.width()))
	b = binary.LittleEndian.AppendUint64(b, uint64(h.count))
	b = binary.LittleEndian.AppendUint64(b, uint64(h.vocab.Size))
	b = binary.LittleEndian.AppendUint64(b, uint64(int64(h.vocab.EOT)))
	var hash [32]byte
	hex.Decode(hash[:], []byte(h.vocab.Hash)) // check has seen it
	b = append(b, hash[:]...)
	b = append(b, h.sum[:]...)
	return b[:headerSize]
}

// parseHeader reads the header of a shard whose file has size bytes. Every field
// must have the one value that marshal would give it.
func parseHeader(b []byte, size int64) (header, error) {
	if !bytes.HasPrefix(b, []byte(magic)) {
		return header{}, kindf(ErrNotShard, "file begins with %.8q, want %q", b, magic)
	}
	if len(b) < headerSize || size < headerSize {
		return header{}, kindf(ErrSize, "file is %d bytes, the header alone takes %d", size, headerSize)
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != version {
		return header{}, kindf(ErrUnsupported, "version is %d, this program reads %d", v, version)
	}
	vocab, eot := binary.LittleEndian.Uint64(b[24:]), int64(binary.LittleEndian.Uint64(b[32:]))
	if vocab > maxVocab || eot < -1 || eot >= maxVocab {
		return header{}, fmt.Errorf("vocabulary size is %d, end-of-text id %d, limit %d", vocab, eot, maxVocab)
	}
	h := header{vocab: Vocab{Size: int(vocab), EOT: int32(eot)}, sum: [32]byte(b[72:104])}
	if hash := b[40:72]; !allZero(hash) {
		h.vocab.Hash = hex.EncodeToString(hash)
	}
	if err := h.vocab.check(); err != nil {
		return header{}, err
	}
	if w := binary.LittleEndian.Uint32(b[12:]); int64(w) != int64(h.vocab.width()) {
		return header{}, fmt.Errorf("ids take %d bytes, want %d for a vocabulary of %d", w, h.vocab.width(), vocab)
	}
	count, width := binary.LittleEndian.Uint64(b[16:]), uint64(h.vocab.width())
	if have := uint64(size-headerSize) / width; count != have || uint64(size-headerSize)%width != 0 {
		return header{}, kindf(ErrSize, "%d ids of %d bytes do not fill a file of %d bytes, which has room for %d", count, width, size, have)
	}
	h.count = int(count)
	if !allZero(b[104:]) {
		return header{}, fmt.Errorf("bytes 104 to %d of the header are not zero", headerSize-1)
	}
	return h, nil
}

func allZero(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }
