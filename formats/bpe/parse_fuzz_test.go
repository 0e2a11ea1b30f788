package bpe

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// These fuzz the parsers without files, which would take most of the time.

// parsePair reads the two files of a slow tokenizer.
func parsePair(vocabData, mergesData []byte) (*Tokenizer, error) {
	vocab, err := parseVocab(vocabData)
	if err != nil {
		return nil, err
	}
	tokens, err := vocab.byID()
	if err != nil {
		return nil, err
	}
	merges, err := parseMerges(mergesData, vocab)
	if err != nil {
		return nil, err
	}
	return build(tokens, merges, nil)
}

// FuzzMerges reads a tokenizer of any merges, writes it and reads it again.
func FuzzMerges(f *testing.F) {
	vocab, err := os.ReadFile(filepath.Join("testdata", "fuzz-vocab.json"))
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{
		"", "#version: 0.2\n", "#version: 0.2\nt h\nth e\n", "t h\r\nth e\r\n", "\ufefft h\n\n",
		"t h\nt h\n", "t  h\n", "x y\n", "h e\nt he\nth e\n", "t he\nh e\n",
	} {
		f.Add([]byte(seed), []byte("the then"))
	}
	f.Fuzz(func(t *testing.T, merges, text []byte) {
		if tok, err := parsePair(vocab, merges); err == nil {
			checkParsed(t, tok, text)
		}
	})
}

// FuzzTokenizerJSON does the same with anything as a tokenizer.json.
func FuzzTokenizerJSON(f *testing.F) {
	data, err := os.ReadFile(filepath.Join("testdata", "fuzz-tokenizer.json"))
	if err != nil {
		f.Fatal(err)
	}
	if _, err := parseTokenizerJSON(data); err != nil {
		f.Fatal(err)
	}
	f.Add(data, []byte("the"))
	f.Add([]byte(`{"model":{"vocab":{},"merges":[["a","b"]]},"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false}}`), []byte("the"))
	f.Fuzz(func(t *testing.T, data, text []byte) {
		if tok, err := parseTokenizerJSON(data); err == nil {
			checkParsed(t, tok, text)
		}
	})
}

// checkParsed demands of a tokenizer that it is the same after it is written in
// either form and read again, and that text comes back from it.
func checkParsed(t *testing.T, tok *Tokenizer, text []byte) {
	var vocab, merges, single bytes.Buffer
	if err := tok.writeVocab(&vocab); err != nil {
		t.Fatal(err)
	}
	if err := tok.writeMerges(&merges); err != nil {
		t.Fatal(err)
	}
	if err := tok.writeTokenizer(&single); err != nil {
		t.Fatal(err)
	}
	two, err := parsePair(vocab.Bytes(), merges.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	one, err := parseTokenizerJSON(single.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if two.Hash() != tok.Hash() || one.Hash() != tok.Hash() {
		t.Fatal("another tokenizer after writing and reading")
	}
	if back, err := tok.Decode(tok.Encode(text)); err != nil || !bytes.Equal(back, text) {
		t.Fatalf("Decode(Encode(%q)) = %q, %v", text, back, err)
	}
}

// FuzzLists does the same with anything as the lists of a GGUF file, a line
// for each token and merge, a byte for each special token.
func FuzzLists(f *testing.F) {
	f.Add("t\nh\ne\nth\nthe", "t h\nth e", []byte{}, []byte("the then"))
	f.Add("t\nh\n<end>", "t h", []byte{2}, []byte("th"))
	f.Add("a\na", "", []byte{9}, []byte("a"))
	f.Fuzz(func(t *testing.T, tokens, merges string, special, text []byte) {
		var specials []int32
		for _, id := range special {
			specials = append(specials, int32(int8(id)))
		}
		var rules []string
		if merges != "" {
			rules = strings.Split(merges, "\n")
		}
		tok, err := FromLists(strings.Split(tokens, "\n"), rules, specials)
		if err != nil {
			return
		}
		checkParsed(t, tok, text)
		again, err := FromLists(tok.Lists())
		if err != nil {
			t.Fatalf("FromLists refuses what Lists wrote: %v", err)
		}
		if again.Hash() != tok.Hash() {
			t.Fatalf("Lists and FromLists turn %s into %s", tok.Hash(), again.Hash())
		}
	})
}
