package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/npz"
	"github.com/spdfctl/spdfctl/kernels"
	"github.com/spdfctl/spdfctl/train/gpt"
)

func newEvalCmd(a *app) *cobra.Command {
	return group(a, "eval", "Measure a model: perplexity, last words, logits, generated text",
		newEvalPPLCmd(a), newEvalLossCmd(a), newEvalLambadaCmd(a), newEvalLogitsCmd(a), newEvalNLGCmd(a))
}

func newEvalLogitsCmd(a *app) *cobra.Command {
	var (
		path, out string
		force     bool
		precision kernels.Precision
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
			if err := precision.Available(); err != nil {
				return fmt.Errorf("eval logits: %w", err)
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
			m.SetPrecision(precision)
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
	precisionVar(f, &precision)
	return cmd
}

// maxLogits bounds the logits that are held whole: 8 GiB.
const maxLogits = 2 << 30

// maxTextFile bounds a text that is read whole: 4 GiB.
const maxTextFile = 4 << 30

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
