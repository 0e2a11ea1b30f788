package eval

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/spdfctl/spdfctl/train/gpt"
)

// Sampling says how the next token is chosen from the logits. The zero value
// is greedy: the token of the largest logit, the smallest id among equals.
type Sampling struct {
	Temperature float64 // 0: greedy
	TopK        int     // keep the k most likely tokens; 0: all
	TopP        float64 // keep the smallest set whose probability reaches p; 0 or 1: all
	Seed        uint64
}

// Validate reports a setting outside its range.
func (s Sampling) Validate() error {
	switch {
	case !(s.Temperature >= 0 && s.Temperature <= 1e3):
		return fmt.Errorf("eval: temperature %g is outside [0, 1000]", s.Temperature)
	case s.TopK < 0:
		return fmt.Errorf("eval: top-k %d is negative", s.TopK)
	case !(s.TopP >= 0 && s.TopP <= 1):
		return fmt.Errorf("eval: top-p %g is outside [0, 1]", s.TopP)
	}
	return nil
}

// Search says how texts are made: by beam search if Beam.Width is above 1,
// otherwise by Sampling, which greedy decoding is a case of.
type Search struct {
	Sampling
	Beam
	Limits
}

// Validate reports a setting outside its range, or settings that exclude each other.
func (s Search) Validate() error {
	if err := s.Sampling.Validate(); err != nil {
		return err
	}
	if err := s.Beam.Validate(); err != nil {
		return err
	}
	if s.Width > 1 && s.Temperature > 0 {
		return fmt.Errorf("eval: beam of %d with temperature %g: a beam search does not sample", s.Width, s.Temperature)
	}
	return s.Limits.Validate()
}

// String names the choices, as a signature does:
//
//	beam:10|penalty:0.8-hf|rules:lora|ngram:4|min:0|max:64
func (s Search) String() string {
	b := s.Beam.withDefaults()
	how := "greedy"
	switch {
	case b.Width > 1:
		how = fmt.Sprintf("beam:%d|penalty:%g-%s|rules:%s", b.Width, b.LengthPenalty, b.Convention, b.Rules)
		if b.Rules == RulesHF {
			how += "|early:" + b.EarlyStopping
		}
	case s.Temperature > 0:
		how = fmt.Sprintf("sample|t:%g|k:%d|p:%g|seed:%d", s.Temperature, s.TopK, s.TopP, s.Seed)
	}
	return fmt.Sprintf("%s|ngram:%d|min:%d|max:%d", how, s.NoRepeatNGram, s.MinTokens, s.MaxTokens)
}

// seen is the part of a prompt whose n-grams count as repeated.
func (s Search) seen(prompt []int32) []int32 {
	if s.Rules == RulesLoRA {
		return nil
	}
	return prompt
}

// Text is a generated text without its stop token.
type Text struct {
	IDs   []int32
	Score float64 // penalised log-probability of a beam search, otherwise 0
}

// Generate continues prompt without a beam and returns the new tokens. Text number
// index draws from its own random stream, so that many prompts may run in any
// order. emit, if not nil, is called with each token as it is chosen.
func Generate(ctx context.Context, m *gpt.Model, prompt []int32, index int, s Search, emit func(id int32)) ([]int32, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	d := m.NewDecoder()
	d.Interrupt(ctx.Err)
	logits, err := d.Prefill(prompt)
	if err != nil {
		return nil, err
	}
	w := newWriter(s, prompt, index, m.Config.NCtx)
	for {
		if err := ctx.Err(); err != nil {
			return w.out, err
		}
		id, kept, err := w.next(logits)
		if err != nil || !kept {
			return w.out, err
		}
		if emit != nil {
			emit(id)
		}
		if w.full() {
			return w.out, nil
		}
		if logits, err = d.Next(id); err != nil {
			return w.out, err
		}
	}
}

// writer makes one text by sampling.
type writer struct {
	s      Search
	pick   *picker
	prompt []int32
	max    int // tokens at most
	out    []int32
}

func newWriter(s Search, prompt []int32, index, ctx int) *writer {
	return &writer{s: s, pick: newPicker(s.Sampling, index), prompt: s.seen(prompt), max: longest(s.Limits, prompt, ctx)}
}

// longest is the number of tokens that may follow a prompt: the last one need not
// be seen by the model.
func longest(l Limits, prompt []int32, ctx int) int { return min(l.MaxTokens, ctx-len(prompt)+1) }

// next chooses a token from logits, which it changes, and says whether the text
// got it or ends before it.
func (w *writer) next(logits []float32) (id int32, kept bool, err error) {
	w.s.ban(logits, w.prompt, w.out)
	if id, err = w.pick.next(logits); err != nil || slices.Contains(w.s.Stop, id) {
		return id, false, err
	}
	w.out = append(w.out, id)
	return id, true, nil
}

// full reports whether the text may not become longer.
func (w *writer) full() bool { return len(w.out) >= w.max }

// picker chooses tokens; it keeps its buffers between them.
type picker struct {
	s     Sampling
	rng   *rand.Rand
	order []int32
	prob  []float64
}

func newPicker(s Sampling, index int) *picker {
	h := sha256.Sum256(fmt.Appendf(nil, "spdf-sample-1\x00%d\x00%d", s.Seed, index))
	return &picker{s: s, rng: rand.New(rand.NewPCG(binary.LittleEndian.Uint64(h[:]), binary.LittleEndian.Uint64(h[8:])))}
}

// next returns the id chosen from logits.
func (p *picker) next(logits []float32) (int32, error) {
	best := 0
	for i, x := range logits {
		if x != x {
			return 0, errNaN(i)
		}
		if x > logits[best] {
			best = i
		}
	}
	if p.s.Temperature == 0 {
		return int32(best), nil
	}
	n := len(logits)
	p.order, p.prob = p.order[:0], p.prob[:0]
	for i := range n {
		p.order = append(p.order, int32(i))
	}
	// Without a cut the order does not matter, and sorting 50,257 ids per token would.
	if p.s.TopK > 0 || p.s.TopP > 0 && p.s.TopP < 1 {
		slices.SortFunc(p.order, func(a, b int32) int {
			return cmp.Or(cmp.Compare(logits[b], logits[a]), cmp.Compare(a, b))
		})
		if p.s.TopK > 0 {
			n = min(n, p.s.TopK)
		}
	}
	var sum float64
	for _, id := range p.order[:n] {
		e := math.Exp(float64(logits[id]-logits[best]) / p.s.Temperature)
		p.prob = append(p.prob, e)
		sum += e
	}
	if p.s.TopP > 0 && p.s.TopP < 1 {
		var head float64
		for i, e := range p.prob {
			if head += e; head >= p.s.TopP*sum {
				n, sum = i+1, head
				break
			}
		}
	}
	u := p.rng.Float64() * sum
	for i, e := range p.prob[:n] {
		if u -= e; u < 0 {
			return p.order[i], nil
		}
	}
	return p.order[n-1], nil
}
