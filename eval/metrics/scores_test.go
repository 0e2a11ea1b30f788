package metrics

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/spdfctl/spdfctl/formats/nlg"
	"github.com/spdfctl/spdfctl/kernels"
)

// checkNLGEval scores the cases of Maluuba's nlg-eval, whose references stand as
// one list per reference file. Its METEOR needs the paraphrase table.
func checkNLGEval(t *testing.T, data []byte) {
	t.Helper()
	const upstream = 1e-5 // nlg-eval asserts five decimals
	for i, tc := range decode[struct {
		Cases []struct {
			Refs     [][]string
			Hyps     []string
			Expected map[string]float64
		}
	}](t, data).Cases {
		refs := streams(tc.Refs)
		bleu, err := CocoBLEU(tc.Hyps, refs)
		if err != nil {
			t.Fatal(err)
		}
		rouge, err := RougeL(tc.Hyps, refs)
		if err != nil {
			t.Fatal(err)
		}
		cider, err := CIDEr(tc.Hyps, refs)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]float64{"Bleu_1": bleu[0].Value, "Bleu_2": bleu[1].Value, "Bleu_3": bleu[2].Value, "Bleu_4": bleu[3].Value,
			"ROUGE_L": rouge.Value, "CIDEr": cider.Value}
		for name, want := range tc.Expected {
			if name != "METEOR" && !(math.Abs(got[name]-want) < upstream) {
				t.Errorf("case %d: %s is %.8f, want %.8f", i, name, got[name], want)
			}
		}
	}
}

func TestNLGEvalVectors(t *testing.T) { checkNLGEval(t, fixture(t, "nlg_eval.json")) }

func fixture(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// checkE2EExample scores the ten instances of e2e-metrics.
func checkE2EExample(t *testing.T, m *Meteor) {
	t.Helper()
	hyps, err := nlg.ReadLinesFile("testdata/e2e_example/baseline-output.txt")
	if err != nil {
		t.Fatal(err)
	}
	refs, err := nlg.ReadReferences("testdata/e2e_example/devel-conc.txt", "blocks", len(hyps))
	if err != nil {
		t.Fatal(err)
	}
	want := decode[oracleScores](t, fixture(t, "e2e_example/expected.json"))
	tokHyps, tokRefs, err := ptbCorpus(hyps, refs, PTB2025)
	if err != nil {
		t.Fatal(err)
	}
	if n := want.check(t, "example", hyps, refs, tokHyps, tokRefs, m); n < 14 {
		t.Errorf("%d numbers compared, want 14 at least", n)
	}
}

func TestE2EExample(t *testing.T) { checkE2EExample(t, nil) }

// checkSacreVectors runs sacreBLEU's own cases of chrF and TER.
func checkSacreVectors(t *testing.T, data []byte) {
	t.Helper()
	all := decode[map[string]json.RawMessage](t, data)
	cases := func(name string, each func(f []json.RawMessage)) {
		list := decode[[][]json.RawMessage](t, all[name])
		if len(list) == 0 {
			t.Errorf("%s: no cases", name)
		}
		for _, f := range list {
			each(f)
		}
	}
	const chrfEpsilon, terEpsilon = 1e-4, 1e-3 // those of the original tests
	single := func(refs []string) [][]string {
		out := make([][]string, len(refs))
		for i := range refs {
			out[i] = refs[i : i+1]
		}
		return out
	}
	cases("test_chrf.test_sentence_level_chrf", func(f []json.RawMessage) {
		got, err := CHRF([]string{decode[string](t, f[0])}, [][]string{decode[[]string](t, f[1])}, CHRFOptions{EpsSmoothing: true})
		checkValue(t, string(f[0]), got, err, decode[float64](t, f[2]), chrfEpsilon)
	})
	for name, o := range map[string]CHRFOptions{
		"test_chrf.test_cases":                 {Beta: 3, EpsSmoothing: true},
		"test_chrf.test_cases_effective_order": {Beta: 3},
		"test_chrf.test_cases_keep_whitespace": {Beta: 3, Whitespace: true},
	} {
		cases(name, func(f []json.RawMessage) {
			got, err := CHRF(decode[[]string](t, f[0]), single(decode[[]string](t, f[1])), o)
			checkValue(t, name+string(f[0]), got, err, decode[float64](t, f[2]), chrfEpsilon)
		})
	}
	cases("test_ter.test_cases", func(f []json.RawMessage) {
		got, err := TER(decode[[]string](t, f[0]), single(decode[[]string](t, f[1])), TEROptions{})
		checkValue(t, string(f[0]), got, err, 100*decode[float64](t, f[2]), 100*terEpsilon)
	})
	for name, o := range map[string]TEROptions{
		"test_cases_default":  {CaseSensitive: true},
		"test_cases_no_punct": {CaseSensitive: true, NoPunct: true},
		"test_cases_norm":     {CaseSensitive: true, Normalized: true},
		"test_cases_asian":    {CaseSensitive: true, Normalized: true, Asian: true},
	} {
		cases("test_tokenizer_ter."+name, func(f []json.RawMessage) {
			if got, want := strings.Join(o.tokens(decode[string](t, f[0])), " "), decode[string](t, f[1]); got != want {
				t.Errorf("%s: %q becomes %q, want %q", name, f[0], got, want)
			}
		})
	}
}

func TestSacreBLEUChrfAndTER(t *testing.T) {
	checkSacreVectors(t, fixture(t, "sacrebleu_chrf_ter.json"))
}

// everyMetric are the metrics that need no tables, with the score of a text equal
// to its references; NaN: it depends on the text.
func everyMetric() map[string]func([]string, [][]string) (Score, error) {
	coco := func(k int) func([]string, [][]string) (Score, error) {
		return func(h []string, r [][]string) (Score, error) {
			all, err := CocoBLEU(h, r)
			return all[k], err
		}
	}
	m := &Meteor{tables: &meteorTables{functionWords: map[string]bool{"the": true}}, use: [meteorStages]bool{true, true, false, false}}
	return map[string]func([]string, [][]string) (Score, error){
		"mteval bleu": MTEvalBLEU, "pymteval bleu": PymtevalBLEU, "mteval nist": MTEvalNIST, "pymteval nist": PymtevalNIST,
		"multi-bleu":       func(h []string, r [][]string) (Score, error) { return MultiBLEU(h, r, true) },
		"multi-bleu-detok": func(h []string, r [][]string) (Score, error) { return MultiBLEUDetok(h, r, false) },
		"coco bleu-1":      coco(0), "coco bleu-4": coco(3), "rouge-l": RougeL, "cider": CIDEr, "meteor": m.Score,
		"tercom": Tercom, "pyter": PyTER,
		"ter":       func(h []string, r [][]string) (Score, error) { return TER(h, r, TEROptions{}) },
		"chrf++":    func(h []string, r [][]string) (Score, error) { return CHRF(h, r, CHRFOptions{WordOrder: 2}) },
		"sacrebleu": func(h []string, r [][]string) (Score, error) { return scoreBLEU(h, r, BLEUOptions{}) },
	}
}

// text draws a text of the words that make matches and shifts likely.
func text(low, high int) *rapid.Generator[string] {
	words := rapid.SampledFrom(strings.Fields("the a dog dogs bit bites man , . it's 20-25 £20 near The café n't well-known"))
	return rapid.Custom(func(t *rapid.T) string { return strings.Join(rapid.SliceOfN(words, low, high).Draw(t, "words"), " ") })
}

// same is the agreement of two sums of the same numbers in another order.
const same = 1e-9

// TestMetricProperties draws corpora and checks what holds for every metric.
func TestMetricProperties(t *testing.T) {
	// The maximum of those that have one; NIST and CIDEr depend on the corpus.
	perfect := map[string]float64{"mteval bleu": 1, "pymteval bleu": 1, "multi-bleu": 100, "multi-bleu-detok": 100, "coco bleu-1": 1, "coco bleu-4": 1,
		"rouge-l": 1, "meteor": 1, "tercom": 0, "pyter": 0, "ter": 0, "chrf++": 100, "sacrebleu": 100}
	for name, score := range everyMetric() {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				n := rapid.IntRange(1, 4).Draw(t, "segments")
				var hyps []string
				var refs, perfectRefs [][]string
				for range n {
					hyp := text(4, 12).Draw(t, "hyp")
					hyps = append(hyps, hyp)
					list := rapid.SliceOfN(text(1, 12), 1, 3).Draw(t, "refs")
					refs = append(refs, list)
					perfectRefs = append(perfectRefs, append(slices.Clone(list), hyp))
				}
				value := func(hyps []string, refs [][]string) []float64 {
					s, err := score(hyps, refs)
					if err != nil {
						t.Fatal(err)
					}
					if math.IsNaN(s.Value) || math.IsInf(s.Value, 0) {
						t.Fatalf("score is %g", s.Value)
					}
					if got := len(s.Segments()); got != n {
						t.Fatalf("%d segments, want %d", got, n)
					}
					// Of references with equal scores METEOR and chrF take the first,
					// whose statistics may differ: only the segments stay the same.
					if name == "meteor" || name == "chrf++" {
						return s.Segments()
					}
					return []float64{s.Value}
				}
				close := func(a, b []float64) bool {
					return slices.EqualFunc(a, b, func(x, y float64) bool { return math.Abs(x-y) <= same })
				}
				got := value(hyps, refs)
				if want, ok := perfect[name]; ok {
					for _, v := range value(hyps, perfectRefs) {
						if math.Abs(v-want) > 1e-6 {
							t.Fatalf("texts equal to a reference score %.12g, want %g", v, want)
						}
					}
				}
				reversed, doubled := make([][]string, n), make([][]string, n)
				for i, list := range refs {
					reversed[i] = slices.Clone(list)
					slices.Reverse(reversed[i])
					doubled[i] = append(slices.Clone(list), list...)
				}
				if v := value(hyps, reversed); !close(v, got) {
					t.Fatalf("%.15g with the references in the other order, %.15g without", v, got)
				}
				if v := value(hyps, doubled); !close(v, got) {
					t.Fatalf("%.15g with every reference twice, %.15g once", v, got)
				}
			})
		})
	}
}

// TestScoresAnyThreads demands the same bits for any number of threads.
func TestScoresAnyThreads(t *testing.T) {
	defer kernels.SetThreads(0)
	hyps := strings.Split("the dog bit the man .|a man bit the dogs near it|it's a well-known dog , the man|dog", "|")
	refs := [][]string{{"the dog had bitten the man .", "a dog bit him"}, {"the dogs bit a man near it"}, {"the man , it's a well-known dog"}, {"a cat"}}
	for name, score := range everyMetric() {
		var want []float64
		for _, threads := range []int{1, 2, 3, 7} {
			kernels.SetThreads(threads)
			s, err := score(hyps, refs)
			if err != nil {
				t.Fatal(err)
			}
			i, err := s.Bootstrap(50, 1)
			if err != nil {
				t.Fatal(err)
			}
			got := append(s.Segments(), s.Value, i.Mean, i.Low, i.High)
			if want == nil {
				want = got
			} else if !slices.Equal(got, want) {
				t.Errorf("%s: %d threads give %v, one gives %v", name, threads, got, want)
			}
		}
	}
}

func TestMetricsReject(t *testing.T) {
	for name, score := range everyMetric() {
		for _, tc := range []struct {
			hyps []string
			refs [][]string
			want string
		}{
			{nil, nil, "no segments"},
			{[]string{"a"}, nil, "1 hypotheses, references for 0 segments"},
			{[]string{"a", "b"}, [][]string{{"a"}, {}}, "segment 2 has no reference"},
		} {
			if _, err := score(tc.hyps, tc.refs); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s: error %v, want %q", name, err, tc.want)
			}
		}
	}
}

func TestResampling(t *testing.T) {
	hyps, others := make([]string, 40), make([]string, 40)
	refs := make([][]string, 40)
	for i := range hyps {
		hyps[i], others[i] = fmt.Sprintf("the dog %d bit the man", i), fmt.Sprintf("a dog %d bit", i)
		refs[i] = []string{fmt.Sprintf("the dog %d bit the man", i)}
	}
	good, err := RougeL(hyps, refs)
	if err != nil {
		t.Fatal(err)
	}
	bad, err := RougeL(others, refs)
	if err != nil {
		t.Fatal(err)
	}
	c, err := Compare(good, bad, 200, 1)
	if err != nil {
		t.Fatal(err)
	}
	if c.PBootstrap > 0.01 || c.PRandomization > 0.01 || c.Difference <= 0 || c.System.Low < c.Baseline.High {
		t.Errorf("a clear difference: %+v", c)
	}
	again, err := Compare(good, bad, 200, 1)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(c, again); d != "" {
		t.Errorf("the same seed gives another result: %s", d)
	}
	none, err := Compare(good, good, 200, 1)
	if err != nil {
		t.Fatal(err)
	}
	if none.PBootstrap != 1 || none.PRandomization != 1 || none.Difference != 0 {
		t.Errorf("a system beside itself: %+v", none)
	}
	if _, err := good.Bootstrap(1, 1); err == nil || !strings.Contains(err.Error(), "1 resamples, outside 2 to 1000000") {
		t.Errorf("one resample: %v", err)
	}
}
