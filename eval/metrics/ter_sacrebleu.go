package metrics

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"

	"github.com/spdfctl/spdfctl/kernels"
)

// TEROptions are sacreBLEU's for its TER, with its defaults as zero values.
type TEROptions struct {
	Normalized    bool // tokenise punctuation and undo entities
	NoPunct       bool // remove punctuation
	Asian         bool // treat Chinese and Japanese characters in the two steps above
	CaseSensitive bool
}

// Limits of sacreBLEU's search.
const (
	terShiftSize     = 10
	terShiftDistance = 50
	terBeam          = 25
	terMaxCandidates = 1000
)

// TER returns the translation edit rate of sacreBLEU 2, in percent: like Tercom,
// with a search that differs from tercom's on unusual texts only. An empty
// reference has length 0 and enters the mean length.
//
// Source: Snover et al., "A Study of Translation Edit Rate with Targeted Human
// Annotation", AMTA 2006, as in sacrebleu/metrics/ter.py of
// github.com/mjpost/sacrebleu at f615c72.
func TER(hyps []string, refs [][]string, o TEROptions) (Score, error) {
	if err := checkCorpus("ter", hyps, refs); err != nil {
		return Score{}, err
	}
	rows := make([][]float64, len(hyps))
	kernels.Parallel(len(hyps), func(i int) {
		hyp := o.tokens(hyps[i])
		best, words := math.MaxInt, 0
		for _, text := range refs[i] {
			ref := o.tokens(text)
			words += len(ref)
			best = min(best, terEdits(newTerPair(hyp, ref)))
		}
		rows[i] = []float64{float64(best), float64(words) / float64(len(refs[i]))}
	})
	yes := func(b bool) string {
		if b {
			return "yes"
		}
		return "no"
	}
	letters := "lc"
	if o.CaseSensitive {
		letters = "mixed"
	}
	s := newScore("ter", fmt.Sprintf("TER|nrefs:%s|case:%s|tok:tercom|norm:%s|punct:%s|asian:%s|script:sacrebleu|version:%s", countReferences(refs),
		letters, yes(o.Normalized), yes(!o.NoPunct), yes(o.Asian), version), rows, func(sum []float64) float64 { return 100 * terRatio(sum[0], sum[1]) })
	s.LowerIsBetter = true
	return s, nil
}

// Punctuation of Chinese and Japanese text.
const (
	asianPunct     = "([\u3001\u3002\u3008-\u3011\u3014-\u301f\uff61-\uff65\u30fb])"
	fullWidthPunct = "([\uff0e\uff0c\uff1f\uff1a\uff1b\uff01\uff02\uff08\uff09])"
)

var (
	terPossessive = []substitution{{regexp.MustCompile(`'s `), " 's "}, {regexp.MustCompile(`'s$`), " 's"}}
	terPunct      = regexp.MustCompile(`[.,?:;!"()]`)
	terAsian      = []substitution{
		{regexp.MustCompile("([\u4e00-\u9fff\u3400-\u4dbf])"), " $1 "},
		{regexp.MustCompile("([\u31c0-\u31ef\u2e80-\u2eff])"), " $1 "},
		{regexp.MustCompile("([\u3300-\u33ff\uf900-\ufaff\ufe30-\ufe4f])"), " $1 "},
		{regexp.MustCompile("([\u3200-\u3f22])"), " $1 "}, // sacreBLEU's digits; the block ends at 32ff
		{regexp.MustCompile(asianPunct), " $1 "},
		{regexp.MustCompile(fullWidthPunct), " $1 "},
	}
	terAsianPunct = []substitution{{regexp.MustCompile(asianPunct), ""}, {regexp.MustCompile(fullWidthPunct), ""}}
)

// tokens follows sacreBLEU's tokenizer "tercom". Its rules for kana never apply to
// a text that is normalised, which starts with a space.
func (o TEROptions) tokens(s string) []string {
	if !o.CaseSensitive {
		s = lower(s)
	}
	if o.Normalized {
		s = strings.ReplaceAll(strings.ReplaceAll(s, "\n-", ""), "\n", " ")
		for _, e := range entities13a {
			s = strings.ReplaceAll(s, e[0], e[1])
		}
		s = substitute(string(apart13a([]byte(" "+s+" "))), terPossessive)
		s = string(stops13a([]byte(s)))
		if o.Asian {
			s = substitute(s, terAsian)
		}
	}
	if o.NoPunct {
		s = terPunct.ReplaceAllString(s, "")
		if o.Asian {
			s = substitute(s, terAsianPunct)
		}
	}
	return fields(s)
}

// terSearch aligns texts of one length with one reference.
type terSearch struct {
	ref   []int32
	cost  [][]int32 // by text word, by reference word
	op    [][]byte
	valid int // the first rows that belong to the text before any shift
}

// terEdits returns the edits, shifts included, between a text and a reference.
func terEdits(p terPair) int {
	if len(p.ref) == 0 {
		return len(p.hyp)
	}
	s := &terSearch{ref: p.ref}
	for range len(p.hyp) + 1 {
		s.cost = append(s.cost, make([]int32, len(p.ref)+1))
		s.op = append(s.op, make([]byte, len(p.ref)+1))
	}
	hyp, shifts, tried := p.hyp, 0, 0
	for {
		gain, shifted := s.shift(hyp, &tried)
		if tried >= terMaxCandidates || gain <= 0 {
			edits, _ := s.distance(hyp, 0)
			return shifts + edits
		}
		shifts++
		hyp = shifted
	}
}

// terCandidate is a shift with what decides between several, in this order.
type terCandidate struct {
	gain, length, start, target int
	words                       []int32
}

func (c *terCandidate) beats(best *terCandidate) bool {
	switch {
	case best == nil:
		return true
	case c.gain != best.gain:
		return c.gain > best.gain
	case c.length != best.length:
		return c.length > best.length
	case c.start != best.start:
		return c.start < best.start
	}
	return c.target < best.target
}

// shift returns the shift that saves most and how much, and counts what it tried.
func (s *terSearch) shift(hyp []int32, tried *int) (int, []int32) {
	before, path := s.distance(hyp, 0)
	a := newTerAlignment(path, len(hyp), len(s.ref))
	var best *terCandidate
	moved := make([]int32, 0, len(hyp))
	for start := range hyp {
		for to := range s.ref {
			if max(to-start, start-to) > terShiftDistance {
				continue
			}
			for length := 1; length <= terShiftSize && start+length <= len(hyp) && to+length <= len(s.ref) &&
				hyp[start+length-1] == s.ref[to+length-1]; length++ {
				if !anyTrue(a.hypWrong[start:start+length]) || !anyTrue(a.refWrong[to:to+length]) ||
					start <= a.place[to] && a.place[to] < start+length {
					continue
				}
				last := -1
				for offset := -1; offset < length; offset++ {
					target := 0
					if to+offset >= 0 {
						target = a.place[to+offset] + 1
					}
					if target == last {
						continue
					}
					last = target
					moved = moveBlock(moved[:0], hyp, start, length, target)
					after, _ := s.distance(moved, min(start, target))
					c := &terCandidate{before - after, length, start, target, nil}
					*tried++
					if c.beats(best) {
						c.words = slices.Clone(moved)
						best = c
					}
				}
				if *tried >= terMaxCandidates {
					// The generator of pairs is left behind this pair.
					return bestOf(best, hyp)
				}
			}
		}
	}
	return bestOf(best, hyp)
}

func bestOf(best *terCandidate, hyp []int32) (int, []int32) {
	if best == nil {
		return 0, hyp
	}
	return best.gain, best.words
}

// moveBlock appends words with length of them from start on put before target.
func moveBlock(dst, words []int32, start, length, target int) []int32 {
	block := words[start : start+length]
	switch {
	case target < start:
		dst = append(append(dst, words[:target]...), block...)
		return append(append(dst, words[target:start]...), words[start+length:]...)
	case target > start+length:
		dst = append(append(dst, words[:start]...), words[start+length:target]...)
		return append(append(dst, block...), words[target:]...)
	}
	behind := min(length+target, len(words))
	dst = append(append(dst, words[:start]...), words[start+length:behind]...)
	return append(append(dst, block...), words[behind:]...)
}

// distance returns the edit distance of hyp and the reference and the operations.
// same is how many words at the start hyp shares with the text before any shift:
// their rows need not be computed again. 0 makes hyp that text.
func (s *terSearch) distance(hyp []int32, same int) (int, []byte) {
	const far = math.MaxInt32 / 2
	n := len(s.ref)
	s.fillFirst()
	from := min(same, s.valid)
	if s.valid = same; same == 0 {
		s.valid = len(hyp)
	}
	slope := 1.0
	if len(hyp) > 0 {
		slope = float64(n) / float64(len(hyp))
	}
	beam := terBeam
	if terBeam < slope/2 {
		beam = int(math.Ceil(slope/2 + terBeam))
	}
	for i := from + 1; i <= len(hyp); i++ {
		row, above, ops := s.cost[i], s.cost[i-1], s.op[i]
		for j := range row {
			row[j], ops[j] = far, 0
		}
		diagonal := int(math.Floor(float64(i) * slope))
		until := min(n+1, diagonal+beam)
		if i == len(hyp) {
			until = n + 1
		}
		for j := max(0, diagonal-beam); j < until; j++ {
			if j == 0 {
				row[0], ops[0] = above[0]+1, editInsert
				continue
			}
			swap, op := above[j-1], editKeep
			if hyp[i-1] != s.ref[j-1] {
				swap, op = swap+1, editSwap
			}
			cost := int32(far)
			if swap < cost {
				cost, ops[j] = swap, op
			}
			if c := above[j] + 1; c < cost {
				cost, ops[j] = c, editInsert
			}
			if c := row[j-1] + 1; c < cost {
				cost, ops[j] = c, editDelete
			}
			row[j] = cost
		}
	}
	return int(s.cost[len(hyp)][n]), s.path(len(hyp), n)
}

// fillFirst is the row of no words: the whole reference is missing.
func (s *terSearch) fillFirst() {
	for j := range s.cost[0] {
		s.cost[0][j], s.op[0][j] = int32(j), editDelete
	}
}

func (s *terSearch) path(i, j int) []byte {
	path := make([]byte, 0, i+j)
	for i > 0 || j > 0 {
		op := s.op[i][j]
		path = append(path, op)
		if op != editDelete {
			i--
		}
		if op != editInsert {
			j--
		}
	}
	slices.Reverse(path)
	return path
}
