//go:build conformance

package bpe_test

import (
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/spdfctl/spdfctl/formats/bpe"
)

// dataDir is the folder of test data that SPDF_DATA names.
func dataDir(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("SPDF_DATA")
	if dir == "" {
		t.Fatal("SPDF_DATA names no folder")
	}
	return dir
}

// TestConformanceFiles compares whole files with OpenAI's encoder.py.
func TestConformanceFiles(t *testing.T) {
	data := dataDir(t)
	tok, err := bpe.Load(filepath.Join(data, "gpt2-tokenizer"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := tok.Hash(), gpt2(t).Hash(); got != want {
		t.Errorf("hash %s, the fixture's is %s", got, want)
	}
	var list map[string]struct {
		Bytes  int     `json:"bytes"`
		Tokens int     `json:"tokens"`
		Sum    string  `json:"sha256_uint16le"`
		First  []int32 `json:"first"`
	}
	raw, err := os.ReadFile(filepath.Join(data, "gpt2-tokenizer", "file_vectors.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		t.Fatal(err)
	}
	if len(list) != 6 {
		t.Fatalf("%d files, want 6", len(list))
	}
	for name, want := range list {
		text := readGzip(t, filepath.Join(data, name))
		if len(text) != want.Bytes {
			t.Errorf("%s: %d bytes, want %d", name, len(text), want.Bytes)
		}
		ids := tok.Encode(text)
		if len(ids) != want.Tokens || !slices.Equal(ids[:len(want.First)], want.First) {
			t.Errorf("%s: %d tokens from %v, want %d from %v", name, len(ids), ids[:len(want.First)], want.Tokens, want.First)
		}
		var packed []byte
		for _, id := range ids {
			packed = binary.LittleEndian.AppendUint16(packed, uint16(id))
		}
		sum := sha256.Sum256(packed)
		if got := hex.EncodeToString(sum[:]); got != want.Sum {
			t.Errorf("%s: sha256 of the ids %s, want %s", name, got, want.Sum)
		}
	}
}

// TestConformanceTokenizerJSON reads the tokenizer.json of Hugging Face's gpt2.
func TestConformanceTokenizerJSON(t *testing.T) {
	data := readGzip(t, filepath.Join(dataDir(t), "gpt2-tokenizer", "tokenizer.json.gz"))
	tok, err := bpe.Load(write(t, "tokenizer.json", data))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := tok.Hash(), gpt2(t).Hash(); got != want {
		t.Errorf("hash %s, that of vocab.json and merges.txt is %s", got, want)
	}
}

func readGzip(t testing.TB, path string) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// BenchmarkConformance encodes a book, whose words are not all in the cache.
func BenchmarkConformance(b *testing.B) {
	tok := gpt2(b)
	text := readGzip(b, filepath.Join(dataDir(b), "pretrain-books", "victor-hugo_les-miserables_isabel-f-hapgood.txt.gz"))
	var ids []int32
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		ids = tok.AppendEncode(ids[:0], text)
	}
}

// BenchmarkConformanceTrain trains on 10 MB of books to 8192 tokens.
func BenchmarkConformanceTrain(b *testing.B) {
	paths, err := filepath.Glob(filepath.Join(dataDir(b), "pretrain-books", "*.txt.gz"))
	if err != nil {
		b.Fatal(err)
	}
	var texts [][]byte
	size := 0
	for _, path := range paths {
		text := readGzip(b, path)
		texts = append(texts, text)
		if size += len(text); size > 10_000_000 {
			break
		}
	}
	b.SetBytes(int64(size))
	for b.Loop() {
		train(b, 8192, 0, texts...)
	}
}
