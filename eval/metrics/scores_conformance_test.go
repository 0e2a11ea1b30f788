//go:build conformance

package metrics

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math"
	"os"
	"path"
	"strings"
	"testing"

	"github.com/spdfctl/spdfctl/formats/nlg"
)

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

func readGzip(t *testing.T, name string) []byte {
	t.Helper()
	r, _, err := nlg.Open(conformanceData(t, name))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// archive reads every file of a tar.gz.
func archive(t *testing.T, name string) map[string][]string {
	t.Helper()
	data, err := os.ReadFile(conformanceData(t, name))
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]string{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		text, err := nlg.ReadLines(r)
		if err != nil {
			t.Fatalf("%s: %v", h.Name, err)
		}
		files[path.Base(h.Name)] = text
	}
}

// loadMeteor loads METEOR's tables without paraphrases.
func loadMeteor(t *testing.T) *Meteor {
	t.Helper()
	m, err := LoadMeteor(conformanceData(t, "meteor-resources"), "exact", "stem", "synonym")
	if err != nil {
		t.Fatal(err)
	}
	return m
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
	exactly(want.Meteor, meteorTolerance, tokens(m.Score))
	if want.MeteorExact != nil {
		exact, err := LoadMeteor(conformanceData(t, "meteor-resources"), "exact")
		if err != nil {
			t.Fatal(err)
		}
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

// TestWebNLG2017 scores all outputs of five teams on 25 tracks.
func TestWebNLG2017(t *testing.T) {
	teams, refs := archive(t, "webnlg17-systems/teams.tar.gz"), archive(t, "webnlg17-systems/references.tar.gz")
	data, err := os.ReadFile(conformanceData(t, "webnlg17-systems/expected.json"))
	if err != nil {
		t.Fatal(err)
	}
	m := loadMeteor(t)
	n := 0
	for team, tracks := range decode[map[string]map[string]struct {
		BLEU   float64 `json:"bleu_multi_bleu_lc"`
		Detail struct {
			Precisions string
			BP         float64
			HypLen     float64 `json:"hyp_len"`
			RefLen     float64 `json:"ref_len"`
		} `json:"bleu_detail"`
		TER        *float64     `json:"ter_tercom_0.7.25"`
		Edits      float64      `json:"ter_edits"`
		Words      float64      `json:"ter_ref_words"`
		Recomputed oracleScores `json:"recomputed_here"`
	}](t, data) {
		for track, want := range tracks {
			what := team + " " + track
			hyps := teams[team+"_"+track+".txt"]
			var segments [][]string
			for i := range hyps {
				var list []string
				for r := range 3 {
					list = append(list, refs[fmt.Sprintf("gold-%s-reference%d.lex", track, r)][i])
				}
				segments = append(segments, list)
			}
			bleu, err := MultiBLEU(hyps, segments, true)
			checkDigits(t, what, bleu, err, want.BLEU, 2)
			if d := want.Detail; d.Precisions != "" {
				if s := fmt.Sprintf("%s (BP=%.3f, ", d.Precisions, d.BP); !strings.HasPrefix(bleu.Detail, s) {
					t.Errorf("%s: detail %s, want %s…", what, bleu.Detail, s)
				}
				if s := fmt.Sprintf("hyp_len=%.0f, ref_len=%.0f)", d.HypLen, d.RefLen); !strings.HasSuffix(bleu.Detail, s) {
					t.Errorf("%s: detail %s, want …%s", what, bleu.Detail, s)
				}
			}
			n++
			if want.TER != nil {
				ter, err := Tercom(hyps, TercomReferences(segments))
				checkValue(t, what, ter, err, *want.TER, printed)
				if sum := ter.sum(); sum[0] != want.Edits || math.Abs(sum[1]-want.Words) > 1e-6 {
					t.Errorf("%s: TER from %.1f edits and %.4f words, want %.1f and %.4f", what, sum[0], sum[1], want.Edits, want.Words)
				}
				n++
			}
			// These were computed without the blank references.
			n += want.Recomputed.check(t, what, hyps, TercomReferences(segments), hyps, TercomReferences(segments), m)
		}
	}
	t.Logf("%d numbers compared", n)
	if n < 250 {
		t.Errorf("%d numbers compared, want 250 at least", n)
	}
}

// TestDART scores a published output on the test set of DART.
func TestDART(t *testing.T) {
	hyps := lines(t, "dart-system/bart-large_dart.txt.gz")
	refs := make([][]string, len(hyps))
	for r := range 3 {
		for i, line := range lines(t, fmt.Sprintf("dart-system/all-delex-reference%d.lex.gz", r)) {
			refs[i] = append(refs[i], line)
		}
	}
	data, err := os.ReadFile(conformanceData(t, "dart-system/expected.json"))
	if err != nil {
		t.Fatal(err)
	}
	want := decode[struct {
		oracleScores
		MultiBLEU float64 `json:"multi_bleu"`
		Detail    string  `json:"multi_bleu_detail"`
		Tercom    struct {
			TER, Edits float64
			Words      float64 `json:"ref_words"`
		} `json:"tercom_0.7.25"`
	}](t, data)
	for _, lowercase := range []bool{false, true} {
		bleu, err := MultiBLEU(hyps, refs, lowercase)
		t.Logf("lower case %v: %.2f %s", lowercase, bleu.Value, bleu.Detail)
		if lowercase {
			checkDigits(t, "DART", bleu, err, want.MultiBLEU, 2)
			if s := strings.NewReplacer("(", "", ")", "", ",", "").Replace(bleu.Detail); s != want.Detail {
				t.Errorf("detail %q, want %q", s, want.Detail)
			}
		}
	}
	ter, err := Tercom(hyps, TercomReferences(refs))
	checkValue(t, "DART", ter, err, want.Tercom.TER, printed)
	if sum := ter.sum(); sum[0] != want.Tercom.Edits || math.Abs(sum[1]-want.Tercom.Words) > 1e-6 {
		t.Errorf("TER from %.1f edits and %.4f words, want %.1f and %.4f", sum[0], sum[1], want.Tercom.Edits, want.Tercom.Words)
	}
	n := want.check(t, "DART", hyps, TercomReferences(refs), hyps, TercomReferences(refs), loadMeteor(t))
	t.Logf("%d numbers compared", n+3)
}

// e2eReferences returns the references of the E2E test set and their PTB tokens.
func e2eReferences(t *testing.T) (mrs []string, refs, tokens [][]string) {
	t.Helper()
	rows, err := nlg.ReadFile(conformanceData(t, "e2e-nlg/testset_w_refs.csv.gz"))
	if err != nil {
		t.Fatal(err)
	}
	for _, group := range nlg.Group(rows) {
		mrs = append(mrs, group.Source)
		refs = append(refs, group.References)
	}
	return mrs, refs, decode[[][]string](t, readGzip(t, "e2e-systems/testset_refs_ptb_tokenised.json.gz"))
}

// TestE2ESegments compares the scores of every segment, from the given tokens.
func TestE2ESegments(t *testing.T) {
	_, _, refs := e2eReferences(t)
	m := loadMeteor(t)
	for _, system := range []string{"tgen", "slug"} {
		want := decode[struct {
			Seg struct{ Rouge, Cider, Meteor []float64 }
			Tok []string
		}](t, readGzip(t, "e2e-systems/"+system+".segments.json.gz"))
		for _, tc := range []struct {
			score     func([]string, [][]string) (Score, error)
			want      []float64
			tolerance float64
		}{{RougeL, want.Seg.Rouge, printed}, {CIDEr, want.Seg.Cider, printed}, {m.Score, want.Seg.Meteor, printed}} {
			got, err := tc.score(want.Tok, refs)
			if err != nil {
				t.Fatal(err)
			}
			bad, worst := 0, 0.0
			for i, v := range got.Segments() {
				if d := math.Abs(v - tc.want[i]); !(d <= tc.tolerance) {
					bad++
					worst = max(worst, d)
				}
			}
			if bad > 0 {
				t.Errorf("%s: %s: %d of %d segments differ, by %g at most", system, got.Name, bad, len(tc.want), worst)
			}
		}
	}
}

// TestNLGEval scores the case of Maluuba's nlg-eval.
func TestNLGEval(t *testing.T) {
	data, err := os.ReadFile(conformanceData(t, "nlg-eval-vectors/vectors.json"))
	if err != nil {
		t.Fatal(err)
	}
	checkNLGEval(t, data)
}
