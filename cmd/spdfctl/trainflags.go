package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v4"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/bpe"
	"github.com/spdfctl/spdfctl/kernels"
	"github.com/spdfctl/spdfctl/train"
)

// runFlags are the flags of a command that writes a run directory.
type runFlags struct {
	file, out string
	resume    string // empty: a new run; "auto" or a checkpoint
	change    bool   // settings may differ from those of the run resumed
	verify    bool
	dryRun    bool
	force     bool
}

// resumeAuto is --resume without a checkpoint.
const resumeAuto = "auto"

func (r *runFlags) define(f *pflag.FlagSet) {
	f.StringVar(&r.file, "config", "", "YAML file with the settings")
	f.StringVarP(&r.out, "out", "o", "", "run directory to write")
	f.StringVar(&r.resume, "resume", "", "go on from the newest whole checkpoint of the run directory, or from --resume=CHECKPOINT in a new one")
	f.Lookup("resume").NoOptDefVal = resumeAuto
	f.BoolVar(&r.change, "allow-config-change", false, "with --resume: settings given now replace those of the run")
	f.BoolVar(&r.verify, "verify", false, "with --resume: do the steps before the newest checkpoint again and compare; changes nothing")
	f.BoolVar(&r.dryRun, "dry-run", false, "print parameters, memory, FLOPs and the time that a few steps promise; writes nothing")
	f.BoolVar(&r.force, "force", false, "replace the run that is in the run directory")
}

// load fills cfg, to which the flags of cmd are bound, for a new run or for
// the one that is taken up.
func load[C any](cmd *cobra.Command, r runFlags, cfg *C) error {
	switch {
	case r.resume != "" && r.force:
		return usageErrorf("%s: --resume and --force exclude each other", cmd.Name())
	case r.resume == "" && (r.change || r.verify):
		return usageErrorf("%s: --allow-config-change and --verify need --resume", cmd.Name())
	case r.resume != "" && r.dryRun:
		return usageErrorf("%s: --resume and --dry-run exclude each other", cmd.Name())
	case r.resume != "":
		return resumeConfig(cmd, r, cfg)
	}
	return loadConfig(cmd, r.file, cfg)
}

// trainFlags defines a flag for every field of c, with its present value as
// the default. Each flag is the key of the configuration file with dashes.
func trainFlags(f *pflag.FlagSet, c *train.Config) {
	f.Uint64Var(&c.Seed, "seed", c.Seed, "seed of the initial weights, the mask and the order of the data")
	f.IntVar(&c.BatchSize, "batch-size", c.BatchSize, "sequences per optimizer step")
	f.IntVar(&c.MicroBatchSize, "micro-batch-size", c.MicroBatchSize, "sequences per pass; their gradients are summed (0: all of a step)")
	f.IntVar(&c.SeqLen, "seq-len", c.SeqLen, "tokens per sequence (0: the model's context)")
	f.IntVar(&c.MaxSteps, "max-steps", c.MaxSteps, "optimizer steps of the whole run")
	countVar(f, &c.MaxTokens, "max-tokens", c.MaxTokens, "tokens of the whole run, instead of --max-steps")
	f.DurationVar(&c.MaxTime, "max-time", c.MaxTime, "time after which this process stops with a checkpoint, as 8h30m (0: none)")
	f.Float64Var(&c.LR, "lr", c.LR, "peak learning rate")
	f.Float64Var(&c.MinLRRatio, "min-lr-ratio", c.MinLRRatio, "final learning rate as a fraction of the peak")
	f.StringVar(&c.LRSchedule, "lr-schedule", c.LRSchedule, "constant, linear, cosine or wsd (warm-up, stable, decay)")
	f.IntVar(&c.WarmupSteps, "warmup-steps", c.WarmupSteps, "steps of linear warm-up (-1: a tenth of the run, at most 500)")
	countVar(f, &c.WarmupTokens, "warmup-tokens", c.WarmupTokens, "tokens of linear warm-up, instead of --warmup-steps")
	f.Float64Var(&c.WarmupFraction, "warmup-fraction", c.WarmupFraction, "part of the run that warms up, instead of --warmup-steps")
	f.Float64Var(&c.DecayFraction, "decay-fraction", c.DecayFraction, "part of the run in which wsd decays")
	f.StringVar(&c.Parametrization, "parametrization", c.Parametrization, "standard or supar: initial weights and learning rates by width and density")
	f.IntVar(&c.BaseWidth, "base-width", c.BaseWidth, "supar: n_embd at which --lr was tuned")
	f.Float64Var(&c.Beta1, "beta1", c.Beta1, "AdamW: decay of the first moment")
	f.Float64Var(&c.Beta2, "beta2", c.Beta2, "AdamW: decay of the second moment")
	f.Float64Var(&c.Eps, "eps", c.Eps, "AdamW: added to the root of the second moment")
	f.Float64Var(&c.WeightDecay, "weight-decay", c.WeightDecay, "AdamW: decay of matrices and embeddings, not of biases and norms")
	f.Float64Var(&c.GradClip, "grad-clip", c.GradClip, "largest global gradient norm (0: no clipping)")
	f.Float64Var(&c.Dropout, "dropout", c.Dropout, "dropout of the embeddings and of what attention and MLP add")
	f.Float64Var(&c.ZLoss, "z-loss", c.ZLoss, "weight of the squared log of the softmax's denominator in the gradient")
	f.Float64Var(&c.LabelSmoothing, "label-smoothing", c.LabelSmoothing, "probability spread over the vocabulary in the gradient")
	f.BoolVar(&c.Recompute, "gradient-checkpointing", c.Recompute, "keep only the input of every block, compute the rest again")
	precisionVar(f, &c.Precision)
	f.StringVar(&c.OnNonFinite, "on-non-finite", c.OnNonFinite, "loss or gradient not finite: stop, skip the update, or rollback to the last checkpoint")
	f.StringVar(&c.OnSpike, "on-spike", c.OnSpike, "loss above --spike-factor times its mean: stop, skip or rollback")
	f.Float64Var(&c.SpikeFactor, "spike-factor", c.SpikeFactor, "what makes a spike of a loss (0: nothing does)")
	f.StringVar(&c.Dynamic, "dynamic", c.Dynamic, "how masks move: static, gmp, set or rigl")
	f.IntVar(&c.MaskUpdateEvery, "mask-update-every", c.MaskUpdateEvery, "steps between moves of the masks")
	f.IntVar(&c.MaskUpdateStart, "mask-update-start", c.MaskUpdateStart, "step from which the masks move")
	f.IntVar(&c.MaskUpdateStop, "mask-update-stop", c.MaskUpdateStop, "last step of the moves (0: three quarters of the run)")
	f.Float64Var(&c.DropFraction, "drop-fraction", c.DropFraction, "set, rigl: part of the kept weights that a move drops, annealed to 0")
	f.Float64Var(&c.InitialSparsity, "initial-sparsity", c.InitialSparsity, "gmp: sparsity from which it prunes to --sparsity")
	f.StringVar(&c.SparsitySchedule, "sparsity-schedule", c.SparsitySchedule, "gmp: linear, cubic, cosine or constant")
	f.IntVar(&c.DensifyAt, "densify-at", c.DensifyAt, "step after which the masks are dropped (0: never)")
	f.Float64Var(&c.DensifyLR, "densify-lr", c.DensifyLR, "peak learning rate from then on (0: --lr)")
	f.IntVar(&c.DensifyWarmupSteps, "densify-warmup-steps", c.DensifyWarmupSteps, "steps of linear warm-up from then on")
	f.BoolVar(&c.KeepMoments, "keep-moments", c.KeepMoments, "AdamW's moments survive --densify-at")
	f.IntVar(&c.LogEvery, "log-every", c.LogEvery, "steps between lines of metrics.jsonl")
	f.IntVar(&c.EvalEvery, "eval-every", c.EvalEvery, "steps between validations (0: at the end only)")
	f.BoolVar(&c.EvalAtStart, "eval-at-start", c.EvalAtStart, "also validate before the first step")
	f.IntVar(&c.EvalSequences, "eval-sequences", c.EvalSequences, "sequences of one validation (0: all)")
	f.IntVar(&c.Patience, "patience", c.Patience, "validations without improvement that end the run (0: none do)")
	f.Float64Var(&c.MinDelta, "min-delta", c.MinDelta, "decrease of the validation loss that is an improvement")
	f.IntVar(&c.SampleEvery, "sample-every", c.SampleEvery, "steps between samples of text (0: none)")
	f.StringVar(&c.SamplePrompt, "sample-prompt", c.SamplePrompt, "text that the samples go on from")
	f.IntVar(&c.SaveEvery, "save-every", c.SaveEvery, "steps between checkpoints (0: at the end only)")
	f.IntVar(&c.KeepLast, "keep-last", c.KeepLast, "newest checkpoints that stay on disk (0: all)")
	f.IntVar(&c.KeepBest, "keep-best", c.KeepBest, "checkpoints of the lowest validation losses that are written and stay besides")
}

// precisionVar defines --precision.
func precisionVar(f *pflag.FlagSet, p *kernels.Precision) {
	f.TextVar(p, "precision", *p, "factors of dense products: f32, or bf16 (sums and weights stay f32; sparse products are f32)")
}

// maxConfigFile bounds a configuration file; real ones hold a few kB.
const maxConfigFile = 1 << 20

// loadConfig fills c, to which the flags of cmd are bound: defaults first,
// then the file, if path is not empty, then the flags that were given. A field
// that c does not have is an error with its line.
func loadConfig(cmd *cobra.Command, path string, c any) error {
	if path == "" {
		return nil
	}
	given := map[string]func() error{}
	cmd.Flags().Visit(func(f *pflag.Flag) {
		value := f.Value.String()
		given[f.Name] = func() error { return cmd.Flags().Set(f.Name, value) }
		if list, ok := f.Value.(pflag.SliceValue); ok {
			values := list.GetSlice()
			given[f.Name] = func() error { return list.Replace(values) }
		}
	})
	if err := readYAML(path, c); err != nil {
		return err
	}
	for name, set := range given {
		if err := set(); err != nil {
			return usageErrorf("%s: --%s: %w", cmd.Name(), name, err)
		}
	}
	return nil
}

// resumeConfig fills *cfg with the configuration that the run was started with,
// and makes sure that the file and the flags given now say nothing else, unless
// that is allowed. The limit of time is the process's, not the run's.
func resumeConfig[C any](cmd *cobra.Command, r runFlags, cfg *C) error {
	if r.out == "" {
		return usageErrorf("-o is missing: the run directory to resume")
	}
	path := filepath.Join(r.out, train.ConfigFile)
	if r.resume != resumeAuto {
		// A checkpoint lies in RUN/checkpoints/STEP.
		path = filepath.Join(r.resume, "..", "..", train.ConfigFile)
	}
	if err := loadConfig(cmd, path, cfg); err != nil {
		return withHint(err, "--resume needs the run directory of an earlier %s", cmd.Name())
	}
	if r.file != "" {
		if err := loadConfig(cmd, r.file, cfg); err != nil {
			return err
		}
	}
	if r.change {
		return nil
	}
	now := reflect.ValueOf(*cfg) // with the flags of this command line
	if err := readYAML(path, cfg); err != nil {
		return err
	}
	was := reflect.ValueOf(cfg).Elem()
	for _, field := range reflect.VisibleFields(was.Type()) {
		if field.Anonymous {
			continue
		}
		x, y := was.FieldByIndex(field.Index), now.FieldByIndex(field.Index)
		key, _, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		if key == "max_time" {
			x.Set(y)
		}
		if !reflect.DeepEqual(x.Interface(), y.Interface()) {
			return withHint(fmt.Errorf("%s: %s: %s was %v when the run started and is %v now", cmd.Name(), r.out, key, x, y),
				"a run goes on as it was started: leave the flag out, or give --allow-config-change")
		}
	}
	return nil
}

// readYAML decodes a configuration file into c, strictly.
func readYAML(path string, c any) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("config: %w", err)
	}
	if info.Size() > maxConfigFile {
		return fmt.Errorf("config: %s: %d bytes, limit %d", path, info.Size(), maxConfigFile)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("config: %w", err)
	}
	if len(data) == 0 {
		return fmt.Errorf("config: %s: the file is empty", path)
	}
	if err := yaml.Load(data, c, yaml.WithKnownFields()); err != nil {
		// The library names the Go type, which says nothing to the user.
		return fmt.Errorf("config: %s: %s", path, goType.ReplaceAllString(err.Error(), "is not a setting"))
	}
	return nil
}

var goType = regexp.MustCompile(`not found in type \S+`)

// startRunDir makes the run directory and writes its resolved configuration.
// It refuses a directory that holds anything, unless force empties the run in
// it: what this program writes there goes, a stranger's files stay.
func startRunDir(dir string, force bool, config any) error {
	if dir == "" {
		return usageErrorf("-o is missing: the run directory to write")
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("run: %w", err)
	}
	if len(entries) > 0 {
		if !force {
			return withHint(fmt.Errorf("run: %s: holds %d files already", dir, len(entries)),
				"take another -o, go on with --resume, or start anew with --force")
		}
		for _, e := range entries {
			if !train.IsRunFile(e.Name()) {
				continue
			}
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return fmt.Errorf("run: %w", err)
			}
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("run: %w", err)
	}
	return writeRunConfig(dir, config)
}

// writeRunConfig writes the resolved configuration of a run.
func writeRunConfig(dir string, config any) error {
	text, err := yaml.Dump(config)
	if err != nil {
		return fmt.Errorf("run: %w", err)
	}
	return formats.WriteAtomic(filepath.Join(dir, train.ConfigFile), true, func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	})
}

// tokenizerSaver returns the SaveFiles of a run that keeps tok beside the model.
func tokenizerSaver(tok *bpe.Tokenizer) func(dir string) error {
	return func(dir string) error { return tok.Save(dir) }
}

// endOfText returns the id that frames documents, which a tokenizer needs here.
func endOfText(tok *bpe.Tokenizer, path string) (int32, error) {
	id, ok := tok.EndOfText()
	if !ok {
		return 0, fmt.Errorf("tokenizer: %s: has no <|endoftext|> token", path)
	}
	return id, nil
}
