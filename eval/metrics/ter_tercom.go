package metrics

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/spdfctl/spdfctl/kernels"
)

// Limits of tercom's search.
const (
	tercomShiftSize     = 10
	tercomShiftDistance = 50
	tercomBeam          = 20
)

// Tercom returns the translation edit rate of tercom 0.7.25 with its defaults: the
// insertions, deletions, substitutions and shifts of blocks that turn every text
// into the nearest of its references, divided by the mean number of words of the
// references. Words stand between ASCII spaces; letter case does not count. It is
// a fraction, 0 for equal texts, and may exceed 1.
//
// A blank reference has no words; leave it out where the script's input does:
// TercomReferences.
//
// Source: Snover et al., "A Study of Translation Edit Rate with Targeted Human
// Annotation", AMTA 2006, as in tercom 0.7.25 (github.com/jhclark/tercom).
func Tercom(hyps []string, refs [][]string) (Score, error) {
	if err := checkCorpus("tercom", hyps, refs); err != nil {
		return Score{}, err
	}
	rows := make([][]float64, len(hyps))
	kernels.Parallel(len(hyps), func(i int) { rows[i] = tercomRow(hyps[i], refs[i]) })
	s := newScore("ter", fmt.Sprintf("TER|nrefs:%s|case:lc|tok:none|shifts:yes|reflen:mean|script:tercom-0.7.25|version:%s", countReferences(refs), version),
		rows, func(sum []float64) float64 { return terRatio(sum[0], sum[1]) })
	s.LowerIsBetter = true
	sum := s.sum()
	s.Detail = fmt.Sprintf("(%.1f/%.1f)", sum[0], sum[1])
	return s, nil
}

// TercomReferences leaves out blank references but the first, as the scripts that
// prepare tercom's input for WebNLG and DART do.
func TercomReferences(refs [][]string) [][]string {
	out := make([][]string, len(refs))
	for i, list := range refs {
		for j, ref := range list {
			if j == 0 || strings.TrimSpace(ref) != "" {
				out[i] = append(out[i], ref)
			}
		}
	}
	return out
}

// terRatio is edits/words, where edits without words are 1.
func terRatio(edits, words float64) float64 {
	switch {
	case words > 0:
		return edits / words
	case edits > 0:
		return 1
	}
	return 0
}

func tercomRow(hyp string, refs []string) []float64 {
	hypWords := tercomTokens(hyp)
	best, words := -1, 0.0
	for _, text := range refs {
		ref := tercomTokens(text)
		words += float64(len(ref))
		if edits := tercomEdits(newTerPair(hypWords, ref)); best < 0 || edits < best {
			best = edits
		}
	}
	return []float64{float64(best), words / float64(len(refs))}
}

func tercomTokens(s string) []string {
	return fieldsASCII(lower(s))
}

// tercomShift moves the words from start to end, both included, behind the word at
// place; -1: to the front.
type tercomShift struct{ start, end, place int }

// tercomSearch is the state of aligning one text with one reference.
type tercomSearch struct {
	ref    []int32
	cost   []int32 // edit distance by (reference words, text words); -1 unknown
	op     []byte
	moved  []int32   // scratch: a shifted text
	path   []byte    // scratch: the operations of the last distance
	starts [][]int32 // by word: where it stands in the reference
}

// tercomEdits returns the edits, shifts included, between a text and a reference.
func tercomEdits(p terPair) int {
	if len(p.hyp) == 0 || len(p.ref) == 0 {
		return len(p.hyp) + len(p.ref)
	}
	size := (len(p.hyp) + 1) * (len(p.ref) + 1)
	s := &tercomSearch{ref: p.ref, cost: make([]int32, size), op: make([]byte, size), moved: make([]int32, len(p.hyp))}
	words := int32(0)
	for _, w := range append(append([]int32(nil), p.hyp...), p.ref...) {
		words = max(words, w+1)
	}
	s.starts = make([][]int32, words)
	for i, w := range p.ref {
		s.starts[w] = append(s.starts[w], int32(i))
	}
	current := append([]int32(nil), p.hyp...)
	edits, path := s.distance(current), append([]byte(nil), s.path...)
	shifts := 0
	for {
		shift, ok := s.bestShift(current, edits, path)
		if !ok {
			return edits + shifts
		}
		shifts++
		applyShift(s.moved, current, shift)
		copy(current, s.moved)
		edits = s.distance(current)
		path = append(path[:0], s.path...)
	}
}

// bestShift returns the shift that saves most edits, or none that costs no more
// than it saves. Long shifts are tried first; of equally good ones the first wins.
func (s *tercomSearch) bestShift(hyp []int32, edits int, path []byte) (tercomShift, bool) {
	var best tercomShift
	found := false
	bestCost, bestEdits := 0, edits // of the shift itself, of what is left behind it
	candidates := s.shifts(hyp, newTerAlignment(path, len(hyp), len(s.ref)))
	for size := len(candidates) - 1; size >= 0; size-- {
		// A shift of n words saves 2n edits at most.
		for _, shift := range candidates[size] {
			saved := edits - (bestCost + bestEdits)
			if most := 2 * (1 + size); saved > most || bestCost != 0 && saved == most {
				return best, found
			}
			applyShift(s.moved, hyp, shift)
			// More than bestEdits-1 edits behind the shift gain nothing.
			if !s.fill(s.moved, tercomBeam, int32(bestEdits-1)) {
				continue
			}
			left := s.distance(s.moved)
			if gain := bestEdits + bestCost - (left + 1); gain > 0 || bestCost == 0 && gain == 0 {
				best, found, bestCost, bestEdits = shift, true, 1, left
			}
		}
	}
	return best, found
}

// shifts returns the shifts worth trying, by the number of words less one.
func (s *tercomSearch) shifts(hyp []int32, a terAlignment) [tercomShiftSize][]tercomShift {
	var out [tercomShiftSize][]tercomShift
	for start := range hyp {
		if !s.reachable(hyp, start, a) {
			continue
		}
		more := true
		for end := start; more && end < len(hyp) && end < start+tercomShiftSize; end++ {
			more = false
			block := hyp[start : end+1]
			occurs, wrong := false, anyTrue(a.hypWrong[start:end+1])
			for _, to := range s.starts[block[0]] {
				if !hasPrefix(s.ref[to:], block) {
					continue
				}
				occurs = true
				if !wrong {
					break
				}
				place := a.place[to]
				if place >= start && place <= end || place-start > tercomShiftDistance || start-place > tercomShiftDistance {
					continue
				}
				more = true
				if !anyTrue(a.refWrong[to : int(to)+len(block)]) {
					continue
				}
				for offset := -1; offset <= end-start; offset++ {
					at := int(to) + offset
					if at < 0 {
						out[end-start] = append(out[end-start], tercomShift{start, end, -1})
					} else if a.place[at] != start && (offset == 0 || a.place[at] != place) {
						out[end-start] = append(out[end-start], tercomShift{start, end, a.place[at]})
					}
				}
			}
			if occurs && !wrong {
				more = true
			}
		}
	}
	return out
}

// reachable reports whether the word at start occurs in the reference away from
// where it stands, but not too far.
func (s *tercomSearch) reachable(hyp []int32, start int, a terAlignment) bool {
	for _, to := range s.starts[hyp[start]] {
		place := a.place[to]
		if place != start && place-start <= tercomShiftDistance && start-place-1 <= tercomShiftDistance {
			return true
		}
	}
	return false
}

func hasPrefix(list, prefix []int32) bool {
	if len(list) < len(prefix) {
		return false
	}
	for i, w := range prefix {
		if list[i] != w {
			return false
		}
	}
	return true
}

// applyShift writes words with one block moved to dst.
func applyShift(dst, words []int32, s tercomShift) {
	out := dst[:0]
	block := words[s.start : s.end+1]
	switch {
	case s.place < s.start: // -1 included
		out = append(out, words[:s.place+1]...)
		out = append(out, block...)
		out = append(out, words[s.place+1:s.start]...)
		append32(out, words[s.end+1:])
	case s.place > s.end:
		out = append(out, words[:s.start]...)
		out = append(out, words[s.end+1:s.place+1]...)
		out = append(out, block...)
		append32(out, words[s.place+1:])
	default: // inside the block: as many words from behind it as lie before place
		behind := min(s.end+1+s.place-s.start, len(words))
		out = append(out, words[:s.start]...)
		out = append(out, words[s.end+1:behind]...)
		out = append(out, block...)
		append32(out, words[behind:])
	}
}

// append32 fills the rest of a slice whose room is known to suffice.
func append32(out, rest []int32) { copy(out[len(out):cap(out)], rest) }

// distance returns the edit distance of hyp and the reference and leaves its
// operations in s.path. Like tercom it leaves out, word by word of hyp, the places
// whose cost is more than the beam above the best.
func (s *tercomSearch) distance(hyp []int32) int {
	s.fill(hyp, tercomBeam, math.MaxInt32)
	if s.cost[len(s.cost)-1] < 0 {
		s.fill(hyp, math.MaxInt32/2, math.MaxInt32) // tercom would stop here
	}
	s.trace(len(hyp))
	return int(s.cost[len(s.cost)-1])
}

// fill computes the edit distances of the beginnings of hyp and of the reference.
// It gives up, and returns false, once no more than limit edits are out of reach:
// the rest costs at least the difference of the words that are left.
func (s *tercomSearch) fill(hyp []int32, beam, limit int32) bool {
	const far = 999999
	rows, width := len(s.ref)+1, len(hyp)+1
	for i := range s.cost {
		s.cost[i] = -1
	}
	s.cost[0] = 0
	best, firstGood, lastGood := int32(far), 0, 0
	for j := range width {
		lastBest, from := best, max(firstGood, 0)
		best, firstGood = far, -1
		until := lastGood
		lastGood = -1
		least := int32(math.MaxInt32)
		for i := from; i < rows && i <= until; i++ {
			at := i*width + j
			score := s.cost[at]
			if score < 0 || j < len(hyp) && score > lastBest+beam {
				continue
			}
			if firstGood == -1 {
				firstGood = i
			}
			least = min(least, score+int32(distance(len(s.ref)-i, len(hyp)-j)))
			if i < len(s.ref) && j < len(hyp) {
				next := at + width + 1
				if s.ref[i] == hyp[j] {
					if s.cost[next] == -1 || score < s.cost[next] {
						s.cost[next], s.op[next] = score, editKeep
					}
					best = min(best, score)
				} else if s.cost[next] < 0 || score+1 < s.cost[next] {
					s.cost[next], s.op[next] = score+1, editSwap
					best = min(best, score+1)
				}
			}
			lastGood = i + 1
			if j < len(hyp) {
				if next := at + 1; s.cost[next] < 0 || s.cost[next] > score+1 {
					s.cost[next], s.op[next] = score+1, editInsert
				}
			}
			if i < len(s.ref) {
				if next := at + width; s.cost[next] < 0 || s.cost[next] > score+1 {
					s.cost[next], s.op[next] = score+1, editDelete
					if i >= until {
						until = i + 1
					}
				}
			}
		}
		if least > limit {
			return false
		}
	}
	return true
}

// trace writes the operations of the last distance to s.path.
func (s *tercomSearch) trace(words int) {
	width := words + 1
	s.path = s.path[:0]
	for i, j := len(s.ref), words; i > 0 || j > 0; {
		op := s.op[i*width+j]
		s.path = append(s.path, op)
		if op != editInsert {
			i--
		}
		if op != editDelete {
			j--
		}
	}
	slices.Reverse(s.path)
}
