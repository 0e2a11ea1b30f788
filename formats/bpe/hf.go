package bpe

import (
	"encoding/json"
	"fmt"
)

// This file reads tokenizer.json, the format of Hugging Face's tokenizers. Every
// key that changes the ids is looked at; the others are ignored.

// component is a normalizer, pre-tokenizer, post-processor or decoder.
type component struct {
	Type           string      `json:"type"`
	AddPrefixSpace *bool       `json:"add_prefix_space"` // default true
	UseRegex       *bool       `json:"use_regex"`        // default true
	Pretokenizers  []component `json:"pretokenizers"`    // of a Sequence
}

// addedToken is an entry of added_tokens.
type addedToken struct {
	ID      *int32 `json:"id"`
	Content string `json:"content"`
	Special bool   `json:"special"`
}

// model is the model object without vocab and merges.
type model struct {
	Type         string   `json:"type"`
	Dropout      *float64 `json:"dropout"`
	Prefix       string   `json:"continuing_subword_prefix"`
	Suffix       string   `json:"end_of_word_suffix"`
	ByteFallback bool     `json:"byte_fallback"`
	IgnoreMerges bool     `json:"ignore_merges"`
}

// check refuses what is not GPT-2's merging.
func (m model) check() error {
	switch {
	case m.Type != "BPE" && m.Type != "": // files before 2020 have no type
		return unsupportedf("model type is %q, not BPE", m.Type)
	case m.Dropout != nil && *m.Dropout != 0:
		return unsupportedf("model dropout is %g, not 0", *m.Dropout)
	case m.Prefix != "":
		return unsupportedf("continuing_subword_prefix is %q, not empty", m.Prefix)
	case m.Suffix != "":
		return unsupportedf("end_of_word_suffix is %q, not empty", m.Suffix)
	case m.ByteFallback:
		return unsupportedf("byte_fallback is true")
	case m.IgnoreMerges:
		return unsupportedf("ignore_merges is true")
	}
	return nil
}

func parseTokenizerJSON(data []byte) (*Tokenizer, error) {
	parts := make(map[string]json.RawMessage)
	err := members(data, func(key string, value json.RawMessage) error {
		parts[key] = value
		return nil
	})
	if err != nil {
		return nil, err
	}
	if err := checkComponents(parts); err != nil {
		return nil, err
	}
	vocab, merges, err := parseModel(parts["model"])
	if err != nil {
		return nil, err
	}
	special, err := parseAdded(parts["added_tokens"], vocab)
	if err != nil {
		return nil, err
	}
	tokens, err := vocab.byID()
	if err != nil {
		return nil, err
	}
	return build(tokens, merges, special)
}

// checkComponents refuses every stage around the model that GPT-2 does not have.
func checkComponents(parts map[string]json.RawMessage) error {
	for _, key := range []string{"normalizer", "pre_tokenizer", "post_processor", "decoder"} {
		var c *component
		if raw, ok := parts[key]; ok {
			if err := json.Unmarshal(raw, &c); err != nil {
				return fmt.Errorf("%s: %w", key, err)
			}
		}
		if c == nil {
			if key == "pre_tokenizer" {
				return unsupportedf("there is no pre_tokenizer, GPT-2 has ByteLevel")
			}
			continue
		}
		if key == "pre_tokenizer" && c.Type == "Sequence" && len(c.Pretokenizers) == 1 {
			c = &c.Pretokenizers[0]
		}
		switch {
		case key == "normalizer":
			return unsupportedf("normalizer is %.60q, GPT-2 has none", c.Type)
		case c.Type != "ByteLevel":
			return unsupportedf("%s is %.60q, GPT-2 has ByteLevel", key, c.Type)
		case key != "pre_tokenizer":
		case c.AddPrefixSpace == nil || *c.AddPrefixSpace:
			return unsupportedf("pre_tokenizer: add_prefix_space is true, GPT-2 has false")
		case c.UseRegex != nil && !*c.UseRegex:
			return unsupportedf("pre_tokenizer: use_regex is false, GPT-2 has true")
		}
	}
	return nil
}

func parseModel(raw json.RawMessage) (vocabulary, []pair, error) {
	if raw == nil {
		return nil, nil, fmt.Errorf("there is no model")
	}
	var m model
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, nil, fmt.Errorf("model: %w", err)
	}
	if err := m.check(); err != nil {
		return nil, nil, err
	}
	var vocabRaw, mergesRaw json.RawMessage
	err := members(raw, func(key string, value json.RawMessage) error {
		switch key {
		case "vocab":
			vocabRaw = value
		case "merges":
			mergesRaw = value
		}
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("model: %w", err)
	}
	if vocabRaw == nil || mergesRaw == nil {
		return nil, nil, fmt.Errorf("model: vocab or merges is missing")
	}
	vocab, err := parseVocab(vocabRaw)
	if err != nil {
		return nil, nil, fmt.Errorf("model: vocab: %w", err)
	}
	merges, err := parseMergeList(mergesRaw, vocab)
	if err != nil {
		return nil, nil, fmt.Errorf("model: merges: %w", err)
	}
	return vocab, merges, nil
}

// parseMergeList reads merges as "left right" or, since tokenizers 0.20, as
// ["left", "right"].
func parseMergeList(raw json.RawMessage, vocab vocabulary) ([]pair, error) {
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, err
	}
	if len(list) > maxMerges {
		return nil, fmt.Errorf("%d merges, limit %d", len(list), maxMerges)
	}
	merges := make([]pair, len(list))
	for i, item := range list {
		var line string
		var two []string
		var err error
		switch {
		case json.Unmarshal(item, &line) == nil && line != "":
			merges[i], err = parseMerge(line, vocab)
		case json.Unmarshal(item, &two) == nil && len(two) == 2:
			merges[i], err = vocab.pair(two[0], two[1])
		default:
			err = fmt.Errorf("%.60s is neither \"left right\" nor [\"left\", \"right\"]", item)
		}
		if err != nil {
			return nil, fmt.Errorf("merge %d: %w", i, err)
		}
	}
	return merges, nil
}

// parseAdded reads added_tokens, adds them to vocab and returns their ids.
func parseAdded(raw json.RawMessage, vocab vocabulary) ([]int32, error) {
	var list []addedToken
	if raw != nil {
		if err := json.Unmarshal(raw, &list); err != nil {
			return nil, fmt.Errorf("added_tokens: %w", err)
		}
	}
	special := make([]int32, 0, len(list))
	for i, a := range list {
		if a.ID == nil || *a.ID < 0 || *a.ID >= MaxVocab {
			return nil, fmt.Errorf("added_tokens: %.60q (number %d) has no id from 0 to %d", a.Content, i, MaxVocab-1)
		}
		if !a.Special {
			return nil, unsupportedf("added token %.60q (id %d) is not special, so it would be searched for in the text", a.Content, *a.ID)
		}
		for _, r := range a.Content {
			// Such a token is the same in the byte alphabet and in plain text, so
			// that vocab.json can hold it.
			if r < '!' || r > '~' {
				return nil, unsupportedf("added token %.60q (id %d): character %U is not printable ASCII", a.Content, *a.ID, r)
			}
		}
		if id, ok := vocab[a.Content]; ok && id != *a.ID {
			return nil, fmt.Errorf("added token %.60q has id %d, in the vocabulary it is %d", a.Content, *a.ID, id)
		}
		vocab[a.Content] = *a.ID
		special = append(special, *a.ID)
	}
	return special, nil
}
