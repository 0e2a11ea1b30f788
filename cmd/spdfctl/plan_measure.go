package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spdfctl/spdfctl/eval"
	"github.com/spdfctl/spdfctl/kernels"
	"github.com/spdfctl/spdfctl/masks"
	"github.com/spdfctl/spdfctl/train"
	"github.com/spdfctl/spdfctl/train/data"
	"github.com/spdfctl/spdfctl/train/gpt"
)

// trainJob is a training whose time is asked for.
type trainJob struct {
	model    gpt.Config
	spec     phaseSpec // what the ledger prices
	config   train.Config
	lora     *gpt.LoRA
	sparsity float64 // mean over the tokens
}

// probeTokens are the tokens of a measured step, where the micro batch has them.
const probeTokens = 2048

// probeSteps are the steps of a measured training: one that warms up, one that is
// timed. The head of a model of 50257 tokens makes each take seconds.
const probeSteps = 2

// sequences is the batch of a measured step.
func (j trainJob) sequences() int {
	n := max(1, probeTokens/j.config.SeqLen)
	if j.config.MicroBatchSize > 0 {
		n = min(n, j.config.MicroBatchSize)
	}
	return min(n, j.config.BatchSize)
}

// String tells jobs apart that take different time.
func (j trainJob) String() string {
	lora := ""
	if j.lora != nil {
		lora = fmt.Sprint(*j.lora)
	}
	return fmt.Sprintf("train %d×%d sparsity %g lora %s checkpointing %v dropout %g %s",
		j.sequences(), j.config.SeqLen, j.sparsity, lora, j.config.Recompute, j.config.Dropout, j.config.Precision)
}

// probe times steps of a model of shape c and returns the seconds of a sequence.
func (j trainJob) probe(ctx context.Context, c gpt.Config) (float64, error) {
	m, err := probeModel(c, j.sparsity)
	if err != nil {
		return 0, err
	}
	if j.lora != nil {
		if err := m.AddLoRA(*j.lora, 0); err != nil {
			return 0, err
		}
	}
	cfg := train.Defaults()
	cfg.BatchSize, cfg.SeqLen, cfg.MaxSteps, cfg.WarmupSteps = j.sequences(), j.config.SeqLen, probeSteps, 0
	cfg.Recompute, cfg.Dropout, cfg.Precision = j.config.Recompute, j.config.Dropout, j.config.Precision
	source, err := data.NewWindows(idStream(c.VocabSize), cfg.SeqLen, 0)
	if err != nil {
		return 0, err
	}
	e, err := (&train.Run{Config: cfg, Model: m, Train: source}).Estimate(ctx)
	return e.StepSeconds / float64(cfg.BatchSize), err
}

// probeModel makes a model to time: only its shape and its masks matter.
func probeModel(c gpt.Config, sparsity float64) (*gpt.Model, error) {
	var set *masks.Set
	if sparsity > 0 {
		s, err := masks.ParseSparsity(strconv.FormatFloat(sparsity, 'f', 6, 64))
		if err != nil {
			return nil, err
		}
		if set, err = randomMask(c, s, 0); err != nil {
			return nil, err
		}
	}
	m, err := gpt.New(c, set)
	if err != nil {
		return nil, err
	}
	m.Init(0)
	return m, nil
}

// idStream is a long stream of ids below its value.
type idStream int

func (n idStream) Len() int { return 1 << 24 }

func (n idStream) Read(dst []int32, off int) error {
	for i := range dst {
		dst[i] = int32((off + i) * 7919 % int(n))
	}
	return nil
}

// lossJob is a set to predict whose time is asked for.
type lossJob struct {
	sparsity  float64
	length    int
	precision kernels.Precision
}

func (j lossJob) String() string {
	return fmt.Sprintf("loss of %d, sparsity %g, %s", j.length, j.sparsity, j.precision)
}

// probe times the validation of a batch by a model of shape c and returns the
// seconds of a sequence.
func (j lossJob) probe(ctx context.Context, c gpt.Config) (float64, error) {
	m, err := probeModel(c, j.sparsity)
	if err != nil {
		return 0, err
	}
	m.SetPrecision(j.precision)
	source, err := data.NewWindows(idStream(c.VocabSize), j.length, 0)
	if err != nil {
		return 0, err
	}
	r := &train.Run{Config: train.Defaults(), Model: m}
	r.Config.EvalSequences = max(1, min(r.Config.BatchSize, probeTokens/j.length))
	var took time.Duration
	for range 2 { // the first warms up
		start := time.Now()
		if _, _, err := r.LossOn(ctx, source); err != nil {
			return 0, err
		}
		took = time.Since(start)
	}
	return took.Seconds() / float64(r.Config.EvalSequences), nil
}

// decodeJob is a decoding whose time is asked for.
type decodeJob struct {
	sparsity float64
	search   eval.Search
	prompt   int
}

// A measured decoding has about probeRows rows and probeLength tokens.
const (
	probeRows   = 32
	probeLength = 8
)

func (j decodeJob) String() string {
	return fmt.Sprintf("decode after %d, sparsity %g, %s", j.prompt, j.sparsity, j.search)
}

// probe decodes a few texts with a model of shape c and returns the seconds of a
// token of a text, beams and prompt included.
func (j decodeJob) probe(ctx context.Context, c gpt.Config) (float64, error) {
	m, err := probeModel(c, j.sparsity)
	if err != nil {
		return 0, err
	}
	s := j.search
	s.MaxTokens = min(s.MaxTokens, probeLength, c.NCtx-j.prompt+1)
	s.MinTokens, s.Stop = min(s.MinTokens, s.MaxTokens), nil
	prompts := make([][]int32, max(1, probeRows/max(s.Width, 1)))
	for i := range prompts {
		prompts[i] = make([]int32, j.prompt)
		if err := idStream(c.VocabSize).Read(prompts[i], i*j.prompt); err != nil {
			return 0, err
		}
	}
	start := time.Now()
	if _, err := eval.Decode(ctx, m, prompts, s, 0, nil); err != nil {
		return 0, err
	}
	return time.Since(start).Seconds() / float64(len(prompts)*s.MaxTokens), nil
}
