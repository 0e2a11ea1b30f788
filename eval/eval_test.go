package eval_test

import (
	"context"
	"math"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/spdfctl/spdfctl/eval"
	"github.com/spdfctl/spdfctl/kernels"
	"github.com/spdfctl/spdfctl/train/gpt"
)

var config = gpt.Config{VocabSize: 13, NCtx: 8, NEmbd: 8, NLayer: 1, NHead: 2}.WithDefaults()

func newModel(t *testing.T) *gpt.Model {
	t.Helper()
	m, err := gpt.New(config, nil)
	if err != nil {
		t.Fatal(err)
	}
	m.Init(1)
	for _, p := range m.Params {
		for i := range p.W {
			p.W[i] *= 20 // off the uniform distribution
		}
	}
	return m
}

func text(n int) []int32 {
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32((i*i + 3) % config.VocabSize)
	}
	return ids
}

// negLogP returns the cross-entropy of ids[i] after ids[from:i].
func negLogP(t *testing.T, m *gpt.Model, ids []int32, from, i int) float64 {
	t.Helper()
	v := config.VocabSize
	logits := make([]float32, (i-from)*v)
	if err := m.Logits(logits, ids[from:i], 1, i-from); err != nil {
		t.Fatal(err)
	}
	last := logits[len(logits)-v:]
	var sum float64
	for _, x := range last {
		sum += math.Exp(float64(x - last[ids[i]]))
	}
	return math.Log(sum)
}

// TestPerplexityWindows computes every prediction by itself, from the context
// that the windowing gives it.
func TestPerplexityWindows(t *testing.T) {
	m := newModel(t)
	for _, c := range []struct{ n, window, stride int }{
		{30, 8, 8}, {30, 8, 4}, {30, 8, 1}, {30, 5, 3}, {2, 8, 8}, {9, 8, 8}, {10, 8, 8},
	} {
		ids := text(c.n)
		var want float64
		for i := 1; i < c.n; i++ {
			// The first window that reaches position i predicts it.
			start := 0
			for start+c.window < i {
				start += c.stride
			}
			want += negLogP(t, m, ids, start, i)
		}
		want /= float64(c.n - 1)
		last := 0
		p, each, err := eval.MeasurePerplexity(context.Background(), m, []eval.Document{{IDs: ids, Bytes: 100, Words: 20}},
			eval.Windows{Size: c.window, Stride: c.stride, BOS: -1}, func(done int) { last = done })
		if err != nil {
			t.Fatal(err)
		}
		if each[0] != p {
			t.Errorf("%+v: the only document has %+v, all have %+v", c, each[0], p)
		}
		if words := math.Exp(want * float64(c.n-1) / 20); math.Abs(p.WordPerplexity-words) > 1e-3*words {
			t.Errorf("%+v: perplexity per word is %g, want %g", c, p.WordPerplexity, words)
		}
		if bytes := math.Exp2(p.BitsPerByte); math.Abs(p.BytePerplexity-bytes) > 1e-9*bytes {
			t.Errorf("%+v: perplexity per byte is %g, %g bits per byte", c, p.BytePerplexity, p.BitsPerByte)
		}
		if p.Tokens != c.n-1 || last != c.n-1 {
			t.Errorf("%+v: %d tokens predicted, progress ends at %d, want %d", c, p.Tokens, last, c.n-1)
		}
		if math.Abs(p.Loss-want) > 1e-5*want {
			t.Errorf("%+v: loss is %g, want %g", c, p.Loss, want)
		}
		if bits := want * float64(c.n-1) / math.Ln2 / 100; math.Abs(p.BitsPerByte-bits) > 1e-5*bits || math.Abs(p.Perplexity-math.Exp(want)) > 1e-4*p.Perplexity {
			t.Errorf("%+v: %g bits per byte and perplexity %g, want %g and %g", c, p.BitsPerByte, p.Perplexity, bits, math.Exp(want))
		}
	}
}

// TestPerplexityDocuments demands that documents see nothing of each other, that a
// BOS predicts their first tokens, and that the total is the sum.
func TestPerplexityDocuments(t *testing.T) {
	m := newModel(t)
	const bos = 12
	ids := text(24)
	documents := []eval.Document{{IDs: ids[:11], Bytes: 30, Words: 6}, {IDs: ids[11:12], Bytes: 3, Words: 1}, {IDs: ids[12:], Bytes: 20}}
	for _, first := range []int32{-1, bos} {
		w := eval.Windows{Size: 8, Stride: 4, BOS: first}
		total, each, err := eval.MeasurePerplexity(context.Background(), m, documents, w, nil)
		if err != nil {
			t.Fatal(err)
		}
		var sum float64
		var tokens, bytes, words, counted int
		for i, d := range documents {
			alone, wantTokens := d.IDs, len(d.IDs)-1
			if first >= 0 {
				alone, wantTokens = append([]int32{bos}, d.IDs...), len(d.IDs)
			}
			if each[i].Tokens != wantTokens {
				t.Errorf("bos %d: document %d has %d tokens, want %d", first, i, each[i].Tokens, wantTokens)
			}
			if wantTokens == 0 {
				continue
			}
			p, _, err := eval.MeasurePerplexity(context.Background(), m, []eval.Document{{IDs: alone}}, eval.Windows{Size: 8, Stride: 4, BOS: -1}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if p.Loss != each[i].Loss {
				t.Errorf("bos %d: document %d has a loss of %g, by itself %g", first, i, each[i].Loss, p.Loss)
			}
			sum, tokens, bytes, words, counted = sum+p.Loss*float64(p.Tokens), tokens+p.Tokens, bytes+d.Bytes, words+d.Words, counted+1
		}
		if total.Tokens != tokens || total.Bytes != bytes || total.Words != words || total.Documents != counted || math.Abs(total.Loss-sum/float64(tokens)) > 1e-12 {
			t.Errorf("bos %d: total %+v, want %d tokens, %d bytes, %d words, %d documents, loss %g", first, total, tokens, bytes, words, counted, sum/float64(tokens))
		}
	}
}

// TestCloze compares with the losses of the whole passages.
func TestCloze(t *testing.T) {
	m := newModel(t)
	ids := text(40)
	var passages []eval.Cloze
	for i := range 20 {
		passages = append(passages, eval.Cloze{Context: ids[i : i+1+i%9], Target: ids[i+1+i%9:][:1+i%3]})
	}
	// One that the model is sure to end well: it is what greedy decoding says.
	greedy, err := eval.Generate(context.Background(), m, ids[:2], 0, eval.Search{Limits: eval.Limits{MaxTokens: 3}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	passages = append(passages, eval.Cloze{Context: ids[:2], Target: greedy})
	scores, err := eval.MeasureCloze(context.Background(), m, passages, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range passages {
		cut := max(0, len(p.Context)+len(p.Target)-1-config.NCtx)
		whole := append(slices.Clone(p.Context[cut:]), p.Target...)
		var want float64
		for k := range p.Target {
			want -= negLogP(t, m, whole, 0, len(whole)-len(p.Target)+k)
		}
		if s := scores[i]; math.Abs(s.LogProb-want) > 1e-6+1e-4*math.Abs(want) || s.Tokens != len(p.Target) || s.Cut != cut {
			t.Errorf("passage %d: %+v, want a log-probability of %g and %d tokens cut", i, s, want, cut)
		}
	}
	if !scores[20].Correct {
		t.Error("the greedy continuation is not the likeliest")
	}
	r, err := eval.Summarize(scores)
	if err != nil || r.Passages != 21 || r.Correct < 1 || r.Correct > 20 || r.Cut == 0 {
		t.Errorf("summary %+v, %v", r, err)
	}
	for _, p := range []eval.Cloze{{}, {Context: ids[:1]}, {Context: ids[:1], Target: make([]int32, 9)}, {Context: ids[:1], Target: []int32{99}}, {Context: []int32{99}, Target: ids[:1]}} {
		if _, err := eval.MeasureCloze(context.Background(), m, []eval.Cloze{p}, nil); err == nil {
			t.Errorf("passage %+v is accepted", p)
		}
	}
	if _, err := eval.Summarize(nil); err == nil {
		t.Error("no passages are summarised")
	}
}

func TestPerplexityRefuses(t *testing.T) {
	m := newModel(t)
	for name, c := range map[string]struct{ n, window, stride int }{
		"one token":    {1, 8, 8},
		"window":       {30, 9, 1},
		"stride":       {30, 8, 0},
		"wide stride":  {30, 4, 5},
		"small window": {30, 1, 1},
	} {
		if _, _, err := eval.MeasurePerplexity(context.Background(), m, []eval.Document{{IDs: text(c.n)}}, eval.Windows{Size: c.window, Stride: c.stride, BOS: -1}, nil); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, _, err := eval.MeasurePerplexity(context.Background(), m, []eval.Document{{IDs: []int32{1, 99, 2}}}, eval.Windows{Size: 8, Stride: 8, BOS: -1}, nil); err == nil {
		t.Error("a token outside the vocabulary is accepted")
	}
}

// TestGreedy follows the largest logit by hand.
func TestGreedy(t *testing.T) {
	m := newModel(t)
	prompt := []int32{3, 4}
	got, err := eval.Generate(context.Background(), m, prompt, 0, eval.Search{Limits: eval.Limits{MaxTokens: 100}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ids := slices.Clone(prompt)
	v := config.VocabSize
	for len(ids) <= config.NCtx {
		logits := make([]float32, len(ids)*v)
		if err := m.Logits(logits, ids, 1, len(ids)); err != nil {
			t.Fatal(err)
		}
		last := logits[len(logits)-v:]
		ids = append(ids, int32(slices.Index(last, slices.Max(last))))
	}
	if !slices.Equal(got, ids[2:]) {
		t.Errorf("greedy text is %v, want %v up to the end of the context", got, ids[2:])
	}
	stopped, err := eval.Generate(context.Background(), m, prompt, 0, eval.Search{Limits: eval.Limits{MaxTokens: 100, Stop: []int32{ids[4]}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := ids[2:][:slices.Index(ids[2:], ids[4])]; !slices.Equal(stopped, want) {
		t.Errorf("text with a stop is %v, want %v", stopped, want)
	}
	// A top-k of 1 leaves sampling no choice.
	sampled, err := eval.Generate(context.Background(), m, prompt, 0, eval.Search{Sampling: eval.Sampling{Temperature: 2, TopK: 1}, Limits: eval.Limits{MaxTokens: 100}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(sampled, got) {
		t.Errorf("top-k 1 gives %v, greedy %v", sampled, got)
	}
}

// TestSamplingFrequencies draws the token after one prompt many times and
// compares the counts with the softmax of its logits.
func TestSamplingFrequencies(t *testing.T) {
	m := newModel(t)
	prompt := []int32{5}
	v := config.VocabSize
	logits := make([]float32, v)
	if err := m.Logits(logits, prompt, 1, 1); err != nil {
		t.Fatal(err)
	}
	const temperature, topK, n = 1.5, 6, 4000
	order := make([]int, v)
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		if logits[a] > logits[b] {
			return -1
		}
		return 1
	})
	p := make([]float64, v)
	var sum float64
	for _, i := range order[:topK] {
		p[i] = math.Exp(float64(logits[i]) / temperature)
		sum += p[i]
	}
	prompts := make([][]int32, n)
	for i := range prompts {
		prompts[i] = prompt
	}
	s := eval.Search{Sampling: eval.Sampling{Temperature: temperature, TopK: topK, Seed: 3}, Limits: eval.Limits{MaxTokens: 1}}
	texts, err := eval.Decode(context.Background(), m, prompts, s, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	counts := make([]float64, v)
	for _, x := range texts {
		counts[x.IDs[0]]++
	}
	for i := range p {
		want := n * p[i] / sum
		// Five standard deviations of a binomial count.
		if math.Abs(counts[i]-want) > 5*math.Sqrt(want)+1e-9 {
			t.Errorf("token %d drawn %g times, want about %.1f", i, counts[i], want)
		}
	}
	again, err := eval.Decode(context.Background(), m, prompts, s, 7, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range again {
		if again[i].IDs[0] != texts[i].IDs[0] {
			t.Fatalf("text %d differs under the same seed", i)
		}
	}
}

func TestTopP(t *testing.T) {
	m := newModel(t)
	// So small a p leaves the likeliest token only.
	s := eval.Search{Sampling: eval.Sampling{Temperature: 1, TopP: 1e-9}, Limits: eval.Limits{MaxTokens: 5}}
	got, err := eval.Generate(context.Background(), m, []int32{5}, 0, s, nil)
	if err != nil {
		t.Fatal(err)
	}
	want, err := eval.Generate(context.Background(), m, []int32{5}, 0, eval.Search{Limits: eval.Limits{MaxTokens: 5}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		t.Errorf("top-p of 1e-9 gives %v, greedy %v", got, want)
	}
}

func TestSamplingValidate(t *testing.T) {
	for _, s := range []eval.Sampling{{Temperature: -1}, {Temperature: math.NaN()}, {TopK: -1}, {TopP: 1.1}, {TopP: math.NaN()}} {
		if s.Validate() == nil {
			t.Errorf("%+v is accepted", s)
		}
	}
}

// TestDecodeBatches decodes prompts of different lengths in batches of different
// sizes and on different numbers of threads: the texts must not depend on it, and
// without a beam are those of one text after another.
func TestDecodeBatches(t *testing.T) {
	defer kernels.SetThreads(0)
	m := newModel(t)
	prompts := [][]int32{{1, 2}, {3}, {4, 5, 6, 7}, {8, 8}, {9}, {2, 2, 2}, {1, 2, 3, 4, 5, 6, 7, 8}}
	limits := eval.Limits{MaxTokens: 6, MinTokens: 1, NoRepeatNGram: 3, Stop: []int32{0, 12}}
	for _, s := range []eval.Search{
		{Limits: limits},
		{Limits: limits, Sampling: eval.Sampling{Temperature: 1, TopK: 5, Seed: 4}},
		{Limits: limits, Beam: eval.Beam{Width: 4, LengthPenalty: 0.8}},
		{Limits: limits, Beam: eval.Beam{Width: 4, LengthPenalty: 0.8, Rules: eval.RulesLoRA, Convention: eval.PenaltyGNMT}},
	} {
		var want []eval.Text
		for _, batch := range []int{0, 1, 2, 5} {
			for threads := range 4 {
				kernels.SetThreads(threads)
				finished := 0
				got, err := eval.Decode(context.Background(), m, prompts, s, batch, func(n, tokens int) { finished = n })
				if err != nil {
					t.Fatal(err)
				}
				if finished != len(prompts) {
					t.Errorf("%s: progress ends at %d of %d", s, finished, len(prompts))
				}
				if want == nil {
					want = got
				}
				if d := gocmp.Diff(want, got); d != "" {
					t.Errorf("%s, batch %d, %d threads: -want +got:\n%s", s, batch, threads, d)
				}
			}
		}
		kernels.SetThreads(0)
		for i, p := range prompts {
			ids := want[i].IDs
			if len(ids) < 1 || len(ids) > 6 || len(p)+len(ids) > config.NCtx+1 || slices.Contains(ids, 0) || slices.Contains(ids, 12) {
				t.Errorf("%s: text %d is %v", s, i, ids)
			}
			if s.Width > 1 {
				continue
			}
			alone, err := eval.Generate(context.Background(), m, p, i, s, nil)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(alone, ids) {
				t.Errorf("%s: text %d alone is %v, in a batch %v", s, i, alone, ids)
			}
		}
	}
}

// TestNoRepeat looks for repeated n-grams in long texts of a model that likes them.
func TestNoRepeat(t *testing.T) {
	m, err := gpt.New(gpt.Config{VocabSize: 13, NCtx: 64, NEmbd: 8, NLayer: 1, NHead: 2}.WithDefaults(), nil)
	if err != nil {
		t.Fatal(err)
	}
	m.Init(1)
	prompt := []int32{1, 2, 3, 1, 2}
	for _, rules := range []string{eval.RulesHF, eval.RulesLoRA} {
		for _, width := range []int{1, 3} {
			s := eval.Search{Beam: eval.Beam{Width: width, Rules: rules}, Limits: eval.Limits{MaxTokens: 40, NoRepeatNGram: 2}}
			texts, err := eval.Decode(context.Background(), m, [][]int32{prompt}, s, 0, nil)
			if err != nil {
				t.Fatal(err)
			}
			ids := texts[0].IDs
			if len(ids) != 40 {
				t.Errorf("%s: %d tokens, want 40", s, len(ids))
			}
			if rules == eval.RulesHF {
				ids = append(slices.Clone(prompt[3:]), ids...)
			}
			seen := map[[2]int32]bool{}
			for i := 1; i < len(ids); i++ {
				pair := [2]int32{ids[i-1], ids[i]}
				if seen[pair] {
					t.Errorf("%s: %v twice in %v", s, pair, ids)
				}
				seen[pair] = true
			}
		}
	}
}

func TestSearchValidate(t *testing.T) {
	limits := eval.Limits{MaxTokens: 5}
	for name, s := range map[string]eval.Search{
		"no tokens":        {},
		"minimum":          {Limits: eval.Limits{MaxTokens: 5, MinTokens: 6}},
		"negative minimum": {Limits: eval.Limits{MaxTokens: 5, MinTokens: -1}},
		"n-gram":           {Limits: eval.Limits{MaxTokens: 5, NoRepeatNGram: -1}},
		"beam":             {Limits: limits, Beam: eval.Beam{Width: -1}},
		"penalty":          {Limits: limits, Beam: eval.Beam{LengthPenalty: math.NaN()}},
		"convention":       {Limits: limits, Beam: eval.Beam{Convention: "t5"}},
		"rules":            {Limits: limits, Beam: eval.Beam{Rules: "fairseq"}},
		"early stopping":   {Limits: limits, Beam: eval.Beam{EarlyStopping: "yes"}},
		"sampled beam":     {Limits: limits, Beam: eval.Beam{Width: 2}, Sampling: eval.Sampling{Temperature: 1}},
	} {
		if s.Validate() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for _, prompts := range [][][]int32{{{}}, {make([]int32, 9)}, {{1, 13}}} {
		if _, err := eval.Decode(context.Background(), newModel(t), prompts, eval.Search{Limits: limits}, 0, nil); err == nil {
			t.Errorf("prompts %v are accepted", prompts)
		}
	}
}
