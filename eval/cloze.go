package eval

import (
	"context"
	"fmt"
	"math"

	"github.com/spdfctl/spdfctl/kernels"
	"github.com/spdfctl/spdfctl/train/gpt"
)

// Cloze is a passage whose end is to be predicted, as tokens.
type Cloze struct{ Context, Target []int32 }

// ClozeScore is how well a model ends one passage.
type ClozeScore struct {
	Correct bool    `json:"correct"` // every token of the target is the likeliest
	LogProb float64 `json:"logprob"` // of the whole target, in nats
	Tokens  int     `json:"tokens"`  // of the target
	Cut     int     `json:"cut"`     // tokens of the context left out in front
}

// clozeBatch is the number of passages of a step.
const clozeBatch = 16

// MeasureCloze predicts the end of every passage from its context. A context that
// does not fit with its target loses its first tokens. The scores do not depend on
// the other passages or the number of threads. progress, if not nil, is told the
// passages done.
//
// Source: the last-word accuracy of LAMBADA as in EleutherAI's evaluation harness,
// task lambada_openai.
func MeasureCloze(ctx context.Context, m *gpt.Model, passages []Cloze, progress func(done int)) ([]ClozeScore, error) {
	scores := make([]ClozeScore, len(passages))
	for i, p := range passages {
		if len(p.Context) == 0 || len(p.Target) == 0 || len(p.Target) > m.Config.NCtx {
			return nil, fmt.Errorf("eval: passage %d: context of %d tokens and target of %d, the model takes %d", i+1, len(p.Context), len(p.Target), m.Config.NCtx)
		}
		// The last token of the target need not be seen.
		scores[i] = ClozeScore{Correct: true, Tokens: len(p.Target), Cut: max(0, len(p.Context)+len(p.Target)-1-m.Config.NCtx)}
	}
	d := m.NewBatchDecoder()
	d.Interrupt(ctx.Err)
	for lo := 0; lo < len(passages); lo += clozeBatch {
		hi := min(len(passages), lo+clozeBatch)
		if err := clozeStep(d, m.Config.VocabSize, passages[lo:hi], scores[lo:hi]); err != nil {
			return nil, fmt.Errorf("eval: passages %d to %d: %w", lo+1, hi, err)
		}
		if progress != nil {
			progress(hi)
		}
	}
	return scores, nil
}

// clozeStep scores passages side by side, token by token of their targets.
func clozeStep(d *gpt.BatchDecoder, v int, passages []Cloze, scores []ClozeScore) error {
	texts := make([]*gpt.Text, len(passages))
	for i := range texts {
		texts[i] = d.NewText()
		defer texts[i].Release()
	}
	for at := 0; ; at++ { // of the target
		var inputs []gpt.Input
		var of []int
		for i, p := range passages {
			switch {
			case at >= len(p.Target):
				continue
			case at == 0:
				inputs = append(inputs, gpt.Input{Text: texts[i], IDs: p.Context[scores[i].Cut:]})
			default:
				inputs = append(inputs, gpt.Input{Text: texts[i], IDs: p.Target[at-1 : at]})
			}
			of = append(of, i)
		}
		if len(inputs) == 0 {
			return nil
		}
		logits, err := d.Step(inputs)
		if err != nil {
			return err
		}
		for k, i := range of {
			row, want := logits[k*v:][:v], passages[i].Target[at]
			if want < 0 || int(want) >= v {
				return fmt.Errorf("token %d is outside the vocabulary of %d", want, v)
			}
			best := 0
			for id, x := range row {
				if x != x {
					return errNaN(id)
				}
				if x > row[best] {
					best = id
				}
			}
			scores[i].Correct = scores[i].Correct && best == int(want)
			scores[i].LogProb += float64(row[want]) - kernels.LogSumExp(row)
		}
	}
}

// ClozeResult is the summary of the scores of a set.
type ClozeResult struct {
	Accuracy   float64 `json:"accuracy"`   // passages whose end is predicted / all
	StdErr     float64 `json:"stderr"`     // of the accuracy
	Perplexity float64 `json:"perplexity"` // exp of the mean negative log-probability of an end
	Correct    int     `json:"correct"`
	Passages   int     `json:"passages"`
	Cut        int     `json:"cut"` // passages whose context did not fit
}

// Summarize counts what MeasureCloze found. It returns an error for no scores or
// a perplexity that is not a number.
func Summarize(scores []ClozeScore) (ClozeResult, error) {
	r := ClozeResult{Passages: len(scores)}
	sum := 0.0
	for _, s := range scores {
		if s.Correct {
			r.Correct++
		}
		if s.Cut > 0 {
			r.Cut++
		}
		sum += s.LogProb
	}
	if len(scores) == 0 {
		return r, fmt.Errorf("eval: no passages")
	}
	n := float64(len(scores))
	r.Accuracy = float64(r.Correct) / n
	if n > 1 {
		r.StdErr = math.Sqrt(r.Accuracy * (1 - r.Accuracy) / (n - 1))
	}
	if r.Perplexity = math.Exp(-sum / n); math.IsNaN(r.Perplexity) || math.IsInf(r.Perplexity, 0) {
		return r, fmt.Errorf("eval: the mean log-probability is %g, the perplexity %g", sum/n, r.Perplexity)
	}
	return r, nil
}
