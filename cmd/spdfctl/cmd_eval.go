package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/spdfctl/spdfctl/eval"
	"github.com/spdfctl/spdfctl/eval/metrics"
	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/bpe"
	"github.com/spdfctl/spdfctl/formats/nlg"
	"github.com/spdfctl/spdfctl/formats/npz"
	"github.com/spdfctl/spdfctl/formats/tokens"
	"github.com/spdfctl/spdfctl/train/gpt"
)

func newEvalCmd(a *app) *cobra.Command {
	return group(a, "eval", "Measure a model: perplexity, logits, generated text",
		newEvalPPLCmd(a), newEvalLogitsCmd(a), newEvalNLGCmd(a))
}

func newEvalPPLCmd(a *app) *cobra.Command {
	var (
		path           string
		window, stride int
	)
	cmd := &cobra.Command{
		Use:   "ppl MODEL --data FILE",
		Short: "Loss, perplexity and bits per byte on a text",
		Long: `Ppl predicts every token of a text but the first exactly once, in windows that
move by the stride: a smaller stride gives more context and a lower perplexity.
Window and stride are part of the result. No token is put in front of the text.

The data is text (.txt, also .gz), token shards, or a .json list of token ids.`,
		Example: `  spdfctl eval ppl runs/sparse --data valid.txt
  spdfctl eval ppl runs/sparse --data tokens/val --window 256 --stride 128 --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if path == "" {
				return usageErrorf("eval ppl: --data is missing: a text, token shards or a .json list of ids")
			}
			m, tok, err := loadModelMaybeTokenizer(args[0], path)
			if err != nil {
				return err
			}
			ids, textBytes, err := readIDs(path, tok)
			if err != nil {
				return err
			}
			if window == 0 {
				window = m.Config.NCtx
			}
			if stride == 0 {
				stride = window
			}
			bar := a.startProgress("eval ppl", "tokens", int64(len(ids)-1))
			p, err := eval.MeasurePerplexity(cmd.Context(), m, ids, window, stride, textBytes, func(done int) { bar.Set(int64(done), "") })
			a.closeProgress()
			if err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			if a.json {
				return a.printJSON(p)
			}
			w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
			fmt.Fprintf(w, "loss\t%.4f nats per token\n", p.Loss)
			fmt.Fprintf(w, "perplexity\t%.3f\n", p.Perplexity)
			if p.Bytes > 0 {
				fmt.Fprintf(w, "bits per byte\t%.4f\n", p.BitsPerByte)
			}
			fmt.Fprintf(w, "tokens\t%d predicted of %d bytes, window %d, stride %d\n", p.Tokens, p.Bytes, p.Window, p.Stride)
			return w.Flush()
		},
	}
	f := cmd.Flags()
	f.StringVar(&path, "data", "", "text, token shards or .json list of ids")
	f.IntVar(&window, "window", 0, "tokens of a window (0: the model's context)")
	f.IntVar(&stride, "stride", 0, "tokens a window moves on (0: the window)")
	return cmd
}

func newEvalLogitsCmd(a *app) *cobra.Command {
	var (
		path, out string
		force     bool
	)
	cmd := &cobra.Command{
		Use:   "logits MODEL --data ids.json [-o OUT.npy]",
		Short: "The logits of token ids, for comparison with other frameworks",
		Long: `Logits runs the ids of a .json file, a list or a list of lists of one length,
through the model and writes the logits of every position as float32 in NumPy's
.npy format, shape (sequences, tokens, vocabulary), or as JSON.`,
		Example: `  spdfctl eval logits runs/sparse --data ids.json -o logits.npy
  spdfctl eval logits runs/sparse --data ids.json --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if path == "" {
				return usageErrorf("eval logits: --data is missing: a .json list of token ids")
			}
			if out == "" && !a.json {
				return usageErrorf("eval logits: -o OUT.npy or --json is needed")
			}
			rows, err := readJSONIDs(path)
			if err != nil {
				return err
			}
			var ids []int32
			for i, r := range rows {
				if len(r) != len(rows[0]) {
					return fmt.Errorf("eval: %s: list %d has %d ids, list 1 has %d", path, i+1, len(r), len(rows[0]))
				}
				ids = append(ids, r...)
			}
			m, err := gpt.Load(args[0], false)
			if err != nil {
				return err
			}
			b, t, v := len(rows), len(rows[0]), m.Config.VocabSize
			if b*t > maxLogits/v {
				return fmt.Errorf("eval: %s: %d ids make %d logits, limit %d", path, b*t, b*t*v, maxLogits)
			}
			logits := make([]float32, b*t*v)
			if err := m.Logits(logits, ids, b, t); err != nil {
				return err
			}
			if out != "" {
				return formats.WriteAtomic(out, force, func(w io.Writer) error {
					return npz.WriteFloat32(w, []int{b, t, v}, logits)
				})
			}
			nested := make([][][]float32, b)
			for i := range nested {
				for j := range t {
					nested[i] = append(nested[i], logits[(i*t+j)*v:][:v])
				}
			}
			return a.printJSON(map[string]any{"shape": []int{b, t, v}, "logits": nested})
		},
	}
	f := cmd.Flags()
	f.StringVar(&path, "data", "", ".json list of token ids, or list of lists")
	f.StringVarP(&out, "out", "o", "", ".npy file to write")
	f.BoolVar(&force, "force", false, "replace an existing file")
	return cmd
}

// maxLogits bounds the logits that are held whole: 8 GiB.
const maxLogits = 2 << 30

func newEvalNLGCmd(a *app) *cobra.Command {
	var (
		task, path, out string
		maxTokens       int
		s               eval.Sampling
		force           bool
	)
	cmd := &cobra.Command{
		Use:   "nlg MODEL --task e2e|jsonl --data FILE",
		Short: "Decode a data-to-text set and score it",
		Long: `Nlg completes the prompt of every instance of a set, greedily unless a
temperature is given, and scores the texts against all references of the
instance: BLEU as sacreBLEU computes it, with its signature. Rows with the same
prompt are one instance with several references. A text ends at <|endoftext|>.`,
		Example: `  spdfctl eval nlg runs/sparse-e2e --task e2e --data testset_w_refs.csv.gz -o hyp.txt
  spdfctl eval nlg runs/sparse-e2e --task jsonl --data test.jsonl --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if path == "" {
				return usageErrorf("eval nlg: --data is missing: the set to decode")
			}
			if task != "e2e" && task != "jsonl" {
				return usageErrorf("eval nlg: --task %q is neither e2e nor jsonl", task)
			}
			if maxTokens < 1 {
				return usageErrorf("eval nlg: --max-tokens %d is not positive", maxTokens)
			}
			if err := s.Validate(); err != nil {
				return &usageError{err: err}
			}
			m, tok, err := loadModel(args[0], false)
			if err != nil {
				return err
			}
			set, err := readInstances(task, path)
			if err != nil {
				return err
			}
			texts, err := a.decode(cmd.Context(), m, tok, set, s, maxTokens)
			if err != nil {
				return err
			}
			if out != "" {
				if err := writeLines(out, force, texts); err != nil {
					return err
				}
			}
			bleu, err := bleuOf(texts, set)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(map[string]any{
					"task": task, "signature": bleu.Signature,
					"metrics": map[string]any{"bleu": bleu.Score}, "n_segments": len(texts),
				})
			}
			_, err = fmt.Fprintf(a.stdout, "BLEU  %.2f  (%s, %d segments)\n", bleu.Score, bleu.Signature, len(texts))
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&task, "task", "e2e", "e2e (CSV) or jsonl")
	f.StringVar(&path, "data", "", "the set to decode, with its references")
	f.StringVarP(&out, "out", "o", "", "file for the texts, one line each")
	f.IntVar(&maxTokens, "max-tokens", 64, "longest text in tokens")
	f.BoolVar(&force, "force", false, "replace an existing file")
	samplingFlags(cmd, &s)
	return cmd
}

// samplingFlags defines the flags that choose how tokens are drawn.
func samplingFlags(cmd *cobra.Command, s *eval.Sampling) {
	f := cmd.Flags()
	f.Float64Var(&s.Temperature, "temperature", 0, "sample with this temperature (0: greedy)")
	f.IntVar(&s.TopK, "top-k", 0, "sample among the k most likely tokens (0: all)")
	f.Float64Var(&s.TopP, "top-p", 0, "sample among the likeliest tokens that make up p (0: all)")
	f.Uint64Var(&s.Seed, "seed", 0, "seed of the sampling")
}

// readInstances reads a set and joins the rows of one prompt.
func readInstances(task, path string) ([]nlg.Example, error) {
	r, _, err := nlg.Open(path)
	if err != nil {
		return nil, fmt.Errorf("eval: %w", err)
	}
	defer r.Close()
	read := nlg.ReadJSONL
	if task == "e2e" {
		read = nlg.ReadE2E
	}
	rows, err := read(r)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	set := nlg.Group(rows)
	for i := range set {
		if task == "e2e" {
			if set[i].Source, err = nlg.LinearizeMR(set[i].Source); err != nil {
				return nil, fmt.Errorf("%s: instance %d: %w", path, i+1, err)
			}
		}
		if len(set[i].References) == 0 {
			return nil, fmt.Errorf("%s: instance %d has no reference to score against", path, i+1)
		}
	}
	if len(set) == 0 {
		return nil, fmt.Errorf("eval: %s: the set is empty", path)
	}
	return set, nil
}

// decode completes the prompts of set and returns one line of text for each.
func (a *app) decode(ctx context.Context, m *gpt.Model, tok *bpe.Tokenizer, set []nlg.Example, s eval.Sampling, maxTokens int) ([]string, error) {
	eot, err := endOfText(tok, "model")
	if err != nil {
		return nil, err
	}
	prompts := make([][]int32, len(set))
	for i, e := range set {
		prompts[i] = nlg.Prompt(tok, eot, e.Source)
	}
	bar := a.startProgress("decode", "texts", int64(len(prompts)))
	defer a.closeProgress()
	var done atomic.Int64
	out, err := eval.GenerateAll(ctx, m, prompts, s, eval.Limits{MaxTokens: maxTokens, Stop: []int32{eot}}, func() {
		bar.Set(done.Add(1), "")
	})
	if err != nil {
		return nil, err
	}
	texts := make([]string, len(out))
	for i, ids := range out {
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

// bleuOf scores texts against the references of set as sacreBLEU does.
func bleuOf(texts []string, set []nlg.Example) (metrics.BLEUScore, error) {
	refs := make([][]string, len(set))
	for i, e := range set {
		refs[i] = e.References
	}
	return metrics.BLEU(texts, refs, metrics.BLEUOptions{})
}

// maxTextFile bounds a text that is read whole: 4 GiB.
const maxTextFile = 4 << 30

// loadModelMaybeTokenizer reads a model, and its tokenizer if the data at path
// is text.
func loadModelMaybeTokenizer(model, path string) (*gpt.Model, *bpe.Tokenizer, error) {
	if isTokens(path) || isJSON(path) {
		if _, err := os.Stat(model); err != nil {
			return nil, nil, withPresetPathHint(model, err)
		}
		m, err := gpt.Load(model, false)
		return m, nil, err
	}
	return loadModel(model, false)
}

func isJSON(path string) bool { return strings.HasSuffix(path, ".json") }

// isTokens reports whether path is a directory or a file of token shards.
func isTokens(path string) bool { return isDir(path) || strings.HasSuffix(path, tokens.Extension) }

// readIDs returns the token ids of the data at path and the bytes of their
// text, 0 if they are not known.
func readIDs(path string, tok *bpe.Tokenizer) (ids []int32, textBytes int, err error) {
	switch {
	case isTokens(path):
		s, err := tokens.Open(path)
		if err != nil {
			return nil, 0, err
		}
		defer s.Close()
		ids = make([]int32, s.Len())
		return ids, 0, s.Read(ids, 0)
	case isJSON(path):
		rows, err := readJSONIDs(path)
		if err != nil {
			return nil, 0, err
		}
		if len(rows) > 1 {
			return nil, 0, fmt.Errorf("eval: %s: %d lists of ids, one is wanted", path, len(rows))
		}
		return rows[0], 0, nil
	}
	text, err := readText(path)
	if err != nil {
		return nil, 0, err
	}
	return tok.Encode(text), len(text), nil
}

// readText reads a text file, unpacked if its name ends in .gz.
func readText(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("eval: %w", err)
	}
	defer f.Close()
	var r io.Reader = f
	if strings.HasSuffix(path, ".gz") {
		z, err := gzip.NewReader(f)
		if err != nil {
			return nil, fmt.Errorf("eval: %s: %w", path, err)
		}
		r = z
	}
	text, err := io.ReadAll(io.LimitReader(r, maxTextFile+1))
	if err != nil {
		return nil, fmt.Errorf("eval: %s: %w", path, err)
	}
	if len(text) > maxTextFile {
		return nil, fmt.Errorf("eval: %s: more than %d bytes, the limit", path, maxTextFile)
	}
	return text, nil
}

// readJSONIDs reads a list of token ids, or a list of such lists.
func readJSONIDs(path string) ([][]int32, error) {
	text, err := readText(path)
	if err != nil {
		return nil, err
	}
	var rows [][]int32
	if json.Unmarshal(text, &rows) != nil {
		var row []int32
		d := json.NewDecoder(bytes.NewReader(text))
		if err := d.Decode(&row); err != nil {
			return nil, fmt.Errorf("eval: %s: not a list of token ids: %w", path, err)
		}
		rows = [][]int32{row}
	}
	if len(rows) == 0 || len(rows[0]) == 0 {
		return nil, fmt.Errorf("eval: %s: the list of token ids is empty", path)
	}
	return rows, nil
}
