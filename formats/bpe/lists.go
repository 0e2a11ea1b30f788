package bpe

import (
	"fmt"
	"slices"
)

// Lists returns the tokens by id and the merges by rank as vocab.json and
// merges.txt write them, in the byte alphabet, a merge as "left right", and the
// ids of the special tokens, ascending. GGUF files hold them so.
func (t *Tokenizer) Lists() (tokens, merges []string, special []int32) {
	tokens = make([]string, t.VocabSize())
	for id := range tokens {
		tokens[id] = string(t.written(int32(id)))
	}
	merges = make([]string, len(t.merges))
	for rank, m := range t.merges {
		merges[rank] = tokens[m.left] + " " + tokens[m.right]
	}
	return tokens, merges, slices.Clone(t.special)
}

// FromLists returns the tokenizer that Lists describes. It checks everything that
// Load does.
func FromLists(tokens, merges []string, special []int32) (*Tokenizer, error) {
	if len(tokens) > MaxVocab || len(merges) > maxMerges {
		return nil, fmt.Errorf("bpe: %d tokens and %d merges, limits %d and %d", len(tokens), len(merges), MaxVocab, maxMerges)
	}
	vocab := make(vocabulary, len(tokens))
	for id, token := range tokens {
		if other, ok := vocab[token]; ok {
			return nil, fmt.Errorf("bpe: tokens %d and %d are both %.60q", other, id, token)
		}
		vocab[token] = int32(id)
	}
	texts, err := vocab.byID()
	if err != nil {
		return nil, fmt.Errorf("bpe: %w", err)
	}
	pairs := make([]pair, len(merges))
	for rank, m := range merges {
		if pairs[rank], err = parseMerge(m, vocab); err != nil {
			return nil, fmt.Errorf("bpe: merge %d: %w", rank, err)
		}
	}
	for _, id := range special {
		if id < 0 || int(id) >= len(tokens) {
			return nil, fmt.Errorf("bpe: special token %d is outside 0 to %d", id, len(tokens)-1)
		}
	}
	t, err := build(texts, pairs, special)
	if err != nil {
		return nil, fmt.Errorf("bpe: %w", err)
	}
	return t, nil
}
