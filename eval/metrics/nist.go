package metrics

import (
	"fmt"
	"math"
	"strings"
)

const nistOrder = 5

// A row of NIST: the information of the matches and the n-grams of the orders 1
// to 5, the reference words, the references, the segments.
const (
	nistTotal    = nistOrder
	nistRefWords = 2 * nistOrder
	nistRefs     = nistRefWords + 1
	nistSegments = nistRefWords + 2
	nistRow      = nistRefWords + 3
)

// MTEvalNIST returns the NIST score of mteval-v13a.pl over tokens of "13a" in
// lower case: the information that the matched n-grams of the orders 1 to 5
// carry, per n-gram of the text, times a penalty for short texts.
//
// The reference length of that penalty is all reference words divided by the mean
// number of non-empty references of a segment. PymtevalNIST takes the sum of the
// mean lengths instead; the two differ where segments have different numbers of
// references and the texts are too short.
//
// Source: Doddington, "Automatic Evaluation of Machine Translation Quality Using
// N-gram Co-Occurrence Statistics", HLT 2002, as in mteval-v13a-sig.pl of
// github.com/tuetschek/e2e-metrics at 1b9c4d8.
func MTEvalNIST(hyps []string, refs [][]string) (Score, error) {
	if err := checkCorpus("mteval nist", hyps, refs); err != nil {
		return Score{}, err
	}
	g := newGramCorpus(tokenizeCorpus(hyps, refs, mtevalTokens), nistOrder)
	return mtevalNIST(g, countReferences(refs)), nil
}

func mtevalNIST(g *gramCorpus, nrefs string) Score {
	info := gramInformation(g)
	// Perl takes the word "0" for false and so for no word at all: an n-gram of
	// two words that starts with it is weighed as if it stood alone.
	if zero, ok := g.table.next[uint64(g.table.words["0"])]; ok && zero > 0 {
		counts, words := referenceCounts(g)
		for gram, prefix := range g.table.prefix {
			if prefix == zero && counts[gram] > 0 {
				info[gram] = -math.Log(counts[gram]/words) / math.Ln2
			}
		}
	}
	rows := nistRows(g, info, ngramsIn, func(refs [][][]int32) (words, count float64) {
		for _, ref := range refs {
			words += float64(len(ref[0]))
			if len(ref[0]) > 0 {
				count++
			}
		}
		return words, count
	})
	return newScore("nist", fmt.Sprintf("NIST|nrefs:%s|case:lc-ascii|tok:13a|reflen:words/mean-refs|script:mteval-v13a-sig.pl|version:%s", nrefs, version),
		rows, func(sum []float64) float64 {
			if sum[nistRefWords] == 0 {
				return 0
			}
			score := 0.0
			for n := range nistOrder {
				score += sum[n] / max(sum[nistTotal+n], 1)
			}
			return score * nistPenalty(sum[nistTotal]/(sum[nistRefWords]/(sum[nistRefs]/sum[nistSegments])))
		})
}

// PymtevalNIST returns the NIST score of the Python port of mteval in
// e2e-metrics, which is what its option -p and the LoRA pipeline report. See
// MTEvalNIST for the difference.
//
// Source: metrics/pymteval.py of github.com/tuetschek/e2e-metrics at 1b9c4d8.
func PymtevalNIST(hyps []string, refs [][]string) (Score, error) {
	if err := checkCorpus("pymteval nist", hyps, refs); err != nil {
		return Score{}, err
	}
	g := newGramCorpus(tokenizeCorpus(hyps, refs, pymtevalTokens), nistOrder)
	return pymtevalNIST(g, countReferences(refs)), nil
}

func pymtevalNIST(g *gramCorpus, nrefs string) Score {
	// A text shorter than n counts as a negative number of n-grams there.
	total := func(words, n int) int { return words - n + 1 }
	rows := nistRows(g, gramInformation(g), total, func(refs [][][]int32) (words, count float64) {
		for _, ref := range refs {
			words += float64(len(ref[0]))
		}
		return words / float64(len(refs)), 1
	})
	return newScore("nist", fmt.Sprintf("NIST|nrefs:%s|case:lc|tok:13a|reflen:sum-of-means|script:pymteval.py|version:%s", nrefs, version),
		rows, func(sum []float64) float64 {
			score := 0.0
			for n := range nistOrder {
				score += ratio(sum[n], sum[nistTotal+n])
			}
			return score * nistPenalty(ratio(sum[nistTotal], sum[nistRefWords]))
		})
}

// referenceCounts returns how often every n-gram stands in all references, and
// their number of words.
func referenceCounts(g *gramCorpus) (counts []float64, words float64) {
	counts = make([]float64, g.table.size())
	for _, refs := range g.refs {
		for _, ref := range refs {
			words += float64(len(ref[0]))
			for _, grams := range ref {
				for _, gram := range grams {
					counts[gram]++
				}
			}
		}
	}
	return counts, words
}

// gramInformation returns log2(count without the last word / count) of every
// n-gram in the references, where the words without any before them are all
// words; 0 for others.
func gramInformation(g *gramCorpus) []float64 {
	counts, words := referenceCounts(g)
	counts[0] = words
	info := make([]float64, len(counts))
	for gram := 1; gram < len(counts); gram++ {
		if counts[gram] > 0 {
			info[gram] = math.Log(counts[g.table.prefix[gram]]/counts[gram]) / math.Ln2
		}
	}
	return info
}

func nistRows(g *gramCorpus, info []float64, total func(words, n int) int, refLen func([][][]int32) (words, count float64)) [][]float64 {
	clip := newClipper(g.table)
	rows := make([][]float64, len(g.hyps))
	for i := range rows {
		row := make([]float64, nistRow)
		for n := 1; n <= nistOrder; n++ {
			clip.matches(g, i, n, func(gram, count int32) { row[n-1] += info[gram] * float64(count) })
			row[nistTotal+n-1] = float64(total(len(g.hyps[i][0]), n))
		}
		row[nistRefWords], row[nistRefs] = refLen(g.refs[i])
		row[nistSegments] = 1
		rows[i] = row
	}
	return rows
}

// nistPenalty is 1 for texts as long as the references and 1/2 at two thirds.
func nistPenalty(ratio float64) float64 {
	switch {
	case ratio >= 1:
		return 1
	case ratio <= 0:
		return 0
	}
	beta := -math.Log(0.5) / (math.Log(1.5) * math.Log(1.5))
	return math.Exp(-beta * math.Log(ratio) * math.Log(ratio))
}

// fields are the words between Python's white space.
func fields(s string) []string { return strings.FieldsFunc(s, isSpace) }
