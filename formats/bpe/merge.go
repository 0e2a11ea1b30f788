package bpe

// shortWord is the length up to which a word is merged by scanning it for the
// lowest rank again and again; longer ones use a heap, because scanning is
// quadratic.
const shortWord = 32

// dirty marks a rank that must be looked up again.
const dirty = noRank - 1

// mergeShort merges ids, the tokens of the at most shortWord bytes of a word, in
// place and returns what is left.
func (t *Tokenizer) mergeShort(ids []int32) []int32 {
	var buf [shortWord]uint32
	ranks := buf[:len(ids)] // ranks[i] is that of (ids[i], ids[i+1])
	for i := range ids[:len(ids)-1] {
		ranks[i] = t.pairs.rank(ids[i], ids[i+1])
	}
	ranks[len(ids)-1] = noRank
	for {
		lowest, from := noRank, 0
		for i, r := range ranks {
			if r < lowest {
				lowest, from = r, i
			}
		}
		if lowest == noRank {
			return ids
		}
		// Merge every such pair, left to right, closing the gaps behind.
		merged := t.merged[lowest]
		n := from
		for i := from; i < len(ids); n++ {
			if ranks[i] != lowest {
				ids[n], ranks[n] = ids[i], ranks[i]
				i++
				continue
			}
			ids[n], ranks[n] = merged, dirty
			if n > 0 {
				ranks[n-1] = dirty
			}
			i += 2
		}
		ids, ranks = ids[:n], ranks[:n]
		for i := max(from-1, 0); i < n; i++ {
			if ranks[i] != dirty {
				continue
			}
			ranks[i] = noRank
			if i+1 < n {
				ranks[i] = t.pairs.rank(ids[i], ids[i+1])
			}
		}
	}
}

// candidate is a pair that may be merged: its rank above, the position of its
// left token below, so that the smallest is the leftmost of the lowest rank.
type candidate uint64

func (c candidate) before(d candidate) bool { return c < d }
func (c candidate) rank() uint32            { return uint32(c >> 32) }
func (c candidate) pos() int32              { return int32(uint32(c)) }

func newCandidate(rank uint32, pos int32) candidate {
	return candidate(rank)<<32 | candidate(uint32(pos))
}

// longMerge is the memory for merging one long word: its tokens as a doubly
// linked list, ends marked by -1, and the pairs that wait.
type longMerge struct {
	ids, next, prev []int32
	queue           heap[candidate]
	found           []candidate
}

// keepLong is the word length up to which the memory of longMerge is kept.
const keepLong = 1 << 16

// appendLong appends the tokens of a word of any length up to longestWord.
func (t *Tokenizer) appendLong(dst []int32, word []byte, m *longMerge) []int32 {
	n := len(word)
	m.ids, m.next, m.prev = m.ids[:0], m.next[:0], m.prev[:0]
	for i, b := range word {
		m.ids = append(m.ids, t.byteID[b])
		m.next = append(m.next, int32(i+1))
		m.prev = append(m.prev, int32(i-1))
	}
	m.next[n-1] = -1
	m.queue = m.queue[:0]
	for i := range n - 1 {
		if r := t.pairs.rank(m.ids[i], m.ids[i+1]); r != noRank {
			m.queue = append(m.queue, newCandidate(r, int32(i)))
		}
	}
	m.queue.order()
	for len(m.queue) > 0 {
		// All pairs of one rank come out together, from left to right. What they
		// form has to wait until the last of them is merged, even if its rank is
		// lower.
		lowest := m.queue[0].rank()
		m.found = m.found[:0]
		for len(m.queue) > 0 && m.queue[0].rank() == lowest {
			t.mergeAt(m, m.queue.pop().pos(), lowest)
		}
		for _, c := range m.found {
			m.queue.push(c)
		}
	}
	for i := int32(0); i >= 0; i = m.next[i] {
		dst = append(dst, m.ids[i])
	}
	if n > keepLong {
		*m = longMerge{}
	}
	return dst
}

// mergeAt merges the pair of the given rank at position i, if it still stands.
func (t *Tokenizer) mergeAt(m *longMerge, i int32, rank uint32) {
	p := t.merges[rank]
	j := m.next[i]
	if m.ids[i] != p.left || j < 0 || m.ids[j] != p.right {
		return
	}
	after := m.next[j]
	m.ids[i], m.next[i] = t.merged[rank], after
	m.ids[j] = -1 // no pair begins here any more
	if after >= 0 {
		m.prev[after] = i
		if r := t.pairs.rank(m.ids[i], m.ids[after]); r != noRank {
			m.found = append(m.found, newCandidate(r, i))
		}
	}
	if before := m.prev[i]; before >= 0 {
		if r := t.pairs.rank(m.ids[before], m.ids[i]); r != noRank {
			m.found = append(m.found, newCandidate(r, before))
		}
	}
}
