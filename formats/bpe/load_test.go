package bpe_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spdfctl/spdfctl/formats/bpe"
)

// small is a tokenizer of the 256 bytes, two merges and <|endoftext|>, in the
// parts of its files, for tests to break.
type small struct {
	vocab  map[string]any
	merges []any
	root   map[string]any // of tokenizer.json; the model is added
	model  map[string]any
}

func newSmall(t *testing.T) *small {
	t.Helper()
	tok, err := bpe.Train(slices.Values([][]byte{[]byte("the the then")}), 259, bpe.TrainOptions{})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := tok.Save(dir); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "tokenizer.json"))
	if err != nil {
		t.Fatal(err)
	}
	s := &small{}
	if err := json.Unmarshal(data, &s.root); err != nil {
		t.Fatal(err)
	}
	s.model = s.root["model"].(map[string]any)
	s.vocab = s.model["vocab"].(map[string]any)
	s.merges = s.model["merges"].([]any)
	return s
}

// writeTokenizer writes tokenizer.json and returns its path.
func (s *small) writeTokenizer(t *testing.T) string {
	t.Helper()
	s.model["vocab"], s.model["merges"] = s.vocab, s.merges
	s.root["model"] = s.model
	return write(t, "tokenizer.json", marshal(t, s.root))
}

// writePair writes vocab.json and merges.txt and returns their directory.
func (s *small) writePair(t *testing.T) string {
	t.Helper()
	path := write(t, "vocab.json", marshal(t, s.vocab))
	lines := "#version: 0.2\n"
	for _, m := range s.merges {
		lines += m.(string) + "\n"
	}
	dir := filepath.Dir(path)
	if err := os.WriteFile(filepath.Join(dir, "merges.txt"), []byte(lines), 0o666); err != nil {
		t.Fatal(err)
	}
	return dir
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func write(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoadTokenizerJSON(t *testing.T) {
	want, err := bpe.Load(newSmall(t).writeTokenizer(t))
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]func(s *small){
		"merges as lists": func(s *small) {
			for i, m := range s.merges {
				left, right, _ := strings.Cut(m.(string), " ")
				s.merges[i] = []string{left, right}
			}
		},
		"no model type":           func(s *small) { delete(s.model, "type") },
		"dropout zero":            func(s *small) { s.model["dropout"] = 0.0 },
		"no post_processor":       func(s *small) { s.root["post_processor"] = nil },
		"no decoder":              func(s *small) { delete(s.root, "decoder") },
		"truncation and padding":  func(s *small) { s.root["truncation"], s.root["padding"] = map[string]any{"max_length": 8}, "x" },
		"no added_tokens":         func(s *small) { s.root["added_tokens"] = nil },
		"end of text only added":  func(s *small) { delete(s.vocab, bpe.EndOfTextToken) },
		"pre_tokenizer in a list": func(s *small) { s.pre("Sequence", s.root["pre_tokenizer"]) },
		"no use_regex":            func(s *small) { delete(s.root["pre_tokenizer"].(map[string]any), "use_regex") },
	}
	for name, change := range cases {
		s := newSmall(t)
		change(s)
		got, err := bpe.Load(s.writeTokenizer(t))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got.Hash() != want.Hash() {
			t.Errorf("%s: another tokenizer", name)
		}
		if id, ok := got.EndOfText(); id != 258 || !ok {
			t.Errorf("%s: EndOfText() = %d, %v, want 258, true", name, id, ok)
		}
	}
}

// pre sets the pre-tokenizer, with list as its members.
func (s *small) pre(kind string, list ...any) {
	s.root["pre_tokenizer"] = map[string]any{"type": kind, "pretokenizers": list}
}

// added appends an added token.
func (s *small) added(id any, content string, special bool) {
	s.root["added_tokens"] = append(s.root["added_tokens"].([]any),
		map[string]any{"id": id, "content": content, "special": special})
}

func TestLoadRejects(t *testing.T) {
	byteLevel := map[string]any{"type": "ByteLevel", "add_prefix_space": false}
	cases := []struct {
		name        string
		change      func(s *small)
		unsupported bool
		want        string
	}{
		{"gap in the ids", func(s *small) { s.vocab["t"] = 4000 }, false, "id 4000"},
		{"id twice", func(s *small) { s.vocab["t"] = 0 }, false, "id 0 stands for two tokens"},
		{"negative id", func(s *small) { s.vocab["t"] = -1 }, false, "id -1"},
		{"huge id", func(s *small) { s.vocab["t"] = 1 << 30 }, false, "id 1073741824"},
		{"id a fraction", func(s *small) { s.vocab["t"] = 1.5 }, false, "1.5 is not an integer"},
		{"id a string", func(s *small) { s.vocab["t"] = "7" }, false, "is not an integer"},
		{"id null", func(s *small) { s.vocab["t"] = nil }, false, "null is not an integer"},
		{"byte missing", func(s *small) { s.rename("Ā", "tttt") }, false, "none for byte 0x00"},
		{"space in a token", func(s *small) { s.rename("Ā", "a b") }, false, "U+0020 is outside the byte alphabet"},
		{"CJK in a token", func(s *small) { s.rename("Ā", "日") }, false, "U+65E5 is outside the byte alphabet"},
		{"empty token", func(s *small) { s.rename("Ā", "") }, false, "empty token"},
		{"merge part unknown", func(s *small) { s.merges[0] = "t zzz" }, false, `"zzz" is not in the vocabulary`},
		{"merge result unknown", func(s *small) { s.merges[0] = "t t" }, false, "the result is not in the vocabulary"},
		{"merge twice", func(s *small) { s.merges = append(s.merges, s.merges[0]) }, false, "twice"},
		{"merge of one", func(s *small) { s.merges[0] = "t" }, false, "not two tokens"},
		{"merge of three", func(s *small) { s.merges[0] = "t h e" }, false, "not two tokens"},
		{"merge a number", func(s *small) { s.merges[0] = 7 }, false, "merge 0: 7 is neither"},
		{"merge list of one", func(s *small) { s.merges[0] = []string{"t"} }, false, "is neither"},
		{"no vocab", func(s *small) { s.vocab = nil }, false, "not an object"},
		{"merges an object", func(s *small) { s.root["model"] = nil; s.model["x"] = 1; s.merges = []any{map[string]any{}} }, false, "is neither"},
		{"added id differs", func(s *small) { s.added(3, "t", true) }, false, "has id 3"},
		{"added id beyond", func(s *small) { s.added(900, "<pad>", true) }, false, "id 900"},
		{"added without id", func(s *small) { s.added(nil, "<pad>", true) }, false, "has no id"},
		{"added not special", func(s *small) { s.added(259, "zz", false) }, true, "is not special"},
		{"added with a space", func(s *small) { s.added(259, "a b", true) }, true, "not printable ASCII"},
		{"normalizer", func(s *small) { s.root["normalizer"] = map[string]any{"type": "NFC"} }, true, `normalizer is "NFC"`},
		{"no pre_tokenizer", func(s *small) { s.root["pre_tokenizer"] = nil }, true, "no pre_tokenizer"},
		{"other pre_tokenizer", func(s *small) { s.pre("Whitespace") }, true, `pre_tokenizer is "Whitespace"`},
		{"two pre_tokenizers", func(s *small) { s.pre("Sequence", map[string]any{"type": "Split"}, byteLevel) }, true, `pre_tokenizer is "Sequence"`},
		{"prefix space", func(s *small) {
			s.root["pre_tokenizer"] = map[string]any{"type": "ByteLevel", "add_prefix_space": true}
		}, true, "add_prefix_space is true"},
		{"prefix space by default", func(s *small) { s.root["pre_tokenizer"] = map[string]any{"type": "ByteLevel"} }, true, "add_prefix_space is true"},
		{"no pattern", func(s *small) { s.root["pre_tokenizer"].(map[string]any)["use_regex"] = false }, true, "use_regex is false"},
		{"post_processor", func(s *small) { s.root["post_processor"] = map[string]any{"type": "TemplateProcessing"} }, true, `post_processor is "TemplateProcessing"`},
		{"decoder", func(s *small) { s.root["decoder"] = map[string]any{"type": "Metaspace"} }, true, `decoder is "Metaspace"`},
		{"other model", func(s *small) { s.model["type"] = "Unigram" }, true, `model type is "Unigram"`},
		{"dropout", func(s *small) { s.model["dropout"] = 0.1 }, true, "dropout is 0.1"},
		{"subword prefix", func(s *small) { s.model["continuing_subword_prefix"] = "##" }, true, "continuing_subword_prefix"},
		{"word suffix", func(s *small) { s.model["end_of_word_suffix"] = "</w>" }, true, "end_of_word_suffix"},
		{"byte fallback", func(s *small) { s.model["byte_fallback"] = true }, true, "byte_fallback"},
		{"ignore merges", func(s *small) { s.model["ignore_merges"] = true }, true, "ignore_merges"},
		{"wrong JSON type", func(s *small) { s.root["decoder"] = 7 }, false, "decoder:"},
	}
	for _, c := range cases {
		s := newSmall(t)
		c.change(s)
		_, err := bpe.Load(s.writeTokenizer(t))
		checkFormatError(t, c.name, err, c.unsupported, c.want)
	}
}

// rename gives a token another text.
func (s *small) rename(from, to string) {
	s.vocab[to] = s.vocab[from]
	delete(s.vocab, from)
}

func checkFormatError(t *testing.T, name string, err error, unsupported bool, want string) {
	t.Helper()
	var format *bpe.FormatError
	if !errors.As(err, &format) {
		t.Errorf("%s: error %v is no FormatError", name, err)
		return
	}
	if errors.Is(err, bpe.ErrUnsupported) != unsupported {
		t.Errorf("%s: error %q: unsupported is %v, want %v", name, err, !unsupported, unsupported)
	}
	if !strings.Contains(err.Error(), want) {
		t.Errorf("%s: error %q does not contain %q", name, err, want)
	}
}

func TestLoadPair(t *testing.T) {
	s := newSmall(t)
	want, err := bpe.Load(s.writeTokenizer(t))
	if err != nil {
		t.Fatal(err)
	}
	vocab := string(marshal(t, s.vocab))
	a, b := s.merges[0].(string), s.merges[1].(string)
	cases := []struct{ name, vocab, merges, want string }{
		{"plain", vocab, "#version: 0.2\n" + a + "\n" + b + "\n", ""},
		{"no version", vocab, a + "\n" + b, ""},
		{"byte order marks and CR LF", "\ufeff" + vocab, "\ufeff#version: 0.2\r\n" + a + "\r\n" + b + "\r\n\r\n", ""},
		{"blank line", vocab, a + "\n\n" + b + "\n", "line 2: \"\" is not two tokens"},
		{"two spaces", vocab, "#version\n" + strings.Replace(a, " ", "  ", 1) + "\n" + b, "line 2"},
		{"version further down", vocab, a + "\n#version: 0.2\n", "line 2"},
		{"key twice", strings.Replace(vocab, "{", `{"!":0,`, 1), a, `JSON key "!" appears twice`},
		{"no object", "[1]", a, "not an object"},
		{"cut short", vocab[:len(vocab)-9], a, "cut short"},
		{"empty", "", a, "cut short"},
		{"no JSON", "{x}", a, "not JSON"},
		{"more behind", vocab + "{}", a, "followed by more"},
		{"invalid UTF-8", strings.Replace(vocab, `"!"`, "\"\xff\"", 1), a, "outside the byte alphabet"},
	}
	for _, c := range cases {
		path := write(t, "vocab.json", []byte(c.vocab))
		merges := filepath.Join(filepath.Dir(path), "merges.txt")
		if err := os.WriteFile(merges, []byte(c.merges), 0o666); err != nil {
			t.Fatal(err)
		}
		for _, from := range []string{path, merges, filepath.Dir(path)} {
			got, err := bpe.Load(from)
			if c.want != "" {
				checkFormatError(t, c.name, err, false, c.want)
				continue
			}
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
				continue
			}
			if got.Hash() != want.Hash() {
				t.Errorf("%s: another tokenizer", c.name)
			}
		}
	}
}

func TestLoadOpenAINames(t *testing.T) {
	dir := newSmall(t).writePair(t)
	for from, to := range map[string]string{"vocab.json": "encoder.json", "merges.txt": "vocab.bpe"} {
		if err := os.Rename(filepath.Join(dir, from), filepath.Join(dir, to)); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{dir, filepath.Join(dir, "vocab.bpe")} {
		if _, err := bpe.Load(path); err != nil {
			t.Errorf("Load(%s): %v", path, err)
		}
	}
}

func TestLoadMissing(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{dir, filepath.Join(dir, "none"), write(t, "vocab.json", []byte("{}"))} {
		if _, err := bpe.Load(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Load(%s) = %v, want an error that is fs.ErrNotExist", path, err)
		}
	}
}

// TestLoadTooLarge uses a sparse file, which takes no space.
func TestLoadTooLarge(t *testing.T) {
	path := write(t, "tokenizer.json", nil)
	if err := os.Truncate(path, 256<<20+1); err != nil {
		t.Fatal(err)
	}
	_, err := bpe.Load(path)
	checkFormatError(t, "too large", err, false, "file is 268435457 bytes, limit 268435456")
}

func TestSaveRefuses(t *testing.T) {
	tok, err := bpe.Load(newSmall(t).writeTokenizer(t))
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "new", "dir")
	if err := tok.Save(dir); err != nil {
		t.Fatal(err)
	}
	if err := tok.Save(dir); !errors.Is(err, fs.ErrExist) {
		t.Errorf("second Save = %v, want an error that is fs.ErrExist", err)
	}
}

// TestSpecialRoundTrip checks that special tokens survive tokenizer.json.
func TestSpecialRoundTrip(t *testing.T) {
	s := newSmall(t)
	s.added(259, "<pad>", true)
	tok, err := bpe.Load(s.writeTokenizer(t))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := tok.Save(dir); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Added []struct {
			ID      int    `json:"id"`
			Content string `json:"content"`
			Special bool   `json:"special"`
		} `json:"added_tokens"`
	}
	data, err := os.ReadFile(filepath.Join(dir, "tokenizer.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	want := "[{258 <|endoftext|> true} {259 <pad> true}]"
	if text := fmt.Sprint(got.Added); text != want {
		t.Errorf("added_tokens %s, want %s", text, want)
	}
	var config map[string]any
	data, err = os.ReadFile(filepath.Join(dir, "tokenizer_config.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &config); err != nil {
		t.Fatal(err)
	}
	wantConfig := map[string]any{
		"add_bos_token": false, "add_prefix_space": false, "clean_up_tokenization_spaces": false,
		"bos_token": bpe.EndOfTextToken, "eos_token": bpe.EndOfTextToken, "unk_token": bpe.EndOfTextToken,
		"model_max_length": 1e30, "tokenizer_class": "GPT2Tokenizer",
	}
	if !maps.Equal(config, wantConfig) {
		t.Errorf("tokenizer_config.json is %v, want %v", config, wantConfig)
	}
}
