package metrics

import (
	"errors"
	"fmt"

	"github.com/spdfctl/spdfctl/kernels"
)

// Score is the value of one metric over a corpus, on the scale of the script
// that Signature names.
type Score struct {
	Name      string // "bleu", "nist", "rouge_l", …
	Value     float64
	Signature string
	Detail    string // what the script prints beside the value; may be empty

	// LowerIsBetter is true of error rates.
	LowerIsBetter bool

	rows  [][]float64                 // sufficient statistics, one row per segment
	total func(sum []float64) float64 // the score of a sum of rows

	segment func(row []float64) float64            // the score of one row; nil: total
	lengths func(row []float64) (hyp, ref float64) // nil for metrics without
}

// newScore is the score of the sum of rows.
func newScore(name, signature string, rows [][]float64, total func([]float64) float64) Score {
	s := Score{Name: name, Signature: signature, rows: rows, total: total}
	s.Value = total(s.sum())
	return s
}

// meanScore is the mean of the scores of the segments.
func meanScore(name, signature string, segments []float64) Score {
	rows := make([][]float64, len(segments))
	for i, v := range segments {
		rows[i] = []float64{v, 1}
	}
	return newScore(name, signature, rows, func(sum []float64) float64 { return sum[0] / sum[1] })
}

// sum adds up all rows, in order.
func (s Score) sum() []float64 {
	sum := make([]float64, len(s.rows[0]))
	for _, row := range s.rows {
		for j, v := range row {
			sum[j] += v
		}
	}
	return sum
}

// Segments returns the score of every segment by itself. What a metric learns
// from the references of the whole corpus (the weights of NIST and CIDEr) stays
// as it is there.
func (s Score) Segments() []float64 {
	score := s.segment
	if score == nil {
		score = s.total
	}
	out := make([]float64, len(s.rows))
	kernels.Parallel(len(s.rows), func(i int) { out[i] = score(s.rows[i]) })
	return out
}

// SegmentLengths returns the words of segment i and of the reference whose length
// counts. The last result is false for metrics that do not compare lengths.
func (s Score) SegmentLengths(i int) (hyp, ref int, ok bool) {
	if s.lengths == nil {
		return 0, 0, false
	}
	h, r := s.lengths(s.rows[i])
	return int(h), int(r), true
}

// checkCorpus reports what no metric can score.
func checkCorpus(metric string, hyps []string, refs [][]string) error {
	if len(hyps) != len(refs) {
		return fmt.Errorf("metrics: %s: %d hypotheses, references for %d segments", metric, len(hyps), len(refs))
	}
	if len(hyps) == 0 {
		return fmt.Errorf("metrics: %s: %w", metric, errNoSegments)
	}
	for i := range refs {
		if len(refs[i]) == 0 {
			return fmt.Errorf("metrics: %s: segment %d has no reference", metric, i+1)
		}
	}
	return nil
}

// version names this implementation in signatures; see bleuVersion.
const version = bleuVersion

var errNoSegments = errors.New("no segments")

// countReferences is the nrefs field of a signature.
func countReferences(refs [][]string) string {
	for i := range refs {
		if len(refs[i]) != len(refs[0]) {
			return "var"
		}
	}
	return fmt.Sprint(len(refs[0]))
}

// tokenizeCorpus applies tokenize to every text.
func tokenizeCorpus(hyps []string, refs [][]string, tokenize func(string) []string) corpus {
	c := corpus{hyps: make([][]string, len(hyps)), refs: make([][][]string, len(refs))}
	kernels.Parallel(len(hyps), func(i int) {
		c.hyps[i] = tokenize(hyps[i])
		c.refs[i] = make([][]string, len(refs[i]))
		for j, ref := range refs[i] {
			c.refs[i][j] = tokenize(ref)
		}
	})
	return c
}

// corpus is tokenised text: hyps[i] beside refs[i][0], refs[i][1], …
type corpus struct {
	hyps [][]string
	refs [][][]string
}
