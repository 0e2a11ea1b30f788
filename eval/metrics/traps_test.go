package metrics

import (
	"math"
	"slices"
	"strings"
	"testing"
)

// This file has one test for every way in which scores of the same name differ.

// must fails the test on an error and returns the value.
func must(t *testing.T, s Score, err error) float64 {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return s.Value
}

// Of texts shorter than the references the two scripts of NIST say different
// things where segments have different numbers of references. The numbers are
// those that the two scripts print.
func TestTrapTwoNISTs(t *testing.T) {
	hyps := []string{"the pub is by the", "a cafe"}
	refs := [][]string{{"the pub is by the river in the city", "the pub is cheap"}, {"a cafe with food"}}
	perl, err := MTEvalNIST(hyps, refs)
	checkDigits(t, "mteval-v13a-sig.pl", perl, err, 1.6772, 4)
	python, err := PymtevalNIST(hyps, refs)
	checkValue(t, "pymteval.py", python, err, 2.4818266587204074, 1e-12)
	// The Python port counts texts shorter than an order as negative, so that even BLEU exceeds 1.
	bleu, err := PymtevalBLEU(hyps, refs)
	checkValue(t, "pymteval.py", bleu, err, 1.0308973662215315, 1e-12)
	bleu, err = MTEvalBLEU(hyps, refs)
	checkDigits(t, "mteval-v13a-sig.pl", bleu, err, 0.8669, 4)
	for _, s := range []struct {
		score Score
		want  string
	}{{perl, "reflen:words/mean-refs|script:mteval-v13a-sig.pl"}, {python, "reflen:sum-of-means|script:pymteval.py"}} {
		if !strings.Contains(s.score.Signature, s.want) {
			t.Errorf("signature %q does not say %q", s.score.Signature, s.want)
		}
	}
}

// A word "0" is no word for Perl: the pair that starts with it is weighed alone.
func TestTrapPerlZero(t *testing.T) {
	hyps, refs := []string{"0 stars here"}, [][]string{{"0 stars 0 pubs here"}}
	// Without the trap "0 stars" carries log2(2/1), with it log2(5/1).
	perl, python := must(t, first(MTEvalNIST(hyps, refs)), nil), must(t, first(PymtevalNIST(hyps, refs)), nil)
	penalty := nistPenalty(3.0 / 5)
	if got, want := perl-python, penalty*(math.Log2(5)-math.Log2(2))/2; math.Abs(got-want) > 1e-12 {
		t.Errorf("Perl's score is %g higher, want %g", got, want)
	}
}

func first(s Score, err error) Score {
	if err != nil {
		panic(err)
	}
	return s
}

// A blank reference is as close as one of length 0 for multi-bleu.perl and
// sacreBLEU, and none at all for mteval.
func TestTrapBlankReferences(t *testing.T) {
	hyps := []string{"a b c d"}
	blank, without := [][]string{{"a b c d e f g h i", ""}}, [][]string{{"a b c d e f g h i"}}
	short := 100 * math.Exp(1-9.0/4)
	for _, tc := range []struct {
		name          string
		score         func([]string, [][]string) (Score, error)
		blank, filled float64
	}{
		{"multi-bleu", everyMetric()["multi-bleu"], 100, short},
		{"multi-bleu-detok", everyMetric()["multi-bleu-detok"], 100, short},
		{"sacrebleu", everyMetric()["sacrebleu"], 100, short},
		{"mteval bleu", MTEvalBLEU, short / 100, short / 100},
		{"pymteval bleu", PymtevalBLEU, 1, short / 100},
	} {
		s, err := tc.score(hyps, blank)
		if tc.name == "pymteval bleu" {
			// An empty text is one empty word there, which is closer than nine.
			tc.blank = 1
		}
		checkValue(t, tc.name+", blank", s, err, tc.blank, 1e-9)
		s, err = tc.score(hyps, without)
		checkValue(t, tc.name, s, err, tc.filled, 1e-9)
	}
	// Only sacreBLEU scores a segment whose references are all blank.
	for _, profile := range Profiles() {
		_, err := ScoreProfile(profile, []string{"a", "b"}, [][]string{{"a"}, {" ", ""}}, ProfileOptions{})
		if profile == "sacrebleu" {
			if err != nil {
				t.Errorf("sacrebleu: %v", err)
			}
		} else if err == nil || !strings.Contains(err.Error(), "segment 2 has no reference, 2 blank ones") {
			t.Errorf("%s: error %v", profile, err)
		}
	}
}

// The rates of one text: tercom divides by the mean length of the references,
// pyter takes the best rate; a blank reference is left out by the one's scripts,
// counts 0 words for sacreBLEU and is a rate of 1 for the other.
func TestTrapThreeTERs(t *testing.T) {
	hyps := []string{"a b c d"}
	refs := [][]string{{"a b c d e f", "a b"}}
	got := []float64{must(t, first(Tercom(hyps, refs)), nil), must(t, first(TER(hyps, refs, TEROptions{})), nil), must(t, first(PyTER(hyps, refs)), nil)}
	if want := []float64{2.0 / 4, 50, 2.0 / 6}; !slices.Equal(got, want) {
		t.Errorf("tercom, sacreBLEU, pyter: %v, want %v", got, want)
	}
	refs = [][]string{{"x y z", ""}}
	got = []float64{must(t, first(Tercom(hyps, TercomReferences(refs))), nil), must(t, first(TER(hyps, refs, TEROptions{})), nil), must(t, first(PyTER(hyps, refs)), nil)}
	if want := []float64{4.0 / 3, 800.0 / 3, 1}; !slices.EqualFunc(got, want, func(a, b float64) bool { return math.Abs(a-b) < same }) {
		t.Errorf("with a blank reference: %v, want %v", got, want)
	}
	// The example of tercom's and of pyter's documentation: one shift and three edits.
	hyp := "THIS WEEK THE SAUDIS denied information published in the new york times"
	ref := "SAUDI ARABIA denied THIS WEEK information published in the AMERICAN new york times"
	for name, score := range map[string]func([]string, [][]string) (Score, error){"tercom": Tercom, "pyter": PyTER} {
		s, err := score([]string{hyp}, [][]string{{ref}})
		checkDigits(t, name, s, err, 0.308, 3)
	}
}

// The repairs of measure_scores.py, and nothing else.
func TestTrapEncodingRepair(t *testing.T) {
	for in, want := range map[string]string{
		"\ufeffMR": "MR", "Ł20": "£20", "Â£20-25": "£20-25", "cafÃ©": "café", "cafã©": "café", "£20, café": "£20, café", "Ã¨": "Ã¨",
	} {
		if got := RepairE2E(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}

// Tokens of coco-caption, as CoreNLP gives them; both releases where they differ.
func TestTrapPTBTokens(t *testing.T) {
	for _, tc := range []struct{ in, want, old string }{
		{"The Eagle is a £20-25 coffee shop, near \"Burger King\" (it isn't kid-friendly).",
			"the eagle is a # 20-25 coffee shop near burger king -lrb- it is n't kid-friendly -rrb-", ""},
		{"Café Müller €30 cannot 3/5... 5 stars!", "café müller $ 30 can not 3/5 5 stars", ""},
		{"It's children's; they'll -- we've 'quoted' it.", "it 's children 's they 'll we 've quoted it", ""},
		{"food.The pub,kid-friendly and family-friendly!!", "food.the pub,kid-friendly and family-friendly !!", ""},
		{"range of 20£-25 and", "range of 20 # 25 and", "range of 20 # -25 and"},
		{"less that 20GBP.", "less that 20 gbp", "less that 20gbp"},
		{"U.S. St. Mr. Smith a.m. e.g. this", "u.s. st. mr. smith a.m. e.g. this", ""},
		{"3.5 out of 5. Rated 4,5 - 5:30", "3.5 out of 5 rated 4,5 5:30", ""},
		{"AT&T and/or 18L/36R [a] {b} 50% a_b", "at&t and/or 18l/36r -lsb- a -rsb- -lcb- b -rcb- 50 % a_b", ""},
		{"O'Donnell's rock'n'roll – “yes” ’80s", "o'donnell 's rock'n'roll yes '80s", "o'donnell 's rock 'n' roll yes ’80s"},
		{"", "", ""},
	} {
		if tc.old == "" {
			tc.old = tc.want
		}
		for version, want := range map[PTBVersion]string{PTB2025: tc.want, PTB341: tc.old} {
			got, err := PTBTokens(tc.in, version)
			if s := strings.Join(got, " "); err != nil || s != want {
				t.Errorf("%s: %q becomes\n%q, %v, want\n%q", version, tc.in, s, err, want)
			}
		}
	}
	if _, err := PTBTokens("a", "3"); err == nil || !strings.Contains(err.Error(), `version "3" is none of corenlp-2025, corenlp-3.4.1`) {
		t.Errorf("unknown version: %v", err)
	}
}

func TestNLTKTokens(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"It's a pub. It isn't cheap, is it?", "It 's a pub . It is n't cheap , is it ?"},
		{"Dr. J. Smith paid $5.50 (about £4.00).", "Dr. J. Smith paid $ 5.50 ( about £4.00 ) ."},
		{`He said "hi" -- 'no' ...`, "He said `` hi '' -- 'no ' ..."},
		{"I cannot go; gonna wait.", "I can not go ; gon na wait ."},
		{"", ""},
	} {
		if got := strings.Join(nltkTokens(tc.in), " "); got != tc.want {
			t.Errorf("%q becomes %q, want %q", tc.in, got, tc.want)
		}
	}
}

// METEOR's normalisation, step by step as its Java prints it.
func TestMeteorTokens(t *testing.T) {
	prefixes := map[string]bool{"Mr": false, "No": true}
	for _, tc := range []struct{ in, want string }{
		{"The U.S. team, Mr. Smith's dog.", "the us team , mr. smith 's dog ."},
		{"a,b,c 1,000 No. 5 No. x", "a , b,c 1,000 no. 5 no. x"},
		{"kid-friendly e-mail-list “yes” don't 'tis 1990's", `kid friendly e mail list " yes " don 't ' tis 1990 's`},
		{"wait... what?! (£5)", "wait ... what ? ! ( £ 5 )"},
		{"", ""},
	} {
		if got := strings.Join(meteorTokens(tc.in, prefixes), " "); got != tc.want {
			t.Errorf("%q becomes\n%q, want\n%q", tc.in, got, tc.want)
		}
	}
}

// The words are those of the algorithm's own page and its exceptions.
func TestStemEnglish(t *testing.T) {
	for in, want := range map[string]string{
		"consigned": "consign", "consistency": "consist", "knightly": "knight", "knocking": "knock", "generously": "generous", "skies": "sky",
		"dying": "die", "news": "news", "hopping": "hop", "hoped": "hope", "falling": "fall", "luxuriating": "luxuri", "proceeds": "proceed",
		"communism": "communism", "national": "nation", "cried": "cri", "ties": "tie", "gas": "gas", "gaps": "gap", "by": "by", "say": "say", "'s": "'s",
		"café": "café", "dogs'": "dog",
	} {
		if got := stemEnglish(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}

func FuzzPTBTokens(f *testing.F) {
	f.Add("The £20-25 pub isn't \"cheap\"... http://a.b/c (555) 123-4567 <br/> :-) O'Neil's . . . &amp; a.b@c.d")
	f.Fuzz(func(t *testing.T, s string) {
		for _, version := range PTBVersions() {
			got, err := PTBTokens(s, PTBVersion(version))
			if err != nil || slices.Contains(got, "") || slices.ContainsFunc(got, func(w string) bool { return strings.ContainsAny(w, " \n") }) {
				t.Errorf("%q becomes %q, %v", s, got, err)
			}
		}
	})
}
