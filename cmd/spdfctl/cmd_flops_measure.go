package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/spdfctl/spdfctl/analysis"
	"github.com/spdfctl/spdfctl/formats/maskfile"
	"github.com/spdfctl/spdfctl/kernels"
	"github.com/spdfctl/spdfctl/kernels/kerneltest"
	"github.com/spdfctl/spdfctl/masks"
	"github.com/spdfctl/spdfctl/train"
	"github.com/spdfctl/spdfctl/train/gpt"
	"github.com/spdfctl/spdfctl/train/optim"
)

// measureFlags are the flags of "flops measure".
type measureFlags struct {
	model, mask, sparsity, convention, format string
	batch, seqLen, steps                      int
	layers                                    bool
}

func newFlopsMeasureCmd(a *app) *cobra.Command {
	var flags measureFlags
	cmd := &cobra.Command{
		Use:   "measure --model MODEL",
		Short: "The ledger beside what the kernels counted and the clock said",
		Long: `Measure runs training steps and sets the ledger beside the multiply-adds that the
kernels counted while they ran, per kind of layer or, with --layers, per matrix:
theory, executed, issued (with padding), seconds and percent of this CPU's peak.
It then accounts for the difference step by step, from the ledger to the clock.

The counts of products with weights must equal the ledger exactly; if one does
not, the exit code is 3. Times are means over the steps after a first one.`,
		Example: `  spdfctl flops measure --model gpt2 --seq-len 256 --batch-size 2 --sparsity 0.75
  spdfctl flops measure --model runs/sparse --layers --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.flopsMeasure(cmd.Context(), flags) },
	}
	f := cmd.Flags()
	f.StringVar(&flags.model, "model", "", "preset name, config.json, run or checkpoint directory of a GPT-2")
	f.StringVar(&flags.sparsity, "sparsity", "0", "fraction of each sparsified matrix that is pruned, in [0, 1)")
	f.StringVar(&flags.mask, "mask", "", "mask file, instead of --sparsity (default: the run's own)")
	f.StringVar(&flags.convention, "convention", string(analysis.SPDF), "what the ledger counts")
	f.StringVar(&flags.format, "format", formatTable, "table, csv, markdown or json")
	f.IntVar(&flags.batch, "batch-size", 1, "sequences of a step")
	f.IntVar(&flags.seqLen, "seq-len", 0, "tokens of a sequence (0: 256, or the longest of the model)")
	f.IntVar(&flags.steps, "steps", 3, "steps to measure after the first")
	f.BoolVar(&flags.layers, "layers", false, "list every matrix instead of sums over the blocks")
	return cmd
}

// Bounds of a measurement.
const (
	maxMeasureSteps = 10_000
	maxMeasureBatch = 1 << 16
)

func (a *app) flopsMeasure(ctx context.Context, flags measureFlags) error {
	if err := a.checkFormat("flops measure", &flags.format); err != nil {
		return err
	}
	convention, err := analysis.ParseConvention(flags.convention)
	if err != nil {
		return &usageError{err: fmt.Errorf("flops measure: --convention: %w", err)}
	}
	switch {
	case flags.model == "":
		return usageErrorf("flops measure: --model is missing")
	case flags.batch < 1 || flags.batch > maxMeasureBatch:
		return usageErrorf("flops measure: --batch-size %d is outside 1 to %d", flags.batch, maxMeasureBatch)
	case flags.steps < 1 || flags.steps > maxMeasureSteps:
		return usageErrorf("flops measure: --steps %d is outside 1 to %d", flags.steps, maxMeasureSteps)
	}
	c, err := gpt.ResolveConfig(flags.model)
	if err != nil {
		return withPresetHint(fmt.Errorf("flops measure: %w", err))
	}
	if flags.seqLen == 0 {
		flags.seqLen = min(defaultStepSeqLen, c.NCtx)
	}
	if flags.seqLen < 1 || flags.seqLen > c.NCtx {
		return usageErrorf("flops measure: --seq-len %d, the model has positions for 1 to %d", flags.seqLen, c.NCtx)
	}
	set, err := measuredMasks(c, flags)
	if err != nil {
		return err
	}
	var kept analysis.Kept
	if set != nil {
		if kept, err = analysis.MaskKept(c, set); err != nil {
			return err
		}
	}
	peak := kerneltest.Peak(kernels.Current(), benchBudget)
	spent, err := measureSteps(ctx, c, set, flags)
	if err != nil {
		return fmt.Errorf("flops measure: %w", err)
	}
	m, err := analysis.Reconcile(analysis.ShapeOf(c), convention, flags.batch, flags.seqLen, kept, spent, peak)
	if err != nil {
		return err
	}
	if err := a.printMeasurement(flags, m); err != nil {
		return err
	}
	if !m.ProductsEqual {
		return differenceErrorf("flops measure: %s: the kernels' counts of the products are not the ledger's", flags.model)
	}
	return nil
}

// measuredMasks returns the masks that the flags name, or nil.
func measuredMasks(c gpt.Config, flags measureFlags) (*masks.Set, error) {
	s, err := parseSparsity("flops measure", flags.sparsity)
	if err != nil {
		return nil, err
	}
	path := flags.mask
	switch {
	case s.Float64() > 0 && path != "":
		return nil, usageErrorf("flops measure: --mask and --sparsity exclude each other")
	case s.Float64() > 0:
		return masks.Random(gpt.MaskTargets(c), s, 1)
	case path == "":
		path = ownMasks(flags.model)
	}
	if path == "" {
		return nil, nil
	}
	return maskfile.Read(path)
}

// groups are the ledger's names for the stages of a pass.
var groups = map[gpt.Stage]string{
	gpt.StageOther: analysis.GroupOther, gpt.StageQKV: analysis.GroupQKV, gpt.StageAttention: analysis.GroupAttention,
	gpt.StageProj: analysis.GroupProj, gpt.StageFC: analysis.GroupFC, gpt.StageOut: analysis.GroupOut, gpt.StageHead: analysis.GroupHead,
}

// stageClock divides time and counted work among the stages of a step.
type stageClock struct {
	spent map[analysis.Spent]*analysis.Spent // by group, block and pass
	now   *analysis.Spent
	since time.Time
	work  kernels.ExecutedWork
}

// enter ends one stage and begins the next.
func (c *stageClock) enter(group string, block int, backward bool) {
	at, work := time.Now(), kernels.Executed()
	if c.now != nil {
		c.now.Seconds += at.Sub(c.since).Seconds()
		for _, w := range [][2]kernels.Work{{work.Dense, c.work.Dense}, {work.Sparse, c.work.Sparse}, {work.Attention, c.work.Attention}} {
			c.now.Useful += w[0].Useful - w[1].Useful
			c.now.Issued += w[0].Issued - w[1].Issued
		}
	}
	key := analysis.Spent{Group: group, Layer: block, Backward: backward}
	if c.spent[key] == nil {
		x := key
		c.spent[key] = &x
	}
	c.now, c.since, c.work = c.spent[key], at, work
}

// measureSteps runs training steps and returns the mean of what each did.
func measureSteps(ctx context.Context, c gpt.Config, set *masks.Set, flags measureFlags) ([]analysis.Spent, error) {
	m, err := gpt.New(c, set)
	if err != nil {
		return nil, err
	}
	m.Init(1)
	m.ZeroGrad()
	var params []optim.Tensor
	for _, p := range m.Params {
		params = append(params, optim.Tensor{Name: p.Name, W: p.W, Grad: p.Grad, Decay: p.Decay})
	}
	opt := optim.NewAdamW(params, train.Defaults().AdamWConfig)
	ids := make([]int32, flags.batch*flags.seqLen)
	for i := range ids {
		ids[i] = int32(i * 7919 % c.VocabSize)
	}
	var clock stageClock
	m.Observe(func(s gpt.Stage, block int, backward bool) { clock.enter(groups[s], block, backward) })
	for step := range flags.steps + 1 {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if step < 2 { // the first step plans the buffers and is forgotten
			clock = stageClock{spent: map[analysis.Spent]*analysis.Spent{}}
		}
		clock.enter(analysis.GroupOptimizer, 0, true)
		m.ZeroGrad()
		if _, _, err := m.LossAndGrad(ids, ids, flags.batch, flags.seqLen, 1/float32(len(ids))); err != nil {
			return nil, err
		}
		clock.enter(analysis.GroupOptimizer, 0, true)
		optim.Clip(params, optim.GradNorm(params), 1)
		opt.Update(1e-4)
		clock.enter(analysis.GroupOptimizer, 0, true)
		clock.now = nil
	}
	var list []analysis.Spent
	n := int64(flags.steps)
	for _, x := range clock.spent {
		if x.Useful%n != 0 || x.Issued%n != 0 {
			return nil, fmt.Errorf("%s: %d multiply-adds in %d equal steps", x.Group, x.Useful, n)
		}
		x.Useful, x.Issued, x.Seconds = x.Useful/n, x.Issued/n, x.Seconds/float64(n)
		list = append(list, *x)
	}
	return list, nil
}

func (a *app) printMeasurement(flags measureFlags, m *analysis.Measurement) error {
	if flags.format == formatJSON {
		return a.printJSON(map[string]any{"cpu": cpuName(), "kernel_set": kernels.Current().Name, "threads": kernels.Threads(), "measurement": m})
	}
	rows := m.Groups
	if flags.layers {
		rows = m.Rows
	}
	lines := [][]string{{"a step of " + fmt.Sprintf("%d x %d tokens", m.Batch, m.SeqLen), "ledger", "executed", "difference", "issued", "milliseconds", "GFLOP/s", "of peak"}}
	for _, r := range rows {
		name := r.Name
		if flags.layers {
			name += " " + r.Pass()
		}
		lines = append(lines, []string{name, r.Ledger.String(), fmt.Sprint(r.Executed), r.Difference.String(), fmt.Sprint(r.Issued),
			fmt.Sprintf("%.3f", 1e3*r.Seconds), fmt.Sprintf("%.1f", r.GFLOPS), fmt.Sprintf("%.1f %%", r.PercentOfPeak)})
	}
	if flags.format == formatCSV {
		return printLines(a.stdout, formatCSV, lines)
	}
	fmt.Fprintf(a.stdout, "cpu:         %s, %s kernels, %d threads, peak %.1f GFLOP/s\nconvention:  %s: %s\n\n",
		cpuName(), kernels.Current().Name, kernels.Threads(), m.PeakGFLOPS, m.Convention, m.Convention.Describe())
	if err := printLines(a.stdout, flags.format, lines); err != nil {
		return err
	}
	lines = [][]string{{"from the ledger to the clock", "FLOPs", "milliseconds"}}
	for _, e := range m.Explained {
		flops := ""
		if e.FLOPs.Sign() != 0 || e.Seconds == 0 {
			flops = e.FLOPs.String()
		}
		lines = append(lines, []string{e.What, flops, fmt.Sprintf("%.3f", 1e3*e.Seconds)})
	}
	fmt.Fprintln(a.stdout)
	if err := printLines(a.stdout, flags.format, lines); err != nil {
		return err
	}
	verdict := "equal the ledger exactly"
	if !m.ProductsEqual {
		verdict = "DIFFER from the ledger"
	}
	_, err := fmt.Fprintf(a.stdout, "\nthe counts of all products with weights %s\n", verdict)
	return err
}
