package bpe

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxFile bounds the size of a tokenizer file.
const maxFile = 256 << 20

const tokenizerFile = "tokenizer.json"

// pairFiles lists the names under which a vocabulary and its merges come.
var pairFiles = [...][2]string{{"vocab.json", "merges.txt"}, {"encoder.json", "vocab.bpe"}}

// Load reads a tokenizer from a directory that holds tokenizer.json, vocab.json
// and merges.txt, or encoder.json and vocab.bpe, in this order, or from one of
// these files; any other file is read as a tokenizer.json. It checks everything
// the package comment lists and returns a *FormatError for a file that breaks it.
func Load(path string) (*Tokenizer, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("bpe: %w", err)
	}
	if info.IsDir() {
		return loadDir(path)
	}
	dir, base := filepath.Split(path)
	for _, names := range pairFiles {
		if base == names[0] || base == names[1] {
			return loadPair(filepath.Join(dir, names[0]), filepath.Join(dir, names[1]))
		}
	}
	return loadTokenizerJSON(path)
}

func loadDir(dir string) (*Tokenizer, error) {
	path := filepath.Join(dir, tokenizerFile)
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return loadTokenizerJSON(path)
	}
	for _, names := range pairFiles {
		vocab := filepath.Join(dir, names[0])
		if _, err := os.Stat(vocab); !errors.Is(err, fs.ErrNotExist) {
			return loadPair(vocab, filepath.Join(dir, names[1]))
		}
	}
	return nil, fmt.Errorf("bpe: %s holds neither %s nor %s: %w", dir, tokenizerFile, pairFiles[0][0], fs.ErrNotExist)
}

func loadTokenizerJSON(path string) (*Tokenizer, error) {
	data, err := readBounded(path)
	if err != nil {
		return nil, err
	}
	t, err := parseTokenizerJSON(data)
	if err != nil {
		return nil, &FormatError{filepath.Base(path), err}
	}
	return t, nil
}

func loadPair(vocabPath, mergesPath string) (*Tokenizer, error) {
	vocabData, err := readBounded(vocabPath)
	if err != nil {
		return nil, err
	}
	mergesData, err := readBounded(mergesPath)
	if err != nil {
		return nil, err
	}
	vocab, err := parseVocab(vocabData)
	if err != nil {
		return nil, &FormatError{filepath.Base(vocabPath), err}
	}
	tokens, err := vocab.byID()
	if err != nil {
		return nil, &FormatError{filepath.Base(vocabPath), err}
	}
	merges, err := parseMerges(mergesData, vocab)
	if err != nil {
		return nil, &FormatError{filepath.Base(mergesPath), err}
	}
	t, err := build(tokens, merges, nil)
	if err != nil {
		return nil, &FormatError{filepath.Base(vocabPath) + ", " + filepath.Base(mergesPath), err}
	}
	return t, nil
}

// readBounded reads a whole file of at most maxFile bytes.
func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("bpe: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("bpe: %w", err)
	}
	if info.Size() > maxFile {
		return nil, &FormatError{filepath.Base(path), fmt.Errorf("file is %d bytes, limit %d", info.Size(), maxFile)}
	}
	// The size of a pipe is 0, and a file may grow while it is read.
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("bpe: %w", err)
	}
	if len(data) > maxFile {
		return nil, &FormatError{filepath.Base(path), fmt.Errorf("file is over %d bytes, the limit", maxFile)}
	}
	return data, nil
}

// vocabulary maps a token, written in the byte alphabet, to its id.
type vocabulary map[string]int32

// parseVocab reads the object of a vocab.json.
func parseVocab(data []byte) (vocabulary, error) {
	vocab := make(vocabulary)
	err := members(data, func(token string, value json.RawMessage) error {
		if len(vocab) == MaxVocab {
			return fmt.Errorf("over %d tokens, the limit", MaxVocab)
		}
		id, err := parseID(value)
		if err != nil {
			return fmt.Errorf("token %.60q: %w", token, err)
		}
		vocab[token] = id
		return nil
	})
	return vocab, err
}

func parseID(value json.RawMessage) (int32, error) {
	var id int32
	if err := json.Unmarshal(value, &id); err != nil || string(value) == "null" {
		return 0, fmt.Errorf("id %.60s is not an integer", value)
	}
	if id < 0 || id >= MaxVocab {
		return 0, fmt.Errorf("id %d is outside 0 to %d", id, MaxVocab-1)
	}
	return id, nil
}

// byID returns the bytes of the tokens; the ids must be exactly 0 to V-1.
func (v vocabulary) byID() ([][]byte, error) {
	tokens := make([][]byte, len(v))
	for token, id := range v {
		if int(id) >= len(tokens) {
			return nil, fmt.Errorf("ids have a gap: token %.60q has id %d in a vocabulary of %d", token, id, len(v))
		}
		if tokens[id] != nil {
			return nil, fmt.Errorf("id %d stands for two tokens, one is %.60q", id, token)
		}
		text, err := fromAlphabet(token)
		if err != nil {
			return nil, err
		}
		tokens[id] = text
	}
	return tokens, nil
}

// parseMerges reads a merges.txt.
func parseMerges(data []byte, vocab vocabulary) ([]pair, error) {
	text := string(trimBOM(data))
	var merges []pair
	for number := 1; strings.Trim(text, "\r\n") != ""; number++ {
		var line string
		line, text, _ = strings.Cut(text, "\n")
		line = strings.TrimSuffix(line, "\r")
		if number == 1 && strings.HasPrefix(line, "#version") {
			continue
		}
		if len(merges) == maxMerges {
			return nil, fmt.Errorf("over %d merges, the limit", maxMerges)
		}
		m, err := parseMerge(line, vocab)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		merges = append(merges, m)
	}
	return merges, nil
}

// parseMerge reads a merge written "left right".
func parseMerge(line string, vocab vocabulary) (pair, error) {
	left, right, ok := strings.Cut(line, " ")
	if !ok || left == "" || right == "" || strings.Contains(right, " ") {
		return pair{}, fmt.Errorf("%.60q is not two tokens with a space between", line)
	}
	return vocab.pair(left, right)
}

func (v vocabulary) pair(left, right string) (pair, error) {
	l, ok := v[left]
	if !ok {
		return pair{}, fmt.Errorf("%.60q is not in the vocabulary of %d tokens", left, len(v))
	}
	r, ok := v[right]
	if !ok {
		return pair{}, fmt.Errorf("%.60q is not in the vocabulary of %d tokens", right, len(v))
	}
	return pair{l, r}, nil
}

// members calls f for every member of the JSON object that data must be, in
// order. A key that appears twice is an error.
func members(data []byte, f func(key string, value json.RawMessage) error) error {
	dec := json.NewDecoder(bytes.NewReader(trimBOM(data)))
	open, err := dec.Token()
	if err != nil {
		return jsonError(err)
	}
	if open != json.Delim('{') {
		return fmt.Errorf("JSON value is not an object")
	}
	seen := make(map[string]bool)
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return jsonError(err)
		}
		name := key.(string) // Decoder allows nothing else here
		if seen[name] {
			return fmt.Errorf("JSON key %.60q appears twice", name)
		}
		seen[name] = true
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return jsonError(err)
		}
		if err := f(name, value); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil {
		return jsonError(err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return fmt.Errorf("JSON object is followed by more")
	}
	return nil
}

// jsonError tells a file that stops early from one that is wrong.
func jsonError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("JSON is cut short")
	}
	return fmt.Errorf("not JSON: %w", err)
}

func trimBOM(data []byte) []byte { return bytes.TrimPrefix(data, []byte("\ufeff")) }
