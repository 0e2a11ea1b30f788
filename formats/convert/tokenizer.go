package convert

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/spdfctl/spdfctl/formats/bpe"
	"github.com/spdfctl/spdfctl/formats/gguf"
)

// Keys and numbers of a tokenizer in GGUF.
//
// Source: ggml-org/ggml, docs/gguf.md; ggml-org/llama.cpp, gguf-py/gguf/constants.py
// and convert_hf_to_gguf.py (GPT2Model, _set_vocab_gpt2).
const (
	tokenizerModel  = "tokenizer.ggml.model"
	tokenizerPre    = "tokenizer.ggml.pre"
	tokenizerTokens = "tokenizer.ggml.tokens"
	tokenizerTypes  = "tokenizer.ggml.token_type"
	tokenizerMerges = "tokenizer.ggml.merges"
	tokenizerBegin  = "tokenizer.ggml.bos_token_id"
	tokenizerEnd    = "tokenizer.ggml.eos_token_id"

	normalToken, controlToken, unusedToken = 1, 3, 5
)

// planTokenizer finds the tokenizer that is to be put into a GGUF file, or to be
// taken out of one.
func (p *Plan) planTokenizer() {
	var err error
	switch {
	case p.Options.To == GGUF && p.Layout == "gguf" && !p.originalEntries():
		p.tokenizer, err = p.besideTokenizer()
	case p.Options.To != GGUF && p.Layout == "hf" && p.Source.Format == GGUF:
		p.tokenizer, err = p.tokenizerInside()
	}
	if err != nil {
		p.Notes = append(p.Notes, fmt.Sprintf("the tokenizer is left out: %v", err))
	}
}

// besideTokenizer loads the tokenizer beside the source, nil if there is none.
func (p *Plan) besideTokenizer() (*bpe.Tokenizer, error) {
	dir := filepath.Dir(p.Source.Path)
	if p.model.family != gpt2 {
		for _, name := range []string{"tokenizer.json", "tokenizer.model"} {
			if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
				return nil, fmt.Errorf("only GPT-2's is put into GGUF, not %s of %s", name, p.model.family.arch)
			}
		}
		return nil, nil
	}
	t, err := bpe.Load(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil && t.VocabSize() > p.vocab {
		return nil, fmt.Errorf("it has %d tokens, the embedding %d rows", t.VocabSize(), p.vocab)
	}
	return t, err
}

// tokenizerEntries returns the metadata of a tokenizer; rows of the embedding
// past its tokens get names, as llama.cpp's converter gives them.
func tokenizerEntries(t *bpe.Tokenizer, rows int) []gguf.Entry {
	tokens, merges, special := t.Lists()
	texts := func(list []string) gguf.List {
		l := gguf.List{Type: gguf.String, Items: make([]any, len(list))}
		for i, text := range list {
			l.Items[i] = text
		}
		return l
	}
	kinds := gguf.List{Type: gguf.Int32}
	for id := range rows {
		kind := int64(normalToken)
		switch {
		case id >= len(tokens):
			kind = unusedToken
			tokens = append(tokens, fmt.Sprintf("[PAD%d]", id))
		case slices.Contains(special, int32(id)):
			kind = controlToken
		}
		kinds.Items = append(kinds.Items, kind)
	}
	entries := []gguf.Entry{
		{Key: tokenizerModel, Type: gguf.String, Value: "gpt2"}, {Key: tokenizerPre, Type: gguf.String, Value: "gpt-2"},
		{Key: tokenizerTokens, Type: gguf.Array, Value: texts(tokens)}, {Key: tokenizerTypes, Type: gguf.Array, Value: kinds},
		{Key: tokenizerMerges, Type: gguf.Array, Value: texts(merges)},
	}
	if end, ok := t.EndOfText(); ok {
		for _, key := range []string{tokenizerBegin, tokenizerEnd} {
			entries = append(entries, gguf.Entry{Key: key, Type: gguf.Uint32, Value: uint64(end)})
		}
	}
	return entries
}

// tokenizerInside returns the tokenizer of a GGUF file, nil if there is none.
func (p *Plan) tokenizerInside() (*bpe.Tokenizer, error) {
	values := make(map[string]any)
	for _, e := range p.Source.entries {
		values[e.Key] = e.Value
	}
	model, ok := values[tokenizerModel].(string)
	if !ok {
		return nil, nil
	}
	pre, given := values[tokenizerPre].(string)
	if model != "gpt2" || given && pre != "gpt-2" {
		return nil, fmt.Errorf("it is %q %q, only GPT-2's is taken out of GGUF", model, pre)
	}
	texts := func(key string) ([]string, error) {
		l, _ := values[key].(gguf.List)
		list := make([]string, len(l.Items))
		for i, item := range l.Items {
			if list[i], ok = item.(string); !ok {
				return nil, fmt.Errorf("%s holds a %T", key, item)
			}
		}
		return list, nil
	}
	tokens, err := texts(tokenizerTokens)
	if err != nil {
		return nil, err
	}
	merges, err := texts(tokenizerMerges)
	if err != nil {
		return nil, err
	}
	kinds, _ := values[tokenizerTypes].(gguf.List)
	kind := func(id int) any {
		if id < len(kinds.Items) {
			return kinds.Items[id]
		}
		return nil
	}
	for len(tokens) > 0 && kind(len(tokens)-1) == int64(unusedToken) {
		tokens = tokens[:len(tokens)-1]
	}
	var special []int32
	for id := range tokens {
		if kind(id) == int64(controlToken) {
			special = append(special, int32(id))
		}
	}
	return bpe.FromLists(tokens, merges, special)
}
