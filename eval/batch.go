package eval

import (
	"context"
	"fmt"

	"github.com/spdfctl/spdfctl/kernels"
	"github.com/spdfctl/spdfctl/train/gpt"
)

// batchRows is the number of texts of a step, beams counted, unless the caller
// says otherwise: enough for the arithmetic to outweigh the reading of the weights.
const batchRows = 256

// Decode continues many prompts, batch of them at a time (0: as many as make about
// 256 rows), stepped together with one cache; a prompt that is done makes room for
// the next. The texts depend neither on batch nor on the number of threads. done,
// if not nil, is called with the number of prompts finished and of tokens generated,
// those of all beams counted.
func Decode(ctx context.Context, m *gpt.Model, prompts [][]int32, s Search, batch int, done func(prompts, tokens int)) ([]Text, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	if batch < 0 {
		return nil, fmt.Errorf("eval: batch of %d prompts is negative", batch)
	}
	if batch == 0 {
		batch = max(1, batchRows/max(1, s.Width))
	}
	for i, p := range prompts {
		if len(p) == 0 || len(p) > m.Config.NCtx {
			return nil, fmt.Errorf("eval: prompt %d has %d tokens, the model takes 1 to %d", i+1, len(p), m.Config.NCtx)
		}
		for _, id := range p {
			if id < 0 || int(id) >= m.Config.VocabSize {
				return nil, fmt.Errorf("eval: prompt %d: token %d is outside the vocabulary of %d", i+1, id, m.Config.VocabSize)
			}
		}
	}
	out := make([]Text, len(prompts))
	d := m.NewBatchDecoder()
	d.Interrupt(ctx.Err)
	var active []*job
	next, finished, tokens := 0, 0, 0
	for finished < len(prompts) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		for len(active) < batch && next < len(prompts) {
			active = append(active, newJob(d, m, prompts[next], next, s))
			next++
		}
		var inputs []gpt.Input
		for _, j := range active {
			j.row = len(inputs)
			inputs = append(inputs, j.inputs...)
		}
		logits, err := d.Step(inputs)
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil:
			return nil, fmt.Errorf("eval: %w", err)
		}
		v := m.Config.VocabSize
		kernels.Parallel(len(active), func(i int) {
			j := active[i]
			j.err = j.advance(logits[j.row*v:][:len(j.inputs)*v], v)
		})
		going := active[:0]
		for _, j := range active {
			if j.err != nil {
				return nil, fmt.Errorf("eval: prompt %d: %w", j.index+1, j.err)
			}
			tokens += len(j.inputs)
			j.reorder()
			if len(j.ids) > 0 {
				going = append(going, j)
				continue
			}
			out[j.index] = j.text()
			finished++
		}
		active = going
		if done != nil {
			done(finished, tokens)
		}
	}
	return out, nil
}

// job is one prompt with its texts in the decoder.
type job struct {
	index   int
	beam    *beamSearch // nil: writer
	writer  *writer
	inputs  []gpt.Input // of the step, one per text
	row     int         // of the first input in the step
	parents []int       // of the next step's texts
	ids     []int32     // likewise
	err     error
}

func newJob(d *gpt.BatchDecoder, m *gpt.Model, prompt []int32, index int, s Search) *job {
	j := &job{index: index, inputs: []gpt.Input{{Text: d.NewText(), IDs: prompt}}}
	if s.Width > 1 {
		j.beam = newBeamSearch(s.Beam, s.Limits, prompt, longest(s.Limits, prompt, m.Config.NCtx))
	} else {
		j.writer = newWriter(s, prompt, index, m.Config.NCtx)
	}
	return j
}

// advance chooses the tokens of the next step.
func (j *job) advance(logits []float32, v int) (err error) {
	if j.beam != nil {
		j.parents, j.ids, err = j.beam.advance(logits, v)
		return err
	}
	id, kept, err := j.writer.next(logits)
	j.parents, j.ids = nil, nil
	if kept && !j.writer.full() {
		j.parents, j.ids = []int{0}, []int32{id}
	}
	return err
}

// reorder makes the inputs of the next step: a text that goes on as several is
// forked, one that does not is released.
func (j *job) reorder() {
	used := make([]bool, len(j.inputs))
	next := make([]gpt.Input, len(j.ids))
	for i, p := range j.parents {
		text := j.inputs[p].Text
		if used[p] {
			text = text.Fork()
		}
		used[p] = true
		next[i] = gpt.Input{Text: text, IDs: j.ids[i : i+1]}
	}
	for i, u := range used {
		if !u {
			j.inputs[i].Text.Release()
		}
	}
	j.inputs = next
}

func (j *job) text() Text {
	if j.beam != nil {
		return j.beam.result()
	}
	return Text{IDs: j.writer.out}
}
