package bpe

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"sync"
)

// EndOfTextToken is the token that GPT-2 puts between documents.
const EndOfTextToken = "<|endoftext|>"

// MaxVocab is the largest vocabulary that is read or trained.
const MaxVocab = 1 << 22

const maxMerges = 1 << 22

// Tokenizer turns text into token ids and back. It does not change once it is
// made; all its methods may be called from several goroutines at once.
type Tokenizer struct {
	text    []byte // the bytes of all tokens, joined
	offsets []int  // token id is text[offsets[id]:offsets[id+1]]
	byteID  [256]int32
	merges  []pair  // by rank
	merged  []int32 // by rank: the token that the merge makes
	pairs   pairTable
	special []int32 // ids that frame text, ascending
	eot     int32   // -1: none
	hash    string
	pool    *sync.Pool // of *encoder
}

// build makes a Tokenizer of the tokens' bytes, by id, and the merges, by rank.
// special lists the ids that frame text; <|endoftext|> is always one of them.
func build(tokens [][]byte, merges []pair, special []int32) (*Tokenizer, error) {
	if len(tokens) > MaxVocab {
		return nil, fmt.Errorf("vocabulary of %d tokens, limit %d", len(tokens), MaxVocab)
	}
	if len(merges) > maxMerges {
		return nil, fmt.Errorf("%d merges, limit %d", len(merges), maxMerges)
	}
	t := &Tokenizer{
		offsets: make([]int, 1, len(tokens)+1),
		merges:  merges,
		merged:  make([]int32, len(merges)),
		pairs:   newPairTable(len(merges)),
		special: slices.Compact(slices.Sorted(slices.Values(special))),
		eot:     -1,
		pool:    newEncoderPool(),
	}
	ids := make(map[string]int32, len(tokens))
	for id, token := range tokens {
		if other, ok := ids[string(token)]; ok {
			return nil, fmt.Errorf("tokens %d and %d are both %.60q", other, id, token)
		}
		ids[string(token)] = int32(id)
		t.text = append(t.text, token...)
		t.offsets = append(t.offsets, len(t.text))
	}
	for b := range 256 {
		id, ok := ids[string([]byte{byte(b)})]
		if !ok {
			return nil, fmt.Errorf("vocabulary of %d tokens has none for byte 0x%02x", len(tokens), b)
		}
		t.byteID[b] = id
	}
	var joined []byte
	for rank, m := range merges {
		joined = append(append(joined[:0], t.token(m.left)...), t.token(m.right)...)
		id, ok := ids[string(joined)]
		if !ok {
			return nil, fmt.Errorf("merge %d (%.60q and %.60q): the result is not in the vocabulary of %d tokens",
				rank, t.token(m.left), t.token(m.right), len(tokens))
		}
		if !t.pairs.insert(m, uint32(rank)) {
			return nil, fmt.Errorf("merge %d (%.60q and %.60q) stands in the list twice", rank, t.token(m.left), t.token(m.right))
		}
		t.merged[rank] = id
	}
	if id, ok := ids[EndOfTextToken]; ok {
		t.eot = id
		if !slices.Contains(t.special, id) {
			t.special = slices.Sorted(slices.Values(append(t.special, id)))
		}
	}
	t.hash = t.sum()
	return t, nil
}

// sum hashes tokens and merges, each with its length in front.
func (t *Tokenizer) sum() string {
	h := sha256.New()
	var buf []byte
	flush := func() {
		h.Write(buf)
		buf = buf[:0]
	}
	buf = binary.LittleEndian.AppendUint32(buf, uint32(t.VocabSize()))
	for id := range t.VocabSize() {
		token := t.token(int32(id))
		buf = binary.LittleEndian.AppendUint32(buf, uint32(len(token)))
		buf = append(buf, token...)
		flush()
	}
	buf = binary.LittleEndian.AppendUint32(buf, uint32(len(t.merges)))
	for _, m := range t.merges {
		buf = binary.LittleEndian.AppendUint64(buf, m.key())
		flush()
	}
	flush()
	return hex.EncodeToString(h.Sum(nil))
}

// token returns the bytes of a token that is in the vocabulary.
func (t *Tokenizer) token(id int32) []byte { return t.text[t.offsets[id]:t.offsets[id+1]] }

// VocabSize returns V: the ids are 0 to V-1.
func (t *Tokenizer) VocabSize() int { return len(t.offsets) - 1 }

// EndOfText returns the id of <|endoftext|>, if the vocabulary has it. Encode
// never returns it.
func (t *Tokenizer) EndOfText() (id int32, ok bool) { return max(t.eot, 0), t.eot >= 0 }

// Hash returns a SHA-256, in hexadecimal, over the tokens by id and the merges
// by rank. Two tokenizers with the same hash give the same ids for every text,
// from whichever files they were loaded.
func (t *Tokenizer) Hash() string { return t.hash }

// Encode returns the ids of text, which may be any bytes. See AppendEncode.
func (t *Tokenizer) Encode(text []byte) []int32 {
	// Text takes about four bytes a token; append corrects the rest.
	return t.AppendEncode(make([]int32, 0, len(text)/3+8), text)
}

// AppendEncode appends the ids of text to dst. On valid UTF-8 they are those of
// OpenAI's GPT-2 encoder; an invalid byte is encoded as it stands. Nothing is
// added: no <|endoftext|>, and that text in text is ordinary text. It allocates
// only to grow dst, except for words longer than 64 KiB.
func (t *Tokenizer) AppendEncode(dst []int32, text []byte) []int32 {
	c := newClassifier()
	e := t.pool.Get().(*encoder)
	for len(text) > 0 {
		n := c.wordLen(text)
		word := text[:n]
		text = text[n:]
		for len(word) > longestWord {
			dst = e.appendWord(t, dst, word[:longestWord])
			word = word[longestWord:]
		}
		dst = e.appendWord(t, dst, word)
	}
	t.pool.Put(e)
	return dst
}

// Decode returns the bytes that ids stand for; Decode(Encode(x)) is x. The text
// of <|endoftext|> is its name. It returns an error if an id is not in the
// vocabulary.
func (t *Tokenizer) Decode(ids []int32) ([]byte, error) {
	return t.AppendDecode(make([]byte, 0, 4*len(ids)), ids)
}

// AppendDecode appends to dst the bytes that ids stand for. A character may be
// spread over several ids, so that the bytes of one need not be valid UTF-8. On
// an error dst is returned as it was.
func (t *Tokenizer) AppendDecode(dst []byte, ids []int32) ([]byte, error) {
	start := len(dst)
	for i, id := range ids {
		if id < 0 || int(id) >= t.VocabSize() {
			return dst[:start], fmt.Errorf("bpe: token %d: id %d is outside the vocabulary of %d", i, id, t.VocabSize())
		}
		dst = append(dst, t.token(id)...)
	}
	return dst, nil
}
