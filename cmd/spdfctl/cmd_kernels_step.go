package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spdfctl/spdfctl/analysis"
	"github.com/spdfctl/spdfctl/kernels"
	"github.com/spdfctl/spdfctl/kernels/kerneltest"
	"github.com/spdfctl/spdfctl/masks"
	"github.com/spdfctl/spdfctl/train"
	"github.com/spdfctl/spdfctl/train/gpt"
	"github.com/spdfctl/spdfctl/train/optim"
)

// stepFlags are the flags of "kernels bench --step".
type stepFlags struct {
	model         string
	batch, seqLen int
	precision     kernels.Precision
}

// stepTiming is one line of "kernels bench --step --json".
type stepTiming struct {
	Model           string       `json:"model"`
	Sparsity        float64      `json:"sparsity"`
	Precision       string       `json:"precision"`
	Batch           int          `json:"batch"`
	SeqLen          int          `json:"seq_len"`
	TokensPerSecond float64      `json:"tokens_per_second"`
	GFLOPS          float64      `json:"gflops"`
	PercentOfPeak   float64      `json:"percent_of_peak"`
	PeakRSS         int64        `json:"peak_rss_bytes"`
	AllocsPerStep   float64      `json:"allocs_per_step"`
	Phases          []phaseTime  `json:"phases"`
	Kernels         []kernelTime `json:"kernels"`
}

// phaseTime is the time of one part of a step.
type phaseTime struct {
	Phase         string  `json:"phase"`
	Seconds       float64 `json:"seconds"`
	GFLOPS        float64 `json:"gflops"`
	PercentOfPeak float64 `json:"percent_of_peak"`
}

// Steps that are timed: at least stepsMin, then until stepBudget is spent.
const (
	stepsMin   = 3
	stepBudget = 3 * time.Second
)

func (a *app) benchSteps(ctx context.Context, flags stepFlags, sparsities []masks.Sparsity) error {
	c, err := gpt.ResolveConfig(flags.model)
	if err != nil {
		return withPresetHint(fmt.Errorf("kernels bench: %w", err))
	}
	switch {
	case flags.batch < 1:
		return usageErrorf("kernels bench: --batch %d is less than 1", flags.batch)
	case flags.seqLen == 0:
		flags.seqLen = min(defaultStepSeqLen, c.NCtx)
	case flags.seqLen < 1 || flags.seqLen > c.NCtx:
		return usageErrorf("kernels bench: --seq-len %d, the model has positions for %d", flags.seqLen, c.NCtx)
	}
	if err := flags.precision.Available(); err != nil {
		return fmt.Errorf("kernels bench: %w", err)
	}
	peak := kerneltest.Peak(kernels.Current(), benchBudget) / 1e9
	var steps []stepTiming
	p := a.startProgress("kernels bench", "sparsities", int64(len(sparsities)))
	for i, s := range sparsities {
		p.Set(int64(i), s.String())
		t, err := benchStep(ctx, c, flags, s, peak)
		if err != nil {
			return fmt.Errorf("kernels bench: %w", err)
		}
		steps = append(steps, t)
	}
	a.closeProgress()
	if a.json {
		return a.printJSON(map[string]any{
			"cpu": cpuName(), "kernel_set": kernels.Current().Name, "threads": kernels.Threads(),
			"peak_gflops": round2(peak), "steps": steps,
		})
	}
	return a.printSteps(peak, steps)
}

// defaultStepSeqLen is the sequence of a step where none is asked for.
const defaultStepSeqLen = 256

// benchStep times training steps of one model at one sparsity: zeroing the
// gradients, forward, backward, norm, clipping, AdamW.
func benchStep(ctx context.Context, c gpt.Config, flags stepFlags, s masks.Sparsity, peak float64) (stepTiming, error) {
	debug.FreeOSMemory() // what an earlier sparsity left
	resetPeakRSS()
	var set *masks.Set
	var err error
	if s.Float64() > 0 {
		if set, err = masks.Random(gpt.MaskTargets(c), s, 1); err != nil {
			return stepTiming{}, err
		}
	}
	flops, err := analysis.TrainingFLOPs(c, flags.seqLen, set)
	if err != nil {
		return stepTiming{}, err
	}
	flops *= float64(flags.batch)
	m, err := gpt.New(c, set)
	if err != nil {
		return stepTiming{}, err
	}
	m.SetPrecision(flags.precision)
	m.Init(1)
	m.ZeroGrad()
	var params []optim.Tensor
	for _, p := range m.Params {
		params = append(params, optim.Tensor{Name: p.Name, W: p.W, Grad: p.Grad, Decay: p.Decay})
	}
	opt := optim.NewAdamW(params, train.Defaults().AdamWConfig)
	tokens := flags.batch * flags.seqLen
	ids := make([]int32, tokens)
	for i := range ids {
		ids[i] = int32(i * 7919 % c.VocabSize)
	}
	forward := func() error {
		_, _, err := m.Loss(ids, ids, flags.batch, flags.seqLen)
		return err
	}
	passes := func() error {
		m.ZeroGrad()
		_, _, err := m.LossAndGrad(ids, ids, flags.batch, flags.seqLen, 1/float32(tokens))
		return err
	}
	update := func() {
		norm := optim.GradNorm(params)
		optim.Clip(params, norm, 1)
		opt.Update(1e-4)
	}
	// Long enough that none grows while allocations are counted.
	whole, passed := make([]time.Duration, 0, 1<<16), make([]time.Duration, 0, 1<<16)
	var fore []time.Duration
	var before, after runtime.MemStats
	for i, start := 0, time.Now(); len(whole) < stepsMin || time.Since(start) < stepBudget; i++ {
		if err := ctx.Err(); err != nil {
			return stepTiming{}, err
		}
		begin := time.Now()
		if err := passes(); err != nil {
			return stepTiming{}, err
		}
		middle := time.Now()
		update()
		if i == 0 { // it plans the buffers
			start = time.Now()
			runtime.ReadMemStats(&before)
			continue
		}
		passed = append(passed, middle.Sub(begin))
		whole = append(whole, time.Since(begin))
	}
	runtime.ReadMemStats(&after)
	for range stepsMin {
		begin := time.Now()
		if err := forward(); err != nil {
			return stepTiming{}, err
		}
		fore = append(fore, time.Since(begin))
	}
	t := stepTiming{
		Model: flags.model, Sparsity: s.Float64(), Precision: flags.precision.String(), Batch: flags.batch, SeqLen: flags.seqLen,
		PeakRSS:       peakRSS(),
		AllocsPerStep: float64((after.Mallocs - before.Mallocs) / uint64(len(whole))),
	}
	step, both, first := medianSeconds(whole), medianSeconds(passed), medianSeconds(fore)
	t.TokensPerSecond = round2(float64(tokens) / step)
	rate := func(flops, seconds float64) (gflops, percent float64) {
		gflops = flops / seconds / 1e9
		return round2(gflops), round2(100 * gflops / peak)
	}
	t.GFLOPS, t.PercentOfPeak = rate(flops, step)
	for _, p := range []struct {
		name           string
		flops, seconds float64
	}{{"forward", flops / 3, first}, {"backward", flops * 2 / 3, both - first}, {"update", 0, step - both}} {
		gflops, percent := rate(p.flops, p.seconds)
		t.Phases = append(t.Phases, phaseTime{p.name, p.seconds, gflops, percent})
	}
	t.Kernels, err = profileKernels(func() error {
		for start := time.Now(); time.Since(start) < stepBudget/3; {
			if err := passes(); err != nil {
				return err
			}
			update()
		}
		return nil
	})
	return t, err
}

// medianSeconds returns the median of times, which it sorts.
func medianSeconds(times []time.Duration) float64 {
	slices.Sort(times)
	return times[len(times)/2].Seconds()
}

// profileRows is how many kernels a table shows; the rest takes little.
const profileRows = 12

func (a *app) printSteps(peak float64, steps []stepTiming) error {
	fmt.Fprintf(a.stdout, "cpu: %s; set: %s; threads: %d; peak: %.1f GFLOP/s; 1 multiply-add = 2 FLOPs, pruned weights not counted\n\n",
		cpuName(), kernels.Current().Name, kernels.Threads(), peak)
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "MODEL\tBATCH\tSPARSITY\tPRECISION\tTOKENS/S\tGFLOP/S\tOF PEAK\tPEAK RSS\tALLOCS/STEP")
	for _, t := range steps {
		fmt.Fprintf(w, "%s\t%d×%d\t%g\t%s\t%.0f\t%.1f\t%.0f %%\t%s\t%.0f\n", t.Model, t.Batch, t.SeqLen, t.Sparsity, t.Precision,
			t.TokensPerSecond, t.GFLOPS, t.PercentOfPeak, shortBytes(t.PeakRSS), t.AllocsPerStep)
	}
	for _, t := range steps {
		fmt.Fprintf(w, "\nsparsity %g\tSECONDS\tGFLOP/S\tOF PEAK\n", t.Sparsity)
		for _, p := range t.Phases {
			fmt.Fprintf(w, "%s\t%.3f\t%.1f\t%.0f %%\n", p.Phase, p.Seconds, p.GFLOPS, p.PercentOfPeak)
		}
		fmt.Fprintf(w, "\nsparsity %g\tCPU SECONDS\tSHARE\n", t.Sparsity)
		for _, k := range t.Kernels[:min(profileRows, len(t.Kernels))] {
			fmt.Fprintf(w, "%s\t%.2f\t%.1f %%\n", k.Kernel, k.Seconds, k.Percent)
		}
	}
	return w.Flush()
}
