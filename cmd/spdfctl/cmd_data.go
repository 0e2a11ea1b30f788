package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/spdfctl/spdfctl/formats/bpe"
	"github.com/spdfctl/spdfctl/formats/tokens"
)

func newDataCmd(a *app) *cobra.Command {
	return group(a, "data", "Make token shards from text", newDataPrepareCmd(a))
}

func newDataPrepareCmd(a *app) *cobra.Command {
	var (
		out, tokenizer string
		shardTokens    int64
		job            tokens.Job
		force          bool
	)
	cmd := &cobra.Command{
		Use:   "prepare IN... -o DIR --tokenizer T",
		Short: "Encode text, JSON Lines, CSV and Parquet to token shards",
		Long: `Prepare encodes documents to shards that training maps, and saves the tokenizer
beside them. A .txt file is one document, byte for byte; .jsonl has one a line
and .csv one a row, in the field that --text-field names; each also as .gz.
.parquet has one a row, in the column of that name.
<|endoftext|> follows every document, also the last; in a document it is text.

With --val-fraction some documents, chosen by their hash, are put aside for
validation; with --val the files named are. The directory then has the halves
train and val. The result does not depend on --threads. A directory that exists
is refused; --force replaces one that holds nothing but such shards.`,
		Example: `  spdfctl data prepare books/*.txt.gz -o tokens --tokenizer tok --val-fraction 0.05
  spdfctl data prepare train.jsonl --val valid.jsonl --text-field body -o tokens --tokenizer gpt2`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case out == "":
				return usageErrorf("data prepare: -o is missing: the directory to write")
			case tokenizer == "":
				return withHint(usageErrorf("data prepare: --tokenizer is missing"), "\"spdfctl tokenizer train\" makes one")
			case !(job.ValFraction >= 0 && job.ValFraction < 1):
				return usageErrorf("data prepare: --val-fraction %g is outside [0, 1)", job.ValFraction)
			case job.ValFraction > 0 && len(job.Val) > 0:
				return usageErrorf("data prepare: --val and --val-fraction exclude each other")
			case shardTokens < 1 || shardTokens > tokens.MaxShardTokens:
				return usageErrorf("data prepare: --shard-tokens %d is outside 1 to %d", shardTokens, tokens.MaxShardTokens)
			}
			tok, err := bpe.Load(tokenizer)
			if err != nil {
				return err
			}
			job.Train, job.Tokenizer, job.ShardTokens = args, tok, int(shardTokens)
			splits, err := a.prepareTokens(cmd.Context(), out, force, job)
			if errors.Is(err, tokens.ErrEmptySplit) && job.ValFraction > 0 {
				return withHint(err, "a .txt file is one document: name files to validate on with --val")
			}
			if err != nil {
				return withForceHint(err)
			}
			return a.printSplits(out, job.DryRun, splits)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&out, "out", "o", "", "directory to write")
	f.StringVar(&tokenizer, "tokenizer", "", "tokenizer directory or file")
	f.StringArrayVar(&job.Val, "val", nil, "file to validate on (may be repeated)")
	f.Float64Var(&job.ValFraction, "val-fraction", 0, "share of the documents to put aside for validation")
	f.StringVar(&job.Field, "text-field", tokens.DefaultField, "JSON key or CSV column of the text")
	countVar(f, &shardTokens, "shard-tokens", tokens.DefaultShardTokens, "tokens of one shard")
	f.BoolVar(&job.DryRun, "dry-run", false, "count, but write nothing")
	f.BoolVar(&force, "force", false, "replace an existing directory of shards")
	return cmd
}

// printSplits prints what prepare made.
func (a *app) printSplits(dir string, dryRun bool, splits []tokens.Split) error {
	if a.json {
		type split struct {
			Name      string `json:"name"`
			Dir       string `json:"dir"`
			Documents int64  `json:"documents"`
			Bytes     int64  `json:"bytes"`
			Tokens    int64  `json:"tokens"`
			Shards    int    `json:"shards"`
		}
		x := splits[0].Index
		doc := struct {
			Dir       string  `json:"dir"`
			DryRun    bool    `json:"dry_run"`
			VocabSize int     `json:"vocab_size"`
			EOT       int32   `json:"eot_token_id"`
			DType     string  `json:"dtype"`
			Tokenizer string  `json:"tokenizer_sha256"`
			Splits    []split `json:"splits"`
		}{dir, dryRun, x.VocabSize, x.EOT, x.DType, x.TokenizerHash, nil}
		for _, s := range splits {
			x := s.Index
			doc.Splits = append(doc.Splits, split{s.Name, filepath.Join(dir, s.Dir), x.Documents, x.Bytes, x.Tokens, len(x.Shards)})
		}
		return a.printJSON(doc)
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "directory\tdocuments\tbytes\ttokens\tshards\tbytes per token")
	for _, s := range splits {
		x := s.Index
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%.2f\n", filepath.Join(dir, s.Dir), x.Documents, x.Bytes, x.Tokens, len(x.Shards),
			float64(x.Bytes)/float64(x.Tokens))
	}
	return w.Flush()
}
