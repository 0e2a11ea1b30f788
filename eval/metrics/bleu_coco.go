package metrics

import (
	"fmt"
	"math"
)

// CocoBLEU returns BLEU-1 to BLEU-4 of coco-caption, from 0 to 1, over texts that
// are tokenised already, words between spaces: the closest reference length, 1e-15
// added to every number of matches and 1e-9 to every number of n-grams.
//
// Source: pycocoevalcap/bleu/bleu_scorer.py of github.com/tylin/coco-caption, with
// the option "closest" that its Bleu class sets.
func CocoBLEU(hyps []string, refs [][]string) ([4]Score, error) {
	var out [4]Score
	if err := checkCorpus("coco bleu", hyps, refs); err != nil {
		return out, err
	}
	const tiny, small = 1e-15, 1e-9 // the script's
	rows := bleuRows(newGramCorpus(tokenizeCorpus(hyps, refs, fields), 4), ngramsIn, closestLength)
	for k := range out {
		out[k] = newScore(fmt.Sprintf("bleu_%d", k+1), fmt.Sprintf("BLEU-%d|nrefs:%s|case:mixed|tok:none|smooth:tiny|script:coco-caption|version:%s",
			k+1, countReferences(refs), version), rows, func(sum []float64) float64 {
			product := 1.0
			for n := range k + 1 {
				product *= (sum[n] + tiny) / (sum[rowTotal+n] + small)
			}
			bleu := math.Pow(product, 1/float64(k+1))
			if r := (sum[rowHypLen] + tiny) / (sum[rowRefLen] + small); r < 1 {
				bleu *= math.Exp(1 - 1/r)
			}
			return bleu
		})
	}
	return out, nil
}
