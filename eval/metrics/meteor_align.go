package metrics

import (
	"cmp"
	"slices"
)

// meteorWord is what alignment needs to know of a word.
type meteorWord struct {
	id, stem int32
	synsets  []int32 // sorted
	function bool
	key      int32 // in the paraphrase table
}

// meteorMatch says that length words of the reference from start on match
// otherLength words of the text from other on.
type meteorMatch struct {
	start, length      int
	other, otherLength int
	stage              int
}

// meteorMatches are all matches of two texts: by the word of the reference that
// they start at, in the order of the stages, and how many cover every word.
type meteorMatches struct {
	at          [][]meteorMatch
	hypCover    []int
	refCover    []int
	paraphrases *paraphraseTable
}

func (m *meteorMatches) add(match meteorMatch) {
	m.at[match.start] = append(m.at[match.start], match)
	for i := range match.otherLength {
		m.hypCover[match.other+i]++
	}
	for i := range match.length {
		m.refCover[match.start+i]++
	}
}

// words adds single words that fit, unless they are the same word and the stage is
// not exact.
func (m *meteorMatches) words(hyp, ref []meteorWord, stage int, fit func(a, b *meteorWord) bool) {
	for j := range ref {
		for i := range hyp {
			if (hyp[i].id == ref[j].id) == (stage == stageExact) && fit(&hyp[i], &ref[j]) {
				m.add(meteorMatch{start: j, length: 1, other: i, otherLength: 1, stage: stage})
			}
		}
	}
}

// phrases adds the paraphrases of phrases of the reference in the text, then those
// of phrases of the text in the reference.
func (m *meteorMatches) phrases(hyp, ref []meteorWord) {
	h, r := meteorKeys(hyp), meteorKeys(ref)
	occurrences := func(in, what []int32, f func(int)) {
		for i := range in {
			if len(in)-i >= len(what) && slices.Equal(in[i:i+len(what)], what) {
				f(i)
			}
		}
	}
	for j := range r {
		m.paraphrases.each(r, j, func(length int, other []int32) {
			occurrences(h, other, func(i int) {
				m.add(meteorMatch{j, length, i, len(other), stageParaphrase})
			})
		})
	}
	for i := range h {
		m.paraphrases.each(h, i, func(length int, other []int32) {
			occurrences(r, other, func(j int) {
				m.add(meteorMatch{j, len(other), i, length, stageParaphrase})
			})
		})
	}
}

func meteorKeys(words []meteorWord) []int32 {
	keys := make([]int32, len(words))
	for i := range words {
		keys[i] = words[i].key
	}
	return keys
}

// findMeteorMatches runs the stages.
func findMeteorMatches(hyp, ref []meteorWord, use [meteorStages]bool, paraphrases *paraphraseTable) *meteorMatches {
	m := &meteorMatches{at: make([][]meteorMatch, len(ref)), hypCover: make([]int, len(hyp)), refCover: make([]int, len(ref)), paraphrases: paraphrases}
	m.words(hyp, ref, stageExact, func(a, b *meteorWord) bool { return true })
	// Of two equal texts nothing but the words themselves is matched.
	if slices.EqualFunc(hyp, ref, func(a, b meteorWord) bool { return a.id == b.id }) {
		return m
	}
	if use[stageStem] {
		m.words(hyp, ref, stageStem, func(a, b *meteorWord) bool { return a.stem == b.stem })
	}
	if use[stageSynonym] {
		m.words(hyp, ref, stageSynonym, func(a, b *meteorWord) bool { return intersect(a.synsets, b.synsets) })
	}
	if use[stageParaphrase] {
		m.phrases(hyp, ref)
	}
	return m
}

// intersect reports whether two sorted lists share an element.
func intersect(a, b []int32) bool {
	for len(a) > 0 && len(b) > 0 {
		switch c := cmp.Compare(a[0], b[0]); {
		case c == 0:
			return true
		case c < 0:
			a = a[1:]
		default:
			b = b[1:]
		}
	}
	return false
}

// meteorBeam is how many partial alignments are followed.
const meteorBeam = 40

// meteorPath is a partial alignment from the first word of the reference on.
type meteorPath struct {
	last            *meteorChoice
	hypUsed         []uint64 // bit sets
	refUsed         []uint64
	matches, chunks int
	index, end      int // first undecided word; text's word behind the last match, -1: none
	distance        int
}

// meteorChoice is a chosen match behind others.
type meteorChoice struct {
	match  *meteorMatch
	before *meteorChoice
}

func bit(set []uint64, i int) bool { return set[i/64]>>(i%64)&1 != 0 }
func mark(set []uint64, from, n int) {
	for i := from; i < from+n; i++ {
		set[i/64] |= 1 << (i % 64)
	}
}
func anyBit(set []uint64, from, n int) bool {
	for i := from; i < from+n; i++ {
		if bit(set, i) {
			return true
		}
	}
	return false
}

// take appends a match to the path.
func (p *meteorPath) take(m *meteorMatch) {
	// METEOR adds half a word per word that is not matched exactly to integers,
	// each of the two sums by itself, so that single ones count nothing.
	if m.stage == stageExact {
		p.matches += m.otherLength + m.length
	} else {
		p.matches += m.otherLength/2 + m.length/2
	}
	if p.end != -1 && m.other != p.end {
		p.chunks++
	}
	p.index = m.start + m.length
	p.end = m.other + m.otherLength
}

func (m *meteorMatch) distance() int { return distance(m.start, m.other) }

// align returns the matches of the best alignment, at their first word of the
// reference: as many exact matches as possible, then as few chunks, then short
// distances, as far as a beam search sees.
func (m *meteorMatches) align() []*meteorMatch {
	chosen := make([]*meteorMatch, len(m.at))
	first := &meteorPath{hypUsed: make([]uint64, (len(m.hypCover)+63)/64), refUsed: make([]uint64, (len(m.refCover)+63)/64), end: -1}
	open := false
	for i := range m.at {
		if len(m.at[i]) == 1 && m.alone(&m.at[i][0]) {
			chosen[i] = &m.at[i][0]
			mark(first.refUsed, i, m.at[i][0].length)
			mark(first.hypUsed, m.at[i][0].other, m.at[i][0].otherLength)
		} else if len(m.at[i]) > 0 {
			open = true
		}
	}
	if !open {
		return chosen
	}
	for c := m.search(first, chosen).last; c != nil; c = c.before {
		chosen[c.match.start] = c.match
	}
	return chosen
}

// alone reports whether no other match covers any word of match.
func (m *meteorMatches) alone(match *meteorMatch) bool {
	for i := range match.length {
		if m.refCover[match.start+i] != 1 {
			return false
		}
	}
	for i := range match.otherLength {
		if m.hypCover[match.other+i] != 1 {
			return false
		}
	}
	return true
}

func (m *meteorMatches) search(first *meteorPath, fixed []*meteorMatch) *meteorPath {
	better := func(a, b *meteorPath) int {
		return cmp.Or(b.matches-a.matches, a.chunks-b.chunks, a.distance-b.distance)
	}
	paths, next := []*meteorPath{first}, []*meteorPath(nil)
	for current := range m.at {
		slices.SortStableFunc(paths, better)
		next = next[:0]
		for _, path := range paths[:min(meteorBeam, len(paths))] {
			if bit(path.refUsed, current) {
				if current >= path.index {
					match := fixed[path.index]
					if match == nil {
						continue
					}
					path.take(match)
					path.distance += match.distance()
				}
				next = append(next, path)
				continue
			}
			for i := range m.at[current] {
				match := &m.at[current][i]
				if anyBit(path.refUsed, match.start, match.length) || anyBit(path.hypUsed, match.other, match.otherLength) {
					continue
				}
				branch := *path
				branch.last = &meteorChoice{match, path.last}
				branch.hypUsed, branch.refUsed = slices.Clone(path.hypUsed), slices.Clone(path.refUsed)
				mark(branch.refUsed, match.start, match.length)
				mark(branch.hypUsed, match.other, match.otherLength)
				branch.take(match)
				// METEOR adds the distance to the path that it branched from.
				path.distance += match.distance()
				next = append(next, &branch)
			}
			if path.end != -1 {
				path.chunks++
				path.end = -1
			}
			path.index++
			next = append(next, path)
		}
		if len(next) == 0 {
			next = append(next, paths[0])
		}
		paths, next = next, paths
	}
	slices.SortStableFunc(paths, better)
	for _, path := range paths[:min(meteorBeam, len(paths))] {
		if path.end != -1 {
			path.chunks++
		}
	}
	return slices.MinFunc(paths[:min(meteorBeam, len(paths))], better)
}

// countChunks returns the number of runs of matches that are next to each other,
// in the same order, in both texts.
func countChunks(chosen []*meteorMatch) int {
	chunks, end := 0, -1
	for i := 0; i < len(chosen); {
		m := chosen[i]
		if m == nil {
			if end != -1 {
				chunks++
				end = -1
			}
			i++
			continue
		}
		if end != -1 && m.other != end {
			chunks++
		}
		i = m.start + m.length
		end = m.other + m.otherLength
	}
	if end != -1 {
		chunks++
	}
	return chunks
}
