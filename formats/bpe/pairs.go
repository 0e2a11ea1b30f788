package bpe

import (
	"hash/maphash"
	"math/bits"
)

// pair is two adjacent tokens.
type pair struct{ left, right int32 }

func (p pair) key() uint64 { return uint64(uint32(p.left))<<32 | uint64(uint32(p.right)) }

// noRank is the rank of a pair that is never merged.
const noRank = ^uint32(0)

// pairTable maps a pair to its rank. It is a hash table that is filled once and
// then only read, so it needs no lock; looking up is most of the work of
// encoding.
type pairTable struct {
	slots []pairSlot // a power of two, at most half full
	mask  uint64
}

type pairSlot struct {
	key  uint64
	rank uint32 // noRank: the slot is empty
}

// The hash is seeded, so that no merge list can be made to collide.
var (
	seedA = maphash.Comparable(maphash.MakeSeed(), 'a')
	seedB = maphash.Comparable(maphash.MakeSeed(), 'b') | 1
)

func newPairTable(n int) pairTable {
	size := 1 << bits.Len(uint(2*n))
	t := pairTable{slots: make([]pairSlot, size), mask: uint64(size - 1)}
	for i := range t.slots {
		t.slots[i].rank = noRank
	}
	return t
}

func hashPair(key uint64) uint64 {
	hi, lo := bits.Mul64(key^seedA, seedB)
	return hi ^ lo
}

// insert adds a pair and reports whether it is new.
func (t *pairTable) insert(p pair, rank uint32) bool {
	key := p.key()
	for i := hashPair(key) & t.mask; ; i = (i + 1) & t.mask {
		s := &t.slots[i]
		if s.rank == noRank {
			*s = pairSlot{key, rank}
			return true
		}
		if s.key == key {
			return false
		}
	}
}

// rank returns the rank of (left, right), or noRank.
func (t *pairTable) rank(left, right int32) uint32 {
	key := pair{left, right}.key()
	for i := hashPair(key) & t.mask; ; i = (i + 1) & t.mask {
		s := &t.slots[i]
		if s.rank == noRank || s.key == key {
			return s.rank
		}
	}
}
