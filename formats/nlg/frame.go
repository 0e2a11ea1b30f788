package nlg

import "github.com/spdfctl/spdfctl/formats/bpe"

// Prompt returns the ids that a model is given to complete: the prompt and
// the end-of-text token eot, which separates it from the completion.
//
// Source: the framing of Hu et al., "LoRA", 2021, examples/NLG, which the SPDF
// paper fine-tunes with.
func Prompt(tok *bpe.Tokenizer, eot int32, prompt string) []int32 {
	return append(tok.Encode([]byte(prompt)), eot)
}

// Frame returns the ids of a prompt with its completion, which starts with a
// blank and ends with eot, and the number of ids that belong to the prompt.
func Frame(tok *bpe.Tokenizer, eot int32, prompt, completion string) (ids []int32, promptLen int) {
	ids = Prompt(tok, eot, prompt)
	promptLen = len(ids)
	ids = tok.AppendEncode(ids, []byte(" "+completion))
	return append(ids, eot), promptLen
}
