package metrics

import (
	"fmt"
	"math"
	"strings"
	"unicode"
)

// bleuRow is what four kinds of BLEU sum over segments: matches and n-grams of
// the orders 1 to 4, the words of the text, those of the reference chosen.
const (
	rowTotal  = 4
	rowHypLen = 8
	rowRefLen = 9
	bleuRow   = 10
)

// bleuRows counts every segment. total gives the number of n-grams of order n in
// a text of that many words, refLen the reference length that counts.
func bleuRows(g *gramCorpus, total func(words, n int) int, refLen func(words int, refs []int) int) [][]float64 {
	clip := newClipper(g.table)
	rows := make([][]float64, len(g.hyps))
	for i := range rows {
		row := make([]float64, bleuRow)
		words := len(g.hyps[i][0])
		for n, correct := range clip.overlap(g, i)[:4] {
			row[n] = float64(correct)
			row[rowTotal+n] = float64(total(words, n+1))
		}
		lengths := make([]int, len(g.refs[i]))
		for j, ref := range g.refs[i] {
			lengths[j] = len(ref[0])
		}
		row[rowHypLen] = float64(words)
		row[rowRefLen] = float64(refLen(words, lengths))
		rows[i] = row
	}
	return rows
}

// ngramsIn is the number of n-grams in a text of that many words.
func ngramsIn(words, n int) int { return max(0, words-n+1) }

// mtevalTokens are the tokens of mteval-v13a.pl: those of "13a", lower case in
// ASCII only.
func mtevalTokens(text string) []string {
	return strings.FieldsFunc(lowerASCII(tokenize13a(text)), unicode.IsSpace)
}

// lowerASCII is tr/A-Z/a-z/.
func lowerASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// mtevalClosest is the script's choice of a reference length: an empty reference
// does not compete, unless it is the first.
func mtevalClosest(words int, refs []int) int {
	lengths := refs[:1:1]
	for _, l := range refs[1:] {
		if l > 0 {
			lengths = append(lengths, l)
		}
	}
	return closestLength(words, lengths)
}

// MTEvalBLEU returns the BLEU of NIST's mteval-v13a.pl, from 0 to 1: tokens of
// "13a", lower case in ASCII, orders 1 to 4, an order without a match smoothed by
// halving, the closest non-empty reference length. E2E's mteval-v13a-sig.pl
// prints the same number.
//
// Source: Papineni et al., "BLEU", ACL 2002, as in mteval-v13a-sig.pl of
// github.com/tuetschek/e2e-metrics at 1b9c4d8.
func MTEvalBLEU(hyps []string, refs [][]string) (Score, error) {
	if err := checkCorpus("mteval bleu", hyps, refs); err != nil {
		return Score{}, err
	}
	g := newGramCorpus(tokenizeCorpus(hyps, refs, mtevalTokens), 4)
	return mtevalBLEU(g, countReferences(refs)), nil
}

func mtevalBLEU(g *gramCorpus, nrefs string) Score {
	rows := bleuRows(g, ngramsIn, mtevalClosest)
	return newScore("bleu", fmt.Sprintf("BLEU|nrefs:%s|case:lc-ascii|tok:13a|smooth:exp|script:mteval-v13a-sig.pl|version:%s", nrefs, version),
		rows, func(sum []float64) float64 {
			if sum[rowTotal] == 0 {
				return 0
			}
			logs, halving := 0.0, 1.0
			for n := range 4 {
				switch correct, total := sum[n], sum[rowTotal+n]; {
				case total == 0: // the text is too short for this order
				case correct == 0:
					halving *= 2
					logs += math.Log(1 / (halving * total))
				default:
					logs += math.Log(correct / total)
				}
			}
			return math.Exp(logs/4) * math.Exp(min(0, 1-sum[rowRefLen]/sum[rowTotal]))
		})
}

// pymtevalTokens are the tokens of pymteval.py: those of "13a" in lower case. A
// text without any is one empty token, as str.split(" ") gives.
func pymtevalTokens(text string) []string {
	return orEmptyToken(strings.FieldsFunc(lower(tokenize13a(text)), isSpace))
}

func orEmptyToken(tokens []string) []string {
	if len(tokens) == 0 {
		return []string{""}
	}
	return tokens
}

// PymtevalBLEU returns the BLEU of the Python port of mteval in e2e-metrics, from
// 0 to 1: tokens of "13a" in lower case, the closest reference length, empty
// references included, zero matches replaced by 1e-15 and zero n-grams by 1e-9.
//
// Source: metrics/pymteval.py of github.com/tuetschek/e2e-metrics at 1b9c4d8.
func PymtevalBLEU(hyps []string, refs [][]string) (Score, error) {
	if err := checkCorpus("pymteval bleu", hyps, refs); err != nil {
		return Score{}, err
	}
	g := newGramCorpus(tokenizeCorpus(hyps, refs, pymtevalTokens), 4)
	return pymtevalBLEU(g, countReferences(refs)), nil
}

func pymtevalBLEU(g *gramCorpus, nrefs string) Score {
	const tiny, small, least = 1e-15, 1e-9, 1e-5 // the script's
	// A text shorter than n counts as a negative number of n-grams there.
	rows := bleuRows(g, func(words, n int) int { return words - n + 1 }, closestLength)
	return newScore("bleu", fmt.Sprintf("BLEU|nrefs:%s|case:lc|tok:13a|smooth:tiny|script:pymteval.py|version:%s", nrefs, version),
		rows, func(sum []float64) float64 {
			logs := 0.0
			for n := range 4 {
				logs += math.Log(max(sum[n], tiny) / max(sum[rowTotal+n], small))
			}
			bp, words := 1.0, sum[rowTotal]
			if words <= sum[rowRefLen] {
				if words == 0 {
					words = least
				}
				bp = math.Exp(1 - sum[rowRefLen]/words)
			}
			return bp * math.Exp(logs/4)
		})
}
