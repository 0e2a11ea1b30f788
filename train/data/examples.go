package data

import (
	"fmt"
	"slices"
)

// Example is one fine-tuning example: the loss counts the tokens from Prompt on.
type Example struct {
	Tokens []int32
	Prompt int // tokens of the prompt, which are read but not predicted
}

// Examples deals examples in a random order that changes every epoch, padded
// to the longest of a batch.
type Examples struct {
	list  []Example
	seed  uint64
	pad   int32
	batch int // > 0: batches are of like lengths
}

// NewExamples returns a source over list. Examples longer than maxLen tokens
// lose their tail; those that then have nothing left to predict are an error,
// because a silent drop would change the data set.
func NewExamples(list []Example, maxLen int, pad int32, seed uint64) (*Examples, error) {
	if len(list) == 0 {
		return nil, fmt.Errorf("data: no examples")
	}
	cut := make([]Example, len(list))
	for i, e := range list {
		// One token more than the context, because the last is only a target.
		e.Tokens = e.Tokens[:min(len(e.Tokens), maxLen+1)]
		if e.Prompt < 1 || e.Prompt >= len(e.Tokens) {
			return nil, fmt.Errorf("data: example %d: prompt of %d tokens leaves nothing to predict within %d", i, e.Prompt, maxLen)
		}
		cut[i] = e
	}
	return &Examples{list: cut, seed: seed, pad: pad}, nil
}

// Len returns the number of examples.
func (x *Examples) Len() int { return len(x.list) }

// MeanLen returns the mean number of tokens that an example feeds to the
// model, rounded up.
func (x *Examples) MeanLen() int {
	sum := 0
	for _, e := range x.list {
		sum += len(e.Tokens) - 1
	}
	return (sum + len(x.list) - 1) / len(x.list)
}

// poolBatches is how many batches of the shuffled stream are sorted together.
const poolBatches = 32

// GroupByLength makes the batches of batch examples, which begin at multiples of
// it, of examples of like length, so that little of a batch is padding. The shuffled
// stream is cut into pools of 32 batches; a pool is sorted by length, cut into
// batches, and these are shuffled. An epoch still deals every example once, up to
// the pool that it shares with the next, and the order still depends on nothing
// but the seed.
func (x *Examples) GroupByLength(batch int) { x.batch = batch }

// order returns which examples stand at lo to hi of the stream.
func (x *Examples) order(lo, hi int) []int {
	out := make([]int, 0, hi-lo)
	if x.batch == 0 {
		for i := lo; i < hi; i++ {
			out = append(out, place(i, len(x.list), x.seed))
		}
		return out
	}
	size := poolBatches * x.batch
	for pool := lo / size; pool*size < hi; pool++ {
		members := make([]int, size)
		for i := range members {
			members[i] = place(pool*size+i, len(x.list), x.seed)
		}
		slices.SortStableFunc(members, func(a, b int) int { return len(x.list[a].Tokens) - len(x.list[b].Tokens) })
		batches := newPermutation(poolBatches, x.seed^poolSalt, pool)
		for i := max(lo-pool*size, 0); i < min(hi-pool*size, size); i++ {
			out = append(out, members[batches.at(i/x.batch)*x.batch+i%x.batch])
		}
	}
	return out
}

// poolSalt sets the order of batches apart from the order of examples.
const poolSalt = 0x9e3779b97f4a7c15

// Batch returns examples lo to hi of the shuffled stream.
func (x *Examples) Batch(lo, hi int) (*Batch, error) {
	list := make([]Example, hi-lo)
	longest := 0
	for i, at := range x.order(lo, hi) {
		list[i] = x.list[at]
		longest = max(longest, len(list[i].Tokens)-1)
	}
	return pack(list, longest, x.pad), nil
}

// InOrder returns the examples lo to hi of the list as one batch, unshuffled,
// for evaluation.
func (x *Examples) InOrder(lo, hi int) (*Batch, error) {
	longest := 0
	for _, e := range x.list[lo:hi] {
		longest = max(longest, len(e.Tokens)-1)
	}
	return pack(x.list[lo:hi], longest, x.pad), nil
}

// pack lays examples out as (B, t); what is behind an example is padding,
// which no earlier position attends to and no loss counts.
func pack(list []Example, t int, pad int32) *Batch {
	b := newBatch(len(list), t)
	for i, e := range list {
		ids, targets := b.IDs[i*t:][:t], b.Targets[i*t:][:t]
		for j := range t {
			ids[j], targets[j] = pad, Ignore
			if j < len(e.Tokens)-1 {
				ids[j] = e.Tokens[j]
				if j+1 >= e.Prompt {
					targets[j] = e.Tokens[j+1]
				}
			}
		}
	}
	return b
}
