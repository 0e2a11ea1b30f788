package metrics

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/spdfctl/spdfctl/kernels"
)

// PyTER returns the mean over segments of pyter's translation edit rate, as the
// GenerationEval scripts and with them the LoRA pipeline compute it: the smallest
// over the references of a segment, 1 for a blank reference. Tokens are those of
// NLTK's word_tokenize, see nltkTokens.
//
// pyter moves a block that occurs in the reference to where it stands there, as
// long as that saves edits, and divides by the words of that one reference.
//
// Source: eval.py of github.com/WebNLG/GenerationEval and pyter 0.2 (Hiroyuki
// Tanaka, github.com/roy-ht/pyter).
func PyTER(hyps []string, refs [][]string) (Score, error) {
	if err := checkCorpus("pyter", hyps, refs); err != nil {
		return Score{}, err
	}
	segments := make([]float64, len(hyps))
	kernels.Parallel(len(hyps), func(i int) {
		hyp := nltkTokens(hyps[i])
		for j, text := range refs[i] {
			rate := 1.0
			if ref := nltkTokens(text); len(ref) > 0 {
				rate = pyterRate(hyp, ref)
			}
			if j == 0 || rate < segments[i] {
				segments[i] = rate
			}
		}
	})
	s := meanScore("ter", fmt.Sprintf("TER|nrefs:%s|case:mixed|tok:nltk-like|blank-ref:1|mean:segments|script:GenerationEval-pyter|version:%s", countReferences(refs), version), segments)
	s.LowerIsBetter = true
	return s, nil
}

// pyterRate is the edits per word of ref.
func pyterRate(hyp, ref []string) float64 {
	edits := 0
	for {
		gain, shifted := pyterShift(hyp, ref)
		if gain <= 0 {
			break
		}
		edits++
		hyp = shifted
	}
	return float64(edits+levenshtein(hyp, ref)) / float64(len(ref))
}

// pyterShift returns the shift that saves most edits; of several that which sorts
// last as a list of words.
func pyterShift(hyp, ref []string) (int, []string) {
	before := levenshtein(hyp, ref)
	var best []string
	gain := 0
	for i := range hyp {
		for j := range ref {
			if i == j || hyp[i] != ref[j] {
				continue
			}
			n := 1
			for i+n < len(hyp) && j+n < len(ref) && hyp[i+n] == ref[j+n] {
				n++
			}
			block := hyp[i : i+n]
			moved := slices.Concat(hyp[:i], hyp[i+n:])
			moved = slices.Insert(moved, min(j, len(moved)), block...)
			saved := before - levenshtein(moved, ref)
			if best == nil || saved > gain || saved == gain && slices.CompareFunc(moved, best, cmp.Compare[string]) > 0 {
				best, gain = moved, saved
			}
		}
	}
	return gain, best
}

// levenshtein is the number of words to insert, delete or replace.
func levenshtein(a, b []string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i, x := range a {
		diagonal := row[0]
		row[0] = i + 1
		for j, y := range b {
			swap := diagonal
			if x != y {
				swap++
			}
			diagonal = row[j+1]
			row[j+1] = min(swap, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
