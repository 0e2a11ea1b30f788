package main

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/spdfctl/spdfctl/kernels"
	"github.com/spdfctl/spdfctl/kernels/kerneltest"
	"github.com/spdfctl/spdfctl/masks"
)

func newKernelsBenchCmd(a *app) *cobra.Command {
	var (
		shapes, sparsities, against []string
		step                        stepFlags
	)
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Time the kernels against this CPU's peak and other libraries",
		Long: `Bench times the products of a linear layer with the kernel set in use: the three
dense ones of a training step, in float32 and, where the set has it, with factors
in bf16; and, at every sparsity above 0, the sparse ones, on row-major activations
and on activations in panels, as those of an MLP lie while it is trained.
GFLOP/s counts the multiply-adds that are carried out, two FLOPs each; SPEEDUP is
the time of our dense float32 product of the same form divided by this, OVER BEST
that of the fastest of all dense float32 products of the shape, of whatever form
and library. PEAK is what multiply-adds on registers alone reach, on all threads,
bf16 ones of theirs.

--against loads a shared library, such as OpenBLAS, BLIS or oneDNN, at run time
and times its float32 product beside ours, on as many threads; it may be given
several times. Everything of one shape is timed in turns within one run, and
times are medians; a busy machine shows in them.

--step MODEL times whole training steps of a model instead, one sparsity after
the other: tokens/s, model FLOP/s by the ledger of "flops report", the parts of a
step, the CPU time of every kernel by a sampling profile of a further second, the
peak of the memory and the allocations of a step. MODEL gives the shape only. The
peak is that of float32, whatever --precision.`,
		Example: `  spdfctl kernels bench --shapes 1024x2048x8192 --sparsity 0.5,0.75,0.9 --json
  spdfctl kernels bench --threads 1 --sparsity 0 --against libopenblas.so.0
  spdfctl kernels bench --step gpt2 --batch 4 --seq-len 256 --sparsity 0,0.75`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			levels, err := parseSparsities(sparsities)
			if err != nil {
				return err
			}
			if step.model != "" {
				for _, name := range []string{"shapes", "against"} {
					if cmd.Flags().Changed(name) {
						return usageErrorf("kernels bench: --step and --%s exclude each other", name)
					}
				}
				return a.benchSteps(cmd.Context(), step, levels)
			}
			for _, name := range []string{"batch", "seq-len", "precision"} {
				if cmd.Flags().Changed(name) {
					return usageErrorf("kernels bench: --%s belongs to --step", name)
				}
			}
			list, err := parseShapes(shapes)
			if err != nil {
				return err
			}
			return a.benchKernels(cmd.Context(), list, levels, against)
		},
	}
	names := make([]string, len(kerneltest.ModelShapes))
	for i, s := range kerneltest.ModelShapes {
		names[i] = fmt.Sprintf("%dx%dx%d", s.Tokens, s.In, s.Out)
	}
	f := cmd.Flags()
	f.StringSliceVar(&shapes, "shapes", names, "products as TOKENSxINxOUT")
	f.StringSliceVar(&sparsities, "sparsity", []string{"0", "0.5", "0.75", "0.9"}, "fractions of pruned weights, in [0, 1)")
	f.StringArrayVar(&against, "against", nil, "shared library with cblas_sgemm or dnnl_sgemm to time beside ours (may be repeated)")
	f.StringVar(&step.model, "step", "", "time whole training steps of this model")
	f.IntVar(&step.batch, "batch", 4, "with --step: sequences of a step")
	precisionVar(f, &step.precision)
	f.IntVar(&step.seqLen, "seq-len", 0, "with --step: tokens of a sequence (0: 256, or the longest of the model)")
	return cmd
}

// maxShape bounds each dimension of a benchmark and maxShapeBytes its memory.
const (
	maxShape      = 1 << 16 // the kernels' own limit of rows and columns
	maxShapeBytes = int64(8 << 30)
)

func parseShapes(list []string) ([]kerneltest.Shape, error) {
	var shapes []kerneltest.Shape
	for _, text := range list {
		parts := strings.Split(text, "x")
		var dims [3]int
		if len(parts) != len(dims) {
			return nil, usageErrorf("kernels bench: --shapes %q is not TOKENSxINxOUT", text)
		}
		for i, part := range parts {
			n, err := strconv.Atoi(part)
			if err != nil || n < 1 || n > maxShape {
				return nil, usageErrorf("kernels bench: --shapes %q: %q is not a number from 1 to %d", text, part, maxShape)
			}
			dims[i] = n
		}
		s := kerneltest.Shape{Tokens: dims[0], In: dims[1], Out: dims[2]}
		tokens, in, out := int64(s.Tokens), int64(s.In), int64(s.Out)
		if bytes := 4 * (2*tokens*(in+out) + 4*in*out); bytes > maxShapeBytes {
			return nil, usageErrorf("kernels bench: --shapes %q needs %d bytes, limit %d", text, bytes, maxShapeBytes)
		}
		shapes = append(shapes, s)
	}
	return shapes, nil
}

func parseSparsities(list []string) ([]masks.Sparsity, error) {
	var out []masks.Sparsity
	for _, text := range list {
		s, err := parseSparsity("kernels bench", text)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

// kernelTiming is one line of "kernels bench --json".
type kernelTiming struct {
	Kernel           string  `json:"kernel"`
	Tokens           int     `json:"tokens"`
	In               int     `json:"in"`
	Out              int     `json:"out"`
	Sparsity         float64 `json:"sparsity"`
	GFLOPS           float64 `json:"gflops"`
	PercentOfPeak    float64 `json:"percent_of_peak"`
	SpeedupOverDense float64 `json:"speedup_over_dense"`
	SpeedupOverBest  float64 `json:"speedup_over_best_dense"` // the libraries' among them
}

// libraryTiming is one product of another library, of the form of "dense".
type libraryTiming struct {
	Library string  `json:"library"`
	Tokens  int     `json:"tokens"`
	In      int     `json:"in"`
	Out     int     `json:"out"`
	GFLOPS  float64 `json:"gflops"`
}

// benchReport is what "kernels bench" prints.
type benchReport struct {
	CPU       string          `json:"cpu"`
	KernelSet string          `json:"kernel_set"`
	Threads   int             `json:"threads"`
	Peak      float64         `json:"peak_gflops"`
	BF16Peak  float64         `json:"bf16_peak_gflops,omitempty"` // 0: the set has no bf16
	Bandwidth float64         `json:"memory_gbytes_per_second"`
	Kernels   []kernelTiming  `json:"kernels"`
	Against   []libraryTiming `json:"against"`
}

// benchBudget is the time spent on each measurement beyond its first calls.
const benchBudget = 200 * time.Millisecond

// benchPause lets the threads of a library go to sleep: OpenBLAS' own spin for
// about 30 ms, those of OpenMP for less.
const benchPause = 40 * time.Millisecond

func (a *app) benchKernels(ctx context.Context, shapes []kerneltest.Shape, sparsities []masks.Sparsity, paths []string) error {
	r := benchReport{
		CPU: cpuName(), KernelSet: kernels.Current().Name, Threads: kernels.Threads(),
		Kernels: []kernelTiming{}, Against: []libraryTiming{},
	}
	libraries, err := openSgemms(paths, r.Threads)
	if err != nil {
		return err
	}
	for _, l := range libraries {
		if l.setThreads == nil {
			a.logf("kernels bench: %s: no known way to set its threads; it takes as many as it likes", l.path)
		}
	}
	r.measurePeaks()
	r.Bandwidth = kerneltest.Bandwidth(kernels.Current(), benchBudget) / 1e9
	p := a.startProgress("kernels bench", "shapes", int64(len(shapes)))
	for i, s := range shapes {
		p.Set(int64(i), fmt.Sprintf("%dx%dx%d", s.Tokens, s.In, s.Out))
		if err := r.bench(ctx, s, sparsities, libraries); err != nil {
			return fmt.Errorf("kernels bench: %w", err)
		}
	}
	a.closeProgress()
	// A thread may have slept through the first time.
	r.measurePeaks()
	for i := range r.Kernels {
		t := &r.Kernels[i]
		t.PercentOfPeak = 100 * t.GFLOPS / r.peakOf(t.Kernel)
	}
	if a.json {
		return a.printJSON(r.rounded())
	}
	return a.printBench(r)
}

// measurePeaks measures the peaks, and keeps the higher of this and earlier times.
func (r *benchReport) measurePeaks() {
	set := kernels.Current()
	r.Peak = max(r.Peak, kerneltest.Peak(set, benchBudget)/1e9)
	if kernels.BF16.Available() == nil {
		r.BF16Peak = max(r.BF16Peak, kerneltest.BF16Peak(set, benchBudget)/1e9)
	}
}

// peakOf returns the peak that a product can reach.
func (r *benchReport) peakOf(kernel string) float64 {
	if slices.Contains(bf16Names[:], kernel) {
		return r.BF16Peak
	}
	return r.Peak
}

// The products of a shape by name, in the order of their calls: the dense ones,
// forward, input gradient and weight gradient, and the sparse ones in the same
// order, row-major and in panels.
var (
	denseNames  = [3]string{"dense", "dense_backward_input", "dense_backward_weight"}
	bf16Names   = [3]string{"dense_bf16", "dense_bf16_backward_input", "dense_bf16_backward_weight"}
	sparseNames = [6]string{
		"sparse_forward", "sparse_backward_input", "sparse_backward_weight",
		"sparse_forward_panels", "sparse_backward_input_panels", "sparse_backward_weight_panels",
	}
)

// bench times all products of one shape, in turns.
func (r *benchReport) bench(ctx context.Context, s kerneltest.Shape, sparsities []masks.Sparsity, libraries []*sgemmLibrary) error {
	var calls []kerneltest.Timed
	ours := func(fs ...func()) {
		for _, f := range fs {
			calls = append(calls, kerneltest.Timed{Func: f})
		}
	}
	work := kerneltest.NewDense(s)
	ours(work.DenseForward, work.DenseBackwardInput, work.DenseBackwardWeight)
	if r.BF16Peak > 0 {
		ours(work.BF16Forward, work.BF16BackwardInput, work.BF16BackwardWeight)
	}
	for _, l := range libraries {
		calls = append(calls, kerneltest.Timed{Func: func() { work.ForwardWith(l.multiply) }, Rest: benchPause})
	}
	densities := make([]float64, len(sparsities))
	for i, level := range sparsities {
		if level.Float64() == 0 {
			continue // a mask that prunes nothing is the dense product
		}
		w := work.Prune(level.Float64())
		densities[i] = w.Density
		ours(w.SparseForward, w.SparseBackwardInput, w.SparseBackwardWeight,
			w.SparseForwardPanels, w.SparseBackwardInputPanels, w.SparseBackwardWeightPanels)
	}
	times, err := kerneltest.Interleave(ctx, benchBudget, calls...)
	if err != nil {
		return err
	}
	next := func(n int) (t []time.Duration) {
		t, times = times[:n], times[n:]
		return t
	}
	dense := next(len(denseNames))
	best := slices.Min(dense)
	add := func(name string, sparsity, density float64, t, dense time.Duration) {
		r.Kernels = append(r.Kernels, kernelTiming{
			Kernel: name, Tokens: s.Tokens, In: s.In, Out: s.Out, Sparsity: sparsity,
			GFLOPS:           s.FLOPs(density) / t.Seconds() / 1e9,
			SpeedupOverDense: dense.Seconds() / t.Seconds(), SpeedupOverBest: best.Seconds() / t.Seconds(),
		})
	}
	var half []time.Duration
	if r.BF16Peak > 0 {
		half = next(len(bf16Names))
	}
	for i, t := range next(len(libraries)) {
		best = min(best, t)
		r.Against = append(r.Against, libraryTiming{libraries[i].path, s.Tokens, s.In, s.Out, s.FLOPs(1) / t.Seconds() / 1e9})
	}
	for i, t := range dense {
		add(denseNames[i], 0, 1, t, t)
	}
	for i, t := range half {
		add(bf16Names[i], 0, 1, t, dense[i])
	}
	for i, level := range sparsities {
		if densities[i] == 0 {
			continue
		}
		for j, t := range next(len(sparseNames)) {
			add(sparseNames[j], level.Float64(), densities[i], t, dense[j%len(dense)])
		}
	}
	return nil
}

// rounded returns r with the digits that a timing can mean.
func (r benchReport) rounded() benchReport {
	r.Peak, r.BF16Peak, r.Bandwidth = round2(r.Peak), round2(r.BF16Peak), round2(r.Bandwidth)
	for i := range r.Kernels {
		t := &r.Kernels[i]
		t.GFLOPS, t.PercentOfPeak = round2(t.GFLOPS), round2(t.PercentOfPeak)
		t.SpeedupOverDense, t.SpeedupOverBest = round2(t.SpeedupOverDense), round2(t.SpeedupOverBest)
	}
	for i := range r.Against {
		r.Against[i].GFLOPS = round2(r.Against[i].GFLOPS)
	}
	return r
}

func (a *app) printBench(r benchReport) error {
	half := ""
	if r.BF16Peak > 0 {
		half = fmt.Sprintf(", bf16 %.1f", r.BF16Peak)
	}
	fmt.Fprintf(a.stdout, "cpu: %s; set: %s; threads: %d; peak: %.1f GFLOP/s%s; memory: %.1f GB/s; 1 multiply-add = 2 FLOPs\n\n",
		r.CPU, r.KernelSet, r.Threads, r.Peak, half, r.Bandwidth)
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "KERNEL\tTOKENS\tIN\tOUT\tSPARSITY\tGFLOP/S\tOF PEAK\tSPEEDUP\tOVER BEST")
	dense := map[[3]int]float64{}
	for _, t := range r.Kernels {
		if t.Kernel == "dense" {
			dense[[3]int{t.Tokens, t.In, t.Out}] = t.GFLOPS
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%g\t%.1f\t%.0f %%\t×%.2f\t×%.2f\n",
			t.Kernel, t.Tokens, t.In, t.Out, t.Sparsity, t.GFLOPS, t.PercentOfPeak, t.SpeedupOverDense, t.SpeedupOverBest)
	}
	if err := w.Flush(); err != nil || len(r.Against) == 0 {
		return err
	}
	fmt.Fprintln(w, "\nAGAINST\tTOKENS\tIN\tOUT\tGFLOP/S\tOF PEAK\tOUR DENSE IS")
	ratios := map[string][]float64{}
	for _, t := range r.Against {
		ratio := dense[[3]int{t.Tokens, t.In, t.Out}] / t.GFLOPS
		ratios[t.Library] = append(ratios[t.Library], ratio)
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%.1f\t%.0f %%\t×%.2f\n",
			filepath.Base(t.Library), t.Tokens, t.In, t.Out, t.GFLOPS, 100*t.GFLOPS/r.Peak, ratio)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, t := range r.Against {
		if list := ratios[t.Library]; len(list) > 0 {
			fmt.Fprintf(a.stdout, "%s: our dense is ×%.3f of it in the geometric mean\n", t.Library, geometricMean(list))
			delete(ratios, t.Library)
		}
	}
	return nil
}

// geometricMean is the mean that suits ratios.
func geometricMean(x []float64) float64 {
	var sum float64
	for _, v := range x {
		sum += math.Log(v)
	}
	return math.Exp(sum / float64(len(x)))
}

// round2 keeps the digits that a timing can mean.
func round2(v float64) float64 { return math.Round(v*100) / 100 }
