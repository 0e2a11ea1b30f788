package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/spdfctl/spdfctl/formats/nlg"
	"github.com/spdfctl/spdfctl/kernels"
	"github.com/spdfctl/spdfctl/train"
)

// lossFlags are the flags of "eval loss".
type lossFlags struct {
	task, path string
	seqLen     int
	precision  kernels.Precision
}

// lossResult is what "eval loss --json" prints.
type lossResult struct {
	Loss       float64 `json:"loss"`       // mean cross-entropy in nats per token of a completion
	Perplexity float64 `json:"perplexity"` // exp(Loss)
	Tokens     int     `json:"tokens"`     // predicted
	Sequences  int     `json:"sequences"`
	SeqLen     int     `json:"seq_len"`
}

func newEvalLossCmd(a *app) *cobra.Command {
	var flags lossFlags
	cmd := &cobra.Command{
		Use:   "loss MODEL --data FILE [--task TASK]",
		Short: "Loss and perplexity of completions, given their prompts",
		Long: `Loss measures what finetune calls the validation loss on a whole set: prompts and
completions are framed as there, sequences cut to the same length, and only what
follows a prompt is predicted, its end included. An instance with several
references is as many sequences.`,
		Example: `  spdfctl eval loss runs/curation --task jsonl --data test.jsonl
  spdfctl eval loss runs/sparse-e2e --task e2e --data devset.csv.gz --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := flags.check(); err != nil {
				return err
			}
			return a.evalLoss(cmd.Context(), args[0], flags)
		},
	}
	flags.define(cmd.Flags())
	return cmd
}

// define defines a flag for every setting.
func (flags *lossFlags) define(f *pflag.FlagSet) {
	f.StringVar(&flags.task, "task", "", "what the data is: "+strings.Join(nlg.Tasks(), ", ")+" (default: by its name)")
	f.StringVar(&flags.path, "data", "", "examples to predict")
	f.IntVar(&flags.seqLen, "seq-len", 0, "tokens of a sequence at most (0: 512, or the model's context if that is shorter)")
	precisionVar(f, &flags.precision)
}

// check checks what needs no file.
func (flags *lossFlags) check() error {
	switch {
	case flags.path == "":
		return usageErrorf("eval loss: --data is missing: the examples to predict")
	case flags.task != "" && !slices.Contains(nlg.Tasks(), flags.task):
		return usageErrorf("eval loss: --task %q is none of %s", flags.task, strings.Join(nlg.Tasks(), ", "))
	case flags.seqLen < 0:
		return usageErrorf("eval loss: --seq-len %d is negative", flags.seqLen)
	}
	if err := flags.precision.Available(); err != nil {
		return fmt.Errorf("eval loss: %w", err)
	}
	return nil
}

func (a *app) evalLoss(ctx context.Context, model string, flags lossFlags) error {
	m, tok, err := loadModel(model, false)
	if err != nil {
		return err
	}
	m.SetPrecision(flags.precision)
	eot, err := endOfText(tok, model)
	if err != nil {
		return err
	}
	length := flags.seqLen
	if length == 0 {
		length = tuneSeqLen(m.Config)
	}
	if length > m.Config.NCtx {
		return usageErrorf("eval loss: --seq-len is %d, the model has %d positions", length, m.Config.NCtx)
	}
	source, err := a.openExamples(flags.task, flags.path, tok, eot, length, 0)
	if err != nil {
		return err
	}
	r := &train.Run{Config: train.Defaults(), Model: m}
	r.Config.EvalSequences = 0
	loss, n, err := r.LossOn(ctx, source)
	if err != nil {
		return fmt.Errorf("%s: %w", flags.path, err)
	}
	result := lossResult{Loss: loss, Perplexity: math.Exp(loss), Tokens: n, Sequences: source.Len(), SeqLen: length}
	if a.json {
		return a.printJSON(result)
	}
	t := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "loss\t%.4f nats per token\n", result.Loss)
	fmt.Fprintf(t, "perplexity\t%.3f\n", result.Perplexity)
	fmt.Fprintf(t, "predicted\t%d tokens of %d sequences, cut to %d\n", result.Tokens, result.Sequences, result.SeqLen)
	return t.Flush()
}
