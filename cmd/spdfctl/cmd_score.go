package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/spdfctl/spdfctl/eval/metrics"
	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/nlg"
)

// scoreFlags are the flags of "score".
type scoreFlags struct {
	profile, hyp, refFormat, segments, against string
	refs, metrics                              []string
	force                                      bool
	meteorDir                                  string
	meteorStages                               []string
	bootstrap                                  int
	seed                                       uint64
	smoothValue                                float64
	o                                          metrics.ProfileOptions
	ptb                                        string
}

func newScoreCmd(a *app) *cobra.Command {
	var flags scoreFlags
	cmd := &cobra.Command{
		Use:   "score --profile e2e|webnlg|dart|sacrebleu|generation-eval --ref FILE --hyp FILE",
		Short: "Score text against references",
		Long: `Score compares texts, one per line, with their references. No model is needed.

A profile is the metrics of one published script, on its scales and with its
tokens, letter case and treatment of blank references:

  e2e              measure_scores.py of the E2E challenge: BLEU, NIST, METEOR,
                   ROUGE-L, CIDEr; --nist python is its option -p
  webnlg           the scripts of WebNLG 2017: multi-bleu.perl -lc, METEOR 1.5,
                   tercom 0.7.25
  dart             the script of DART: multi-bleu.perl, METEOR 1.5, tercom 0.7.25
  generation-eval  the script of WebNLG 2020, which LoRA's experiments run:
                   multi-bleu-detok.perl, METEOR 1.5, pyter
  sacrebleu        sacreBLEU 2; --metrics bleu,chrf,chrf++,ter for all it has

Every number has a signature that says how it was computed. METEOR needs its
tables, which are not part of the program: --meteor-dir names their folder, and
without it METEOR is left out. It runs the stages whose tables are there.

Texts of profile e2e may be a table (.tsv, .csv) with a header, whose inputs are
looked up in the references; encoding errors that the script repairs in tables are
repaired.

References are one file per set, --ref given once for each, one line per text;
or one file: with blank lines between the references of one text and of the
next, tab-separated (.tsv), JSON Lines with "references" or "completion"
(.jsonl), or the CSV of the E2E challenge grouped by meaning representation
(.csv). A plain text file is taken line by line if it has as many lines as there
are texts, otherwise as blocks; --ref-format says it outright. Any file may end
in .gz.

--bootstrap gives confidence intervals, --against tests whether the texts differ
from those of another system.`,
		Example: `  spdfctl score --profile e2e --ref testset_w_refs.csv --hyp out.tsv --meteor-dir meteor-1.5 --bootstrap 1000
  spdfctl score --profile sacrebleu --ref ref0.txt --ref ref1.txt --hyp out.txt --lowercase --segments segments.jsonl`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("smooth-value") {
				flags.o.BLEU.SmoothValue = &flags.smoothValue
			}
			if flags.against != "" && flags.bootstrap == 0 {
				flags.bootstrap = 1000
			}
			return a.score(flags)
		},
	}
	f := cmd.Flags()
	flags.define(f)
	return cmd
}

func (flags *scoreFlags) define(f *pflag.FlagSet) {
	f.StringVar(&flags.profile, "profile", "", "whose script to copy: "+strings.Join(metrics.Profiles(), ", "))
	f.StringArrayVar(&flags.refs, "ref", nil, "file with references (may be repeated, one set each)")
	f.StringVar(&flags.hyp, "hyp", "", "file with the texts to score, one per line")
	f.StringVar(&flags.refFormat, "ref-format", "auto", "format of the references: "+strings.Join(nlg.RefFormats(), ", "))
	f.StringSliceVar(&flags.metrics, "metrics", nil, "metrics to compute, of those of the profile (default: all; sacrebleu: bleu)")
	f.StringVar(&flags.meteorDir, "meteor-dir", "", "folder with METEOR's tables")
	f.StringSliceVar(&flags.meteorStages, "meteor-stages", nil, "stages of METEOR: exact, stem, synonym, paraphrase (default: those with tables)")
	f.StringVar(&flags.o.NIST, "nist", "perl", "script of profile e2e's BLEU and NIST: "+strings.Join(metrics.NISTVariants(), ", "))
	f.StringVar(&flags.ptb, "ptb", string(metrics.PTB2025), "tokenizer of profile e2e's METEOR, ROUGE-L and CIDEr: "+strings.Join(metrics.PTBVersions(), ", "))
	f.StringVar(&flags.segments, "segments", "", "write the scores of every text to this file, as JSON Lines")
	f.BoolVar(&flags.force, "force", false, "replace the file named by --segments")
	f.IntVar(&flags.bootstrap, "bootstrap", 0, "give 95 % confidence intervals from this many resamples (default 1000 with --against)")
	f.StringVar(&flags.against, "against", "", "file with the texts of another system to test against")
	f.Uint64Var(&flags.seed, "seed", 12345, "seed of the resamples")
	f.StringVar(&flags.o.BLEU.Tokenizer, "tokenize", "13a", "tokenizer of profile sacrebleu's BLEU: "+strings.Join(metrics.BLEUTokenizers(), ", "))
	f.StringVar(&flags.o.BLEU.Smoothing, "smooth", "exp", "smoothing of profile sacrebleu's BLEU: "+strings.Join(metrics.BLEUSmoothings(), ", "))
	f.Float64Var(&flags.smoothValue, "smooth-value", 0, "constant of --smooth floor (default 0.1) or add-k (default 1)")
	f.BoolVar(&flags.o.BLEU.Lowercase, "lowercase", false, "profile sacrebleu compares without letter case")
}

// check reports wrong flags.
func (flags *scoreFlags) check() error {
	names := metrics.ProfileMetrics(flags.profile)
	switch {
	case flags.profile == "":
		return withHint(usageErrorf("score: --profile is missing"), "--profile sacrebleu is sacreBLEU's BLEU")
	case names == nil:
		return usageErrorf("score: --profile %q does not exist, only %s do", flags.profile, strings.Join(metrics.Profiles(), ", "))
	case len(flags.refs) == 0:
		return usageErrorf("score: --ref is missing")
	case flags.hyp == "":
		return usageErrorf("score: --hyp is missing")
	case !slices.Contains(nlg.RefFormats(), flags.refFormat):
		return usageErrorf("score: --ref-format %q is none of %s", flags.refFormat, strings.Join(nlg.RefFormats(), ", "))
	case len(flags.refs) > 1 && flags.refFormat != "auto" && flags.refFormat != "lines":
		return usageErrorf("score: --ref-format %s takes one --ref, not %d", flags.refFormat, len(flags.refs))
	case !slices.Contains(metrics.NISTVariants(), flags.o.NIST):
		return usageErrorf("score: --nist %q is none of %s", flags.o.NIST, strings.Join(metrics.NISTVariants(), ", "))
	case !slices.Contains(metrics.PTBVersions(), flags.ptb):
		return usageErrorf("score: --ptb %q is none of %s", flags.ptb, strings.Join(metrics.PTBVersions(), ", "))
	case flags.bootstrap < 0 || flags.bootstrap == 1:
		return usageErrorf("score: --bootstrap %d, want at least 2 resamples", flags.bootstrap)
	case len(flags.meteorStages) > 0 && flags.meteorDir == "":
		return usageErrorf("score: --meteor-stages without --meteor-dir")
	}
	for _, name := range flags.metrics {
		if !slices.Contains(names, name) {
			return usageErrorf("score: --metrics %q is none of %s, which --profile %s has", name, strings.Join(names, ", "), flags.profile)
		}
		if name == "meteor" && flags.meteorDir == "" {
			return withHint(usageErrorf("score: --metrics meteor without --meteor-dir"), "--meteor-dir names the folder with METEOR's tables")
		}
	}
	if err := flags.o.BLEU.Validate(); err != nil {
		return &usageError{err: fmt.Errorf("score: %w", err)}
	}
	return nil
}

func (a *app) score(flags scoreFlags) error {
	if err := flags.check(); err != nil {
		return err
	}
	flags.o.PTB, flags.o.Metrics = metrics.PTBVersion(flags.ptb), flags.metrics
	if flags.meteorDir != "" {
		meteor, err := metrics.LoadMeteor(flags.meteorDir, flags.meteorStages...)
		if err != nil {
			return fmt.Errorf("score: --meteor-dir: %w", err)
		}
		flags.o.Meteor = meteor
	}
	hyps, sources, err := flags.texts(flags.hyp)
	if err != nil {
		return err
	}
	if len(hyps) == 0 {
		return fmt.Errorf("score: %s: no text to score: line 1 is missing", flags.hyp)
	}
	refs, err := flags.references(len(hyps), sources)
	if err != nil {
		return err
	}
	result, err := metrics.ScoreProfile(flags.profile, hyps, refs, flags.o)
	if err != nil {
		return fmt.Errorf("score: %w", err)
	}
	if flags.profile == "sacrebleu" && metrics.LooksTokenized(hyps) {
		a.logf("score: %s: 100 texts or more end in a full stop apart; sacreBLEU expects text that is not tokenised", flags.hyp)
	}
	a.logWithoutMeteor("score", flags.profile, flags.o)
	out := newScoreResult(result)
	if err := flags.resample(&out, result, sources, refs); err != nil {
		return err
	}
	if flags.segments != "" {
		if err := flags.writeSegments(result); err != nil {
			return err
		}
	}
	if a.json {
		return a.printJSON(out)
	}
	return printScores(a.stdout, out, result)
}

// logWithoutMeteor says that a profile's METEOR is missing.
func (a *app) logWithoutMeteor(command, profile string, o metrics.ProfileOptions) {
	if o.Meteor == nil && len(o.Metrics) == 0 && slices.Contains(metrics.ProfileMetrics(profile), "meteor") {
		a.logf("%s: METEOR is left out: --meteor-dir names the folder with its tables", command)
	}
}

// texts reads system outputs and, from a table, their inputs.
func (flags *scoreFlags) texts(path string) (texts, sources []string, err error) {
	if flags.profile == "e2e" {
		rows, table, err := nlg.ReadOutputsFile(path, metrics.RepairE2E)
		if err != nil {
			return nil, nil, fmt.Errorf("score: %w", err)
		}
		if table {
			for _, row := range rows {
				texts, sources = append(texts, row.References[0]), append(sources, row.Source)
			}
			return texts, sources, nil
		}
	}
	if texts, err = nlg.ReadLinesFile(path); err != nil {
		return nil, nil, fmt.Errorf("score: %w", err)
	}
	return texts, nil, nil
}

// references reads the references of n segments, whose inputs are sources unless
// that is nil.
func (flags *scoreFlags) references(n int, sources []string) ([][]string, error) {
	if len(flags.refs) == 1 {
		path := flags.refs[0]
		if plain := strings.TrimSuffix(path, ".gz"); sources != nil && (flags.refFormat == "e2e" || flags.refFormat == "auto" && strings.HasSuffix(plain, ".csv")) {
			rows, table, err := nlg.ReadOutputsFile(path, metrics.RepairE2E)
			if err == nil && !table {
				err = fmt.Errorf("nlg: %s: no table", path)
			}
			var refs [][]string
			if err == nil {
				refs, err = nlg.ReferencesOf(rows, sources)
			}
			if err != nil {
				return nil, fmt.Errorf("score: %w", err)
			}
			return refs, nil
		}
		segments, err := nlg.ReadReferences(path, flags.refFormat, n)
		if err != nil {
			return nil, fmt.Errorf("score: %w", err)
		}
		return segments, nil
	}
	segments := make([][]string, n)
	for _, path := range flags.refs {
		lines, err := nlg.ReadLinesFile(path)
		if err != nil {
			return nil, fmt.Errorf("score: %w", err)
		}
		if len(lines) != n {
			longer, line := path, n+1
			if len(lines) < n {
				longer, line = flags.hyp, len(lines)+1
			}
			return nil, withHint(fmt.Errorf("score: %s has %d lines, %s has %d", path, len(lines), flags.hyp, n),
				"line %d of %s is the first without a counterpart", line, longer)
		}
		for i, line := range lines {
			segments[i] = append(segments[i], line)
		}
	}
	return segments, nil
}

// resample adds confidence intervals and tests.
func (flags *scoreFlags) resample(out *scoreResult, result metrics.Result, sources []string, refs [][]string) error {
	if flags.bootstrap == 0 {
		return nil
	}
	out.Bootstrap = &bootstrapResult{Samples: flags.bootstrap, Seed: flags.seed, Intervals: map[string]intervalResult{}}
	if flags.against == "" {
		for _, s := range result.Scores {
			i, err := s.Bootstrap(flags.bootstrap, flags.seed)
			if err != nil {
				return fmt.Errorf("score: %w", err)
			}
			out.Bootstrap.Intervals[s.Name] = newIntervalResult(i)
		}
		return nil
	}
	others, otherSources, err := flags.texts(flags.against)
	if err != nil {
		return err
	}
	if len(others) != result.Segments {
		return fmt.Errorf("score: --against: %s has %d texts, %s has %d", flags.against, len(others), flags.hyp, result.Segments)
	}
	for i := range sources {
		if otherSources != nil && otherSources[i] != sources[i] {
			return fmt.Errorf("score: --against: input %d of %s is %.60q, that of %s is %.60q", i+1, flags.against, otherSources[i], flags.hyp, sources[i])
		}
	}
	baseline, err := metrics.ScoreProfile(flags.profile, others, refs, flags.o)
	if err != nil {
		return fmt.Errorf("score: --against: %w", err)
	}
	out.Against = &againstResult{File: flags.against, Metrics: map[string]comparisonResult{}}
	for k, s := range result.Scores {
		c, err := metrics.Compare(s, baseline.Scores[k], flags.bootstrap, flags.seed)
		if err != nil {
			return fmt.Errorf("score: --against: %w", err)
		}
		out.Bootstrap.Intervals[s.Name] = newIntervalResult(c.System)
		out.Against.Metrics[s.Name] = comparisonResult{baseline.Scores[k].Value, c.Difference, newIntervalResult(c.Baseline), c.PBootstrap, c.PRandomization}
	}
	return nil
}

// writeSegments writes the scores of every text by itself.
func (flags *scoreFlags) writeSegments(result metrics.Result) error {
	values := make([][]float64, len(result.Scores))
	for k, s := range result.Scores {
		values[k] = s.Segments()
	}
	err := formats.WriteAtomic(flags.segments, flags.force, func(w io.Writer) error {
		enc := json.NewEncoder(w)
		for i := range result.Segments {
			line := segment{{"segment", i + 1}}
			for k, s := range result.Scores {
				line = append(line, segmentField{s.Name, values[k][i]})
				if hyp, ref, ok := s.SegmentLengths(i); ok {
					line = append(line, segmentField{"hyp_len", hyp}, segmentField{"ref_len", ref})
				}
			}
			if err := enc.Encode(line); err != nil {
				return err
			}
		}
		return nil
	})
	switch {
	case errors.Is(err, fs.ErrExist):
		return withHint(fmt.Errorf("score: --segments: %w", err), "--force replaces it")
	case err != nil:
		return fmt.Errorf("score: --segments: %w", err)
	}
	return nil
}

// printScores writes a table for people.
func printScores(w io.Writer, out scoreResult, result metrics.Result) error {
	if result.Profile == "sacrebleu" && len(result.Scores) == 1 && result.Scores[0].Name == "bleu" && out.Bootstrap == nil {
		s := result.Scores[0]
		_, err := fmt.Fprintf(w, "BLEU %.2f %s\nsignature: %s\nsegments: %d\n", s.Value, s.Detail, s.Signature, result.Segments)
		return err
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, s := range result.Scores {
		digits := 4
		if s.Value >= 10 {
			digits = 2
		}
		fmt.Fprintf(t, "%s\t%.*f", s.Name, digits, s.Value)
		if out.Bootstrap != nil {
			i := out.Bootstrap.Intervals[s.Name]
			fmt.Fprintf(t, "\t[%.*f, %.*f]", digits, i.Low, digits, i.High)
		}
		if out.Against != nil {
			c := out.Against.Metrics[s.Name]
			fmt.Fprintf(t, "\t%+.*f against %.*f\tp %.4f bootstrap, %.4f randomisation", digits, c.Difference, digits, c.Score, c.PBootstrap, c.PRandomization)
		}
		fmt.Fprintf(t, "\t%s\n", s.Signature)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "signature: %s\nsegments: %d\n", result.Signature, result.Segments)
	return err
}
