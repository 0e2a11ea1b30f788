package metrics

import (
	"fmt"
	"math"
	"testing"
)

// printed is the agreement asked of scores in float64: the same operations in
// the same order leave only the last bits of log and exp.
const printed = 1e-9

// Agreement asked of the published scorers' numbers.
const (
	meteorTolerance = 0.0005
	ciderTolerance  = 0.002
)

// checkValue compares a score with a number computed elsewhere.
func checkValue(t *testing.T, what string, got Score, err error, want, tolerance float64) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	if !(math.Abs(got.Value-want) <= tolerance) {
		t.Errorf("%s: %s is %.10f, want %.10f", what, got.Name, got.Value, want)
	}
}

// checkDigits compares a score with a number printed with that many digits.
func checkDigits(t *testing.T, what string, got Score, err error, want float64, digits int) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	if a, b := fmt.Sprintf("%.*f", digits, got.Value), fmt.Sprintf("%.*f", digits, want); a != b {
		t.Errorf("%s: %s is %s, want %s (%.10f, %.10f)", what, got.Name, a, b, got.Value, want)
	}
}

// oracleScores are the numbers of expected.json that several folders share.
type oracleScores struct {
	Pymteval struct{ BLEU, NIST *float64 }
	Mteval   struct{ BLEU, NIST *float64 } `json:"mteval-v13a-sig.pl"`
	Coco     *cocoScores                   // over PTB tokens
	CocoNone *cocoScores                   `json:"coco_pretokenised_nofilter"`

	Meteor      *float64 `json:"meteor-1.5_ex_st_sy_noparaphrase"`
	MeteorExact *float64 `json:"meteor-1.5_exact"`

	Sacrebleu *sacreScores
	sacreFlat
}

type cocoScores struct {
	Bleu1 *float64 `json:"Bleu_1"`
	Bleu2 *float64 `json:"Bleu_2"`
	Bleu3 *float64 `json:"Bleu_3"`
	Bleu4 *float64 `json:"Bleu_4"`
	Rouge *float64 `json:"ROUGE_L"`
	CIDEr *float64
}

type sacreScores struct {
	BLEU   *float64
	BLEUlc *float64 `json:"BLEU_lc"`
	CHRF   *float64 `json:"chrF2"`
	CHRFpp *float64 `json:"chrF2++"`
	TER    *float64
}

type sacreFlat struct {
	BLEU     *float64 `json:"sacrebleu_BLEU"`
	BLEU13a  *float64 `json:"sacrebleu_BLEU_13a"`
	BLEUNone *float64 `json:"sacrebleu_BLEU_tok-none"`
	BLEUNlc  *float64 `json:"sacrebleu_BLEU_tok-none_lc"`
	CHRF     *float64 `json:"sacrebleu_chrF2"`
	CHRFpp   *float64 `json:"sacrebleu_chrF2++"`
}

// check scores raw texts, and texts as coco-caption and METEOR see them, and
// compares every number that is there. It returns how many.
// Without m METEOR is not compared.
func (want oracleScores) check(t *testing.T, what string, hyps []string, refs [][]string, tokHyps []string, tokRefs [][]string, m *Meteor) int {
	t.Helper()
	n := 0
	exactly := func(want *float64, tolerance float64, score func() (Score, error)) {
		if want != nil {
			n++
			got, err := score()
			checkValue(t, what, got, err, *want, tolerance)
		}
	}
	printedTo := func(want *float64, digits int, score func() (Score, error)) {
		if want != nil {
			n++
			got, err := score()
			checkDigits(t, what, got, err, *want, digits)
		}
	}
	raw := func(f func([]string, [][]string) (Score, error)) func() (Score, error) {
		return func() (Score, error) { return f(hyps, refs) }
	}
	tokens := func(f func([]string, [][]string) (Score, error)) func() (Score, error) {
		return func() (Score, error) { return f(tokHyps, tokRefs) }
	}
	exactly(want.Pymteval.BLEU, printed, raw(PymtevalBLEU))
	exactly(want.Pymteval.NIST, printed, raw(PymtevalNIST))
	printedTo(want.Mteval.BLEU, 4, raw(MTEvalBLEU))
	printedTo(want.Mteval.NIST, 4, raw(MTEvalNIST))
	for _, coco := range []*cocoScores{want.Coco, want.CocoNone} {
		if coco == nil {
			continue
		}
		for k, bleu := range []*float64{coco.Bleu1, coco.Bleu2, coco.Bleu3, coco.Bleu4} {
			exactly(bleu, printed, func() (Score, error) {
				all, err := CocoBLEU(tokHyps, tokRefs)
				return all[k], err
			})
		}
		printedTo(coco.Rouge, 4, tokens(RougeL))
		exactly(coco.CIDEr, ciderTolerance, tokens(CIDEr))
	}
	if m != nil {
		exactly(want.Meteor, meteorTolerance, tokens(m.Score))
	}
	if want.MeteorExact != nil {
		exact := &Meteor{tables: m.tables, use: [meteorStages]bool{stageExact: true}}
		exactly(want.MeteorExact, meteorTolerance, tokens(exact.Score))
	}
	bleu := func(o BLEUOptions) func() (Score, error) {
		return func() (Score, error) {
			s, err := BLEU(hyps, refs, o)
			return Score{Name: "BLEU " + s.Signature, Value: s.Score}, err
		}
	}
	chrf := func(words int) func() (Score, error) {
		return func() (Score, error) { return CHRF(hyps, refs, CHRFOptions{WordOrder: words}) }
	}
	if s := want.Sacrebleu; s != nil {
		exactly(s.BLEU, printed, bleu(BLEUOptions{}))
		exactly(s.BLEUlc, printed, bleu(BLEUOptions{Lowercase: true}))
		exactly(s.CHRF, printed, chrf(0))
		exactly(s.CHRFpp, printed, chrf(2))
		exactly(s.TER, printed, func() (Score, error) { return TER(hyps, refs, TEROptions{}) })
	}
	exactly(want.sacreFlat.BLEU, printed, bleu(BLEUOptions{}))
	exactly(want.BLEU13a, printed, bleu(BLEUOptions{Lowercase: true}))
	exactly(want.BLEUNone, printed, bleu(BLEUOptions{Tokenizer: "none"}))
	exactly(want.BLEUNlc, printed, bleu(BLEUOptions{Tokenizer: "none", Lowercase: true}))
	exactly(want.CHRF, printed, chrf(0))
	exactly(want.CHRFpp, printed, chrf(2))
	return n
}
