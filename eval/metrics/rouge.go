package metrics

import (
	"fmt"
	"strings"

	"github.com/spdfctl/spdfctl/kernels"
)

// RougeL returns the ROUGE-L of coco-caption, from 0 to 1, over texts that are
// tokenised already, words between single spaces: the mean over segments of
//
//	(1+b²) P R / (R + b² P),  b = 1.2
//
// where P and R are the largest share of the text and of a reference that their
// longest common subsequence covers, each the maximum over the references by
// itself. A text without words is one empty word.
//
// Source: Lin, "ROUGE", 2004, as in pycocoevalcap/rouge/rouge.py of
// github.com/tylin/coco-caption.
func RougeL(hyps []string, refs [][]string) (Score, error) {
	if err := checkCorpus("rouge-l", hyps, refs); err != nil {
		return Score{}, err
	}
	const beta2 = 1.2 * 1.2
	words := func(s string) []string { return strings.Split(s, " ") }
	segments := make([]float64, len(hyps))
	kernels.Parallel(len(hyps), func(i int) {
		hyp := words(hyps[i])
		precision, recall := 0.0, 0.0
		for _, text := range refs[i] {
			ref := words(text)
			common := float64(commonSubsequence(ref, hyp))
			precision = max(precision, common/float64(len(hyp)))
			recall = max(recall, common/float64(len(ref)))
		}
		if precision > 0 && recall > 0 {
			segments[i] = (1 + beta2) * precision * recall / (recall + beta2*precision)
		}
	})
	return meanScore("rouge_l", fmt.Sprintf("ROUGE-L|nrefs:%s|tok:none|beta:1.2|script:coco-caption|version:%s", countReferences(refs), version), segments), nil
}

// commonSubsequence is the length of the longest one.
func commonSubsequence(a, b []string) int {
	row := make([]int, len(b)+1)
	for _, x := range a {
		diagonal := 0
		for j, y := range b {
			above := row[j+1]
			if x == y {
				row[j+1] = diagonal + 1
			} else {
				row[j+1] = max(above, row[j])
			}
			diagonal = above
		}
	}
	return row[len(b)]
}
