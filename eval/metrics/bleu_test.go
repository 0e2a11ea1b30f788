package metrics

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
)

// sacreBLEU's own test cases, read from testdata/sacrebleu.json: see the note on
// provenance in testdata/README.md.

// vectors calls each with the fields of every case of one list.
func vectors(t *testing.T, name string, each func(fields []json.RawMessage)) {
	t.Helper()
	data, err := os.ReadFile("testdata/sacrebleu.json")
	if err != nil {
		t.Fatal(err)
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	var cases [][]json.RawMessage
	if err := json.Unmarshal(all[name], &cases); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if len(cases) == 0 {
		t.Fatalf("%s: no cases", name)
	}
	for _, fields := range cases {
		each(fields)
	}
}

func decode[T any](t *testing.T, raw json.RawMessage) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	return v
}

// streams turns sacreBLEU's references, one list per reference file, into
// lists per segment. Like zip, it stops at the shortest.
func streams(lists [][]string) [][]string {
	var segments [][]string
	for i := 0; ; i++ {
		var refs []string
		for _, list := range lists {
			if i == len(list) {
				return segments
			}
			refs = append(refs, list[i])
		}
		segments = append(segments, refs)
	}
}

func value(v float64) *float64 { return &v }

// rawOptions are those of sacrebleu.raw_corpus_bleu.
func rawOptions(smooth *float64) BLEUOptions {
	return BLEUOptions{Tokenizer: "none", Smoothing: "floor", SmoothValue: smooth, EffectiveOrder: true}
}

// epsilon is that of the original tests.
const epsilon = 1e-8

func checkScore(t *testing.T, what string, hyps []string, refs [][]string, o BLEUOptions, want, epsilon float64) {
	t.Helper()
	got, err := BLEU(hyps, refs, o)
	if err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	if !(math.Abs(got.Score-want) < epsilon) {
		t.Errorf("%s: BLEU %.10f, want %.10f", what, got.Score, want)
	}
}

func TestBLEULikeSacreBLEU(t *testing.T) {
	for _, name := range []string{"test_bleu.test_raw_bleu_cases", "test_bleu.test_case_effective_order"} {
		vectors(t, name, func(f []json.RawMessage) {
			hyps, refs := decode[[]string](t, f[0]), streams(decode[[][]string](t, f[1]))
			// The first case gives one reference for two hypotheses; zip drops the second.
			hyps = hyps[:min(len(hyps), len(refs))]
			checkScore(t, name, hyps, refs[:len(hyps)], rawOptions(value(.01)), 100*decode[float64](t, f[2]), 100*epsilon)
		})
	}
	vectors(t, "test_bleu.test_corpus_bleu_cases", func(f []json.RawMessage) {
		options := decode[struct{ Tokenize, Smooth_method string }](t, f[2])
		checkScore(t, string(f[2]), decode[[]string](t, f[0]), streams(decode[[][]string](t, f[1])),
			BLEUOptions{Tokenizer: options.Tokenize, Smoothing: options.Smooth_method}, decode[float64](t, f[3]), epsilon)
	})
	vectors(t, "test_bleu.test_case_offset", func(f []json.RawMessage) {
		hyps, refs := decode[[]string](t, f[0]), streams(decode[[][]string](t, f[1]))
		checkScore(t, "default offset", hyps, refs, rawOptions(nil), 100*decode[float64](t, f[2]), 100*epsilon)
		checkScore(t, "no offset", hyps, refs, rawOptions(value(0)), 100*decode[float64](t, f[3]), 100*epsilon)
	})
	vectors(t, "test_bleu.test_case_statistics", func(f []json.RawMessage) {
		want := decode[[2][]int](t, f[2])
		got, err := BLEU(decode[[]string](t, f[0]), streams(decode[[][]string](t, f[1])), rawOptions(value(.01)))
		if err != nil || !slices.Equal(got.Correct, want[0]) || !slices.Equal(got.Total, want[1]) {
			t.Errorf("statistics %v, %v, %v, want %v", got.Correct, got.Total, err, want)
		}
	})
	vectors(t, "test_bleu.test_bleu_max_order", func(f []json.RawMessage) {
		got, err := BLEU(decode[[]string](t, f[1]), streams(decode[[][]string](t, f[2])), BLEUOptions{MaxOrder: decode[int](t, f[0])})
		if s := fmt.Sprintf("%.2f", got.Score); err != nil || s != decode[string](t, f[3]) {
			t.Errorf("order %s: %s, %v, want %s", f[0], s, err, f[3])
		}
	})
}

// fromStatistics scores counts as sacrebleu.BLEU.compute_bleu does.
func fromStatistics(t *testing.T, raw json.RawMessage, o BLEUOptions) float64 {
	t.Helper()
	f := decode[[3]json.RawMessage](t, raw)
	counts := decode[[2][]int](t, f[0])
	o, err := o.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	c := bleuCounter{o: o, correct: counts[0], total: counts[1], hypLen: decode[int](t, f[1]), refLen: decode[int](t, f[2])}
	return c.score().Score
}

func TestBLEUFromStatistics(t *testing.T) {
	vectors(t, "test_bleu.test_case_scoring", func(f []json.RawMessage) {
		got, want := fromStatistics(t, f[0], BLEUOptions{Smoothing: "none"}), 100*decode[float64](t, f[1])
		if !(math.Abs(got-want) < 100*epsilon) {
			t.Errorf("%s: BLEU %.10f, want %.10f", f[0], got, want)
		}
	})
	vectors(t, "test_bleu.test_case_degenerate_stats", func(f []json.RawMessage) {
		offset := decode[float64](t, f[1])
		got, want := fromStatistics(t, f[0], BLEUOptions{Smoothing: "floor", SmoothValue: &offset}), 100*decode[float64](t, f[2])
		if got != want {
			t.Errorf("%s, offset %g: BLEU %g, want %g", f[0], offset, got, want)
		}
	})
}

// TestSegmentBLEULikeSacreBLEU demands sacreBLEU's sentence level of the scores of
// segments.
func TestSegmentBLEULikeSacreBLEU(t *testing.T) {
	const epsilon = 1e-3 // that of the original test, whose figures have that many digits
	data, err := os.ReadFile("testdata/sacrebleu.json")
	if err != nil {
		t.Fatal(err)
	}
	all := decode[map[string]json.RawMessage](t, data)
	text := func(name string) string { return decode[string](t, all["test_sentence_bleu."+name]) }
	for _, set := range []struct{ cases, hyp, ref string }{
		{"test_cases", text("SYS"), text("REF")},
		{"test_cases_zero_bleu", text("SYS_0"), text("REF_0")},
	} {
		vectors(t, "test_sentence_bleu."+set.cases, func(f []json.RawMessage) {
			score, err := scoreBLEU([]string{set.hyp}, [][]string{{set.ref}}, BLEUOptions{
				Smoothing:   decode[string](t, f[0]),
				SmoothValue: decode[*float64](t, f[1]),
				Lowercase:   decode[bool](t, f[2]),
				Tokenizer:   decode[string](t, f[3]),
			})
			if err != nil {
				t.Fatalf("%s: %v", f, err)
			}
			if got, want := score.Segments()[0], decode[float64](t, f[4]); !(math.Abs(got-want) < epsilon) {
				t.Errorf("%s: BLEU %.5f, want %.5f", f, got, want)
			}
		})
	}
}

// The example of sacreBLEU's README, whose parts it prints too, and properties
// that follow from the definition.
func TestBLEU(t *testing.T) {
	hyps := []string{"The dog bit the man.", "It wasn't surprising.", "The man had just bitten him."}
	refs := [][]string{
		{"The dog bit the man.", "The dog had bit the man."},
		{"It was not unexpected.", "No one was surprised."},
		{"The man bit him first.", "The man had bitten the dog."},
	}
	got, err := BLEU(hyps, refs, BLEUOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if s, want := fmt.Sprintf("%.2f %v", got.Score, got), "48.53 82.4/50.0/45.5/37.5 (BP = 0.943 ratio = 0.944 hyp_len = 17 ref_len = 18)"; s != want {
		t.Errorf("score is\n%s, want\n%s", s, want)
	}
	if want := "nrefs:2|case:mixed|eff:no|tok:13a|smooth:exp|version:spdfctl-1"; got.Signature != want {
		t.Errorf("signature %q, want %q", got.Signature, want)
	}

	// A reference more for one segment changes the signature.
	refs[1] = append(refs[1], "It wasn't surprising.")
	more, err := BLEU(hyps, refs, BLEUOptions{Smoothing: "add-k", SmoothValue: value(2), Lowercase: true, EffectiveOrder: true, Tokenizer: "intl"})
	if want := "nrefs:var|case:lc|eff:yes|tok:intl|smooth:add-k[2.00]|version:spdfctl-1"; err != nil || more.Signature != want {
		t.Errorf("signature %q, %v, want %q", more.Signature, err, want)
	}
	if more.Score <= got.Score {
		t.Errorf("BLEU %g with one more perfect reference, %g without", more.Score, got.Score)
	}

	for _, tc := range []struct {
		name   string
		hyps   []string
		refs   [][]string
		o      BLEUOptions
		score  float64
		refLen int
	}{
		{"identical", []string{"a b c d e"}, [][]string{{"a b c d e"}}, BLEUOptions{}, 100, 5},
		{"empty hypotheses", []string{"", ""}, [][]string{{"a"}, {"b c"}}, BLEUOptions{}, 0, 3},
		{"everything empty", []string{""}, [][]string{{""}}, BLEUOptions{}, 0, 0},
		{"the shorter of two equally close", []string{"a b c d"}, [][]string{{"a b c d e", "a b c"}}, BLEUOptions{}, 100, 3},
		{"an empty reference counts as length 0", []string{"a b"}, [][]string{{"", "a b c d e f"}}, BLEUOptions{EffectiveOrder: true}, 100, 0},
		{"too short for four words", []string{"a b c"}, [][]string{{"a b c"}}, BLEUOptions{}, 0, 3},
		{"too short, effective order", []string{"a b c"}, [][]string{{"a b c"}}, BLEUOptions{EffectiveOrder: true}, 100, 3},
		{"no match in case", []string{"A B C D"}, [][]string{{"a b c d"}}, BLEUOptions{}, 0, 4},
		{"match without case", []string{"A B C D"}, [][]string{{"a b c d"}}, BLEUOptions{Lowercase: true}, 100, 4},
	} {
		got, err := BLEU(tc.hyps, tc.refs, tc.o)
		if err != nil || math.Abs(got.Score-tc.score) > 1e-9 || got.RefLen != tc.refLen {
			t.Errorf("%s: BLEU %g, reference length %d, %v, want %g, %d", tc.name, got.Score, got.RefLen, err, tc.score, tc.refLen)
		}
	}
}

func TestBLEURejects(t *testing.T) {
	one, ref := []string{"a"}, [][]string{{"a"}}
	for _, tc := range []struct {
		name string
		hyps []string
		refs [][]string
		o    BLEUOptions
		want string
	}{
		{"no segments", nil, nil, BLEUOptions{}, "no segments"},
		{"more hypotheses", []string{"a", "b"}, ref, BLEUOptions{}, "2 hypotheses, references for 1 segments"},
		{"no reference", []string{"a", "b"}, [][]string{{"a"}, {}}, BLEUOptions{}, "segment 2 has no reference"},
		{"tokenizer", one, ref, BLEUOptions{Tokenizer: "zh"}, `tokenizer "zh" is none of 13a, char, intl, none`},
		{"smoothing", one, ref, BLEUOptions{Smoothing: "add"}, `smoothing "add" is none of add-k, exp, floor, none`},
		{"value without use", one, ref, BLEUOptions{SmoothValue: value(1)}, `smoothing "exp" takes no value`},
		{"negative value", one, ref, BLEUOptions{Smoothing: "floor", SmoothValue: value(-1)}, "smoothing value is -1"},
		{"value not a number", one, ref, BLEUOptions{Smoothing: "floor", SmoothValue: value(math.NaN())}, "smoothing value is NaN"},
		{"order", one, ref, BLEUOptions{MaxOrder: 33}, "order is 33, outside 1 to 32"},
		{"negative order", one, ref, BLEUOptions{MaxOrder: -1}, "order is -1"},
	} {
		_, err := BLEU(tc.hyps, tc.refs, tc.o)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error %v, want %q", tc.name, err, tc.want)
		}
	}
}

func TestLooksTokenized(t *testing.T) {
	texts := slices.Repeat([]string{"a b ."}, 99)
	if texts = append(texts, "a b."); LooksTokenized(texts) {
		t.Error("99 tokenised full stops: true, want false")
	}
	if texts = append(texts, "c .\n"); !LooksTokenized(texts) {
		t.Error("100 tokenised full stops: false, want true")
	}
}

// TestBLEURandomTexts compares all tokenizers, smoothings, cases and ragged
// references with what sacreBLEU computed for the same random texts.
func TestBLEURandomTexts(t *testing.T) {
	data, err := os.ReadFile("testdata/random.json")
	if err != nil {
		t.Fatal(err)
	}
	cases := decode[[]struct {
		Hyps      []string
		Refs      [][]string
		Signature string
		Score     float64
		HypLen    int `json:"hyp_len"`
		RefLen    int `json:"ref_len"`
	}](t, data)
	if len(cases) != 40 {
		t.Errorf("%d cases, want 40", len(cases))
	}
	for i, tc := range cases {
		configuration, _, _ := strings.Cut(tc.Signature, "|version:")
		fields := map[string]string{}
		for field := range strings.SplitSeq(configuration, "|") {
			key, value, _ := strings.Cut(field, ":")
			fields[key] = value
		}
		smoothing, _, _ := strings.Cut(fields["smooth"], "[")
		got, err := BLEU(tc.Hyps, tc.Refs, BLEUOptions{
			Tokenizer:      fields["tok"],
			Smoothing:      smoothing,
			Lowercase:      fields["case"] == "lc",
			EffectiveOrder: fields["eff"] == "yes",
		})
		if err != nil {
			t.Errorf("case %d: %v", i, err)
			continue
		}
		// The same operations in the same order: only the last bits of log and exp may differ.
		if !(math.Abs(got.Score-tc.Score) < 1e-11) || got.HypLen != tc.HypLen || got.RefLen != tc.RefLen {
			t.Errorf("case %d (%s): BLEU %.12f of lengths %d and %d, want %.12f of %d and %d",
				i, tc.Signature, got.Score, got.HypLen, got.RefLen, tc.Score, tc.HypLen, tc.RefLen)
		}
		if s, _, _ := strings.Cut(got.Signature, "|version:"); s != configuration {
			t.Errorf("case %d: signature %q, want %q", i, s, configuration)
		}
	}
}
