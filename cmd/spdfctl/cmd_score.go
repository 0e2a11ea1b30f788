package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/spdfctl/spdfctl/eval/metrics"
	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/nlg"
)

// profiles are the values of --profile that exist.
var profiles = []string{"sacrebleu"}

// scoreFlags are the flags of "score".
type scoreFlags struct {
	profile, hyp, refFormat, segments string
	refs                              []string
	force                             bool
	smoothValue                       float64
	bleu                              metrics.BLEUOptions
}

func newScoreCmd(a *app) *cobra.Command {
	var flags scoreFlags
	cmd := &cobra.Command{
		Use:   "score --profile sacrebleu --ref FILE --hyp FILE",
		Short: "Score text against references",
		Long: `Score compares texts, one per line, with their references. No model is needed.

Profile sacrebleu is the corpus BLEU of sacreBLEU 2 to the last digit, on its
scale of 0 to 100. The signature says how it was computed.

References are one file per set, --ref given once for each, one line per text;
or one file: with blank lines between the references of one text and of the
next, tab-separated (.tsv), JSON Lines with "references" or "completion"
(.jsonl), or the CSV of the E2E challenge grouped by meaning representation
(.csv). A plain text file is taken line by line if it has as many lines as there
are texts, otherwise as blocks; --ref-format says it outright. Any file may end
in .gz.`,
		Example: `  spdfctl score --profile sacrebleu --ref ref0.txt --ref ref1.txt --hyp out.txt
  spdfctl score --profile sacrebleu --ref testset_w_refs.csv --hyp out.txt --lowercase --segments segments.jsonl`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("smooth-value") {
				flags.bleu.SmoothValue = &flags.smoothValue
			}
			return a.score(flags)
		},
	}
	f := cmd.Flags()
	f.StringVar(&flags.profile, "profile", "", "whose script to copy: "+strings.Join(profiles, ", "))
	f.StringArrayVar(&flags.refs, "ref", nil, "file with references (may be repeated, one set each)")
	f.StringVar(&flags.hyp, "hyp", "", "file with the texts to score, one per line")
	f.StringVar(&flags.refFormat, "ref-format", "auto", "format of the references: "+strings.Join(nlg.RefFormats(), ", "))
	f.StringVar(&flags.segments, "segments", "", "write the score of every text to this file, as JSON Lines")
	f.BoolVar(&flags.force, "force", false, "replace the file named by --segments")
	f.StringVar(&flags.bleu.Tokenizer, "tokenize", "13a", "tokenizer of BLEU: "+strings.Join(metrics.BLEUTokenizers(), ", "))
	f.StringVar(&flags.bleu.Smoothing, "smooth", "exp", "smoothing of BLEU: "+strings.Join(metrics.BLEUSmoothings(), ", "))
	f.Float64Var(&flags.smoothValue, "smooth-value", 0, "constant of --smooth floor (default 0.1) or add-k (default 1)")
	f.BoolVar(&flags.bleu.Lowercase, "lowercase", false, "compare without letter case")
	return cmd
}

func (a *app) score(flags scoreFlags) error {
	switch {
	case flags.profile == "":
		return withHint(usageErrorf("score: --profile is missing"), "--profile sacrebleu is sacreBLEU's BLEU")
	case flags.profile != "sacrebleu":
		return usageErrorf("score: --profile %q does not exist, only %s does", flags.profile, strings.Join(profiles, ", "))
	case len(flags.refs) == 0:
		return usageErrorf("score: --ref is missing")
	case flags.hyp == "":
		return usageErrorf("score: --hyp is missing")
	case !slices.Contains(nlg.RefFormats(), flags.refFormat):
		return usageErrorf("score: --ref-format %q is none of %s", flags.refFormat, strings.Join(nlg.RefFormats(), ", "))
	case len(flags.refs) > 1 && flags.refFormat != "auto" && flags.refFormat != "lines":
		return usageErrorf("score: --ref-format %s takes one --ref, not %d", flags.refFormat, len(flags.refs))
	}
	if err := flags.bleu.Validate(); err != nil {
		return &usageError{err: fmt.Errorf("score: %w", err)}
	}
	hyps, err := nlg.ReadLinesFile(flags.hyp)
	if err != nil {
		return fmt.Errorf("score: %w", err)
	}
	refs, err := flags.references(len(hyps))
	if err != nil {
		return err
	}
	score, err := metrics.BLEU(hyps, refs, flags.bleu)
	if err != nil {
		return fmt.Errorf("score: %w", err)
	}
	if metrics.LooksTokenized(hyps) {
		a.logf("score: %s: 100 texts or more end in a full stop apart; sacreBLEU expects text that is not tokenised", flags.hyp)
	}
	if flags.segments != "" {
		if err := flags.writeSegments(hyps, refs); err != nil {
			return err
		}
	}
	if a.json {
		return a.printJSON(scoreResult{flags.profile, score.Signature, map[string]float64{"bleu": score.Score}, len(hyps)})
	}
	_, err = fmt.Fprintf(a.stdout, "BLEU %.2f %s\nsignature: %s\nsegments: %d\n", score.Score, score, score.Signature, len(hyps))
	return err
}

// scoreResult is what --json prints. Metrics has those that were computed.
type scoreResult struct {
	Profile   string             `json:"profile"`
	Signature string             `json:"signature"`
	Metrics   map[string]float64 `json:"metrics"`
	NSegments int                `json:"n_segments"`
}

// segment is one line of the file that --segments names.
type segment struct {
	Segment int     `json:"segment"` // from 1
	BLEU    float64 `json:"bleu"`
	HypLen  int     `json:"hyp_len"`
	RefLen  int     `json:"ref_len"`
}

// writeSegments scores every text by itself, as sacreBLEU's sentence level does.
func (flags scoreFlags) writeSegments(hyps []string, refs [][]string) error {
	o := flags.bleu
	o.EffectiveOrder = true
	err := formats.WriteAtomic(flags.segments, flags.force, func(w io.Writer) error {
		enc := json.NewEncoder(w)
		for i, hyp := range hyps {
			s, err := metrics.SentenceBLEU(hyp, refs[i], o)
			if err != nil {
				return err
			}
			if err := enc.Encode(segment{i + 1, s.Score, s.HypLen, s.RefLen}); err != nil {
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

// references reads the references of n segments.
func (flags scoreFlags) references(n int) ([][]string, error) {
	if len(flags.refs) == 1 {
		segments, err := nlg.ReadReferences(flags.refs[0], flags.refFormat, n)
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
			return nil, fmt.Errorf("score: %s has %d lines, %s has %d", path, len(lines), flags.hyp, n)
		}
		for i, line := range lines {
			segments[i] = append(segments[i], line)
		}
	}
	return segments, nil
}
