package metrics

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// bleuVersion names this implementation in signatures. It changes with every
// change of a score.
const bleuVersion = "spdfctl-1"

// maxOrder bounds BLEUOptions.MaxOrder.
const maxOrder = 32

// BLEUOptions are sacreBLEU's, with its defaults as zero values.
type BLEUOptions struct {
	// Tokenizer is "13a" (the default), "intl", "char" or "none".
	Tokenizer string
	// Smoothing of orders without a match is "exp" (the default), "floor",
	// "add-k" or "none".
	Smoothing string
	// SmoothValue is the constant of "floor" and "add-k"; nil is 0.1 and 1.
	SmoothValue *float64
	// Lowercase compares without letter case.
	Lowercase bool
	// EffectiveOrder leaves out the orders for which a text is too short, as is
	// right for single segments.
	EffectiveOrder bool
	// MaxOrder is the longest n-gram; 0 is 4.
	MaxOrder int
}

// smoothDefaults has every smoothing method with its constant, NaN for none.
var smoothDefaults = map[string]float64{
	"exp":   math.NaN(),
	"none":  math.NaN(),
	"floor": 0.1,
	"add-k": 1,
}

// BLEUTokenizers lists the values of BLEUOptions.Tokenizer.
func BLEUTokenizers() []string { return slices.Sorted(maps.Keys(tokenizers)) }

// BLEUSmoothings lists the values of BLEUOptions.Smoothing.
func BLEUSmoothings() []string { return slices.Sorted(maps.Keys(smoothDefaults)) }

// Validate reports the first field that is wrong.
func (o BLEUOptions) Validate() error {
	_, err := o.withDefaults()
	return err
}

// withDefaults fills in the zero values and reports the first wrong field.
func (o BLEUOptions) withDefaults() (BLEUOptions, error) {
	if o.Tokenizer == "" {
		o.Tokenizer = "13a"
	}
	if o.Smoothing == "" {
		o.Smoothing = "exp"
	}
	if o.MaxOrder == 0 {
		o.MaxOrder = 4
	}
	if tokenizers[o.Tokenizer] == nil {
		return o, fmt.Errorf("metrics: bleu: tokenizer %q is none of %s", o.Tokenizer, strings.Join(BLEUTokenizers(), ", "))
	}
	value, ok := smoothDefaults[o.Smoothing]
	if !ok {
		return o, fmt.Errorf("metrics: bleu: smoothing %q is none of %s", o.Smoothing, strings.Join(BLEUSmoothings(), ", "))
	}
	if o.SmoothValue == nil {
		o.SmoothValue = &value
	} else if math.IsNaN(value) {
		return o, fmt.Errorf("metrics: bleu: smoothing %q takes no value", o.Smoothing)
	} else if v := *o.SmoothValue; !(v >= 0) || math.IsInf(v, 0) {
		return o, fmt.Errorf("metrics: bleu: smoothing value is %g, want a number of at least 0", v)
	}
	if o.MaxOrder < 1 || o.MaxOrder > maxOrder {
		return o, fmt.Errorf("metrics: bleu: order is %d, outside 1 to %d", o.MaxOrder, maxOrder)
	}
	return o, nil
}

// signature is sacreBLEU's, except that the version names this implementation.
func (o BLEUOptions) signature(nrefs string) string {
	word := func(b bool, yes, no string) string {
		if b {
			return yes
		}
		return no
	}
	smooth := o.Smoothing
	if !math.IsNaN(*o.SmoothValue) {
		smooth += fmt.Sprintf("[%.2f]", *o.SmoothValue)
	}
	return fmt.Sprintf("nrefs:%s|case:%s|eff:%s|tok:%s|smooth:%s|version:%s", nrefs,
		word(o.Lowercase, "lc", "mixed"), word(o.EffectiveOrder, "yes", "no"), o.Tokenizer, smooth, bleuVersion)
}

// BLEUScore is a BLEU score and what it was made of.
type BLEUScore struct {
	Score      float64   // 0 to 100
	Correct    []int     // matched n-grams by order, unsmoothed
	Total      []int     // n-grams of the hypotheses by order
	Precisions []float64 // smoothed, in percent, by order
	BP         float64   // brevity penalty
	HypLen     int       // tokens of the hypotheses
	RefLen     int       // tokens of the references closest in length
	Signature  string
}

// String formats s as sacreBLEU does, without the score:
//
//	82.4/50.0/45.5/37.5 (BP = 0.943 ratio = 0.944 hyp_len = 17 ref_len = 18)
func (s BLEUScore) String() string {
	precisions := make([]string, len(s.Precisions))
	for i, p := range s.Precisions {
		precisions[i] = fmt.Sprintf("%.1f", p)
	}
	ratio := 0.0
	if s.RefLen > 0 {
		ratio = float64(s.HypLen) / float64(s.RefLen)
	}
	return fmt.Sprintf("%s (BP = %.3f ratio = %.3f hyp_len = %d ref_len = %d)",
		strings.Join(precisions, "/"), s.BP, ratio, s.HypLen, s.RefLen)
}

// BLEU returns the corpus BLEU of hyps, where refs[i] are the references of
// hyps[i], one or more, not necessarily equally many:
//
//	BLEU = BP * exp(mean over n = 1..4 of log p_n),  BP = min(1, exp(1 - r/h))
//
// p_n is the clipped n-gram precision over all segments, h the number of tokens
// of the hypotheses and r that of the references closest in length, the shorter
// on a tie. An empty reference counts as one of length 0. The score is 0 if no
// n-gram of any order matches. It returns an error for no segments, different
// numbers of segments, a segment without references, and wrong options.
//
// Source: Papineni et al., "BLEU", ACL 2002, as computed by sacreBLEU 2 (Post,
// "A Call for Clarity in Reporting BLEU Scores", 2018), order by order of its
// floating-point operations.
func BLEU(hyps []string, refs [][]string, o BLEUOptions) (BLEUScore, error) {
	o, err := o.withDefaults()
	if err != nil {
		return BLEUScore{}, err
	}
	if len(hyps) != len(refs) {
		return BLEUScore{}, fmt.Errorf("metrics: bleu: %d hypotheses, references for %d segments", len(hyps), len(refs))
	}
	if len(hyps) == 0 {
		return BLEUScore{}, errors.New("metrics: bleu: no segments")
	}
	c := newBLEUCounter(o)
	nrefs := fmt.Sprint(len(refs[0]))
	for i, hyp := range hyps {
		if len(refs[i]) == 0 {
			return BLEUScore{}, fmt.Errorf("metrics: bleu: segment %d has no reference", i+1)
		}
		if len(refs[i]) != len(refs[0]) {
			nrefs = "var"
		}
		c.add(hyp, refs[i])
	}
	s := c.score()
	s.Signature = o.signature(nrefs)
	return s, nil
}

// bleuCounter sums the statistics of segments.
type bleuCounter struct {
	o              BLEUOptions
	correct, total []int
	hypLen, refLen int

	hyp, ref, max map[string]int // scratch: n-grams of one text, of all references
}

func newBLEUCounter(o BLEUOptions) *bleuCounter {
	return &bleuCounter{
		o:       o,
		correct: make([]int, o.MaxOrder),
		total:   make([]int, o.MaxOrder),
		hyp:     map[string]int{},
		ref:     map[string]int{},
		max:     map[string]int{},
	}
}

// tokens returns the tokens of a segment.
func (c *bleuCounter) tokens(text string) []string {
	if c.o.Lowercase {
		text = lower(text)
	}
	text = strings.TrimRightFunc(text, isSpace)
	return strings.FieldsFunc(tokenizers[c.o.Tokenizer](text), isSpace)
}

// count puts the n-grams of all orders into dst. Tokens have no spaces, so an
// n-gram joined with them is a key of its order alone.
func (c *bleuCounter) count(dst map[string]int, tokens []string) {
	clear(dst)
	joined := strings.Join(tokens, " ")
	start := 0
	for i, first := range tokens {
		end := start - 1
		for n := range min(c.o.MaxOrder, len(tokens)-i) {
			end += 1 + len(tokens[i+n])
			dst[joined[start:end]]++
		}
		start += len(first) + 1
	}
}

func (c *bleuCounter) add(hyp string, refs []string) {
	tokens := c.tokens(hyp)
	c.hypLen += len(tokens)
	for n := range c.total {
		c.total[n] += max(0, len(tokens)-n)
	}
	c.count(c.hyp, tokens)
	clear(c.max)
	closest := -1
	for _, text := range refs {
		ref := c.tokens(text)
		c.count(c.ref, ref)
		for gram, n := range c.ref {
			c.max[gram] = max(c.max[gram], n)
		}
		d, best := distance(len(ref), len(tokens)), distance(closest, len(tokens))
		if closest < 0 || d < best || d == best && len(ref) < closest {
			closest = len(ref)
		}
	}
	c.refLen += closest
	for gram, n := range c.hyp {
		c.correct[strings.Count(gram, " ")] += min(n, c.max[gram])
	}
}

func distance(a, b int) int { return max(a-b, b-a) }

// score combines the sums.
func (c *bleuCounter) score() BLEUScore {
	s := BLEUScore{
		Correct:    c.correct,
		Total:      c.total,
		Precisions: make([]float64, c.o.MaxOrder),
		BP:         1,
		HypLen:     c.hypLen,
		RefLen:     c.refLen,
	}
	if s.HypLen < s.RefLen {
		s.BP = 0
		if s.HypLen > 0 {
			s.BP = math.Exp(1 - float64(s.RefLen)/float64(s.HypLen))
		}
	}
	if !slices.ContainsFunc(s.Correct, func(n int) bool { return n != 0 }) {
		return s
	}
	halving, orders := 1.0, c.o.MaxOrder
	for n := range c.o.MaxOrder {
		correct, total := float64(s.Correct[n]), float64(s.Total[n])
		if c.o.Smoothing == "add-k" && n > 0 {
			correct += *c.o.SmoothValue
			total += *c.o.SmoothValue
		}
		if total == 0 {
			break
		}
		if c.o.EffectiveOrder {
			orders = n + 1
		}
		switch {
		case correct != 0:
			s.Precisions[n] = 100 * correct / total
		case c.o.Smoothing == "exp":
			halving *= 2
			s.Precisions[n] = 100 / (halving * total)
		case c.o.Smoothing == "floor":
			s.Precisions[n] = 100 * *c.o.SmoothValue / total
		}
	}
	sum := 0.0
	for _, p := range s.Precisions[:orders] {
		if p == 0 {
			return s // log 0: the score is 0
		}
		sum += math.Log(p)
	}
	s.Score = s.BP * math.Exp(sum/float64(orders))
	return s
}

// LooksTokenized reports whether so many of the texts end in a full stop with a
// space before it that they were probably tokenised, which BLEU's tokenizer
// does not undo: their score is not comparable. The threshold is sacreBLEU's.
func LooksTokenized(texts []string) bool {
	const suspicious = 100
	n := 0
	for _, text := range texts {
		if strings.HasSuffix(strings.TrimRight(text, "\r\n"), " .") {
			n++
		}
	}
	return n >= suspicious
}
