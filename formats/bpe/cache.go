package bpe

import (
	"hash/maphash"
	"sync"
)

// Text repeats its words, so each encoder keeps the ids of words it has met in a
// table of fixed size, where a word evicts the one that had its place. An
// encoder serves one call at a time; the pool hands them out, so no lock is taken
// inside a call.

const (
	cacheSlots = 1 << 13 // 512 KiB
	cacheWord  = 22      // longest word kept, in bytes
	cacheIDs   = 8       // most ids kept for a word
)

// cacheSlot fills one cache line of 64 bytes.
type cacheSlot struct {
	hash   uint64
	length uint8 // of word; 0: empty
	n      uint8 // of ids
	word   [cacheWord]byte
	ids    [cacheIDs]int32
}

// encoder is the memory of one running AppendEncode.
type encoder struct {
	slots [cacheSlots]cacheSlot
	long  longMerge
}

var cacheSeed = maphash.MakeSeed()

func newEncoderPool() *sync.Pool {
	return &sync.Pool{New: func() any { return new(encoder) }}
}

// appendWord appends the ids of one word.
func (e *encoder) appendWord(t *Tokenizer, dst []int32, word []byte) []int32 {
	if len(word) == 1 {
		return append(dst, t.byteID[word[0]])
	}
	if len(word) > shortWord {
		return t.appendLong(dst, word, &e.long)
	}
	if len(word) > cacheWord {
		return t.appendShort(dst, word)
	}
	hash := maphash.Bytes(cacheSeed, word)
	s := &e.slots[hash%cacheSlots]
	if s.hash == hash && string(s.word[:s.length]) == string(word) {
		return append(dst, s.ids[:s.n]...)
	}
	start := len(dst)
	dst = t.appendShort(dst, word)
	if n := len(dst) - start; n <= cacheIDs {
		s.hash, s.length, s.n = hash, uint8(len(word)), uint8(n)
		copy(s.word[:], word)
		copy(s.ids[:], dst[start:])
	}
	return dst
}

// appendShort appends the ids of a word of at most shortWord bytes.
func (t *Tokenizer) appendShort(dst []int32, word []byte) []int32 {
	var buf [shortWord]int32
	ids := buf[:len(word)]
	for i, b := range word {
		ids[i] = t.byteID[b]
	}
	return append(dst, t.mergeShort(ids)...)
}
