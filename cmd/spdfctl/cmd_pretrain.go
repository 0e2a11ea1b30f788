package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/spdfctl/spdfctl/analysis"
	"github.com/spdfctl/spdfctl/formats/maskfile"
	"github.com/spdfctl/spdfctl/masks"
	"github.com/spdfctl/spdfctl/train"
	"github.com/spdfctl/spdfctl/train/gpt"
)

// pretrainConfig is the configuration file of pretrain.
type pretrainConfig struct {
	Model     string `yaml:"model"`      // preset or config.json; empty: the shape below
	NLayer    int    `yaml:"n_layer"`    // shape of a model of one's own
	NHead     int    `yaml:"n_head"`     //
	NEmbd     int    `yaml:"n_embd"`     //
	NCtx      int    `yaml:"n_ctx"`      // longest sequence
	VocabSize int    `yaml:"vocab_size"` // 0: the tokenizer's

	Data      mix    `yaml:"data"`      // directories that "data prepare" wrote or .bin files, with weights
	ValData   mix    `yaml:"val_data"`  // likewise; empty: val beside train, if there is one
	Tokenizer string `yaml:"tokenizer"` // of .bin files; empty: what lies beside the data

	Sparsity string `yaml:"sparsity"` // fraction pruned of each sparsified matrix
	Mask     string `yaml:"mask"`     // mask file, instead of sparsity

	train.Config `yaml:",inline"`
}

// pretrainDefaults is a small dense model, trained by the paper's recipe.
func pretrainDefaults() pretrainConfig {
	cfg := pretrainConfig{NLayer: 6, NHead: 6, NEmbd: 384, NCtx: 256, Sparsity: "0", Config: train.Defaults()}
	cfg.MaxSteps = 0
	return cfg
}

// pretrainContradictions are settings of which the first excludes the others.
var pretrainContradictions = [][]string{{"model", "n_layer", "n_head", "n_embd", "n_ctx"}, {"max_steps", "max_tokens"}}

func newPretrainCmd(a *app) *cobra.Command {
	cfg := pretrainDefaults()
	var flags runFlags
	cmd := &cobra.Command{
		Use:   "pretrain --data DIR -o RUN [--config FILE]",
		Short: "Pre-train a GPT sparsely or densely",
		Long: `Pretrain trains a GPT-2 model from scratch on token shards. With --sparsity or
--mask only the kept weights exist: their values, gradients and moments.
--data may be repeated, as DIR=WEIGHT: the sources then share the sequences. It
also takes the .bin files of nanoGPT and llm.c, whose tokenizer --tokenizer names.

Every setting is a key of the YAML file given by --config, with underscores,
and a flag, with dashes; a flag wins. The run directory gets the resolved
config.yaml, metrics.jsonl and checkpoints that transformers loads. Ctrl-C
writes a checkpoint; --resume goes on from the newest one with the same bits.
SIGUSR1 prints the state of the run. docs/training.md explains every setting.`,
		Example: `  spdfctl pretrain --data tokens --sparsity 0.75 --n-layer 6 --n-embd 384 --max-steps 2000 -o runs/sparse
  spdfctl pretrain --config run.yaml --data web=0.7 --data books=0.3 --dynamic rigl --sparsity 0.9 --dry-run
  spdfctl pretrain --resume -o runs/sparse`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := load(cmd, flags, &cfg); err != nil {
				return err
			}
			for _, x := range pretrainContradictions {
				if err := flags.exclusive(cmd, x[0], x[1:]...); err != nil {
					return err
				}
			}
			s, err := a.pretrain(cmd.Context(), cfg, flags)
			if err != nil || flags.dryRun || flags.verify {
				return flags.withLine(err)
			}
			return a.printSummary(flags.out, s)
		},
	}
	f := cmd.Flags()
	flags.define(f)
	cfg.define(f)
	return cmd
}

// define defines a flag for every setting.
func (cfg *pretrainConfig) define(f *pflag.FlagSet) {
	f.StringVar(&cfg.Model, "model", cfg.Model, "preset name or config.json (instead of the shape)")
	f.IntVar(&cfg.NLayer, "n-layer", cfg.NLayer, "transformer blocks")
	f.IntVar(&cfg.NHead, "n-head", cfg.NHead, "attention heads")
	f.IntVar(&cfg.NEmbd, "n-embd", cfg.NEmbd, "width of the model")
	f.IntVar(&cfg.NCtx, "n-ctx", cfg.NCtx, "longest sequence in tokens")
	f.IntVar(&cfg.VocabSize, "vocab-size", cfg.VocabSize, "rows of the embedding (0: the tokenizer's or the preset's)")
	f.Var(&cfg.Data, "data", "DIR or DIR=WEIGHT of \"spdfctl data prepare\", or .bin files: one, a folder or a pattern (may be repeated; without weights: by size)")
	f.Var(&cfg.ValData, "val-data", "likewise, for validation (default: every DIR/val that exists)")
	f.StringVar(&cfg.Tokenizer, "tokenizer", cfg.Tokenizer, "tokenizer of .bin files (default: what lies beside the data, if anything does)")
	f.StringVar(&cfg.Sparsity, "sparsity", cfg.Sparsity, "fraction of each sparsified matrix that is pruned, in [0, 1)")
	f.StringVar(&cfg.Mask, "mask", cfg.Mask, "mask file, instead of --sparsity")
	trainFlags(f, &cfg.Config)
}

// modelConfig returns the shape of the model that cfg and the tokenizer make.
func (cfg pretrainConfig) modelConfig(vocab int) (gpt.Config, error) {
	c := gpt.Config{NLayer: cfg.NLayer, NHead: cfg.NHead, NEmbd: cfg.NEmbd, NCtx: cfg.NCtx, VocabSize: vocab}.WithDefaults()
	if cfg.Model != "" {
		var err error
		if c, err = gpt.ResolveConfig(cfg.Model); err != nil {
			return c, withPresetHint(err)
		}
	}
	if cfg.VocabSize > 0 {
		c.VocabSize = cfg.VocabSize
	}
	if c.VocabSize < vocab {
		return c, withHint(fmt.Errorf("pretrain: vocab_size is %d, the tokenizer has %d tokens", c.VocabSize, vocab),
			"--vocab-size %d fits", vocab)
	}
	if err := c.Validate(); err != nil {
		return c, &keyError{[]string{"n_layer", "n_head", "n_embd", "n_ctx", "vocab_size"}, err}
	}
	return c, nil
}

// tooLong is a length of sequences that the model does not take.
func tooLong(what string, seqLen, nCtx int) error {
	return &keyError{[]string{"seq_len", "n_ctx"}, usageErrorf("%s: seq_len is %d, the model has %d positions", what, seqLen, nCtx)}
}

// resolve fills in what follows from the model of shape c, and checks the settings.
func (cfg *pretrainConfig) resolve(c gpt.Config) error {
	if cfg.SeqLen == 0 {
		cfg.SeqLen = c.NCtx
	}
	switch {
	case cfg.MaxSteps == 0 && cfg.MaxTokens > 0:
		cfg.MaxSteps = cfg.StepsOfTokens()
	case cfg.MaxSteps == 0:
		cfg.MaxSteps = train.Defaults().MaxSteps
	}
	if err := cfg.Config.Validate(); err != nil {
		return &usageError{err: err}
	}
	if cfg.SeqLen > c.NCtx {
		return tooLong("pretrain", cfg.SeqLen, c.NCtx)
	}
	return nil
}

// withPresetHint adds the way to the list of presets to an unknown model.
func withPresetHint(err error) error {
	var unknown *gpt.UnknownModelError
	if !errors.As(err, &unknown) {
		return err
	}
	if len(unknown.Nearest) > 0 {
		return withHint(err, "did you mean %q?", unknown.Nearest[0])
	}
	return withHint(err, "presets are %v", gpt.PresetNames())
}

// sparsity returns the target of the sparsified layers, 0 if a mask file sets it.
func (cfg pretrainConfig) sparsity() (masks.Sparsity, error) {
	s, err := parseSparsity("pretrain", cfg.Sparsity)
	switch {
	case err != nil:
		return s, &keyError{[]string{"sparsity"}, err}
	case cfg.Mask != "" && s.Float64() != 0:
		return s, fieldErrorf([]string{"mask", "sparsity"}, "--mask and --sparsity exclude each other")
	}
	return s, nil
}

// checkMasks checks what depends on whether there are masks, s being their sparsity.
func (cfg pretrainConfig) checkMasks(s masks.Sparsity) error {
	dense := cfg.Mask == "" && s.Float64() == 0
	switch {
	case cfg.Dynamic == "gmp" && (cfg.Mask != "" || s.Float64() <= cfg.InitialSparsity):
		return fieldErrorf([]string{"dynamic", "initial_sparsity", "sparsity", "mask"},
			"dynamic gmp prunes from initial_sparsity %g to sparsity %s, which has to be higher and without a mask file", cfg.InitialSparsity, s)
	case dense && cfg.Dynamic != "static":
		return fieldErrorf([]string{"dynamic", "sparsity"}, "dynamic %s needs a sparsity or a mask", cfg.Dynamic)
	case dense && cfg.DensifyAt > 0:
		return fieldErrorf([]string{"densify_at", "sparsity"}, "densify_at is %d, but the model is dense already", cfg.DensifyAt)
	}
	return nil
}

// maskSet returns the masks of cfg for a model, or nil for a dense run.
func (cfg pretrainConfig) maskSet(c gpt.Config, s masks.Sparsity) (*masks.Set, error) {
	if cfg.Dynamic == "gmp" {
		// The masks are there from the start, at the sparsity from which it prunes.
		first, err := masks.ParseSparsity(strconv.FormatFloat(cfg.InitialSparsity, 'f', -1, 64))
		if err != nil {
			return nil, err
		}
		return randomMask(c, first, cfg.Seed)
	}
	switch {
	case cfg.Mask != "":
		return maskfile.Read(cfg.Mask)
	case s.Float64() == 0:
		return nil, nil
	}
	return randomMask(c, s, cfg.Seed)
}

// randomMask returns the static random uniform mask of a whole model.
func randomMask(c gpt.Config, s masks.Sparsity, seed uint64) (*masks.Set, error) {
	set, err := masks.Random(gpt.MaskTargets(c), s, seed)
	if err != nil {
		return nil, err
	}
	set.Parameters = int(c.Params().Total())
	return set, nil
}

// pretrain runs one pre-training into the run directory out.
func (a *app) pretrain(ctx context.Context, cfg pretrainConfig, flags runFlags) (s train.Summary, err error) {
	if flags.out == "" && !flags.dryRun {
		return s, usageErrorf("-o is missing: the run directory to write")
	}
	if len(cfg.Data) == 0 {
		return s, withHint(usageErrorf("pretrain: --data is missing"), "\"spdfctl data prepare\" makes the directory it wants")
	}
	for key, m := range map[string]mix{"data": cfg.Data, "val_data": cfg.ValData} {
		if err := m.check(key); err != nil {
			return s, &usageError{err: err}
		}
	}
	sparsity, err := cfg.sparsity()
	if err != nil {
		return s, err
	}
	ids, err := idSpaceOf(cfg)
	if err != nil {
		return s, err
	}
	if ids.tok == nil && cfg.SampleEvery > 0 {
		return s, usageErrorf("pretrain: sample_every is %d, but there is no tokenizer: --tokenizer names one", cfg.SampleEvery)
	}
	c, err := cfg.modelConfig(ids.Size)
	if err != nil {
		return s, err
	}
	if err := cfg.resolve(c); err != nil {
		return s, err
	}
	if err := cfg.checkMasks(sparsity); err != nil {
		return s, err
	}
	from, err := openSources(cfg, ids)
	if err != nil {
		return s, err
	}
	defer from.Close()
	r := &train.Run{Dir: flags.out, Config: cfg.Config, Train: from.blend, Valid: from.valid, EOS: int(ids.EOT), Target: sparsity}
	if err := checkValidation(cfg.Config, r); err != nil {
		return s, err
	}
	set, err := cfg.maskSet(c, sparsity)
	if err != nil {
		return s, err
	}
	r.SequenceFLOPs = func(set *masks.Set) (float64, error) { return analysis.TrainingFLOPs(c, cfg.SeqLen, set) }
	if r.Model, err = gpt.New(c, set); err != nil {
		return s, err
	}
	r.Model.Init(cfg.Seed)
	if cfg.Parametrization == "supar" {
		r.Model.SuParInit(cfg.BaseWidth)
	}
	if ids.tok != nil {
		r.SaveFiles, r.Sample = tokenizerSaver(ids.tok), a.sampler(r, ids.tok)
	}
	uses := from.use(cfg.MaxSteps*cfg.BatchSize, cfg.SeqLen)
	if flags.dryRun {
		return s, a.dryRun(ctx, r, cfg.SeqLen, uses)
	}
	if done, err := a.openRun(ctx, "pretrain", r, flags, cfg); done || err != nil {
		return s, err
	}
	total, kept := r.Model.Counts()
	a.logf("pretrain: %d parameters, %d kept, %d steps of %d sequences of %d tokens", total, kept, cfg.MaxSteps, cfg.BatchSize, cfg.SeqLen)
	a.logf("pretrain: %s", ids)
	for _, u := range uses {
		a.logf("pretrain: %s: %d sequences, %.3g epochs of %d windows", u.Name, u.Sequences, u.Epochs, u.Windows)
	}
	return a.train(ctx, "pretrain", r)
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// train runs the loop with its progress on the screen.
func (a *app) train(ctx context.Context, what string, r *train.Run) (train.Summary, error) {
	stop := a.watch(what, r)
	stopSignals := a.printStateOnSignal(what, r)
	a.training.Store(true)
	s, err := r.Do(ctx)
	a.training.Store(false)
	stopSignals()
	stop()
	switch {
	case err == nil:
		return s, nil
	case ctx.Err() != nil && s.Steps > 0:
		return s, withHint(fmt.Errorf("%s: %s: %w after step %d of %d", what, r.Dir, ctx.Err(), s.Steps, r.Config.MaxSteps),
			"go on with: spdfctl %s --resume -o %s", what, r.Dir)
	}
	return s, fmt.Errorf("%s: %s: %w", what, r.Dir, err)
}

// printSummary prints what came out of a run in dir.
func (a *app) printSummary(dir string, s train.Summary) error {
	if a.json {
		return a.printJSON(map[string]any{
			"run": dir, "checkpoint": s.Directory, "steps": s.Steps, "tokens": s.Tokens,
			"flops": s.FLOPs, "seconds": s.Time.Seconds(), "loss": s.Loss, "val_loss": s.ValLoss, "val_losses": s.ValLosses, "stopped": s.Stopped,
		})
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "checkpoint\t%s\n", s.Directory)
	fmt.Fprintf(w, "steps\t%d\n", s.Steps)
	fmt.Fprintf(w, "tokens\t%d\n", s.Tokens)
	fmt.Fprintf(w, "training FLOPs\t%.4g\n", s.FLOPs)
	fmt.Fprintf(w, "seconds\t%.1f\n", s.Time.Seconds())
	fmt.Fprintf(w, "loss\t%.4f\n", s.Loss)
	if s.ValLoss != nil {
		fmt.Fprintf(w, "validation loss\t%.4f\n", *s.ValLoss)
	}
	for _, name := range slices.Sorted(maps.Keys(s.ValLosses)) {
		fmt.Fprintf(w, "validation loss\t%.4f\t%s\n", s.ValLosses[name], name)
	}
	if s.Stopped != "" {
		fmt.Fprintf(w, "stopped\t%s\n", s.Stopped)
	}
	return w.Flush()
}
