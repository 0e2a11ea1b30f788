package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/spdfctl/spdfctl/eval"
	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/nlg"
	"github.com/spdfctl/spdfctl/kernels"
)

// pplFlags are the flags of "eval ppl".
type pplFlags struct {
	path, documents, bos, each string
	window, stride             int
	force                      bool
	precision                  kernels.Precision
}

func newEvalPPLCmd(a *app) *cobra.Command {
	var flags pplFlags
	cmd := &cobra.Command{
		Use:   "ppl MODEL --data FILE",
		Short: "Loss, perplexity per token, word and byte, bits per byte on a text",
		Long: `Ppl predicts every token of a text exactly once, in windows that move by the
stride: a smaller stride gives more context and a lower perplexity. Window, stride
and what precedes a document are part of the result. With --bos none the first
token of a document has no prediction; with --bos eot it is predicted from
<|endoftext|>.

The data is text (.txt, also .gz), token shards, .bin files of nanoGPT or llm.c
(one, a folder or a pattern), or a .json list of token ids or of such lists. By default it is one document; --documents cuts text into lines or
articles of WikiText, and token shards at their end-of-text ids. Words are what
stands between white space. A loss per word or byte is that of all predicted
tokens over all words or bytes.`,
		Example: `  spdfctl eval ppl runs/sparse --data valid.txt
  spdfctl eval ppl runs/sparse --data wiki.test.txt --documents wikitext --bos eot --stride 512 --per-document articles.jsonl --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.evalPPL(cmd.Context(), args[0], flags) },
	}
	f := cmd.Flags()
	f.StringVar(&flags.path, "data", "", "text, token shards, .bin files or .json list of ids")
	f.IntVar(&flags.window, "window", 0, "tokens of a window (0: the model's context)")
	f.IntVar(&flags.stride, "stride", 0, "tokens a window moves on (0: the window)")
	f.StringVar(&flags.bos, "bos", eval.BOSNone, "what precedes a document: none, or eot, the token <|endoftext|>")
	f.StringVar(&flags.documents, "documents", documentsWhole, "what a document is: "+strings.Join(documentKinds(), ", "))
	f.StringVar(&flags.each, "per-document", "", "write the result of every document to this file, as JSON Lines")
	f.BoolVar(&flags.force, "force", false, "replace the file named by --per-document")
	precisionVar(f, &flags.precision)
	return cmd
}

func (a *app) evalPPL(ctx context.Context, model string, flags pplFlags) error {
	switch {
	case flags.path == "":
		return usageErrorf("eval ppl: --data is missing: a text, token shards or a .json list of ids")
	case !slices.Contains(documentKinds(), flags.documents):
		return usageErrorf("eval ppl: --documents %q is none of %s", flags.documents, strings.Join(documentKinds(), ", "))
	case flags.bos != eval.BOSNone && flags.bos != eval.BOSEndOfText:
		return usageErrorf("eval ppl: --bos %q is neither %s nor %s", flags.bos, eval.BOSNone, eval.BOSEndOfText)
	}
	if err := flags.precision.Available(); err != nil {
		return fmt.Errorf("eval ppl: %w", err)
	}
	m, tok, err := loadModelMaybeTokenizer(model, flags.path)
	if err != nil {
		return err
	}
	m.SetPrecision(flags.precision)
	data, err := readDocuments(flags.path, flags.documents, tok, m.Config.VocabSize)
	if err != nil {
		return err
	}
	w := eval.Windows{Size: flags.window, Stride: flags.stride, BOS: -1}
	if w.Size == 0 {
		w.Size = m.Config.NCtx
	}
	if w.Stride == 0 {
		w.Stride = w.Size
	}
	if flags.bos == eval.BOSEndOfText {
		if w.BOS = data.eot; w.BOS < 0 {
			return fmt.Errorf("eval: %s: --bos eot, but neither the data nor the model's tokenizer names an end-of-text id", flags.path)
		}
	}
	bar := a.startProgress("eval ppl", "tokens", data.predicted(w.BOS >= 0))
	p, each, err := eval.MeasurePerplexity(ctx, m, data.documents, w, func(done int) { bar.Set(int64(done), "") })
	a.closeProgress()
	if err != nil {
		return fmt.Errorf("%s: %w", flags.path, err)
	}
	if flags.each != "" {
		err := writeEach("eval ppl: --per-document", flags.each, flags.force, len(each), func(i int) any {
			return struct {
				Document int `json:"document"`
				eval.Perplexity
			}{i + 1, each[i]}
		})
		if err != nil {
			return err
		}
	}
	if a.json {
		return a.printJSON(p)
	}
	t := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "loss\t%.4f nats per token\n", p.Loss)
	fmt.Fprintf(t, "perplexity\t%.3f\n", p.Perplexity)
	if p.Words > 0 && p.WordPerplexity > 0 {
		fmt.Fprintf(t, "word perplexity\t%.3f\n", p.WordPerplexity)
	}
	if p.Bytes > 0 {
		fmt.Fprintf(t, "byte perplexity\t%.4f\n", p.BytePerplexity)
		fmt.Fprintf(t, "bits per byte\t%.4f\n", p.BitsPerByte)
	}
	fmt.Fprintf(t, "predicted\t%d tokens of %d documents", p.Tokens, p.Documents)
	if p.Bytes > 0 {
		fmt.Fprintf(t, ", %d bytes", p.Bytes)
	}
	if p.Words > 0 {
		fmt.Fprintf(t, ", %d words", p.Words)
	}
	fmt.Fprintf(t, "\nwindow\t%d, stride %d, bos %s\n", p.Window, p.Stride, p.BOS)
	return t.Flush()
}

// writeEach writes n lines of JSON.
func writeEach(what, path string, force bool, n int, line func(i int) any) error {
	err := formats.WriteAtomic(path, force, func(w io.Writer) error {
		enc := json.NewEncoder(w)
		for i := range n {
			if err := enc.Encode(line(i)); err != nil {
				return err
			}
		}
		return nil
	})
	switch {
	case errors.Is(err, fs.ErrExist):
		return withHint(fmt.Errorf("%s: %w", what, err), "--force replaces it")
	case err != nil:
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

func newEvalLambadaCmd(a *app) *cobra.Command {
	var (
		path, each string
		force      bool
	)
	cmd := &cobra.Command{
		Use:   "lambada MODEL --data FILE",
		Short: "Accuracy on the last words of passages",
		Long: `Lambada predicts the last word of every passage of a JSON Lines file with "text"
from the rest: what follows the last blank, with the blank, as the tokens that the
whole passage has after those of its context. A word is right if each of its
tokens is the likeliest. The perplexity is that of words. Both are as the task
lambada_openai of EleutherAI's evaluation harness has them; no token is put in
front, and a context that does not fit loses its start.`,
		Example: `  spdfctl eval lambada runs/sparse --data lambada_test.jsonl.gz
  spdfctl eval lambada runs/sparse --data lambada_test.jsonl --per-document words.jsonl --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if path == "" {
				return usageErrorf("eval lambada: --data is missing: JSON Lines with \"text\"")
			}
			return a.evalLambada(cmd.Context(), args[0], path, each, force)
		},
	}
	f := cmd.Flags()
	f.StringVar(&path, "data", "", "JSON Lines with \"text\", also .gz")
	f.StringVar(&each, "per-document", "", "write the result of every passage to this file, as JSON Lines")
	f.BoolVar(&force, "force", false, "replace the file named by --per-document")
	return cmd
}

func (a *app) evalLambada(ctx context.Context, model, path, each string, force bool) error {
	m, tok, err := loadModel(model, false)
	if err != nil {
		return err
	}
	r, _, err := nlg.Open(path)
	if err != nil {
		return fmt.Errorf("eval: %w", err)
	}
	defer r.Close()
	list, drops, err := nlg.ReadLambada(r)
	if err != nil {
		return fmt.Errorf("eval: %w", nlg.InFile(path, err))
	}
	left := 0
	for _, d := range drops {
		left += d.Count
		a.logf("%s: left out: %d × %s", path, d.Count, d.Reason)
	}
	passages := make([]eval.Cloze, len(list))
	for i, c := range list {
		head := tok.Encode([]byte(c.Context))
		whole := tok.Encode([]byte(c.Context + " " + c.Word))
		at := min(len(head), len(whole)-1)
		passages[i] = eval.Cloze{Context: whole[:at], Target: whole[at:]}
	}
	bar := a.startProgress("eval lambada", "passages", int64(len(passages)))
	scores, err := eval.MeasureCloze(ctx, m, passages, func(done int) { bar.Set(int64(done), "") })
	a.closeProgress()
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	result, err := eval.Summarize(scores)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if each != "" {
		err := writeEach("eval lambada: --per-document", each, force, len(scores), func(i int) any {
			return struct {
				Passage int    `json:"passage"`
				Word    string `json:"word"`
				eval.ClozeScore
			}{i + 1, list[i].Word, scores[i]}
		})
		if err != nil {
			return err
		}
	}
	if a.json {
		return a.printJSON(struct {
			eval.ClozeResult
			LeftOut int `json:"left_out"`
		}{result, left})
	}
	t := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "accuracy\t%.4f ± %.4f (%d of %d last words)\n", result.Accuracy, result.StdErr, result.Correct, result.Passages)
	fmt.Fprintf(t, "perplexity\t%.3f per last word\n", result.Perplexity)
	fmt.Fprintf(t, "context\t%d passages cut at the front to %d tokens\n", result.Cut, m.Config.NCtx)
	return t.Flush()
}
