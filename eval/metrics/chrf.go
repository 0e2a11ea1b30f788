package metrics

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/spdfctl/spdfctl/kernels"
)

// CHRFOptions are sacreBLEU's for chrF, with its defaults as zero values.
type CHRFOptions struct {
	CharOrder    int // longest n-gram of characters; 0 is 6
	WordOrder    int // longest n-gram of words; 0 is chrF, 2 is chrF++
	Beta         int // weight of recall; 0 is 2
	Lowercase    bool
	Whitespace   bool // spaces count as characters
	EpsSmoothing bool // average F over all orders, as chrF++.py does
}

// CHRF returns chrF or, with WordOrder 2, chrF++ of sacreBLEU 2, in percent: the
// F-score of n-grams of characters and words, recall weighed Beta² times, from
// precision and recall averaged over the orders that both texts have. Of several
// references the one with the best score of the segment counts.
//
// Source: Popović, "chrF", WMT 2015, and "chrF++", WMT 2017, as in
// sacrebleu/metrics/chrf.py of github.com/mjpost/sacrebleu at f615c72.
func CHRF(hyps []string, refs [][]string, o CHRFOptions) (Score, error) {
	if err := checkCorpus("chrf", hyps, refs); err != nil {
		return Score{}, err
	}
	if o.CharOrder == 0 {
		o.CharOrder = 6
	}
	if o.Beta == 0 {
		o.Beta = 2
	}
	if o.CharOrder < 1 || o.CharOrder > maxOrder || o.WordOrder < 0 || o.WordOrder > maxOrder || o.Beta < 1 {
		return Score{}, fmt.Errorf("metrics: chrf: orders are %d and %d, outside 1 to %d and 0 to %d, or beta %d is below 1", o.CharOrder, o.WordOrder, maxOrder, maxOrder, o.Beta)
	}
	rows := make([][]float64, len(hyps))
	kernels.Parallel(len(hyps), func(i int) { rows[i] = o.row(hyps[i], refs[i]) })
	yes := map[bool]string{false: "no", true: "yes"}
	letters := map[bool]string{false: "mixed", true: "lc"}
	name := fmt.Sprintf("chrF%d%s", o.Beta, strings.Repeat("+", o.WordOrder))
	s := newScore("chrf"+strings.Repeat("+", o.WordOrder), fmt.Sprintf("%s|nrefs:%s|case:%s|eff:%s|nc:%d|nw:%d|space:%s|script:sacrebleu|version:%s", name,
		countReferences(refs), letters[o.Lowercase], yes[!o.EpsSmoothing], o.CharOrder, o.WordOrder, yes[o.Whitespace], version), rows, o.total)
	return s, nil
}

// orders returns the n-grams of a text: characters by order, then words by order.
func (o CHRFOptions) orders(t *gramTable, text string) [][]int32 {
	if o.Lowercase {
		text = lower(text)
	}
	characters := text
	if !o.Whitespace {
		characters = strings.Join(fields(text), "")
	}
	out := t.orders(strings.Split(characters, ""), o.CharOrder)
	if o.WordOrder > 0 {
		words := chrfWords(text)
		for i := range words {
			words[i] += "\x00" // apart from characters
		}
		out = append(out, t.orders(words, o.WordOrder)...)
	}
	return out
}

// chrfWords splits one punctuation mark off the end of every word, or else off its
// start.
func chrfWords(text string) []string {
	var out []string
	for _, word := range fields(text) {
		n := len(word)
		switch {
		case utf8.RuneCountInString(word) == 1:
			out = append(out, word)
		case isPunctASCII(word[n-1]):
			out = append(out, word[:n-1], word[n-1:])
		case isPunctASCII(word[0]):
			out = append(out, word[:1], word[1:])
		default:
			out = append(out, word)
		}
	}
	return out
}

func isPunctASCII(c byte) bool {
	return '!' <= c && c <= '/' || ':' <= c && c <= '@' || '[' <= c && c <= '`' || '{' <= c && c <= '~'
}

// row is, by order, the n-grams of the text, those of the best reference, and the
// matches.
func (o CHRFOptions) row(hyp string, refs []string) []float64 {
	g := &gramCorpus{table: newGramTable(), order: o.CharOrder + o.WordOrder}
	g.hyps = [][][]int32{o.orders(g.table, hyp)}
	for _, ref := range refs {
		g.refs = append(g.refs, [][][]int32{o.orders(g.table, ref)})
	}
	clip := newClipper(g.table)
	var best []float64
	bestScore := -1.0
	for j := range refs {
		one := &gramCorpus{table: g.table, order: g.order, hyps: g.hyps, refs: g.refs[j : j+1]}
		row := make([]float64, 3*g.order)
		for n := range g.order {
			ref := len(g.refs[j][0][n])
			if ref > 0 {
				row[3*n] = float64(len(g.hyps[0][n]))
			}
			row[3*n+1] = float64(ref)
			clip.matches(one, 0, n+1, func(_, count int32) { row[3*n+2] += float64(count) })
		}
		if score := o.total(row); score > bestScore {
			bestScore, best = score, row
		}
	}
	return best
}

// total is the score of a sum of rows.
func (o CHRFOptions) total(row []float64) float64 {
	const eps = 1e-16 // sacreBLEU's
	factor := float64(o.Beta * o.Beta)
	sum, precision, recall, orders := 0.0, 0.0, 0.0, 0.0
	for n := 0; n < len(row); n += 3 {
		hyp, ref, match := row[n], row[n+1], row[n+2]
		p, r := eps, eps
		if hyp > 0 {
			p = match / hyp
		}
		if ref > 0 {
			r = match / ref
		}
		if d := factor*p + r; d > 0 {
			sum += (1 + factor) * p * r / d
		} else {
			sum += eps
		}
		if hyp > 0 && ref > 0 {
			precision += p
			recall += r
			orders++
		}
	}
	if o.EpsSmoothing {
		return 100 * sum / float64(len(row)/3)
	}
	if orders == 0 || precision+recall == 0 {
		return 0
	}
	precision /= orders
	recall /= orders
	return 100 * (1 + factor) * precision * recall / (factor*precision + recall)
}
