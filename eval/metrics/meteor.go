package metrics

import (
	"fmt"
	"math"
	"strings"

	"github.com/spdfctl/spdfctl/kernels"
)

// Parameters of METEOR 1.5 for English, task "rank".
const (
	meteorAlpha = 0.85
	meteorBeta  = 0.2
	meteorGamma = 0.6
	meteorDelta = 0.75
)

var meteorWeights = [meteorStages]float64{1, 0.6, 0.8, 0.6}

// A row of METEOR: words and function words of text and reference; by stage, the
// matched content and function words of each; chunks; matched words of each.
const (
	meteorHypWords = iota
	meteorRefWords
	meteorHypFunction
	meteorRefFunction
	meteorByStage                                   // four numbers a stage
	meteorChunks   = meteorByStage + 4*meteorStages // 0 for a text equal to its reference
	meteorHypMatch = meteorChunks + 1
	meteorRefMatch = meteorChunks + 2
	meteorRow      = meteorChunks + 3
)

// Meteor is METEOR 1.5 for English with its tables.
type Meteor struct {
	tables *meteorTables
	use    [meteorStages]bool
}

// LoadMeteor reads METEOR's tables from a folder: english.words and
// english.prefixes; english.synsets and english.exceptions for the stage
// "synonym"; paraphrase-en for "paraphrase"; each may be packed (.gz) and lie where
// METEOR's own distribution keeps it. stages names those to run; without any, all
// run whose files are there, and Stages says which.
func LoadMeteor(dir string, stages ...string) (*Meteor, error) {
	tables, use, err := loadMeteorTables(dir, stages)
	if err != nil {
		return nil, err
	}
	return &Meteor{tables, use}, nil
}

// Stages returns the names of the stages that run.
func (m *Meteor) Stages() []string {
	var out []string
	for i, on := range m.use {
		if on {
			out = append(out, meteorStageNames[i])
		}
	}
	return out
}

// Score returns the METEOR of hyps, from 0 to 1, as METEOR 1.5 does with the
// options -l en -norm: every text is aligned with each of its references, that
// with the highest score counts, and
//
//	score = (1 - 0.6 frag^0.2) / (0.15/P + 0.85/R)
//
// is computed from the sums over all segments. P and R are weighed matches per
// word of text and reference, where function words weigh 0.25, others 0.75, and
// matches of stems 0.6, of synonyms 0.8 and of paraphrases 0.6; frag is the number
// of chunks per matched word.
//
// Source: Denkowski, Lavie, "Meteor Universal", WMT 2014, and METEOR 1.5.
func (m *Meteor) Score(hyps []string, refs [][]string) (Score, error) {
	if err := checkCorpus("meteor", hyps, refs); err != nil {
		return Score{}, err
	}
	c := tokenizeCorpus(hyps, refs, func(s string) []string { return meteorTokens(s, m.tables.prefixes) })
	lexicon := m.lexicon(c)
	rows := make([][]float64, len(hyps))
	kernels.Parallel(len(hyps), func(i int) {
		hyp := lexicon.text(c.hyps[i])
		best := -1.0
		for _, ref := range c.refs[i] {
			row := m.align(hyp, lexicon.text(ref))
			if score := meteorTotal(row); score > best {
				best, rows[i] = score, row
			}
		}
	})
	signature := fmt.Sprintf("METEOR|nrefs:%s|lang:en|norm:yes|stages:%s|params:0.85,0.2,0.6,0.75|weights:1,0.6,0.8,0.6|script:meteor-1.5|version:%s",
		countReferences(refs), strings.Join(m.Stages(), ","), version)
	return newScore("meteor", signature, rows, meteorTotal), nil
}

// meteorLexicon holds every word of a corpus.
type meteorLexicon map[string]*meteorWord

func (l meteorLexicon) text(tokens []string) []meteorWord {
	out := make([]meteorWord, len(tokens))
	for i, token := range tokens {
		out[i] = *l[token]
	}
	return out
}

func (m *Meteor) lexicon(c corpus) meteorLexicon {
	words := meteorLexicon{}
	var list []string
	add := func(tokens []string) {
		for _, token := range tokens {
			if words[token] == nil {
				words[token] = &meteorWord{id: int32(len(list))}
				list = append(list, token)
			}
		}
	}
	for i := range c.hyps {
		add(c.hyps[i])
		for _, ref := range c.refs[i] {
			add(ref)
		}
	}
	stems := make([]string, len(list))
	kernels.Parallel(len(list), func(i int) {
		w := words[list[i]]
		stems[i] = stemEnglish(list[i])
		w.function = m.tables.functionWords[list[i]]
		w.synsets = m.tables.wordSynsets(list[i])
		w.key = -1
		if m.tables.paraphrases != nil {
			if key, ok := m.tables.paraphrases.words[list[i]]; ok {
				w.key = key
			}
		}
	})
	number := map[string]int32{}
	for i, stem := range stems {
		if _, ok := number[stem]; !ok {
			number[stem] = int32(len(number))
		}
		words[list[i]].stem = number[stem]
	}
	return words
}

// align returns the statistics of a text beside one reference.
func (m *Meteor) align(hyp, ref []meteorWord) []float64 {
	row := make([]float64, meteorRow)
	row[meteorHypWords], row[meteorRefWords] = float64(len(hyp)), float64(len(ref))
	for i := range hyp {
		if hyp[i].function {
			row[meteorHypFunction]++
		}
	}
	for i := range ref {
		if ref[i].function {
			row[meteorRefFunction]++
		}
	}
	chosen := findMeteorMatches(hyp, ref, m.use, m.tables.paraphrases).align()
	count := func(words []meteorWord, at, length, stage, side int) {
		for i := at; i < at+length; i++ {
			place := meteorByStage + 4*stage + side
			if words[i].function {
				place += 2
			}
			row[place]++
			row[meteorHypMatch+side]++
		}
	}
	for _, match := range chosen {
		if match != nil {
			count(hyp, match.other, match.otherLength, match.stage, 0)
			count(ref, match.start, match.length, match.stage, 1)
		}
	}
	row[meteorChunks] = float64(countChunks(chosen))
	if row[meteorChunks] == 1 && row[meteorHypMatch] == row[meteorHypWords] && row[meteorRefMatch] == row[meteorRefWords] {
		row[meteorChunks] = 0
	}
	return row
}

// meteorTotal is the score of a sum of rows.
func meteorTotal(row []float64) float64 {
	// side 0 is the text, 1 the reference
	weighed := func(side int) float64 {
		sum := 0.0
		for stage, weight := range meteorWeights {
			sum += row[meteorByStage+4*stage+side] * weight * meteorDelta
		}
		for stage, weight := range meteorWeights {
			sum += row[meteorByStage+4*stage+2+side] * weight * (1 - meteorDelta)
		}
		words, function := row[meteorHypWords+side], row[meteorHypFunction+side]
		return sum / (meteorDelta*(words-function) + (1-meteorDelta)*function)
	}
	precision, recall := weighed(0), weighed(1)
	mean := 1 / ((1-meteorAlpha)/precision + meteorAlpha/recall)
	fragments := row[meteorChunks] / ((row[meteorHypMatch] + row[meteorRefMatch]) / 2)
	score := mean * (1 - meteorGamma*math.Pow(fragments, meteorBeta))
	if math.IsNaN(score) {
		return 0 // no words, or no matches
	}
	return max(score, 0)
}
