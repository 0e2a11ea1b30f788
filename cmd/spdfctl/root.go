package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/spdfctl/spdfctl/kernels"
)

// version is the release; the commit comes from the build information.
const version = "0.1.0-dev"

// newCommands lists every top-level command, in the order of the help page. It
// is a function because run builds commands itself.
func newCommands() []func(*app) *cobra.Command {
	return []func(*app) *cobra.Command{
		newQuickstartCmd,
		newMaskCmd,
		newPretrainCmd,
		newFinetuneCmd,
		newDensifyCmd,
		newRunCmd,
		newEvalCmd,
		newScoreCmd,
		newGenerateCmd,
		newConvertCmd,
		newInspectCmd,
		newDiffCmd,
		newScanCmd,
		newFlopsCmd,
		newAnalyzeCmd,
		newReportCmd,
		newDataCmd,
		newTokenizerCmd,
		newKernelsCmd,
	}
}

// run executes one command line and returns its exit code. It is the only
// place that turns an error into text.
func run(args []string, stdout, stderr io.Writer) int {
	a := &app{stdout: stdout, stderr: stderr}
	// The first signal asks the command to stop cleanly; the second kills it,
	// because stop restores the default handling as soon as ctx is done.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)

	root := newRootCmd(a)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	done := make(chan error, 1)
	go func() {
		defer a.closeProgress()
		done <- root.ExecuteContext(ctx)
	}()
	return a.report(ctx, a.await(ctx, done, grace))
}

// grace is the time that a command has to end by itself after an interrupt.
const grace = 8 * time.Second

// await returns what a command returns through done. When ctx ends and the command
// has not returned after the grace, it is left: every file it wrote is whole or
// hidden. Training is waited for longer, because its last checkpoint is.
func (a *app) await(ctx context.Context, done <-chan error, grace time.Duration) error {
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-done:
		return err
	case <-time.After(grace):
	}
	if a.training.Load() {
		return <-done
	}
	return ctx.Err()
}

func newRootCmd(a *app) *cobra.Command {
	if a.training == nil {
		a.training = new(atomic.Bool)
	}
	var showVersion bool
	root := &cobra.Command{
		Use:   "spdfctl",
		Short: "Sparse pre-training, dense fine-tuning of language models",
		Long: `spdfctl builds weight masks, pre-trains GPT models on the kept weights only,
densifies and fine-tunes them, scores the results and reports the FLOPs saved.

Start with "spdfctl quickstart": the whole job on embedded data.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.ArbitraryArgs,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			return a.setup()
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case showVersion:
				// Cobra's own flag would answer before --kernels is applied.
				_, err := fmt.Fprint(a.stdout, versionText())
				return err
			case len(args) == 0:
				return cmd.Help()
			}
			return a.unknownCommand(cmd, args[0])
		},
	}
	root.Flags().BoolVar(&showVersion, "version", false, "print version, commit, Go, CPU features and kernel set")
	root.CompletionOptions.HiddenDefaultCmd = false
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageErrorf("%s: %w", strings.TrimPrefix(cmd.CommandPath(), "spdfctl "), err)
	})
	f := root.PersistentFlags()
	f.IntVar(&a.threads, "threads", 0, "worker threads (0: all cores)")
	f.StringVar(&a.kernels, "kernels", "auto", "kernel set: auto, avx512, avx2 or go")
	f.BoolVar(&a.json, "json", false, "print one JSON document instead of a table")
	f.BoolVar(&a.quiet, "quiet", false, "no progress and no log lines")
	f.StringVar(&a.logFormat, "log-format", "text", "log lines as text or json")
	for _, newCmd := range newCommands() {
		root.AddCommand(newCmd(a))
	}
	markUsageErrors(root)
	return root
}

// markUsageErrors makes every complaint of cobra about arguments and required
// flags a usage error, and every group answer an unknown subcommand.
func markUsageErrors(cmd *cobra.Command) {
	if args := cmd.Args; args != nil {
		cmd.Args = func(c *cobra.Command, list []string) error {
			if err := args(c, list); err != nil {
				return usageErrorf("%s: %w", strings.TrimPrefix(c.CommandPath(), "spdfctl "), err)
			}
			return nil
		}
	}
	if run := cmd.RunE; run != nil {
		cmd.RunE = func(c *cobra.Command, list []string) error {
			err := run(c, list)
			var usage *usageError
			if errors.As(err, &usage) && usage.command == "" {
				usage.command = c.CommandPath()
			}
			return err
		}
	}
	for _, sub := range cmd.Commands() {
		markUsageErrors(sub)
	}
}

// group returns a command that only holds others.
func group(a *app, use, short string, subs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return a.unknownCommand(cmd, args[0])
		},
	}
	examples := make([]string, 0, len(subs))
	for _, s := range subs {
		if first, _, _ := strings.Cut(s.Example, "\n"); first != "" {
			examples = append(examples, first)
		}
	}
	cmd.Example = strings.Join(examples, "\n")
	cmd.AddCommand(subs...)
	return cmd
}

func (a *app) unknownCommand(cmd *cobra.Command, name string) error {
	err := usageErrorf("unknown command %q for %q", name, cmd.CommandPath())
	if cmd.SuggestionsMinimumDistance == 0 {
		cmd.SuggestionsMinimumDistance = 2
	}
	if s := cmd.SuggestionsFor(name); len(s) > 0 {
		return withHint(err, "did you mean %q?", cmd.CommandPath()+" "+s[0])
	}
	return withHint(err, "%q lists the commands", cmd.CommandPath()+" --help")
}

// setup applies the global flags once they are parsed.
func (a *app) setup() error {
	if a.threads < 0 {
		return usageErrorf("--threads %d is negative", a.threads)
	}
	if a.logFormat != "text" && a.logFormat != "json" {
		return usageErrorf("--log-format %q is neither text nor json", a.logFormat)
	}
	kernels.SetThreads(a.threads)
	if a.kernels != "auto" {
		if err := kernels.Use(a.kernels); err != nil {
			return &usageError{err: fmt.Errorf("--kernels: %w", err)}
		}
	}
	return nil
}

func versionText() string {
	commit := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				commit = s.Value
			}
		}
	}
	return fmt.Sprintf("spdfctl %s\ncommit:      %s\ngo:          %s %s/%s\ncpu:         %s\nkernel set:  %s\n",
		version, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH,
		strings.Join(kernels.CPUFeatures(), " "), kernels.Current().Name)
}
