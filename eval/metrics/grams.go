package metrics

// gramTable numbers the words and the n-grams of a corpus from 1. An n-gram is
// the pair of the n-gram before its last word and that word; 0 is the empty one.
type gramTable struct {
	words  map[string]int32
	next   map[uint64]int32 // prefix<<32 | word
	prefix []int32          // by n-gram: the n-gram without its last word
}

func newGramTable() *gramTable {
	return &gramTable{words: map[string]int32{}, next: map[uint64]int32{}, prefix: make([]int32, 1)}
}

// word returns the number of a word.
func (t *gramTable) word(w string) int32 {
	n, ok := t.words[w]
	if !ok {
		n = int32(len(t.words) + 1)
		t.words[w] = n
	}
	return n
}

// size is one more than the largest number of an n-gram.
func (t *gramTable) size() int { return len(t.prefix) }

// orders returns the n-grams of a text by order: the first list has its words
// in their order, the second its pairs, and so on.
func (t *gramTable) orders(tokens []string, order int) [][]int32 {
	words := make([]int32, len(tokens))
	for i, w := range tokens {
		words[i] = t.word(w)
	}
	out := make([][]int32, order)
	for n := range out {
		out[n] = make([]int32, 0, max(0, len(words)-n))
	}
	for i := range words {
		gram := int32(0)
		for n := range min(order, len(words)-i) {
			key := uint64(gram)<<32 | uint64(words[i+n])
			next, ok := t.next[key]
			if !ok {
				next = int32(len(t.prefix))
				t.next[key] = next
				t.prefix = append(t.prefix, gram)
			}
			gram = next
			out[n] = append(out[n], gram)
		}
	}
	return out
}

// gramCorpus is a corpus as n-grams: hyps[i][n-1] and refs[i][j][n-1] are the
// n-grams of order n of a text.
type gramCorpus struct {
	table *gramTable
	order int
	hyps  [][][]int32
	refs  [][][][]int32
}

func newGramCorpus(c corpus, order int) *gramCorpus {
	g := &gramCorpus{table: newGramTable(), order: order}
	for i := range c.hyps {
		refs := make([][][]int32, len(c.refs[i]))
		for j, ref := range c.refs[i] {
			refs[j] = g.table.orders(ref, order)
		}
		g.refs = append(g.refs, refs)
		g.hyps = append(g.hyps, g.table.orders(c.hyps[i], order))
	}
	return g
}

// clipper counts n-grams that a text shares with its references. Its slices are
// indexed by n-gram and zero between calls.
type clipper struct{ one, most []int32 }

func newClipper(t *gramTable) *clipper {
	return &clipper{one: make([]int32, t.size()), most: make([]int32, t.size())}
}

// matches calls each with every n-gram of segment i of one order that stands in
// a reference too, in order of first appearance, and how often it counts: as
// often as in the text, but at most as often as in one reference.
func (c *clipper) matches(g *gramCorpus, i, order int, each func(gram, count int32)) {
	for _, ref := range g.refs[i] {
		for _, gram := range ref[order-1] {
			c.one[gram]++
			c.most[gram] = max(c.most[gram], c.one[gram])
		}
		for _, gram := range ref[order-1] {
			c.one[gram] = 0
		}
	}
	hyp := g.hyps[i][order-1]
	for _, gram := range hyp {
		c.one[gram]++
	}
	for _, gram := range hyp {
		if n := min(c.one[gram], c.most[gram]); n > 0 {
			each(gram, n)
		}
		c.one[gram] = 0
	}
	for _, ref := range g.refs[i] {
		for _, gram := range ref[order-1] {
			c.most[gram] = 0
		}
	}
}

// overlap returns the clipped number of matches of segment i by order.
func (c *clipper) overlap(g *gramCorpus, i int) []int {
	out := make([]int, g.order)
	for n := 1; n <= g.order; n++ {
		c.matches(g, i, n, func(_, count int32) { out[n-1] += int(count) })
	}
	return out
}

// closestLength returns the length that is nearest to n, the shorter of two.
func closestLength(n int, lengths []int) int {
	best := lengths[0]
	for _, l := range lengths[1:] {
		if d, b := distance(l, n), distance(best, n); d < b || d == b && l < best {
			best = l
		}
	}
	return best
}
