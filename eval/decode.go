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

	"github.com/spdfctl/spdfctl/kernels"
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

// Limits bounds one generated text.
type Limits struct {
	MaxTokens int     // generated at most; the context may end earlier
	Stop      []int32 // ids that end the text and are not part of it
}

// Generate continues prompt and returns the new tokens. Text number index
// draws from its own random stream, so that many prompts may run in any order.
// emit, if not nil, is called with each token as it is chosen.
func Generate(ctx context.Context, m *gpt.Model, prompt []int32, index int, s Sampling, l Limits, emit func(id int32)) ([]int32, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	d := m.NewDecoder()
	logits, err := d.Prefill(prompt)
	if err != nil {
		return nil, err
	}
	pick := newPicker(s, index)
	var out []int32
	for len(out) < l.MaxTokens {
		if err := ctx.Err(); err != nil {
			return out, err
		}
		id, err := pick.next(logits)
		if err != nil {
			return out, err
		}
		if slices.Contains(l.Stop, id) {
			break
		}
		out = append(out, id)
		if emit != nil {
			emit(id)
		}
		if d.Len() >= m.Config.NCtx || len(out) == l.MaxTokens {
			break
		}
		if logits, err = d.Next(id); err != nil {
			return out, err
		}
	}
	return out, nil
}

// GenerateAll continues many prompts, one worker each, and returns the texts
// in the order of the prompts. done, if not nil, is called after each.
func GenerateAll(ctx context.Context, m *gpt.Model, prompts [][]int32, s Sampling, l Limits, done func()) ([][]int32, error) {
	out := make([][]int32, len(prompts))
	errs := make([]error, len(prompts))
	kernels.Parallel(len(prompts), func(i int) {
		if errs[i] = ctx.Err(); errs[i] != nil {
			return
		}
		out[i], errs[i] = Generate(ctx, m, prompts[i], i, s, l, nil)
		if done != nil {
			done()
		}
	})
	for i, err := range errs {
		if err != nil {
			return nil, fmt.Errorf("eval: prompt %d: %w", i+1, err)
		}
	}
	return out, nil
}

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
		if math.IsNaN(float64(x)) {
			return 0, fmt.Errorf("eval: the logit of token %d is not a number", i)
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
