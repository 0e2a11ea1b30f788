package main

import (
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/spdfctl/spdfctl/analysis"
	"github.com/spdfctl/spdfctl/eval"
	"github.com/spdfctl/spdfctl/eval/metrics"
	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/maskfile"
	"github.com/spdfctl/spdfctl/formats/nlg"
	"github.com/spdfctl/spdfctl/formats/tokens"
	"github.com/spdfctl/spdfctl/masks"
	"github.com/spdfctl/spdfctl/train"
	"github.com/spdfctl/spdfctl/train/gpt"
)

// quickdata is the text of quickstart; its README says where it is from.
//
//go:embed quickdata/train/*.gz quickdata/valid/*.gz quickdata/e2e/*.gz
var quickdata embed.FS

// The size of quickstart: as much as two cores with AVX-512 do in about a
// minute and a half, and a model that still learns to say something about a
// restaurant in that time. One sequence length serves text and examples.
const (
	quickVocab     = 2048
	quickSparsity  = "0.75"
	quickCtx       = 128
	quickSteps     = 140
	quickTuneSteps = 260
	quickMaskFile  = "mask.safetensors"
)

// quickArm is one of the two ways from nothing to a fine-tuned model.
type quickArm struct {
	name     string // directory of the pre-training run
	title    string // column of the table
	sparsity string

	flops, trainSeconds, tuneSeconds float64
	perplexity                       float64 // after pre-training, held-out text
	tuned                            float64 // after fine-tuning, perplexity of the held-out E2E texts
	bleu                             float64
	sample                           string
}

func newQuickstartCmd(a *app) *cobra.Command {
	var (
		out   string
		force bool
	)
	cmd := &cobra.Command{
		Use:   "quickstart",
		Short: "The whole job on embedded data, in two minutes",
		Long: `Quickstart does what the paper does, small: it trains a tokenizer on embedded
public-domain books, makes a mask that prunes 75 % of the weights, pre-trains a
GPT on the kept weights only and, beside it, a dense one on the same tokens,
densifies the sparse one, fine-tunes both on a slice of E2E, writes the texts of
the test set, scores them, and prints what it cost.

The run directory keeps everything: tokenizer, token shards, mask, checkpoints
that transformers loads, metrics, the texts, and report.html about all of it.`,
		Example: `  spdfctl quickstart
  spdfctl quickstart --out /tmp/first-run --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.quickstart(cmd.Context(), out, force)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&out, "out", "o", "spdf-quickstart", "run directory to write")
	f.BoolVar(&force, "force", false, "replace an existing run directory")
	return cmd
}

func (a *app) quickstart(ctx context.Context, out string, force bool) error {
	start := time.Now()
	if err := makeQuickDir(out, force); err != nil {
		return err
	}
	if err := extract(quickdata, "quickdata", filepath.Join(out, "data")); err != nil {
		return err
	}
	if err := a.quickTokens(ctx, out); err != nil {
		return err
	}
	arms := []*quickArm{
		{name: "dense", title: "dense", sparsity: "0"},
		{name: "sparse", title: "sparse -> dense", sparsity: quickSparsity},
	}
	for _, arm := range arms {
		if err := a.quickPretrain(ctx, out, arm); err != nil {
			return err
		}
	}
	for _, arm := range arms {
		if err := a.quickFinetune(ctx, out, arm); err != nil {
			return err
		}
	}
	if err := quickPage(out, arms); err != nil {
		return err
	}
	return a.quickReport(out, arms, time.Since(start))
}

// quickPage writes the HTML report of all four runs.
func quickPage(out string, arms []*quickArm) error {
	var runs []string
	for _, suffix := range []string{"", "-e2e"} {
		for _, arm := range arms {
			runs = append(runs, filepath.Join(out, arm.name+suffix))
		}
	}
	page, err := readPage("spdfctl quickstart", runs)
	if err != nil {
		return err
	}
	return formats.WriteAtomic(filepath.Join(out, reportFile), false, page.Write)
}

// makeQuickDir makes an empty run directory; with force it replaces an earlier
// quickstart, and nothing else.
func makeQuickDir(out string, force bool) error {
	entries, err := os.ReadDir(out)
	if err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("quickstart: %w", err)
	}
	if len(entries) > 0 {
		if !force {
			return withHint(fmt.Errorf("quickstart: %s: holds %d files already", out, len(entries)),
				"replace it with --force or name another directory with --out")
		}
		if _, err := os.Stat(filepath.Join(out, "data", "e2e")); err != nil {
			return fmt.Errorf("quickstart: %s: --force, but this is not an earlier quickstart", out)
		}
		if err := os.RemoveAll(out); err != nil {
			return fmt.Errorf("quickstart: %w", err)
		}
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return fmt.Errorf("quickstart: %w", err)
	}
	return nil
}

// extract writes the files of an embedded tree below dir.
func extract(tree embed.FS, root, dir string) error {
	return fs.WalkDir(tree, root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		below, err := filepath.Rel(filepath.FromSlash(root), filepath.FromSlash(path))
		if err != nil {
			return err
		}
		target := filepath.Join(dir, below)
		if e.IsDir() {
			return os.MkdirAll(target, 0o755)
		}
		data, err := tree.ReadFile(path)
		if err != nil {
			return err
		}
		return formats.WriteAtomic(target, false, func(w io.Writer) error {
			_, err := w.Write(data)
			return err
		})
	})
}

// quickTokens trains the tokenizer on the books and encodes them.
func (a *app) quickTokens(ctx context.Context, out string) error {
	books, err := filepath.Glob(filepath.Join(out, "data", "train", "*.gz"))
	if err != nil {
		return err
	}
	held, err := filepath.Glob(filepath.Join(out, "data", "valid", "*.gz"))
	if err != nil {
		return err
	}
	tok, err := a.trainTokenizer(ctx, books, tokens.DefaultField, quickVocab)
	if err != nil {
		return err
	}
	_, err = a.prepareTokens(ctx, filepath.Join(out, "tokens"), false, tokens.Job{Train: books, Val: held, Tokenizer: tok})
	return err
}

// quickModel is the shape of the model of quickstart.
func quickModel() pretrainConfig {
	return pretrainConfig{NLayer: 4, NHead: 4, NEmbd: 192, NCtx: quickCtx, Sparsity: "0"}
}

// quickTraining is the recipe of both pre-trainings.
func quickTraining() train.Config {
	cfg := train.Defaults()
	cfg.MaxSteps, cfg.BatchSize = quickSteps, 8
	cfg.LR = 2e-3
	cfg.EvalEvery, cfg.SaveEvery = 100, 0
	return cfg
}

// quickPretrain pre-trains one arm and measures its perplexity.
func (a *app) quickPretrain(ctx context.Context, out string, arm *quickArm) error {
	cfg := quickModel()
	cfg.Config = quickTraining()
	cfg.Data = mix{{Path: filepath.Join(out, "tokens")}}
	if arm.sparsity != "0" {
		cfg.Mask = filepath.Join(out, quickMaskFile)
		if err := a.quickMask(cfg, arm.sparsity); err != nil {
			return err
		}
	}
	dir := filepath.Join(out, arm.name)
	s, err := a.pretrain(ctx, cfg, runFlags{out: dir})
	if err != nil {
		return err
	}
	arm.flops, arm.trainSeconds = s.FLOPs, s.Time.Seconds()
	arm.perplexity, err = a.quickPerplexity(ctx, dir, filepath.Join(out, "tokens", "val"))
	return err
}

// quickMask writes the mask file of the sparse arm.
func (a *app) quickMask(cfg pretrainConfig, sparsity string) error {
	c, err := cfg.modelConfig(quickVocab)
	if err != nil {
		return err
	}
	s, err := masks.ParseSparsity(sparsity)
	if err != nil {
		return err
	}
	set, err := randomMask(c, s, cfg.Seed)
	if err != nil {
		return err
	}
	return maskfile.Write(cfg.Mask, false, set)
}

// quickPerplexity measures a model on token shards.
func (a *app) quickPerplexity(ctx context.Context, model, shards string) (float64, error) {
	m, err := gpt.Load(model, false)
	if err != nil {
		return 0, err
	}
	data, err := readDocuments(shards, documentsWhole, nil, m.Config.VocabSize)
	if err != nil {
		return 0, err
	}
	bar := a.startProgress("perplexity", "tokens", data.predicted(false))
	defer a.closeProgress()
	p, _, err := eval.MeasurePerplexity(ctx, m, data.documents, eval.Windows{Size: quickCtx, Stride: quickCtx, BOS: -1}, func(done int) { bar.Set(int64(done), "") })
	return p.Perplexity, err
}

// quickFinetune densifies and fine-tunes one arm, decodes the test set and
// scores the texts.
func (a *app) quickFinetune(ctx context.Context, out string, arm *quickArm) error {
	data := filepath.Join(out, "data", "e2e")
	cfg := finetuneDefaults()
	cfg.From = filepath.Join(out, arm.name)
	cfg.Data = filepath.Join(data, "train.csv.gz")
	cfg.Dev = filepath.Join(data, "dev.csv.gz")
	cfg.MaxSteps = quickTuneSteps
	cfg.BatchSize, cfg.LR = 8, 2e-3
	cfg.EvalSequences = 0
	cfg.SaveEvery = 0
	dir := filepath.Join(out, arm.name+"-e2e")
	s, err := a.finetune(ctx, cfg, runFlags{out: dir})
	if err != nil {
		return err
	}
	arm.tuneSeconds = s.Time.Seconds()
	arm.tuned = math.Exp(*s.ValLoss)
	m, tok, err := loadModel(dir, false)
	if err != nil {
		return err
	}
	set, err := a.readInstances("e2e", filepath.Join(data, "test.csv.gz"))
	if err != nil {
		return err
	}
	texts, err := a.decode(ctx, m, tok, set, eval.Search{Limits: eval.Limits{MaxTokens: quickMaxText}}, 0)
	if err != nil {
		return err
	}
	if err := writeLines(filepath.Join(dir, "test.txt"), false, texts); err != nil {
		return err
	}
	bleu, err := metrics.BLEU(texts, referencesOf(set), metrics.BLEUOptions{})
	if err != nil {
		return err
	}
	arm.bleu, arm.sample = bleu.Score, texts[0]
	if err := writeQuickScores(filepath.Join(dir, scoresFile), texts, set); err != nil {
		return err
	}
	return writeSamples(filepath.Join(dir, samplesFile), set, texts)
}

// writeSamples keeps the first texts with their sources for the report.
func writeSamples(path string, set []nlg.Example, texts []string) error {
	return formats.WriteAtomic(path, false, func(w io.Writer) error {
		enc := json.NewEncoder(w)
		for i := range min(len(set), 5) {
			s := analysis.Sample{Prompt: set[i].Source, Text: texts[i]}
			if len(set[i].References) > 0 {
				s.Reference = set[i].References[0]
			}
			if err := enc.Encode(s); err != nil {
				return err
			}
		}
		return nil
	})
}

// quickResamples is enough for an interval of a small test set.
const quickResamples = 500

// writeQuickScores scores texts with their intervals into a file as
// "score --json" prints it.
func writeQuickScores(path string, texts []string, set []nlg.Example) error {
	refs := make([][]string, len(set))
	for i, e := range set {
		refs[i] = e.References
	}
	result, err := metrics.ScoreProfile("sacrebleu", texts, refs, metrics.ProfileOptions{Metrics: []string{"bleu", "chrf"}})
	if err != nil {
		return err
	}
	out := newScoreResult(result)
	out.Bootstrap = &bootstrapResult{Samples: quickResamples, Intervals: map[string]intervalResult{}}
	for _, s := range result.Scores {
		i, err := s.Bootstrap(quickResamples, 0)
		if err != nil {
			return err
		}
		out.Bootstrap.Intervals[s.Name] = newIntervalResult(i)
	}
	return formats.WriteAtomic(path, false, func(w io.Writer) error { return json.NewEncoder(w).Encode(out) })
}

// quickMaxText is the longest text in tokens; the references have 23 words
// on average.
const quickMaxText = 64

// quickReport prints the table and the FLOPs per layer.
func (a *app) quickReport(out string, arms []*quickArm, took time.Duration) error {
	c, err := quickModel().modelConfig(quickVocab)
	if err != nil {
		return err
	}
	set, err := maskfile.Read(filepath.Join(out, quickMaskFile))
	if err != nil {
		return err
	}
	kept, err := analysis.MaskKept(c, set)
	if err != nil {
		return err
	}
	training := quickTraining()
	seen := int64(training.MaxSteps * training.BatchSize * quickCtx)
	sparsity, err := masks.ParseSparsity(quickSparsity)
	if err != nil {
		return err
	}
	report, err := analysis.NewFLOPReport(c, analysis.SPDF, quickCtx, seen,
		[]analysis.Scenario{{}, {Sparsity: sparsity.Float64(), Kept: kept}}, nil)
	if err != nil {
		return err
	}
	if a.json {
		list := make([]map[string]any, len(arms))
		for i, arm := range arms {
			list[i] = map[string]any{
				"name": arm.name, "sparsity": arm.sparsity, "run": filepath.Join(out, arm.name+"-e2e"),
				"pretraining_flops": arm.flops, "pretraining_seconds": arm.trainSeconds, "perplexity": arm.perplexity,
				"finetuning_seconds": arm.tuneSeconds, "finetuned_perplexity": arm.tuned, "bleu": arm.bleu,
			}
		}
		return a.printJSON(map[string]any{"arms": list, "seconds": took.Seconds(), "flops": report, "report": filepath.Join(out, reportFile)})
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 3, ' ', tabwriter.AlignRight)
	row := func(what, format string, value func(*quickArm) float64) {
		fmt.Fprintf(w, "%s\t", what)
		for _, arm := range arms {
			fmt.Fprintf(w, format+"\t", value(arm))
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "\t%s\t%s\t\n", arms[0].title, arms[1].title)
	row("pre-training FLOPs", "%.4g", func(x *quickArm) float64 { return x.flops })
	row("pre-training seconds", "%.1f", func(x *quickArm) float64 { return x.trainSeconds })
	row("perplexity, held-out text", "%.2f", func(x *quickArm) float64 { return x.perplexity })
	row("fine-tuning seconds", "%.1f", func(x *quickArm) float64 { return x.tuneSeconds })
	row("perplexity, held-out E2E", "%.3f", func(x *quickArm) float64 { return x.tuned })
	row("BLEU, E2E test", "%.2f", func(x *quickArm) float64 { return x.bleu })
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(a.stdout)
	if err := printFLOPs(a.stdout, report); err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "\n%s: \"%s\"\n%s: \"%s\"\n", arms[0].title, arms[0].sample, arms[1].title, arms[1].sample)
	_, err = fmt.Fprintf(a.stdout, "\nrun directory: %s (%s in all)\nreport: %s\ntry: spdfctl generate %s --prompt \"name : The Eagle | Type : pub\"\n",
		out, took.Round(time.Second), filepath.Join(out, reportFile), filepath.Join(out, arms[1].name+"-e2e"))
	return err
}
