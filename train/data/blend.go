package data

import (
	"fmt"
	"math/big"
	"math/bits"
	"slices"
)

// maxShares bounds the sum of the shares of a Blend, far below where the
// position of a sequence times it would leave 128 bits.
const maxShares = 1 << 62

// Blend deals the sequences of several sources in fixed proportions, spread as
// evenly as whole sequences can be. The first source is set against all others,
// then the next against those after it, each time by
//
//	c(i) = floor((i*share + floor(sum/2)) / sum)
//
// the sequences of the source among the first i of those that it shares with the
// others. Which source a sequence is of, and which of that source, is thus a
// function of its position alone. After every sum of the shares the counts are
// exact; within, each differs from its share by at most half the number of the
// other sources. Each source has its own epochs.
type Blend struct {
	parts  []*Windows
	shares []uint64
	rest   []uint64 // shares of a source and those after it
}

// NewBlend returns a blend of sources, all of the same length of sequences, whose
// shares stand to each other as the given numbers; see Shares. It returns an error
// if there is no source, if lengths differ, if a share is 0 or if their sum is
// over 2^62.
func NewBlend(parts []*Windows, shares []uint64) (*Blend, error) {
	if len(parts) == 0 || len(parts) != len(shares) {
		return nil, fmt.Errorf("data: blend: %d sources with %d shares", len(parts), len(shares))
	}
	b := &Blend{parts: parts, shares: shares, rest: make([]uint64, len(parts))}
	var sum uint64
	for k, share := range slices.Backward(shares) {
		if share == 0 {
			return nil, fmt.Errorf("data: blend: source %d has no share", k+1)
		}
		if parts[k].t != parts[0].t {
			return nil, fmt.Errorf("data: blend: source %d has sequences of %d tokens, the first of %d", k+1, parts[k].t, parts[0].t)
		}
		if share > maxShares-sum {
			return nil, fmt.Errorf("data: blend: shares add up to more than %d", uint64(maxShares))
		}
		sum += share
		b.rest[k] = sum
	}
	return b, nil
}

// Shares turns decimal weights, as "0.7" or "3", into the smallest whole numbers in
// the same proportion. It returns an error for a weight that is not a decimal
// number above 0, and if the numbers would add up to over 2^62.
func Shares(weights []string) ([]uint64, error) {
	list := make([]*big.Rat, len(weights))
	common := big.NewInt(1) // multiple of all denominators
	for i, w := range weights {
		r, err := ParseWeight(w)
		if err != nil {
			return nil, err
		}
		list[i] = r
		gcd := new(big.Int).GCD(nil, nil, common, r.Denom())
		common.Mul(common, new(big.Int).Quo(r.Denom(), gcd))
	}
	whole := make([]*big.Int, len(list))
	divisor, sum := new(big.Int), new(big.Int)
	for i, r := range list {
		whole[i] = new(big.Int).Quo(new(big.Int).Mul(r.Num(), common), r.Denom())
		divisor.GCD(nil, nil, divisor, whole[i])
		sum.Add(sum, whole[i])
	}
	if len(list) > 0 && sum.Quo(sum, divisor).Cmp(big.NewInt(maxShares)) > 0 {
		return nil, fmt.Errorf("data: weights %q make %d shares, limit %d", weights, sum, uint64(maxShares))
	}
	shares := make([]uint64, len(whole))
	for i, x := range whole {
		shares[i] = x.Quo(x, divisor).Uint64()
	}
	return shares, nil
}

// maxWeight bounds the text of a weight.
const maxWeight = 20

// ParseWeight reads a weight: digits with at most one point, above 0.
func ParseWeight(text string) (*big.Rat, error) {
	for _, c := range text {
		if c != '.' && (c < '0' || c > '9') {
			return nil, fmt.Errorf("data: weight %.40q is not a decimal number", text)
		}
	}
	r, ok := new(big.Rat).SetString(text)
	if !ok || len(text) > maxWeight {
		return nil, fmt.Errorf("data: weight %.40q is not a decimal number of at most %d digits", text, maxWeight)
	}
	if r.Sign() == 0 {
		return nil, fmt.Errorf("data: weight %s is not above 0", text)
	}
	return r, nil
}

// Seed returns the seed of the order of source k of a run with seed: that of the
// run for the first, so that a blend of one source is that source.
func Seed(seed uint64, k int) uint64 { return seed ^ uint64(k)*blendSalt }

// blendSalt sets the orders of sources apart: two of the same size would go
// through their windows in step.
const blendSalt = 0xd1342543de82ef95

// Counts returns how many of the first n sequences are of each source.
func (b *Blend) Counts(n int) []int {
	counts := make([]int, len(b.parts))
	for k := range b.parts {
		counts[k] = b.among(k, n)
		n -= counts[k]
	}
	return counts
}

// among returns how many of the first i sequences of source k and those after
// it are of source k.
func (b *Blend) among(k, i int) int {
	sum := b.rest[k]
	hi, lo := bits.Mul64(uint64(i), b.shares[k])
	lo, carry := bits.Add64(lo, sum/2, 0)
	q, _ := bits.Div64(hi+carry, lo, sum)
	return int(q)
}

// at returns the source of sequence i of the stream and the number of sequences
// of that source before it.
func (b *Blend) at(i int) (k, before int) {
	for ; ; k++ {
		before = b.among(k, i)
		if b.among(k, i+1) > before {
			return k, before
		}
		i -= before
	}
}

// Batch returns sequences lo to hi of the blended stream.
func (b *Blend) Batch(lo, hi int) (*Batch, error) {
	out := newBatch(hi-lo, b.parts[0].t)
	for row := range out.B {
		k, at := b.at(lo + row)
		if err := b.parts[k].deal(out, row, at); err != nil {
			return nil, err
		}
	}
	return out, nil
}
