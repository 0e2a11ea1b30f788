package eval

import (
	"encoding/json"
	"math"
	"os"
	"slices"
	"testing"
)

// scoreTolerance covers sums of a dozen logarithms in float32 against float64.
const scoreTolerance = 2e-6

// tableModel has logits that depend on the last two tokens.
type tableModel [][][]float32

// search runs a beam search over the table.
func (m tableModel) search(t *testing.T, b Beam, l Limits, prompt []int32) Text {
	t.Helper()
	s := newBeamSearch(b, l, prompt, l.MaxTokens)
	texts := [][]int32{prompt}
	for {
		var logits []float32
		for _, x := range texts {
			logits = append(logits, m[x[len(x)-2]][x[len(x)-1]]...)
		}
		parents, ids, err := s.advance(logits, len(m))
		if err != nil {
			t.Fatal(err)
		}
		if len(ids) == 0 {
			return s.result()
		}
		next := make([][]int32, len(ids))
		for i, p := range parents {
			next[i] = append(slices.Clone(texts[p]), ids[i])
		}
		texts = next
	}
}

// TestBeamLikePython runs the cases of testdata/beam.py, a second implementation of
// both rules.
func TestBeamLikePython(t *testing.T) {
	data, err := os.ReadFile("testdata/beam.json")
	if err != nil {
		t.Fatal(err)
	}
	var f struct {
		Table tableModel
		Cases []struct {
			Prompt, Stop, IDs        []int32
			Width, NGram, Min, Max   int
			LengthPenalty            float64 `json:"length_penalty"`
			Convention, Rules, Early string
			Score                    float64
		}
	}
	if err := json.Unmarshal(data, &f); err != nil {
		t.Fatal(err)
	}
	if len(f.Cases) < 100 {
		t.Fatalf("%d cases, want at least 100", len(f.Cases))
	}
	for i, c := range f.Cases {
		got := f.Table.search(t,
			Beam{Width: c.Width, LengthPenalty: c.LengthPenalty, Convention: c.Convention, Rules: c.Rules, EarlyStopping: c.Early},
			Limits{MaxTokens: c.Max, MinTokens: c.Min, Stop: c.Stop, NoRepeatNGram: c.NGram}, c.Prompt)
		if !slices.Equal(got.IDs, c.IDs) || math.Abs(got.Score-c.Score) > scoreTolerance*max(1, math.Abs(c.Score)) {
			t.Errorf("case %d, %s: %v with %g, want %v with %g", i, c.Rules, got.IDs, got.Score, c.IDs, c.Score)
		}
	}
}

// TestBeamExhaustive compares beams wide enough to hold every text with the best of
// all texts, listed one by one.
func TestBeamExhaustive(t *testing.T) {
	const v, longest = 4, 4
	m := tableModel{}
	x := uint64(1)
	for range v {
		var rows [][]float32
		for range v {
			row := make([]float32, v)
			for i := range row {
				x = x*6364136223846793005 + 1442695040888963407
				row[i] = float32(x>>40)/(1<<22) - 2
			}
			rows = append(rows, row)
		}
		m = append(m, rows)
	}
	prompt := []int32{1, 2}
	for _, rules := range []string{RulesHF, RulesLoRA} {
		for _, convention := range []string{PenaltyHF, PenaltyGNMT} {
			for _, penalty := range []float64{-1, 0, 0.8, 1, 2} {
				b := Beam{Width: 256, LengthPenalty: penalty, Convention: convention, Rules: rules, EarlyStopping: StopNever}
				var want Text
				want.Score = math.Inf(-1)
				var list func(ids []int32, logp float64)
				list = func(ids []int32, logp float64) {
					text := append(slices.Clone(prompt), ids...)
					row := m[text[len(text)-2]][text[len(text)-1]]
					var sum float64
					for _, l := range row {
						sum += math.Exp(float64(l))
					}
					for id, l := range row {
						p := logp + float64(l) - math.Log(sum)
						longer := append(slices.Clone(ids), int32(id))
						switch {
						case id == 0:
							longer = ids
						case len(longer) < longest:
							list(longer, p)
							continue
						}
						if s := b.score(p, len(ids)+1); s > want.Score {
							want = Text{longer, s}
						}
					}
				}
				list(nil, 0)
				got := m.search(t, b, Limits{MaxTokens: longest, Stop: []int32{0}}, prompt)
				if !slices.Equal(got.IDs, want.IDs) || math.Abs(got.Score-want.Score) > scoreTolerance*max(1, math.Abs(want.Score)) {
					t.Errorf("%s, %g by %s: %v with %g, the best of all is %v with %g", rules, penalty, convention, got.IDs, got.Score, want.IDs, want.Score)
				}
			}
		}
	}
}
