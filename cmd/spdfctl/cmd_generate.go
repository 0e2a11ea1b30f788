package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/spdfctl/spdfctl/eval"
)

func newGenerateCmd(a *app) *cobra.Command {
	var (
		prompt    string
		maxTokens int
		s         eval.Sampling
	)
	cmd := &cobra.Command{
		Use:   "generate MODEL --prompt TEXT",
		Short: "Continue a text: greedy or sampled",
		Long: `Generate continues the prompt, greedily unless a temperature is given, until
<|endoftext|>, the limit or the end of the context. The text appears on standard
output as it is made.`,
		Example: `  spdfctl generate runs/sparse --prompt "It was a" --max-tokens 40
  spdfctl generate runs/sparse --prompt "It was a" --temperature 0.8 --top-k 50 --seed 7`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if prompt == "" {
				return usageErrorf("generate: --prompt is missing or empty")
			}
			if maxTokens < 1 {
				return usageErrorf("generate: --max-tokens %d is not positive", maxTokens)
			}
			if err := s.Validate(); err != nil {
				return &usageError{err: err}
			}
			m, tok, err := loadModel(args[0], false)
			if err != nil {
				return err
			}
			ids := tok.Encode([]byte(prompt))
			if len(ids) > m.Config.NCtx {
				return fmt.Errorf("generate: the prompt has %d tokens, the model takes %d", len(ids), m.Config.NCtx)
			}
			l := eval.Limits{MaxTokens: maxTokens}
			if eot, ok := tok.EndOfText(); ok {
				l.Stop = []int32{eot}
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
			out, err := eval.Generate(cmd.Context(), m, ids, 0, s, l, emit)
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
			return a.printJSON(map[string]any{"prompt": prompt, "text": string(text), "tokens": out, "n_tokens": len(out)})
		},
	}
	f := cmd.Flags()
	f.StringVar(&prompt, "prompt", "", "text to continue")
	f.IntVar(&maxTokens, "max-tokens", 100, "tokens to add at most")
	samplingFlags(cmd, &s)
	return cmd
}
