package metrics

import (
	"math"
	"testing"
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
