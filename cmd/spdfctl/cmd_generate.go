package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/spdfctl/spdfctl/eval"
	"github.com/spdfctl/spdfctl/train/gpt"
)

func newGenerateCmd(a *app) *cobra.Command {
	var (
		prompt string
		s      eval.Search
	)
	cmd := &cobra.Command{
		Use:   "generate MODEL --prompt TEXT",
		Short: "Continue a text: greedy, sampled or by beam search",
		Long: `Generate continues the prompt, greedily unless a temperature or a beam is given,
until <|endoftext|>, the limit or the end of the context. The text appears on
standard output as it is made, that of a beam search when it is done.`,
		Example: `  spdfctl generate runs/sparse --prompt "It was a" --max-tokens 40
  spdfctl generate runs/sparse --prompt "It was a" --temperature 0.8 --top-k 50 --seed 7
  spdfctl generate runs/sparse --prompt "It was a" --beam 5 --no-repeat-ngram 3`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if prompt == "" {
				return usageErrorf("generate: --prompt is missing or empty")
			}
			if err := s.Validate(); err != nil {
				return &usageError{err: fmt.Errorf("generate: %w", err)}
			}
			m, tok, err := loadModel(args[0], false)
			if err != nil {
				return err
			}
			ids := tok.Encode([]byte(prompt))
			if len(ids) > m.Config.NCtx {
				return fmt.Errorf("generate: the prompt has %d tokens, the model takes %d", len(ids), m.Config.NCtx)
			}
			if eot, ok := tok.EndOfText(); ok {
				s.Stop = []int32{eot}
			}
			var writeErr error
			emit := func(id int32) {
				if a.json || writeErr != nil {
					return
				}
				var text []byte
				if text, writeErr = tok.Decode([]int32{id}); writeErr == nil {
					_, writeErr = a.stdout.Write(text)
				}
			}
			if !a.json {
				if _, err := fmt.Fprint(a.stdout, prompt); err != nil {
					return err
				}
			}
			out, err := continueText(cmd.Context(), m, ids, s, emit)
			if err != nil {
				return err
			}
			if writeErr != nil {
				return writeErr
			}
			if !a.json {
				_, err := fmt.Fprintln(a.stdout)
				return err
			}
			text, err := tok.Decode(out)
			if err != nil {
				return err
			}
			return a.printJSON(map[string]any{"prompt": prompt, "text": string(text), "tokens": out, "n_tokens": len(out), "decoding": s.String()})
		},
	}
	f := cmd.Flags()
	f.StringVar(&prompt, "prompt", "", "text to continue")
	f.IntVar(&s.MaxTokens, "max-tokens", 100, "tokens to add at most")
	searchFlags(cmd.Flags(), &s)
	return cmd
}

// continueText returns the tokens after a prompt and tells emit of each.
func continueText(ctx context.Context, m *gpt.Model, prompt []int32, s eval.Search, emit func(int32)) ([]int32, error) {
	if s.Width < 2 {
		return eval.Generate(ctx, m, prompt, 0, s, emit)
	}
	texts, err := eval.Decode(ctx, m, [][]int32{prompt}, s, 1, nil)
	if err != nil {
		return nil, err
	}
	for _, id := range texts[0].IDs {
		emit(id)
	}
	return texts[0].IDs, nil
}
