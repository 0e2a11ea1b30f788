package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/spdfctl/spdfctl/eval"
	"github.com/spdfctl/spdfctl/eval/metrics"
	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/bpe"
	"github.com/spdfctl/spdfctl/formats/nlg"
	"github.com/spdfctl/spdfctl/train/gpt"
)

// nlgFlags are the flags of "eval nlg".
type nlgFlags struct {
	task, path, out, profile, meteorDir string
	batch                               int
	search                              eval.Search
	force                               bool
}

// nlgResult is what "eval nlg --json" prints.
type nlgResult struct {
	Task     string `json:"task"`
	Decoding string `json:"decoding"`
	scoreResult
}

func newEvalNLGCmd(a *app) *cobra.Command {
	var flags nlgFlags
	cmd := &cobra.Command{
		Use:   "nlg MODEL --task e2e|webnlg|dart|scitldr|jsonl --data FILE",
		Short: "Decode a data-to-text set and score it",
		Long: `Nlg completes the prompt of every instance of a set and scores the texts against
all references of the instance, as the script does that --profile names: by
default e2e, webnlg or dart for the task of that name, sacrebleu for others. How
the texts were made is printed with the scores. Prompts are linearised as LoRA's
pipeline does it; rows with the same prompt are one instance with several
references.

Decoding is greedy unless --beam or --temperature says otherwise. A text ends at
<|endoftext|>, and where the token of an empty line stands. All instances are
stepped together; the texts do not depend on --batch-size or --threads. What the
LoRA and SPDF papers decode with is

  --beam 10 --length-penalty 0.8 --no-repeat-ngram 4 --beam-rules lora

The data is the set of the task, a folder or a .tar.gz archive of its files.`,
		Example: `  spdfctl eval nlg runs/e2e --task e2e --data testset_w_refs.csv.gz --beam 10 --length-penalty 0.8 --no-repeat-ngram 4 -o hyp.txt
  spdfctl eval nlg runs/webnlg --task webnlg --data webnlg.tar.gz:webnlg/test --meteor-dir meteor-1.5 --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.evalNLG(cmd.Context(), args[0], flags) },
	}
	f := cmd.Flags()
	flags.define(f)
	return cmd
}

func (flags *nlgFlags) define(f *pflag.FlagSet) {
	f.StringVar(&flags.task, "task", "e2e", "what the data is: "+strings.Join(nlg.Tasks(), ", "))
	f.StringVar(&flags.path, "data", "", "the set to decode, with its references")
	f.StringVarP(&flags.out, "out", "o", "", "file for the texts, one line each")
	f.StringVar(&flags.profile, "profile", "", "whose script scores the texts: "+strings.Join(metrics.Profiles(), ", ")+" (default: that of the task)")
	f.StringVar(&flags.meteorDir, "meteor-dir", "", "folder with METEOR's tables")
	f.IntVar(&flags.batch, "batch-size", 0, "instances decoded at a time (0: as many as make about 256 rows)")
	f.IntVar(&flags.search.MaxTokens, "max-tokens", 64, "longest text in tokens")
	f.BoolVar(&flags.force, "force", false, "replace an existing file")
	searchFlags(f, &flags.search)
}

// searchFlags defines the flags that choose how texts are made.
func searchFlags(f *pflag.FlagSet, s *eval.Search) {
	f.Float64Var(&s.Temperature, "temperature", 0, "sample with this temperature (0: greedy)")
	f.IntVar(&s.TopK, "top-k", 0, "sample among the k most likely tokens (0: all)")
	f.Float64Var(&s.TopP, "top-p", 0, "sample among the likeliest tokens that make up p (0: all)")
	f.Uint64Var(&s.Seed, "seed", 0, "seed of the sampling")
	f.IntVar(&s.Width, "beam", 1, "width of the beam search (1: none)")
	f.Float64Var(&s.LengthPenalty, "length-penalty", 1, "exponent of the beam's length penalty; above 0 it favours long texts")
	f.StringVar(&s.Convention, "length-penalty-convention", eval.PenaltyHF, "hf: log-probability / n^a; gnmt: / ((5+n)/6)^a")
	f.StringVar(&s.Rules, "beam-rules", eval.RulesHF, "whose beam search: hf (transformers) or lora (gpt2_beam.py)")
	f.StringVar(&s.EarlyStopping, "early-stopping", eval.StopHeuristic, "end of an hf beam: first, heuristic or never (True, False, \"never\" in transformers)")
	f.IntVar(&s.NoRepeatNGram, "no-repeat-ngram", 0, "no n-gram of this length twice (0: any; prompts count by --beam-rules hf)")
	f.IntVar(&s.MinTokens, "min-tokens", 0, "shortest text in tokens")
}

// check reports wrong flags and fills in the profile of the task.
func (flags *nlgFlags) check() error {
	if flags.path == "" {
		return usageErrorf("eval nlg: --data is missing: the set to decode")
	}
	if !slices.Contains(nlg.Tasks(), flags.task) {
		return usageErrorf("eval nlg: --task %q is none of %s", flags.task, strings.Join(nlg.Tasks(), ", "))
	}
	if flags.profile == "" {
		flags.profile = "sacrebleu"
		if metrics.ProfileMetrics(flags.task) != nil {
			flags.profile = flags.task
		}
	}
	if metrics.ProfileMetrics(flags.profile) == nil {
		return usageErrorf("eval nlg: --profile %q does not exist, only %s do", flags.profile, strings.Join(metrics.Profiles(), ", "))
	}
	if flags.batch < 0 {
		return usageErrorf("eval nlg: --batch-size %d is negative", flags.batch)
	}
	if err := flags.search.Validate(); err != nil {
		return &usageError{err: fmt.Errorf("eval nlg: %w", err)}
	}
	return nil
}

func (a *app) evalNLG(ctx context.Context, model string, flags nlgFlags) error {
	if err := flags.check(); err != nil {
		return err
	}
	var o metrics.ProfileOptions
	if flags.meteorDir != "" {
		meteor, err := metrics.LoadMeteor(flags.meteorDir)
		if err != nil {
			return fmt.Errorf("eval nlg: --meteor-dir: %w", err)
		}
		o.Meteor = meteor
	}
	m, tok, err := loadModel(model, false)
	if err != nil {
		return err
	}
	set, err := a.readInstances(flags.task, flags.path)
	if err != nil {
		return err
	}
	texts, err := a.decode(ctx, m, tok, set, flags.search, flags.batch)
	if err != nil {
		return err
	}
	if flags.out != "" {
		if err := writeLines(flags.out, flags.force, texts); err != nil {
			return err
		}
	}
	result, err := metrics.ScoreProfile(flags.profile, texts, referencesOf(set), o)
	if err != nil {
		return fmt.Errorf("eval nlg: %w", err)
	}
	a.logWithoutMeteor("eval nlg", flags.profile, o)
	out := nlgResult{flags.task, flags.search.String(), newScoreResult(result)}
	if a.json {
		return a.printJSON(out)
	}
	if err := printScores(a.stdout, out.scoreResult, result); err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.stdout, "decoding: %s\n", out.Decoding)
	return err
}

// readInstances reads a set, says what it leaves out, and joins the rows of one
// prompt.
func (a *app) readInstances(task, path string) ([]nlg.Example, error) {
	rows, err := nlg.ReadSet(task, path)
	if err != nil {
		return nil, fmt.Errorf("eval: %w", err)
	}
	set := nlg.Group(rows.Examples)
	a.logf("%s: %d instances of %s", path, len(set), rows)
	for i := range set {
		if len(set[i].References) == 0 {
			return nil, fmt.Errorf("eval: %s: instance %d has no reference to score against", path, i+1)
		}
	}
	return set, nil
}

// referencesOf returns the references of every instance.
func referencesOf(set []nlg.Example) [][]string {
	refs := make([][]string, len(set))
	for i, e := range set {
		refs[i] = e.References
	}
	return refs
}

// decode completes the prompts of set and returns one line of text for each.
func (a *app) decode(ctx context.Context, m *gpt.Model, tok *bpe.Tokenizer, set []nlg.Example, s eval.Search, batch int) ([]string, error) {
	eot, err := endOfText(tok, "model")
	if err != nil {
		return nil, err
	}
	s.Stop = []int32{eot}
	prompts := make([][]int32, len(set))
	for i, e := range set {
		prompts[i] = nlg.Prompt(tok, eot, e.Source)
		if n := len(prompts[i]); n > m.Config.NCtx {
			return nil, fmt.Errorf("eval: instance %d: the prompt has %d tokens, the model takes %d", i+1, n, m.Config.NCtx)
		}
	}
	bar := a.startProgress("decode", "texts", int64(len(prompts)))
	defer a.closeProgress()
	start, tokens := time.Now(), 0
	out, err := eval.Decode(ctx, m, prompts, s, batch, func(done, n int) {
		tokens = n
		bar.Set(int64(done), "")
	})
	if err != nil {
		return nil, err
	}
	a.closeProgress()
	spent := time.Since(start).Seconds()
	a.logf("decode: %d texts in %.1f s, %d tokens with those of all beams, %.0f tokens/s", len(out), spent, tokens, float64(tokens)/spent)
	blank := tok.Encode([]byte("\n\n"))
	texts := make([]string, len(out))
	for i, t := range out {
		ids := t.IDs
		if len(blank) == 1 {
			if at := slices.Index(ids, blank[0]); at >= 0 {
				ids = ids[:at] // where LoRA's pipeline cuts
			}
		}
		text, err := tok.Decode(ids)
		if err != nil {
			return nil, err
		}
		// One text a line, and what is not UTF-8 has no place in a score.
		texts[i] = strings.ToValidUTF8(strings.Join(strings.Fields(string(text)), " "), "\uFFFD")
	}
	return texts, nil
}

// writeLines writes one text a line.
func writeLines(path string, force bool, lines []string) error {
	return formats.WriteAtomic(path, force, func(w io.Writer) error {
		_, err := io.WriteString(w, strings.Join(lines, "\n")+"\n")
		return err
	})
}
