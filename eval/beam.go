package eval

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/spdfctl/spdfctl/kernels"
)

// Rules name whose beam search is copied where published ones differ.
//
//   - "hf": the transformers library. Of the 2·beam best continuations (more with
//     several stop tokens), those that stop among the first beam finish, the best
//     others go on; at most beam texts are kept; banned tokens get no probability,
//     which the others do not share; n-grams of the prompt count as seen.
//   - "lora": gpt2_beam.py of LoRA's experiments, which the SPDF paper decodes
//     with. Of the beam best continuations, those that stop leave the beam, which
//     shrinks; the best text so far is kept; the others share the probability of
//     banned tokens; only generated n-grams count; the search ends when no text
//     can become better, with the result of one that goes on to the limit.
const (
	RulesHF   = "hf"
	RulesLoRA = "lora"
)

// Conventions of the length penalty, for a text of n tokens, a stop token that
// ends it counted, with log-probability s and the exponent a:
//
//   - "hf": s / n^a, of the transformers library, of fairseq and of LoRA;
//   - "gnmt": s / ((5+n)/6)^a, of Wu et al., "Google's Neural Machine Translation
//     System", 2016, eq. 14, without its coverage term.
const (
	PenaltyHF   = "hf"
	PenaltyGNMT = "gnmt"
)

// When a beam search of the rules "hf" ends: as soon as beam texts are finished
// ("first", early_stopping=True there), when the best going one, penalised for its
// length so far, is below all finished ones ("heuristic", False), or when it could
// not rise above them at any length ("never").
const (
	StopFirst     = "first"
	StopHeuristic = "heuristic"
	StopNever     = "never"
)

// Beam holds the settings of a beam search; a width of 0 or 1 is none.
type Beam struct {
	Width         int
	LengthPenalty float64 // the exponent: above 0 it favours long texts
	Convention    string  // of the length penalty: PenaltyHF by default
	Rules         string  // RulesHF by default
	EarlyStopping string  // StopHeuristic by default
}

// maxBeam bounds the width of a beam.
const maxBeam = 4096

// withDefaults fills in what is empty.
func (b Beam) withDefaults() Beam {
	b.Convention = cmp.Or(b.Convention, PenaltyHF)
	b.Rules = cmp.Or(b.Rules, RulesHF)
	b.EarlyStopping = cmp.Or(b.EarlyStopping, StopHeuristic)
	return b
}

// Validate reports a setting outside its range.
func (b Beam) Validate() error {
	b = b.withDefaults()
	switch {
	case b.Width < 0 || b.Width > maxBeam:
		return fmt.Errorf("eval: beam of %d, want 1 to %d", b.Width, maxBeam)
	case math.IsNaN(b.LengthPenalty) || math.Abs(b.LengthPenalty) > 100:
		return fmt.Errorf("eval: length penalty %g is outside [-100, 100]", b.LengthPenalty)
	case b.Convention != PenaltyHF && b.Convention != PenaltyGNMT:
		return fmt.Errorf("eval: convention of the length penalty %q is neither %s nor %s", b.Convention, PenaltyHF, PenaltyGNMT)
	case b.Rules != RulesHF && b.Rules != RulesLoRA:
		return fmt.Errorf("eval: rules %q are neither %s nor %s", b.Rules, RulesHF, RulesLoRA)
	case !slices.Contains([]string{StopFirst, StopHeuristic, StopNever}, b.EarlyStopping):
		return fmt.Errorf("eval: early stopping %q is none of %s, %s, %s", b.EarlyStopping, StopFirst, StopHeuristic, StopNever)
	}
	return nil
}

// score penalises the log-probability of a text of n tokens.
func (b Beam) score(logp float64, n int) float64 {
	if b.Convention == PenaltyGNMT {
		return logp / math.Pow((5+float64(n))/6, b.LengthPenalty)
	}
	return logp / math.Pow(float64(n), b.LengthPenalty)
}

// branch is a text that goes on.
type branch struct {
	logp float64
	ids  []int32 // generated
}

// finished is a text that ended, without its stop token.
type finished struct {
	score float64
	ids   []int32
}

// beamSearch is the search for one prompt.
type beamSearch struct {
	Beam
	limits Limits
	prompt []int32
	max    int // tokens at most
	live   []branch
	done   []finished
}

func newBeamSearch(b Beam, l Limits, prompt []int32, maxTokens int) *beamSearch {
	return &beamSearch{Beam: b.withDefaults(), limits: l, prompt: prompt, max: maxTokens, live: []branch{{}}}
}

// candidate is one continuation of a branch.
type candidate struct {
	logp   float64
	branch int
	id     int32
}

// worse orders candidates from the worst on; equal ones by branch and id, so that
// the result does not depend on anything but the numbers.
func worse(a, b candidate) int {
	return cmp.Or(cmp.Compare(a.logp, b.logp), cmp.Compare(b.branch, a.branch), cmp.Compare(b.id, a.id))
}

// advance takes the logits (live branches, V) of the next token, which it changes,
// and returns for every branch of the next step its parent and its new id. There
// are none when the search is over.
func (s *beamSearch) advance(logits []float32, v int) (parents []int, ids []int32, err error) {
	keep := s.Width
	if s.Rules == RulesHF {
		keep = max(2, 1+len(s.limits.Stop)) * s.Width
	}
	best, err := s.top(logits, v, keep)
	if err != nil {
		return nil, nil, err
	}
	n := len(s.live[0].ids) + 1
	if len(best) == 0 && n > 1 { // nothing may follow
		for _, b := range s.live {
			s.finish(finished{s.score(b.logp, n-1), b.ids})
		}
	}
	var next []branch
	for rank, c := range best {
		stops := slices.Contains(s.limits.Stop, c.id)
		old := s.live[c.branch].ids
		switch {
		case stops && rank >= s.Width:
		case stops:
			s.finish(finished{s.score(c.logp, n), old})
		default:
			next = append(next, branch{c.logp, append(old[:len(old):len(old)], c.id)})
			parents, ids = append(parents, c.branch), append(ids, c.id)
		}
		if len(next) == s.Width {
			break
		}
	}
	s.live = next
	if len(best) > 0 && s.over(best[0].logp, n) {
		s.live = nil
	} else if n == s.max {
		for _, b := range next {
			s.finish(finished{s.score(b.logp, n), b.ids})
		}
		s.live = nil
	}
	if len(s.live) == 0 {
		return nil, nil, nil
	}
	return parents, ids, nil
}

// top returns the keep best continuations of all branches, the best first.
func (s *beamSearch) top(logits []float32, v, keep int) ([]candidate, error) {
	list := make([]candidate, 0, 2*keep)
	least := math.Inf(-1)
	for i, b := range s.live {
		row := logits[i*v:][:v]
		if s.Rules == RulesLoRA {
			s.limits.ban(row, nil, b.ids)
		}
		lse := kernels.LogSumExp(row)
		if math.IsNaN(lse) {
			if id := slices.IndexFunc(row, func(x float32) bool { return x != x }); id >= 0 {
				return nil, errNaN(id)
			}
			continue // every token is banned
		}
		if s.Rules == RulesHF {
			s.limits.ban(row, s.prompt, b.ids)
		}
		offset := b.logp - lse
		for id, x := range row {
			// Not below least, lest equal ones be chosen by luck.
			if p := float64(x) + offset; p >= least && !math.IsInf(p, -1) {
				if list = append(list, candidate{p, i, int32(id)}); len(list) == cap(list) {
					list = best(list, keep)
					least = list[keep-1].logp
				}
			}
		}
	}
	return best(list, keep), nil
}

// best sorts the list and cuts it to n.
func best(list []candidate, n int) []candidate {
	slices.SortFunc(list, func(a, b candidate) int { return worse(b, a) })
	return list[:min(n, len(list))]
}

// finish adds a text to the finished ones, which are width at most; the rules
// "lora" keep the first of the best.
func (s *beamSearch) finish(f finished) {
	if s.Rules == RulesLoRA {
		if len(s.done) == 0 {
			s.done = []finished{f}
		} else if f.score > s.done[0].score {
			s.done[0] = f
		}
		return
	}
	if len(s.done) < s.Width {
		s.done = append(s.done, f)
		return
	}
	if w := s.worst(); f.score > s.done[w].score {
		s.done = append(slices.Delete(s.done, w, w+1), f)
	}
}

// worst returns the index of the first of the lowest finished scores.
func (s *beamSearch) worst() int {
	w := 0
	for i := range s.done {
		if s.done[i].score < s.done[w].score {
			w = i
		}
	}
	return w
}

// over reports whether the search may end after n tokens, of whose continuations
// the best has the log-probability logp.
func (s *beamSearch) over(logp float64, n int) bool {
	if s.Rules == RulesLoRA {
		if len(s.done) == 0 || len(s.live) == 0 {
			return len(s.live) == 0
		}
		return s.done[0].score >= s.attainable(s.live[0].logp, n)
	}
	if len(s.done) < s.Width {
		return false
	}
	worst := s.done[s.worst()].score
	switch s.EarlyStopping {
	case StopFirst:
		return true
	case StopHeuristic:
		return worst >= s.score(logp, n)
	}
	return worst >= s.attainable(logp, n)
}

// attainable is the highest score that a text of n tokens can still reach: its
// log-probability falls only, the penalty is best at one end.
func (s *beamSearch) attainable(logp float64, n int) float64 {
	return max(s.score(logp, n), s.score(logp, s.max))
}

// result returns the best finished text, the last of equal ones as transformers
// has it.
func (s *beamSearch) result() Text {
	var text Text
	for i, f := range s.done {
		if i == 0 || f.score >= text.Score {
			text = Text{f.ids, f.score}
		}
	}
	return text
}
