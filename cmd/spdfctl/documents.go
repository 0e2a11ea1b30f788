package main

import (
	"bytes"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spdfctl/spdfctl/eval"
	"github.com/spdfctl/spdfctl/formats/bpe"
	"github.com/spdfctl/spdfctl/formats/nlg"
	"github.com/spdfctl/spdfctl/formats/tokens"
	"github.com/spdfctl/spdfctl/train/gpt"
)

// What a document of a text is, see "eval ppl --documents".
const (
	documentsWhole    = "whole"
	documentsLines    = "lines"
	documentsWikiText = "wikitext"
	documentsEOT      = "eot"
)

// documentKinds lists the values of --documents.
func documentKinds() []string {
	return []string{documentsWhole, documentsLines, documentsWikiText, documentsEOT}
}

// evalData is the data of a perplexity.
type evalData struct {
	documents []eval.Document
	eot       int32 // the end-of-text id, -1: not known
}

// predicted returns the number of tokens that will be predicted.
func (d evalData) predicted(bos bool) int64 {
	n := 0
	for _, x := range d.documents {
		if n += len(x.IDs); !bos && len(x.IDs) > 0 {
			n--
		}
	}
	return int64(n)
}

// loadModelMaybeTokenizer reads a model, and its tokenizer: it must be there if
// the data at path is text.
func loadModelMaybeTokenizer(model, path string) (*gpt.Model, *bpe.Tokenizer, error) {
	if !isTokens(path) && !isJSON(path) {
		return loadModel(model, false)
	}
	dir, err := modelDir(model)
	if err != nil {
		return nil, nil, err
	}
	m, err := gpt.Load(model, false)
	if err != nil {
		return nil, nil, err
	}
	tok, err := bpe.Load(dir)
	if err != nil {
		tok = nil // ids need none
	}
	return m, tok, nil
}

func isJSON(path string) bool { return strings.HasSuffix(path, ".json") }

// isTokens reports whether path is a directory or a file of token shards.
func isTokens(path string) bool {
	return isDir(path) || strings.HasSuffix(path, tokens.Extension) || strings.HasSuffix(path, tokens.BinExtension)
}

// openIDs opens token shards, or .bin files, whose ids are taken for those of tok,
// or without one for those of their kind, of which a model knows vocab.
func openIDs(path string, tok *bpe.Tokenizer, vocab int) (*tokens.Shards, error) {
	files, val, err := tokens.BinFiles(path)
	switch {
	case err != nil:
		return nil, err
	case len(files) > 0 && len(val) > 0:
		return nil, fmt.Errorf("tokens: %s: holds files to train and to validate on: name a file, or a pattern as %s",
			path, filepath.ToSlash(filepath.Join(path, "*val*"+tokens.BinExtension)))
	case len(files)+len(val) == 0:
		return tokens.Open(path)
	}
	files = append(files, val...)
	if tok != nil {
		return tokens.OpenBin(files, tokens.Vocab{Size: tok.VocabSize(), EOT: eotOf(tok), Hash: tok.Hash()})
	}
	v, err := tokens.BinVocab(files[0])
	if err != nil {
		return nil, err
	}
	if v.Size = min(v.Size, vocab); int(v.EOT) >= v.Size {
		v.EOT = -1
	}
	return tokens.OpenBin(files, v)
}

// readDocuments reads the data at path as documents of a kind, for a model of
// vocab ids. tok may be nil for ids; with one, bytes and words of their text are
// counted.
func readDocuments(path, kind string, tok *bpe.Tokenizer, vocab int) (evalData, error) {
	switch {
	case isTokens(path):
		return readShards(path, kind, tok, vocab)
	case kind == documentsEOT:
		return evalData{}, usageErrorf("eval ppl: --documents eot: %s is no token shards", path)
	case isJSON(path):
		rows, err := readJSONIDs(path)
		if err != nil {
			return evalData{}, err
		}
		data := evalData{eot: -1}
		for _, ids := range rows {
			data.documents = append(data.documents, eval.Document{IDs: ids})
		}
		if tok != nil {
			data.eot = eotOf(tok)
		}
		return data, nil
	}
	text, err := readText(path)
	if err != nil {
		return evalData{}, err
	}
	data := evalData{eot: eotOf(tok)}
	var texts [][]byte
	switch kind {
	case documentsWhole:
		texts = [][]byte{text}
	case documentsLines:
		for line := range bytes.Lines(text) {
			if line = bytes.TrimRight(line, "\r\n"); len(bytes.TrimSpace(line)) > 0 {
				texts = append(texts, line)
			}
		}
	case documentsWikiText:
		articles, err := nlg.ReadWikiText(bytes.NewReader(text))
		if err != nil {
			return evalData{}, nlg.InFile(path, err)
		}
		for _, a := range articles {
			texts = append(texts, []byte(a))
		}
	}
	for _, text := range texts {
		data.documents = append(data.documents, eval.Document{IDs: tok.Encode(text), Bytes: len(text), Words: len(bytes.Fields(text))})
	}
	return data, nil
}

// readShards reads token shards as one document, or as those between end-of-text
// ids, which belong to the document before them.
func readShards(path, kind string, tok *bpe.Tokenizer, vocab int) (evalData, error) {
	if kind != documentsWhole && kind != documentsEOT {
		return evalData{}, usageErrorf("eval ppl: --documents %s: %s is token shards, whose documents are whole or eot", kind, path)
	}
	s, err := openIDs(path, tok, vocab)
	if err != nil {
		return evalData{}, err
	}
	defer s.Close()
	ids := make([]int32, s.Len())
	if err := s.Read(ids, 0); err != nil {
		return evalData{}, err
	}
	if tok != nil && tok.Hash() != s.TokenizerHash() {
		tok = nil
	}
	data := evalData{eot: -1}
	eot, ok := s.EOT()
	if ok {
		data.eot = eot
	}
	if kind == documentsWhole {
		d := countText(ids, tok, data.eot)
		if d.Bytes == 0 {
			d.Bytes = int(s.Index().Bytes)
		}
		data.documents = []eval.Document{d}
		return data, nil
	}
	if !ok {
		return evalData{}, fmt.Errorf("eval: %s: the shards have no end-of-text id to end documents", path)
	}
	for len(ids) > 0 {
		n := slices.Index(ids, eot) + 1
		if n == 0 {
			n = len(ids)
		}
		data.documents = append(data.documents, countText(ids[:n], tok, eot))
		ids = ids[n:]
	}
	return data, nil
}

// countText makes a document of ids, whose text is counted if there is a tokenizer
// that knows them all; end-of-text ids end words and are no text.
func countText(ids []int32, tok *bpe.Tokenizer, eot int32) eval.Document {
	d := eval.Document{IDs: ids}
	for rest := ids; tok != nil && len(rest) > 0; {
		n := slices.Index(rest, eot)
		if n < 0 {
			n = len(rest)
		}
		text, err := tok.Decode(rest[:n])
		if err != nil {
			return eval.Document{IDs: ids}
		}
		d.Bytes += len(text)
		d.Words += len(bytes.Fields(text))
		rest = rest[min(n+1, len(rest)):]
	}
	return d
}

func eotOf(tok *bpe.Tokenizer) int32 {
	if id, ok := tok.EndOfText(); ok {
		return id
	}
	return -1
}
