package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"text/tabwriter"

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
