package bpe_test

import (
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/spdfctl/spdfctl/formats/bpe"
)

// The hashes of OpenAI's vocab.json and merges.txt, as tiktoken pins them.
const (
	gpt2VocabSum  = "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783"
	gpt2MergesSum = "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"
)

var gpt2Once struct {
	sync.Once
	t   *bpe.Tokenizer
	err error
}

// gpt2 returns the tokenizer of GPT-2.
func gpt2(t testing.TB) *bpe.Tokenizer {
	t.Helper()
	gpt2Once.Do(func() {
		dir, err := os.MkdirTemp("", "gpt2")
		if err != nil {
			gpt2Once.err = err
			return
		}
		defer os.RemoveAll(dir)
		for _, name := range []string{"vocab.json", "merges.txt"} {
			if err := gunzip(filepath.Join(dir, name), filepath.Join("testdata", "gpt2", name+".gz")); err != nil {
				gpt2Once.err = err
				return
			}
		}
		gpt2Once.t, gpt2Once.err = bpe.Load(dir)
	})
	if gpt2Once.err != nil {
		t.Fatal(gpt2Once.err)
	}
	return gpt2Once.t
}

func gunzip(dst, src string) error {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	z, err := gzip.NewReader(in)
	if err != nil {
		return err
	}
	data, err := io.ReadAll(z)
	if err != nil {
		return err
	}
	return os.WriteFile(dst, data, 0o666)
}

type vector struct {
	Text string  `json:"text"`
	IDs  []int32 `json:"ids"`
}

func vectors(t testing.TB) []vector {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "gpt2", "vectors.json"))
	if err != nil {
		t.Fatal(err)
	}
	var list []vector
	if err := json.Unmarshal(data, &list); err != nil {
		t.Fatal(err)
	}
	return list
}

// TestVectors compares with ids from OpenAI's own encoder.py.
func TestVectors(t *testing.T) {
	tok := gpt2(t)
	list := vectors(t)
	if len(list) != 108 {
		t.Fatalf("%d vectors, want 108", len(list))
	}
	for _, v := range list {
		if got := tok.Encode([]byte(v.Text)); !slices.Equal(got, v.IDs) {
			t.Errorf("Encode(%q) = %v, want %v", v.Text, got, v.IDs)
		}
		got, err := tok.Decode(v.IDs)
		if err != nil || string(got) != v.Text {
			t.Errorf("Decode(%v) = %q, %v, want %q", v.IDs, got, err, v.Text)
		}
	}
}

func TestGPT2(t *testing.T) {
	tok := gpt2(t)
	if got := tok.VocabSize(); got != 50257 {
		t.Errorf("VocabSize() = %d, want 50257", got)
	}
	if id, ok := tok.EndOfText(); id != 50256 || !ok {
		t.Errorf("EndOfText() = %d, %v, want 50256, true", id, ok)
	}
}

// TestSaveGPT2 checks that Save gives back OpenAI's files byte for byte.
func TestSaveGPT2(t *testing.T) {
	tok := gpt2(t)
	dir := t.TempDir()
	if err := tok.Save(dir); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"vocab.json": gpt2VocabSum, "merges.txt": gpt2MergesSum} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(data)
		if got := hex.EncodeToString(sum[:]); got != want {
			t.Errorf("%s: sha256 %s, want %s", name, got, want)
		}
	}
	for _, path := range []string{dir, filepath.Join(dir, "merges.txt"), filepath.Join(dir, "tokenizer.json")} {
		again, err := bpe.Load(path)
		if err != nil {
			t.Errorf("Load(%s): %v", filepath.Base(path), err)
			continue
		}
		if again.Hash() != tok.Hash() {
			t.Errorf("Load(%s): hash %s, want %s", filepath.Base(path), again.Hash(), tok.Hash())
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	tok := gpt2(b)
	text := speech(b)
	var ids []int32
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		ids = tok.AppendEncode(ids[:0], text)
	}
}

// BenchmarkEncodeRun is the worst case of a naive merge loop.
func BenchmarkEncodeRun(b *testing.B) {
	tok := gpt2(b)
	text := slices.Repeat([]byte("a"), 1<<20)
	var ids []int32
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		ids = tok.AppendEncode(ids[:0], text)
	}
}

func BenchmarkDecode(b *testing.B) {
	tok := gpt2(b)
	text := speech(b)
	ids := tok.Encode(text)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		text, _ = tok.AppendDecode(text[:0], ids)
	}
}

// speech returns 65 kB of English.
func speech(t testing.TB) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "text")
	if err := gunzip(path, filepath.Join("testdata", "shakespeare.txt.gz")); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
