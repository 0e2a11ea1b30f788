package bpe

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"unicode/utf8"

	"github.com/spdfctl/spdfctl/formats"
)

// Files lists the names that Save writes.
var Files = []string{"vocab.json", "merges.txt", tokenizerFile, "tokenizer_config.json"}

// noMaxLength is what Hugging Face writes as model_max_length when the
// tokenizer sets no limit: int(1e30) in Python.
const noMaxLength = "1000000000000000019884624838656"

// Save writes vocab.json, merges.txt, tokenizer.json and tokenizer_config.json
// into dir, which it creates if need be, so that OpenAI's encoder and
// transformers' GPT2Tokenizer and GPT2TokenizerFast read them. The bytes depend
// on the tokenizer only; for GPT-2's own, vocab.json and merges.txt are
// OpenAI's. Load(dir) returns an equal tokenizer. A file that exists is refused.
func (t *Tokenizer) Save(dir string) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return fmt.Errorf("bpe: %w", err)
	}
	writers := []func(io.Writer) error{t.writeVocab, t.writeMerges, t.writeTokenizer, t.writeConfig}
	for i, name := range Files {
		if err := formats.WriteAtomic(filepath.Join(dir, name), false, writers[i]); err != nil {
			return fmt.Errorf("bpe: %w", err)
		}
	}
	return nil
}

// The writers below may leave out errors before the last: the buffer that
// WriteAtomic gives them keeps the first and repeats it.

// written returns a token in the byte alphabet.
func (t *Tokenizer) written(id int32) []byte { return appendAlphabet(nil, t.token(id)) }

// appendASCII appends a token in the byte alphabet as a JSON string of ASCII
// characters, as Python's json.dumps does.
func appendASCII(dst, token []byte) []byte {
	dst = append(dst, '"')
	for _, b := range token {
		switch r := letters.runeOf[b]; {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r < utf8.RuneSelf:
			dst = append(dst, byte(r))
		default:
			dst = fmt.Appendf(dst, `\u%04x`, r)
		}
	}
	return append(dst, '"')
}

func (t *Tokenizer) writeVocab(w io.Writer) error {
	separator := "{"
	for id := range int32(t.VocabSize()) {
		fmt.Fprintf(w, "%s%s: %d", separator, appendASCII(nil, t.token(id)), id)
		separator = ", "
	}
	_, err := io.WriteString(w, "}")
	return err
}

func (t *Tokenizer) writeMerges(w io.Writer) error {
	_, err := io.WriteString(w, "#version: 0.2\n")
	for _, m := range t.merges {
		_, err = fmt.Fprintf(w, "%s %s\n", t.written(m.left), t.written(m.right))
	}
	return err
}

// writeTokenizer writes tokenizer.json, merges as "left right", which every
// release of tokenizers reads.
func (t *Tokenizer) writeTokenizer(w io.Writer) error {
	type added struct {
		ID         int32  `json:"id"`
		Content    string `json:"content"`
		SingleWord bool   `json:"single_word"`
		LStrip     bool   `json:"lstrip"`
		RStrip     bool   `json:"rstrip"`
		Normalized bool   `json:"normalized"`
		Special    bool   `json:"special"`
	}
	io.WriteString(w, "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n  \"added_tokens\": [")
	separator := "\n    "
	for _, id := range t.special {
		line, err := marshal(added{ID: id, Content: string(t.token(id)), Special: true})
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "%s%s", separator, line)
		separator = ",\n    "
	}
	io.WriteString(w, `
  ],
  "normalizer": null,
  "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
  "post_processor": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true},
  "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
  "model": {
    "type": "BPE",
    "dropout": null,
    "unk_token": null,
    "continuing_subword_prefix": "",
    "end_of_word_suffix": "",
    "fuse_unk": false,
    "byte_fallback": false,
    "ignore_merges": false,
    "vocab": {`)
	separator = "\n      "
	for id := range int32(t.VocabSize()) {
		token, err := marshal(string(t.written(id)))
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "%s%s: %d", separator, token, id)
		separator = ",\n      "
	}
	io.WriteString(w, "\n    },\n    \"merges\": [")
	separator = "\n      "
	for _, m := range t.merges {
		line, err := marshal(string(t.written(m.left)) + " " + string(t.written(m.right)))
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "%s%s", separator, line)
		separator = ",\n      "
	}
	_, err := io.WriteString(w, "\n    ]\n  }\n}\n")
	return err
}

func (t *Tokenizer) writeConfig(w io.Writer) error {
	type config struct {
		AddBOS    bool        `json:"add_bos_token"`
		AddPrefix bool        `json:"add_prefix_space"`
		BOS       string      `json:"bos_token,omitempty"`
		CleanUp   bool        `json:"clean_up_tokenization_spaces"`
		EOS       string      `json:"eos_token,omitempty"`
		MaxLength json.Number `json:"model_max_length"`
		Class     string      `json:"tokenizer_class"`
		Unknown   string      `json:"unk_token,omitempty"`
	}
	c := config{MaxLength: noMaxLength, Class: "GPT2Tokenizer"}
	if t.eot >= 0 {
		c.BOS, c.EOS, c.Unknown = EndOfTextToken, EndOfTextToken, EndOfTextToken
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(c)
}

// marshal is json.Marshal without the escapes for HTML.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
