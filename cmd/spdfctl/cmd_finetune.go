package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/spdfctl/spdfctl/analysis"
	"github.com/spdfctl/spdfctl/formats/bpe"
	"github.com/spdfctl/spdfctl/formats/nlg"
	"github.com/spdfctl/spdfctl/masks"
	"github.com/spdfctl/spdfctl/train"
	"github.com/spdfctl/spdfctl/train/data"
	"github.com/spdfctl/spdfctl/train/gpt"
)

// finetuneConfig is the configuration file of finetune.
type finetuneConfig struct {
	From     string `yaml:"from"`      // run or checkpoint to start from
	Data     string `yaml:"data"`      // examples to train on
	Dev      string `yaml:"dev"`       // examples to validate on
	Task     string `yaml:"task"`      // what both are; empty: by their names
	Epochs   int    `yaml:"epochs"`    // passes over the data, unless max_steps says otherwise
	KeepMask bool   `yaml:"keep_mask"` // the sparse arm: the mask stays

	GroupByLength bool `yaml:"group_by_length"` // batches of examples of like length

	LoRARank    int     `yaml:"lora_rank"`    // 0: all weights learn
	LoRAAlpha   float64 `yaml:"lora_alpha"`   // the update is scaled by alpha / rank
	LoRATargets string  `yaml:"lora_targets"` // matrices with an update, with commas

	train.Config `yaml:",inline"`
}

// finetuneDefaults is the recipe of the paper's data-to-text tasks where it
// states one: AdamW, linear decay, 5 epochs; weight decay as in LoRA's.
//
// Source: Thangarasa et al., "SPDF", UAI 2023, supplement A.2.
func finetuneDefaults() finetuneConfig {
	c := finetuneConfig{Epochs: 5, LoRAAlpha: 32, LoRATargets: "q,v", Config: train.Defaults()}
	c.MaxSteps = 0
	c.BatchSize = 16
	c.LR = 1e-4
	c.LRSchedule, c.MinLRRatio = "linear", 0
	c.WeightDecay = 0.01
	return c
}

func newFinetuneCmd(a *app) *cobra.Command {
	cfg := finetuneDefaults()
	var flags runFlags
	cmd := &cobra.Command{
		Use:   "finetune --from RUN|CKPT --data FILE -o RUN",
		Short: "Fine-tune a pre-trained model, densely by default",
		Long: `Finetune trains a checkpoint on prompts with completions; the loss counts the
completion only. A sparse checkpoint is densified first: the pruned weights
start at 0, so that the first logits are those of the sparse model, and learn
from then on. With --keep-mask they stay pruned. With --lora-rank the model is
frozen and only low-rank updates of some matrices learn; the checkpoints hold the
merged weights and, beside them, the factors in adapter.safetensors.

The data is E2E CSV, WebNLG XML or JSON, DART JSON or XML, SciTLDR, or one's own:
JSON Lines with "prompt" and "completion" or "references", or a table with the
columns prompt and completion; a file, also .gz, a folder, or a .tar.gz. Its name
says which, or --task does: .csv is E2E unless --task table is given. Records
become prompts as in LoRA's experiments; docs/training.md has the details.`,
		Example: `  spdfctl finetune --from runs/sparse --data trainset.csv.gz --dev devset.csv.gz -o runs/sparse-e2e
  spdfctl finetune --from runs/sparse --task table --data train.csv --keep-mask --group-by-length -o runs/sparse-arm`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := load(cmd, flags, &cfg); err != nil {
				return err
			}
			s, err := a.finetune(cmd.Context(), cfg, flags)
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
func (cfg *finetuneConfig) define(f *pflag.FlagSet) {
	f.StringVar(&cfg.From, "from", cfg.From, "run or checkpoint directory to start from")
	f.StringVar(&cfg.Data, "data", cfg.Data, "examples to train on: .csv (E2E), .json (DART), .xml (WebNLG) or .jsonl, also .gz, a folder or a .tar.gz of them")
	f.StringVar(&cfg.Dev, "dev", cfg.Dev, "examples to validate on")
	f.StringVar(&cfg.Task, "task", cfg.Task, "what the data is: "+strings.Join(nlg.Tasks(), ", ")+" (default: by its name)")
	f.BoolVar(&cfg.GroupByLength, "group-by-length", cfg.GroupByLength, "batches of examples of like length, with less padding")
	f.IntVar(&cfg.Epochs, "epochs", cfg.Epochs, "passes over the data (unless --max-steps is given)")
	f.BoolVar(&cfg.KeepMask, "keep-mask", cfg.KeepMask, "keep the mask: sparse fine-tuning")
	f.IntVar(&cfg.LoRARank, "lora-rank", cfg.LoRARank, "freeze the model and train updates of this rank (0: train all weights)")
	f.Float64Var(&cfg.LoRAAlpha, "lora-alpha", cfg.LoRAAlpha, "LoRA: the update is scaled by alpha / rank")
	f.StringVar(&cfg.LoRATargets, "lora-targets", cfg.LoRATargets, "LoRA: matrices with an update, of "+strings.Join(gpt.LoRATargets(), ","))
	trainFlags(f, &cfg.Config)
}

// lora returns the update of low rank that cfg asks for.
func (cfg finetuneConfig) lora() gpt.LoRA {
	return gpt.LoRA{Rank: cfg.LoRARank, Alpha: cfg.LoRAAlpha, Targets: strings.Split(cfg.LoRATargets, ",")}
}

// resolve fills in the steps that a number of examples makes, and checks the
// settings.
func (cfg *finetuneConfig) resolve(examples int) error {
	if cfg.Epochs < 1 || cfg.Epochs > maxEpochs {
		return usageErrorf("finetune: --epochs %d is outside 1 to %d", cfg.Epochs, maxEpochs)
	}
	if cfg.MaxTokens > 0 && cfg.MaxSteps == 0 {
		cfg.MaxSteps = cfg.StepsOfTokens()
	}
	if cfg.MaxSteps == 0 {
		cfg.MaxSteps = (examples*cfg.Epochs + cfg.BatchSize - 1) / max(cfg.BatchSize, 1)
	}
	if err := cfg.Config.Validate(); err != nil {
		return &usageError{err: err}
	}
	wrong := func(key, other, format string, args ...any) error {
		return fieldErrorf([]string{key, other}, format, args...)
	}
	moves := cfg.Dynamic != "static"
	switch {
	case cfg.Dynamic == "gmp":
		return wrong("dynamic", "keep_mask", "dynamic gmp prunes to the sparsity of a pre-training")
	case moves && !cfg.KeepMask:
		return wrong("dynamic", "keep_mask", "dynamic %s needs keep_mask", cfg.Dynamic)
	case cfg.DensifyAt > 0 && !cfg.KeepMask:
		return wrong("densify_at", "keep_mask", "densify_at is %d, but without keep_mask the model is dense from the start", cfg.DensifyAt)
	case cfg.LoRARank > 0 && moves:
		return wrong("lora_rank", "dynamic", "lora_rank is %d, which leaves the masks as they are, and dynamic %s", cfg.LoRARank, cfg.Dynamic)
	case cfg.LoRARank > 0 && cfg.DensifyAt > 0:
		return wrong("lora_rank", "densify_at", "lora_rank is %d, which leaves the masks as they are, and densify_at %d", cfg.LoRARank, cfg.DensifyAt)
	}
	return nil
}

// tuneSeqLen is the length of sequences where none is asked for: 512, as in the
// paper, or what the model takes.
//
// Source: fine-tuning FLOPs of table 3, Thangarasa et al., "SPDF", UAI 2023.
func tuneSeqLen(c gpt.Config) int { return min(c.NCtx, 512) }

// maxEpochs keeps the number of steps inside an int.
const maxEpochs = 1 << 20

// finetune runs one fine-tuning into the run directory out.
func (a *app) finetune(ctx context.Context, cfg finetuneConfig, flags runFlags) (s train.Summary, err error) {
	switch {
	case flags.out == "" && !flags.dryRun:
		return s, usageErrorf("-o is missing: the run directory to write")
	case cfg.From == "":
		return s, usageErrorf("finetune: --from is missing: the run or checkpoint to start from")
	case cfg.Task != "" && !slices.Contains(nlg.Tasks(), cfg.Task):
		return s, usageErrorf("finetune: --task %q is none of %s", cfg.Task, strings.Join(nlg.Tasks(), ", "))
	case cfg.Data == "":
		return s, usageErrorf("finetune: --data is missing: the examples to train on")
	}
	m, tok, err := loadModel(cfg.From, !cfg.KeepMask)
	if err != nil {
		return s, err
	}
	if cfg.KeepMask && m.Masks == nil {
		return s, withHint(fmt.Errorf("finetune: %s: --keep-mask, but the checkpoint has no mask", cfg.From), "leave --keep-mask out for a dense model")
	}
	if cfg.LoRARank != 0 {
		if err := m.AddLoRA(cfg.lora(), cfg.Seed); err != nil {
			return s, &usageError{err: err}
		}
	}
	eot, err := endOfText(tok, cfg.From)
	if err != nil {
		return s, err
	}
	if cfg.SeqLen == 0 {
		cfg.SeqLen = tuneSeqLen(m.Config)
	}
	if cfg.SeqLen > m.Config.NCtx {
		return s, tooLong("finetune", cfg.SeqLen, m.Config.NCtx)
	}
	source, err := a.openExamples(cfg.Task, cfg.Data, tok, eot, cfg.SeqLen, cfg.Seed)
	if err != nil {
		return s, err
	}
	if err := cfg.resolve(source.Len()); err != nil {
		return s, err
	}
	if cfg.GroupByLength {
		source.GroupByLength(cfg.BatchSize)
	}
	r := &train.Run{Dir: flags.out, Config: cfg.Config, Model: m, Train: source, EOS: int(eot), SaveFiles: tokenizerSaver(tok)}
	if cfg.Dev != "" {
		dev, err := a.openExamples(cfg.Task, cfg.Dev, tok, eot, cfg.SeqLen, cfg.Seed)
		if err != nil {
			return s, err
		}
		r.Valid = []train.Validation{{Name: cfg.Dev, Weight: 1, Set: dev}}
	}
	if err := checkValidation(cfg.Config, r); err != nil {
		return s, err
	}
	// The ledger prices a sequence at the mean length of the examples.
	lora := m.LoRA()
	r.SequenceFLOPs = func(set *masks.Set) (float64, error) {
		if lora != nil {
			return analysis.LoRATrainingFLOPs(m.Config, source.MeanLen(), set, *lora)
		}
		return analysis.TrainingFLOPs(m.Config, source.MeanLen(), set)
	}
	r.Sample = a.sampler(r, tok)
	if flags.dryRun {
		return s, a.dryRun(ctx, r, source.MeanLen(), nil)
	}
	if done, err := a.openRun(ctx, "finetune", r, flags, cfg); done || err != nil {
		return s, err
	}
	arm := "dense"
	if m.Masks != nil {
		arm = "sparse"
	}
	if cfg.LoRARank != 0 {
		arm = fmt.Sprintf("LoRA of rank %d on a %s base", cfg.LoRARank, arm)
	}
	a.logf("finetune: %s, %d examples, %d steps of %d", arm, source.Len(), cfg.MaxSteps, cfg.BatchSize)
	return a.train(ctx, "finetune", r)
}

// loadModel reads a model with its tokenizer, which lies beside the weights.
func loadModel(path string, dense bool) (*gpt.Model, *bpe.Tokenizer, error) {
	dir, err := modelDir(path)
	if err != nil {
		return nil, nil, err
	}
	tok, err := bpe.Load(dir)
	if err != nil {
		return nil, nil, err
	}
	m, err := gpt.Load(path, dense)
	if err != nil {
		return nil, nil, err
	}
	if tok.VocabSize() > m.Config.VocabSize {
		return nil, nil, fmt.Errorf("%s: the tokenizer has %d tokens, the model %d", dir, tok.VocabSize(), m.Config.VocabSize)
	}
	return m, tok, nil
}

// modelDir returns the directory of the checkpoint that path names.
func modelDir(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", withPresetPathHint(path, err)
	}
	if !info.IsDir() {
		return filepath.Dir(path), nil
	}
	return gpt.CheckpointDir(path)
}

// withPresetPathHint explains that a preset has no weights.
func withPresetPathHint(path string, err error) error {
	if _, ok := gpt.Preset(path); ok {
		return withHint(fmt.Errorf("model: %s: is a preset, which is a shape without weights", path), "name a run or a checkpoint directory")
	}
	return fmt.Errorf("model: %w", err)
}

// openExamples reads the examples of a set, says what it leaves out, and frames
// them for the model.
func (a *app) openExamples(task, path string, tok *bpe.Tokenizer, eot int32, seqLen int, seed uint64) (*data.Examples, error) {
	set, err := readSet(task, path)
	if err != nil {
		return nil, err
	}
	if len(set.Drops) > 0 {
		a.logf("%s: %s", path, set)
	}
	var list []data.Example
	for i, row := range set.Examples {
		if len(row.References) == 0 {
			return nil, fmt.Errorf("%s: example %d: has no text to learn", path, i+1)
		}
		for _, ref := range row.References {
			ids, n := nlg.Frame(tok, eot, row.Source, ref)
			list = append(list, data.Example{Tokens: ids, Prompt: n})
		}
	}
	x, err := data.NewExamples(list, seqLen, eot, seed)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return x, nil
}

// readSet reads a data set; an empty task is guessed from the name.
func readSet(task, path string) (nlg.Set, error) {
	if task == "" {
		if task = nlg.TaskOf(path); task == "" {
			return nlg.Set{}, fmt.Errorf("nlg: %s: extension is %q, want .csv, .jsonl, .json or .xml, also with .gz", path, filepath.Ext(path))
		}
	}
	return nlg.ReadSet(task, path)
}
