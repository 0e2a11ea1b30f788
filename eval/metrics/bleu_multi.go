package metrics

import (
	"fmt"
	"math"
	"strings"
)

// The Moses scripts read bytes: letters beyond ASCII keep their case, and only
// ASCII spaces separate words.

func isSpaceASCII(r rune) bool { return r == ' ' || '\t' <= r && r <= '\r' }

func fieldsASCII(s string) []string { return strings.FieldsFunc(s, isSpaceASCII) }

// MultiBLEU returns the BLEU of Moses' multi-bleu.perl, from 0 to 100: words
// between spaces, orders 1 to 4 without smoothing, the reference length closest
// to the text's, the shorter of two. lowercase is its -lc, which knows ASCII only.
//
// A blank reference is a candidate of length 0, which may be the closest and so
// turn the brevity penalty off: give it as "" where the script's file has a blank
// line.
//
// Source: multi-bleu.perl of Moses, as used by the WebNLG 2017 and DART scripts.
func MultiBLEU(hyps []string, refs [][]string, lowercase bool) (Score, error) {
	return multiBLEU("multi-bleu.perl", "none", hyps, refs, lowercase, func(s string) string { return s })
}

// MultiBLEUDetok returns the BLEU of Moses' multi-bleu-detok.perl, from 0 to 100:
// that of MultiBLEU over tokens of "13a".
//
// Source: metrics/multi-bleu-detok.perl of github.com/WebNLG/GenerationEval.
func MultiBLEUDetok(hyps []string, refs [][]string, lowercase bool) (Score, error) {
	return multiBLEU("multi-bleu-detok.perl", "13a", hyps, refs, lowercase, tokenize13a)
}

func multiBLEU(script, tokenizer string, hyps []string, refs [][]string, lowercase bool, tokenize func(string) string) (Score, error) {
	if err := checkCorpus(strings.TrimSuffix(script, ".perl"), hyps, refs); err != nil {
		return Score{}, err
	}
	letters := "mixed"
	if lowercase {
		letters = "lc-ascii"
	}
	g := newGramCorpus(tokenizeCorpus(hyps, refs, func(s string) []string {
		if lowercase {
			s = lowerASCII(s)
		}
		return fieldsASCII(tokenize(s))
	}), 4)
	s := newScore("bleu", fmt.Sprintf("BLEU|nrefs:%s|case:%s|tok:%s|smooth:none|script:%s|version:%s",
		countReferences(refs), letters, tokenizer, script, version), bleuRows(g, ngramsIn, closestLength), multiBLEUTotal)
	s.Detail = bleuDetail(s.sum())
	return s, nil
}

// multiBLEUTotal is 100 BP (p1 p2 p3 p4)^(1/4).
func multiBLEUTotal(sum []float64) float64 {
	logs := 0.0
	for n := range 4 {
		if sum[n] == 0 || sum[rowTotal+n] == 0 {
			return 0
		}
		logs += math.Log(sum[n] / sum[rowTotal+n])
	}
	return 100 * brevity(sum) * math.Exp(logs/4)
}

// brevity is the brevity penalty of a sum of rows, 0 for no words at all.
func brevity(sum []float64) float64 {
	switch words, ref := sum[rowHypLen], sum[rowRefLen]; {
	case words >= ref:
		return 1
	case words == 0:
		return 0
	default:
		return math.Exp(1 - ref/words)
	}
}

// bleuDetail is what multi-bleu.perl prints behind the score.
func bleuDetail(sum []float64) string {
	precision := make([]any, 0, 8)
	for n := range 4 {
		precision = append(precision, 100*ratio(sum[n], sum[rowTotal+n]))
	}
	return fmt.Sprintf("%.1f/%.1f/%.1f/%.1f", precision...) + fmt.Sprintf(" (BP=%.3f, ratio=%.3f, hyp_len=%.0f, ref_len=%.0f)",
		brevity(sum), ratio(sum[rowHypLen], sum[rowRefLen]), sum[rowHypLen], sum[rowRefLen])
}

// ratio is a/b, or 0 for b = 0.
func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}
