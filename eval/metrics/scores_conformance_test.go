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
	rows := readE2E(t, "e2e-nlg/testset_w_refs.csv.gz")
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

// TestE2EProfile scores all systems with the profile, from the files as they are:
// every number of the folder, and that of the published script's own tokenizer.
func TestE2EProfile(t *testing.T) {
	_, _, wantTokens := e2eReferences(t)
	rows, table, err := nlg.ReadOutputsFile(conformanceData(t, "e2e-nlg/testset_w_refs.csv.gz"), RepairE2E)
	if err != nil || !table {
		t.Fatal(err)
	}
	data, err := os.ReadFile(conformanceData(t, "e2e-systems/expected.json"))
	if err != nil {
		t.Fatal(err)
	}
	expected := decode[struct{ Expected map[string]oracleScores }](t, data).Expected
	m := loadMeteor(t)
	n := 0
	for name, want := range expected {
		outputs, _, err := nlg.ReadOutputsFile(conformanceData(t, "e2e-systems/"+name+".tsv.gz"), RepairE2E)
		if err != nil {
			t.Fatal(err)
		}
		var hyps, sources []string
		for _, row := range outputs {
			hyps, sources = append(hyps, row.References[0]), append(sources, row.Source)
		}
		refs, err := nlg.ReferencesOf(rows, sources)
		if err != nil {
			t.Fatal(err)
		}
		tokHyps, tokRefs, err := ptbCorpus(hyps, refs, PTB2025)
		if err != nil {
			t.Fatal(err)
		}
		for i := range tokRefs {
			for j := range tokRefs[i] {
				if tokRefs[i][j] != wantTokens[i][j] {
					t.Errorf("reference %q: tokens %q, want %q", refs[i][j], tokRefs[i][j], wantTokens[i][j])
				}
			}
		}
		n += want.check(t, name, hyps, refs, tokHyps, tokRefs, m)
		for _, nist := range NISTVariants() {
			result, err := ScoreProfile("e2e", hyps, refs, ProfileOptions{Meteor: m, NIST: nist})
			if err != nil {
				t.Fatal(err)
			}
			t.Log(name, nist, scoreLine(result))
			mteval := map[string]float64{"bleu": *want.Mteval.BLEU, "nist": *want.Mteval.NIST}
			if nist == "python" {
				mteval = map[string]float64{"bleu": *want.Pymteval.BLEU, "nist": *want.Pymteval.NIST}
			}
			for _, s := range result.Scores {
				switch s.Name {
				case "bleu", "nist":
					checkDigits(t, name, s, nil, mteval[s.Name], 4)
				case "rouge_l":
					checkDigits(t, name, s, nil, *want.Coco.Rouge, 4)
				case "cider":
					checkValue(t, name, s, nil, *want.Coco.CIDEr, ciderTolerance)
				case "meteor":
					checkValue(t, name, s, nil, *want.Meteor, meteorTolerance)
				}
			}
		}
		if name == "tgen" { // the challenge's published numbers; METEOR's needs the paraphrase table
			result, err := ScoreProfile("e2e", hyps, refs, ProfileOptions{PTB: PTB341})
			if err != nil {
				t.Fatal(err)
			}
			if got, want := scoreLine(result), "bleu 0.6593 nist 8.6094 rouge_l 0.6850 cider 2.2338"; got != want {
				t.Errorf("tgen with the tokenizer of coco-caption: %s, want %s", got, want)
			}
		}
	}
	t.Logf("%d numbers compared", n)
	if n != 11*15 {
		t.Errorf("%d numbers compared, want %d", n, 11*15)
	}
}

func scoreLine(r Result) string {
	var parts []string
	for _, s := range r.Scores {
		parts = append(parts, fmt.Sprintf("%s %.4f", s.Name, s.Value))
	}
	return strings.Join(parts, " ")
}

// TestE2EExampleMETEOR scores the example of e2e-metrics.
func TestE2EExampleMETEOR(t *testing.T) {
	checkE2EExample(t, loadMeteor(t))
}

// TestSacreBLEUVectors runs the vectors of the data folder, which testdata has too.
func TestSacreBLEUVectors(t *testing.T) {
	data, err := os.ReadFile(conformanceData(t, "sacrebleu-vectors/vectors.json"))
	if err != nil {
		t.Fatal(err)
	}
	checkSacreVectors(t, data)
}
