package metrics

import (
	"fmt"
	"math"

	"github.com/spdfctl/spdfctl/kernels"
)

const ciderOrder = 4

// CIDEr returns the CIDEr-D of coco-caption, which its authors call CIDEr, on a
// scale of 0 to 10, over texts that are tokenised already, words between spaces.
// It is ten times the mean, over segments, references and the orders 1 to 4, of
//
//	exp(-d²/72) * sum of min(h,r) r over the n-grams of the text / (|h| |r|)
//
// with h and r the counts of n-grams of text and reference, weighed with
// log(segments) - log(segments in whose references the n-gram stands), and d the
// difference of the numbers of pairs of words. The weights come from the given
// references alone, so the score of one segment depends on all of them; for a
// single segment it is 0.
//
// Source: Vedantam, Zitnick, Parikh, "CIDEr", CVPR 2015, as in
// pycocoevalcap/cider/cider_scorer.py of github.com/tylin/coco-caption, sigma 6.
func CIDEr(hyps []string, refs [][]string) (Score, error) {
	if err := checkCorpus("cider", hyps, refs); err != nil {
		return Score{}, err
	}
	g := newGramCorpus(tokenizeCorpus(hyps, refs, fields), ciderOrder)
	weight := inverseFrequency(g)
	segments := make([]float64, len(hyps))
	kernels.Parallel(len(hyps), func(i int) {
		hyp := newGramVector(g.hyps[i], weight)
		sum := 0.0
		var byOrder [ciderOrder]float64
		for _, ref := range g.refs[i] {
			for n, v := range hyp.similarity(newGramVector(ref, weight)) {
				byOrder[n] += v
			}
		}
		for _, v := range byOrder {
			sum += v
		}
		segments[i] = 10 * (sum / ciderOrder / float64(len(g.refs[i])))
	})
	return meanScore("cider", fmt.Sprintf("CIDEr-D|nrefs:%s|tok:none|df:references|sigma:6|script:coco-caption|version:%s", countReferences(refs), version), segments), nil
}

// inverseFrequency returns log(segments) - log(max(1, segments with the n-gram)).
func inverseFrequency(g *gramCorpus) []float64 {
	frequency := make([]float64, g.table.size())
	last := make([]int, g.table.size()) // 1 + the segment that counted it last
	for i, refs := range g.refs {
		for _, ref := range refs {
			for _, grams := range ref {
				for _, gram := range grams {
					if last[gram] != i+1 {
						last[gram] = i + 1
						frequency[gram]++
					}
				}
			}
		}
	}
	all := math.Log(float64(len(g.refs)))
	for gram, n := range frequency {
		frequency[gram] = all - math.Log(max(1, n))
	}
	return frequency
}

// gramVector is a text as weighed n-grams.
type gramVector struct {
	grams [ciderOrder][]int32 // distinct, in order of first appearance
	value map[int32]float64
	norm  [ciderOrder]float64
	pairs int // words less one: the length that the penalty compares
}

func newGramVector(text [][]int32, weight []float64) gramVector {
	v := gramVector{value: make(map[int32]float64, 4*len(text[0]))}
	for n, grams := range text {
		for _, gram := range grams {
			if _, ok := v.value[gram]; !ok {
				v.grams[n] = append(v.grams[n], gram)
			}
			v.value[gram]++
		}
		for _, gram := range v.grams[n] {
			x := v.value[gram] * weight[gram]
			v.value[gram] = x
			v.norm[n] += x * x
		}
		v.norm[n] = math.Sqrt(v.norm[n])
	}
	v.pairs = len(text[1])
	return v
}

// similarity returns the clipped cosine of two texts by order.
func (v gramVector) similarity(ref gramVector) [ciderOrder]float64 {
	const twoSigma2 = 2 * 6 * 6
	var out [ciderOrder]float64
	d := float64(v.pairs - ref.pairs)
	for n, grams := range v.grams {
		for _, gram := range grams {
			r := ref.value[gram]
			out[n] += min(v.value[gram], r) * r
		}
		if v.norm[n] != 0 && ref.norm[n] != 0 {
			out[n] /= v.norm[n] * ref.norm[n]
		}
		out[n] *= math.Exp(-d * d / twoSigma2)
	}
	return out
}
