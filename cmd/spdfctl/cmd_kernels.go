package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"runtime"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/spdfctl/spdfctl/kernels"
	"github.com/spdfctl/spdfctl/kernels/kerneltest"
)

func newKernelsCmd(a *app) *cobra.Command {
	cmd := group(a, "kernels", "List, check and time the arithmetic kernels",
		newKernelsListCmd(a), newKernelsCheckCmd(a), newKernelsBenchCmd(a))
	cmd.Long = `A kernel set is one implementation of the innermost loops: the Go reference runs
everywhere, the others where the CPU has the instructions. The fastest is used
unless --kernels names another.`
	return cmd
}

func newKernelsListCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the kernel sets of this CPU",
		Long: `List prints the kernel sets that this CPU can run, the reference first, and the
CPU features found. TILE is the block of a dense product that stays in registers.`,
		Example: `  spdfctl kernels list
  spdfctl kernels list --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.listKernels()
		},
	}
}

// kernelSet is one line of "kernels list --json".
type kernelSet struct {
	Name        string `json:"name"`
	InUse       bool   `json:"in_use"`
	TileRows    int    `json:"tile_rows"`
	TileColumns int    `json:"tile_columns"`
}

func (a *app) listKernels() error {
	var sets []kernelSet
	for _, s := range kernels.Sets() {
		sets = append(sets, kernelSet{s.Name, s == kernels.Current(), s.MR, s.NR})
	}
	features := kernels.CPUFeatures()
	if a.json {
		return a.printJSON(map[string]any{
			"cpu":      cpuName(),
			"features": append([]string{}, features...),
			"threads":  kernels.Threads(),
			"sets":     sets,
		})
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SET\tTILE\tIN USE")
	for _, s := range sets {
		use := ""
		if s.InUse {
			use = "yes"
		}
		fmt.Fprintf(w, "%s\t%d×%d\t%s\n", s.Name, s.TileRows, s.TileColumns, use)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(a.stdout, "\ncpu:       %s\nfeatures:  %s\nthreads:   %d\n",
		cpuName(), strings.Join(features, " "), kernels.Threads())
	return err
}

func newKernelsCheckCmd(a *app) *cobra.Command {
	var short bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check every kernel set against float64",
		Long: `Check runs the conformance suite on every kernel set of this CPU: each function
against the same sum in float64, within the bound that rounding allows; guard
words around every slice; NaN and infinities; the same bits for 1, 2, 3 and 7
threads. A deviation ends the command with exit code 3.`,
		Example: `  spdfctl kernels check
  spdfctl kernels check --short --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.checkKernels(cmd.Context(), short)
		},
	}
	cmd.Flags().BoolVar(&short, "short", false, "fewer cases: a second instead of several")
	return cmd
}

// kernelCheck is one line of "kernels check --json".
type kernelCheck struct {
	Set   string `json:"set"`
	Check string `json:"check"`
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"`
}

func (a *app) checkKernels(ctx context.Context, short bool) error {
	var results []kernelCheck
	var failed []error
	sets, total := kernels.Sets(), len(kerneltest.Checks())
	p := a.startProgress("kernels check", "checks", int64(len(sets)*total))
	for _, set := range sets {
		bad := 0
		for check, err := range kerneltest.Run(set, short) {
			if ctx.Err() != nil {
				return fmt.Errorf("kernels check: %w", ctx.Err())
			}
			r := kernelCheck{Set: set.Name, Check: check.Name, OK: err == nil}
			if err != nil {
				bad++
				r.Error = err.Error()
				failed = append(failed, err)
			}
			results = append(results, r)
			p.Set(int64(len(results)), set.Name+" "+check.Name)
		}
		if !a.json {
			a.clearProgress()
			if _, err := fmt.Fprintf(a.stdout, "%s: %d of %d checks agree\n", set.Name, total-bad, total); err != nil {
				return err
			}
		}
	}
	a.closeProgress()
	if a.json {
		if err := a.printJSON(map[string]any{"checks": results, "n_failed": len(failed)}); err != nil {
			return err
		}
	}
	if len(failed) == 0 {
		return nil
	}
	for _, err := range failed[1:] {
		a.logf("%v", err)
	}
	return differenceErrorf("kernels check: %d of %d checks deviate, the first: %w", len(failed), len(results), failed[0])
}

func newKernelsBenchCmd(a *app) *cobra.Command {
	var shapes, sparsities []string
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Time dense and sparse products",
		Long: `Bench times the products of a linear layer with the kernel set in use: the dense
forward product and the three sparse ones of a training step. GFLOP/s counts the
multiply-adds that are carried out, two FLOPs each; SPEEDUP is the time of the
dense product of the same form divided by this. PEAK is the set's own innermost
dense loop with its operands in the first-level cache, on all threads. Times are
medians; a busy machine shows in them.`,
		Example: `  spdfctl kernels bench
  spdfctl kernels bench --shapes 1024x2048x8192 --sparsity 0.5,0.75,0.9 --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			list, err := parseShapes(shapes)
			if err != nil {
				return err
			}
			levels, err := parseSparsities(sparsities)
			if err != nil {
				return err
			}
			return a.benchKernels(cmd.Context(), list, levels)
		},
	}
	names := make([]string, len(kerneltest.ModelShapes))
	for i, s := range kerneltest.ModelShapes {
		names[i] = fmt.Sprintf("%dx%dx%d", s.Tokens, s.In, s.Out)
	}
	cmd.Flags().StringSliceVar(&shapes, "shapes", names, "products as TOKENSxINxOUT")
	cmd.Flags().StringSliceVar(&sparsities, "sparsity", []string{"0.5", "0.75", "0.9"}, "fractions of pruned weights, in [0, 1)")
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

func parseSparsities(list []string) ([]float64, error) {
	var out []float64
	for _, text := range list {
		v, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, usageErrorf("kernels bench: --sparsity %q is not a number", text)
		}
		if !(v >= 0 && v < 1) {
			err := usageErrorf("kernels bench: --sparsity %s is outside [0, 1)", text)
			if v >= 1 && v < 100 {
				return nil, withHint(err, "for %s %% write --sparsity %g", text, v/100)
			}
			return nil, err
		}
		out = append(out, v)
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
}

// benchBudget is the time spent on each measurement beyond its third call.
const benchBudget = 200 * time.Millisecond

func (a *app) benchKernels(ctx context.Context, shapes []kerneltest.Shape, sparsities []float64) error {
	peak := kerneltest.Peak(kernels.Current(), benchBudget)
	var timings []kernelTiming
	p := a.startProgress("kernels bench", "measurements", int64(len(shapes)*(3+3*len(sparsities))))
	done := int64(0)
	for _, s := range shapes {
		var dense [3]time.Duration // forward, backward_input, backward_weight
		measure := func(f func()) (time.Duration, error) {
			if ctx.Err() != nil {
				return 0, fmt.Errorf("kernels bench: %w", ctx.Err())
			}
			t := kerneltest.Median(benchBudget, f)
			done++
			p.Set(done, fmt.Sprintf("%dx%dx%d", s.Tokens, s.In, s.Out))
			return t, nil
		}
		add := func(name string, sparsity, density float64, t, dense time.Duration) {
			rate := s.FLOPs(density) / t.Seconds()
			timings = append(timings, kernelTiming{
				Kernel: name, Tokens: s.Tokens, In: s.In, Out: s.Out, Sparsity: sparsity,
				GFLOPS: rate / 1e9, PercentOfPeak: 100 * rate / peak,
				SpeedupOverDense: dense.Seconds() / t.Seconds(),
			})
		}
		work := kerneltest.NewWorkload(s, 0)
		for i, f := range []func(){work.DenseForward, work.DenseBackwardInput, work.DenseBackwardWeight} {
			t, err := measure(f)
			if err != nil {
				return err
			}
			dense[i] = t
		}
		add("dense", 0, 1, dense[0], dense[0])
		for _, sparsity := range sparsities {
			work := kerneltest.NewWorkload(s, sparsity)
			for i, k := range []struct {
				name string
				f    func()
			}{
				{"sparse_forward", work.SparseForward},
				{"sparse_backward_input", work.SparseBackwardInput},
				{"sparse_backward_weight", work.SparseBackwardWeight},
			} {
				t, err := measure(k.f)
				if err != nil {
					return err
				}
				add(k.name, sparsity, work.Density, t, dense[i])
			}
		}
	}
	a.closeProgress()
	return a.printTimings(peak, timings)
}

func (a *app) printTimings(peak float64, timings []kernelTiming) error {
	if a.json {
		for i := range timings {
			t := &timings[i]
			t.GFLOPS, t.PercentOfPeak, t.SpeedupOverDense = round2(t.GFLOPS), round2(t.PercentOfPeak), round2(t.SpeedupOverDense)
		}
		return a.printJSON(map[string]any{
			"cpu":         cpuName(),
			"kernel_set":  kernels.Current().Name,
			"threads":     kernels.Threads(),
			"peak_gflops": round2(peak / 1e9),
			"kernels":     append([]kernelTiming{}, timings...),
		})
	}
	fmt.Fprintf(a.stdout, "cpu: %s; set: %s; threads: %d; peak: %.1f GFLOP/s; 1 multiply-add = 2 FLOPs\n\n",
		cpuName(), kernels.Current().Name, kernels.Threads(), peak/1e9)
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "KERNEL\tTOKENS\tIN\tOUT\tSPARSITY\tGFLOP/S\tOF PEAK\tSPEEDUP")
	for _, t := range timings {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%g\t%.1f\t%.0f %%\t×%.2f\n",
			t.Kernel, t.Tokens, t.In, t.Out, t.Sparsity, t.GFLOPS, t.PercentOfPeak, t.SpeedupOverDense)
	}
	return w.Flush()
}

// round2 keeps the digits that a timing can mean.
func round2(v float64) float64 { return math.Round(v*100) / 100 }

// cpuName returns the name that Linux gives the CPU, or the architecture.
func cpuName() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err == nil {
		for line := range strings.Lines(string(info)) {
			if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
				return strings.TrimSpace(value)
			}
		}
	}
	return runtime.GOARCH
}
