package bpe

import (
	"fmt"
	"iter"
	"math"
	"runtime"
	"slices"
)

// MinVocab is the smallest vocabulary: the 256 bytes and <|endoftext|>.
const MinVocab = 257

// minCount is how often a pair must occur to be merged: one that occurs once
// says nothing about other text.
const minCount = 2

// longestToken bounds what training makes, in bytes: GPT-2's longest token has
// 128, and without a bound a run of one character would become a few huge ones.
const longestToken = 256

// progressEvery is the number of merges between two calls of Progress.
const progressEvery = 64

// TrainOptions are the settings of Train that do not change its result.
type TrainOptions struct {
	// Threads is the number of goroutines that cut text into words; 0 means as
	// many as there are usable cores.
	Threads int
	// Progress, if not nil, is told now and then how many tokens the vocabulary
	// has so far. An error ends the training and is returned.
	Progress func(tokens int) error
}

// Train makes a tokenizer of vocabSize tokens from texts by byte pair encoding:
// the 256 bytes, then one token for each merge of the pair that is most frequent
// in the words of the texts, and <|endoftext|> as the last, as in GPT-2. Of
// pairs equally frequent, the one with the smaller left id, then the smaller
// right id, is merged. The result depends on texts and vocabSize only.
//
// If no pair occurs twice any more, the tokenizer is smaller than asked: see
// VocabSize. A pair is passed over if its token would be longer than 256 bytes
// or is there already, so that every token comes of one merge. Each text is used only
// until the next is asked for; a word never spans two. It returns an error if
// vocabSize is not from MinVocab to MaxVocab.
func Train(texts iter.Seq[[]byte], vocabSize int, opts TrainOptions) (*Tokenizer, error) {
	if vocabSize < MinVocab || vocabSize > MaxVocab {
		return nil, fmt.Errorf("bpe: train: vocabulary of %d tokens is outside %d to %d", vocabSize, MinVocab, MaxVocab)
	}
	threads := opts.Threads
	if threads <= 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	report := opts.Progress
	if report == nil {
		report = func(int) error { return nil }
	}
	tr, err := newTrainer(countWords(texts, threads))
	if err != nil {
		return nil, fmt.Errorf("bpe: train: %w", err)
	}
	for len(tr.tokens) < vocabSize-1 {
		if len(tr.merges)%progressEvery == 0 {
			if err := report(len(tr.tokens)); err != nil {
				return nil, err
			}
		}
		if len(tr.merges) == maxMerges || !tr.step() {
			break
		}
	}
	if err := report(len(tr.tokens) + 1); err != nil {
		return nil, err
	}
	t, err := build(append(tr.tokens, []byte(EndOfTextToken)), tr.merges, nil)
	if err != nil {
		return nil, fmt.Errorf("bpe: train: %w", err)
	}
	return t, nil
}

// trainer holds the distinct words of the text as one row of slots, a slot for
// each byte, with a gap between words. A token occupies as many slots as it has
// bytes: its first slot holds its id; if it has more than one, its last holds
// minus its length, so that the row can be walked in both directions.
type trainer struct {
	slots  []int32
	wordOf []uint32 // by slot
	counts []int64  // by word

	tokens [][]byte
	known  map[string]bool // of tokens
	merges []pair

	index   map[pair]int32 // of pairs
	pairs   []pairStat
	queue   heap[ranked]
	touched []int32 // pairs that became more frequent in this step
}

// gap is a slot between words.
const gap = math.MinInt32

// pairStat is a pair with its exact count and the slots where it may begin:
// every place where it stands is listed, and others where it stood once.
type pairStat struct {
	pair
	count   int64
	at      []int32
	touched bool
}

// ranked is a pair with the count it had when it was queued, which is never
// below its count now.
type ranked struct {
	pair
	count int64
	stat  int32
}

func (a ranked) before(b ranked) bool {
	if a.count != b.count {
		return a.count > b.count
	}
	return a.key() < b.key()
}

func newTrainer(words []countedWord) (*trainer, error) {
	size := 1
	for _, w := range words {
		size += len(w.text) + 1
	}
	if size > math.MaxInt32 || len(words) > math.MaxInt32 {
		return nil, fmt.Errorf("distinct words of %d bytes in all, limit %d", size, math.MaxInt32)
	}
	tr := &trainer{
		slots:  make([]int32, 0, size),
		wordOf: make([]uint32, 0, size),
		counts: make([]int64, len(words)),
		known:  make(map[string]bool),
		index:  make(map[pair]int32),
	}
	var byteID [256]int32
	for id, b := range letters.order {
		byteID[b] = int32(id)
		tr.addToken([]byte{b})
	}
	tr.slots, tr.wordOf = append(tr.slots, gap), append(tr.wordOf, 0)
	for i, w := range words {
		tr.counts[i] = w.count
		for k := range len(w.text) {
			tr.slots, tr.wordOf = append(tr.slots, byteID[w.text[k]]), append(tr.wordOf, uint32(i))
			if k > 0 {
				at := int32(len(tr.slots) - 2)
				tr.more(pair{tr.slots[at], tr.slots[at+1]}, w.count, at)
			}
		}
		tr.slots, tr.wordOf = append(tr.slots, gap), append(tr.wordOf, 0)
	}
	tr.enqueue()
	return tr, nil
}

// addToken gives text the next id.
func (tr *trainer) addToken(text []byte) int32 {
	id := int32(len(tr.tokens))
	tr.known[string(text)] = true
	tr.tokens = append(tr.tokens, text)
	return id
}

// more counts n more occurrences of p, at a slot.
func (tr *trainer) more(p pair, n int64, at int32) {
	i, ok := tr.index[p]
	if !ok {
		i = int32(len(tr.pairs))
		tr.index[p] = i
		tr.pairs = append(tr.pairs, pairStat{pair: p})
	}
	s := &tr.pairs[i]
	s.count += n
	s.at = append(s.at, at)
	if !s.touched {
		s.touched = true
		tr.touched = append(tr.touched, i)
	}
}

func (tr *trainer) less(p pair, n int64) { tr.pairs[tr.index[p]].count -= n }

// enqueue queues the pairs that became more frequent.
func (tr *trainer) enqueue() {
	for _, i := range tr.touched {
		s := &tr.pairs[i]
		s.touched = false
		if s.count >= minCount {
			tr.queue.push(ranked{s.pair, s.count, i})
		}
	}
	tr.touched = tr.touched[:0]
}

// step merges the most frequent pair; it returns false if there is none left.
func (tr *trainer) step() bool {
	for len(tr.queue) > 0 {
		top := tr.queue.pop()
		s := &tr.pairs[top.stat]
		if s.count != top.count {
			// It was queued again if it grew; if it shrank this is its place.
			if s.count < top.count && s.count >= minCount {
				tr.queue.push(ranked{s.pair, s.count, top.stat})
			}
			continue
		}
		token := slices.Concat(tr.tokens[s.left], tr.tokens[s.right])
		if len(token) > longestToken || tr.known[string(token)] {
			continue
		}
		tr.merge(top.stat, tr.addToken(token))
		return true
	}
	return false
}

// merge replaces a pair by the token id wherever it stands and keeps the counts
// of the pairs around exact.
func (tr *trainer) merge(stat, id int32) {
	p, at := tr.pairs[stat].pair, tr.pairs[stat].at
	tr.pairs[stat].at = nil
	// Overlapping pairs must be met from left to right.
	if !slices.IsSorted(at) {
		slices.Sort(at)
	}
	left, right := int32(len(tr.tokens[p.left])), int32(len(tr.tokens[p.right]))
	tr.merges = append(tr.merges, p)
	for _, i := range at {
		mid, end := i+left, i+left+right
		if tr.slots[i] != p.left || tr.slots[mid] != p.right {
			continue
		}
		n := tr.counts[tr.wordOf[i]]
		tr.less(p, n)
		if before := tr.tokenBefore(i); before >= 0 {
			tr.less(pair{tr.slots[before], p.left}, n)
			tr.more(pair{tr.slots[before], id}, n, before)
		}
		if after := tr.slots[end]; after != gap {
			tr.less(pair{p.right, after}, n)
			tr.more(pair{id, after}, n, i)
		}
		tr.slots[i] = id
		tr.slots[mid] = -1 // nothing begins here any more
		tr.slots[end-1] = i - end
	}
	tr.enqueue()
}

// tokenBefore returns the first slot of the token that ends before slot i, or -1
// at the start of a word.
func (tr *trainer) tokenBefore(i int32) int32 {
	switch last := tr.slots[i-1]; {
	case last == gap:
		return -1
	case last < 0:
		return i + last
	}
	return i - 1
}
