// Package data makes the batches: windows of a token stream for pre-training
// and prompt/completion examples for fine-tuning. A batch is a pure function
// of the seed and the step, so that a run can be taken up anywhere.
package data

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/bits"
)

// Ignore is the target of a position whose loss is not counted.
const Ignore = -1

// Batch is B sequences of T tokens with the token that follows each.
type Batch struct {
	IDs, Targets []int32 // (B, T)
	B, T         int
}

func newBatch(b, t int) *Batch {
	return &Batch{B: b, T: t, IDs: make([]int32, b*t), Targets: make([]int32, b*t)}
}

// Counted returns the number of targets that are counted in the loss.
func (b *Batch) Counted() int {
	n := 0
	for _, t := range b.Targets {
		if t >= 0 {
			n++
		}
	}
	return n
}

// Source makes the batches of a training.
type Source interface {
	// Batch returns sequences lo to hi (exclusive) of the endless stream of
	// sequences, the same for the same arguments.
	Batch(lo, hi int) (*Batch, error)
}

// Ordered is a set of sequences to validate on.
type Ordered interface {
	// InOrder returns sequences lo to hi of one epoch, unshuffled.
	InOrder(lo, hi int) (*Batch, error)
	// Len returns the number of sequences in one epoch.
	Len() int
}

// permutation is a random order of 0 … n-1 that needs no memory: a Feistel
// network over the next power of four, walked until it lands inside n.
//
// Source: Black, Rogaway, "Ciphers with Arbitrary Finite Domains", 2002,
// section 3 (cycle walking).
type permutation struct {
	n    uint64
	half uint // bits of one half
	keys [4]uint64
}

// newPermutation returns the order of epoch under seed.
func newPermutation(n int, seed uint64, epoch int) permutation {
	p := permutation{n: uint64(n), half: uint(bits.Len64(uint64(max(n-1, 1)))+1) / 2}
	h := sha256.Sum256(fmt.Appendf(nil, "spdf-order-1\x00%d\x00%d", seed, epoch))
	for i := range p.keys {
		p.keys[i] = binary.LittleEndian.Uint64(h[8*i:])
	}
	return p
}

// at returns the element at place i < n.
func (p permutation) at(i int) int {
	mask := uint64(1)<<p.half - 1
	x := uint64(i)
	for {
		l, r := x>>p.half, x&mask
		for _, k := range p.keys {
			l, r = r, l^(mix(r^k)&mask)
		}
		if x = l<<p.half | r; x < p.n {
			return int(x)
		}
	}
}

// mix is the finaliser of SplitMix64.
//
// Source: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number
// Generators", 2014, figure 16.
func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// place returns which of n sequences stands at position i of the endless
// stream, each epoch in an order of its own.
func place(i, n int, seed uint64) int {
	return newPermutation(n, seed, i/n).at(i % n)
}
