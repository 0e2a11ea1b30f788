package tokens_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spdfctl/spdfctl/formats/tokens"
)

const someHash = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

// count returns the ids 0 to n-1, modulo the size of the vocabulary.
func count(n, vocab int) []int32 {
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32(i % vocab)
	}
	return ids
}

// writeShards writes ids as one document and returns the directory.
func writeShards(t testing.TB, vocab tokens.Vocab, shardTokens int, ids []int32) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "shards")
	w, err := tokens.Create(dir, vocab, shardTokens)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Append(ids); err != nil {
		t.Fatal(err)
	}
	if err := w.EndDocument(99); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func open(t testing.TB, path string) *tokens.Shards {
	t.Helper()
	s, err := tokens.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func readAll(t testing.TB, s *tokens.Shards) []int32 {
	t.Helper()
	ids := make([]int32, s.Len())
	if err := s.Read(ids, 0); err != nil {
		t.Fatal(err)
	}
	return ids
}

func TestRoundTrip(t *testing.T) {
	cases := []struct {
		name               string
		vocab              tokens.Vocab
		ids, shard, shards int
		dtype              string
	}{
		{"one shard", tokens.Vocab{Size: 300, EOT: 299, Hash: someHash}, 100, 1000, 1, "uint16"},
		{"full shards", tokens.Vocab{Size: 300, EOT: 299}, 99, 50, 2, "uint16"},
		{"many shards", tokens.Vocab{Size: 300, EOT: 299, Hash: someHash}, 100, 7, 15, "uint16"},
		{"shards of one", tokens.Vocab{Size: 300, EOT: 299}, 5, 1, 6, "uint16"},
		{"largest of two bytes", tokens.Vocab{Size: 65536, EOT: 65535}, 65536, 60000, 2, "uint16"},
		{"four bytes", tokens.Vocab{Size: 65537, EOT: 65536}, 65537, 60000, 2, "uint32"},
		{"no end of text", tokens.Vocab{Size: 10, EOT: -1}, 5, 3, 2, "uint16"},
		{"nothing", tokens.Vocab{Size: 10, EOT: -1}, 0, 3, 0, "uint16"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			want := count(c.ids, c.vocab.Size)
			dir := writeShards(t, c.vocab, c.shard, want)
			if c.vocab.EOT >= 0 {
				want = append(want, c.vocab.EOT)
			}
			s := open(t, dir)
			if got := readAll(t, s); !slices.Equal(got, want) {
				t.Errorf("ids %v, want %v", got, want)
			}
			if err := s.Verify(); err != nil {
				t.Error(err)
			}
			x := s.Index()
			if len(x.Shards) != c.shards || x.DType != c.dtype || x.Documents != 1 || x.Bytes != 99 {
				t.Errorf("%d shards of %s, %d documents of %d bytes, want %d, %s, 1, 99",
					len(x.Shards), x.DType, x.Documents, x.Bytes, c.shards, c.dtype)
			}
			eot, ok := s.EOT()
			if ok != (c.vocab.EOT >= 0) || ok && eot != c.vocab.EOT {
				t.Errorf("EOT() = %d, %v", eot, ok)
			}
			if s.VocabSize() != c.vocab.Size || s.TokenizerHash() != c.vocab.Hash {
				t.Errorf("vocabulary %d of %q, want %d of %q", s.VocabSize(), s.TokenizerHash(), c.vocab.Size, c.vocab.Hash)
			}
			for off := range min(len(want), 20) {
				dst := make([]int32, min(len(want)-off, 9))
				if err := s.Read(dst, off); err != nil || !slices.Equal(dst, want[off:off+len(dst)]) {
					t.Errorf("Read at %d = %v, %v, want %v", off, dst, err, want[off:off+len(dst)])
				}
			}
		})
	}
}

func TestOpenOneShard(t *testing.T) {
	dir := writeShards(t, tokens.Vocab{Size: 300, EOT: 299, Hash: someHash}, 40, count(100, 300))
	s := open(t, filepath.Join(dir, "shard-00001.tok"))
	if got, want := readAll(t, s), count(100, 300)[40:80]; !slices.Equal(got, want) {
		t.Errorf("ids %v, want %v", got, want)
	}
	if s.TokenizerHash() != someHash || s.VocabSize() != 300 {
		t.Errorf("vocabulary %d of %q", s.VocabSize(), s.TokenizerHash())
	}
}

func TestReadBounds(t *testing.T) {
	s := open(t, writeShards(t, tokens.Vocab{Size: 300, EOT: -1}, 7, count(20, 300)))
	if err := s.Read(nil, 20); err != nil {
		t.Errorf("Read of nothing at the end: %v", err)
	}
	for _, c := range []struct{ n, off int }{{1, 20}, {21, 0}, {1, -1}, {0, 21}, {5, 1 << 62}} {
		if err := s.Read(make([]int32, c.n), c.off); err == nil {
			t.Errorf("Read of %d at %d: no error", c.n, c.off)
		}
	}
}

func TestWriterRejects(t *testing.T) {
	dir := t.TempDir()
	for _, v := range []tokens.Vocab{
		{Size: 0, EOT: -1}, {Size: 1<<24 + 1, EOT: -1}, {Size: 10, EOT: 10}, {Size: 10, EOT: -2},
		{Size: 10, EOT: -1, Hash: "12"}, {Size: 10, EOT: -1, Hash: strings.ToUpper(someHash)},
	} {
		if _, err := tokens.Create(dir, v, 10); err == nil {
			t.Errorf("Create with %+v: no error", v)
		}
	}
	for _, n := range []int{0, -1, tokens.MaxShardTokens + 1} {
		if _, err := tokens.Create(dir, tokens.Vocab{Size: 10, EOT: -1}, n); err == nil {
			t.Errorf("Create with shards of %d: no error", n)
		}
	}
	w, err := tokens.Create(dir, tokens.Vocab{Size: 10, EOT: -1}, 10)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []int32{10, -1} {
		if err := w.Append([]int32{0, id}); err == nil || !strings.Contains(err.Error(), "outside the vocabulary of 10") {
			t.Errorf("Append of %d: error %v", id, err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, tokens.IndexFile), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Close(); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Close over an index: %v, want an error that is fs.ErrExist", err)
	}
}

func TestCounter(t *testing.T) {
	vocab := tokens.Vocab{Size: 300, EOT: 299}
	want := open(t, writeShards(t, vocab, 40, count(100, 300))).Index()
	w, err := tokens.NewCounter(vocab, 40)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Append(count(100, 300)), w.EndDocument(99)); err != nil {
		t.Fatal(err)
	}
	got, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got.Shards, want.Shards) || got.Tokens != want.Tokens {
		t.Errorf("counted %+v, want %+v", got, want)
	}
}

// TestShardRejects damages one field of a shard at a time.
func TestShardRejects(t *testing.T) {
	le := binary.LittleEndian
	cases := []struct {
		name   string
		damage func(b []byte) []byte
		kind   error // nil: none of the kinds
		want   string
	}{
		{"empty", func(b []byte) []byte { return nil }, tokens.ErrNotShard, `begins with ""`},
		{"other magic", func(b []byte) []byte { b[0] = 'S'; return b }, tokens.ErrNotShard, "begins with"},
		{"cut in the header", func(b []byte) []byte { return b[:100] }, tokens.ErrSize, "100 bytes"},
		{"later version", func(b []byte) []byte { le.PutUint32(b[8:], 2); return b }, tokens.ErrUnsupported, "version is 2"},
		{"width 4", func(b []byte) []byte { le.PutUint32(b[12:], 4); return b }, nil, "ids take 4 bytes, want 2"},
		{"width 0", func(b []byte) []byte { le.PutUint32(b[12:], 0); return b }, nil, "ids take 0 bytes"},
		{"more ids than bytes", func(b []byte) []byte { le.PutUint64(b[16:], 21); return b }, tokens.ErrSize, "21 ids"},
		{"huge count", func(b []byte) []byte { le.PutUint64(b[16:], 1<<63); return b }, tokens.ErrSize, "9223372036854775808 ids"},
		{"last id cut", func(b []byte) []byte { return b[:len(b)-1] }, tokens.ErrSize, "20 ids"},
		{"a byte more", func(b []byte) []byte { return append(b, 0) }, tokens.ErrSize, "20 ids"},
		{"an id more", func(b []byte) []byte { return append(b, 0, 0) }, tokens.ErrSize, "room for 21"},
		{"no vocabulary", func(b []byte) []byte { le.PutUint64(b[24:], 0); return b }, nil, "vocabulary size is 0"},
		{"huge vocabulary", func(b []byte) []byte { le.PutUint64(b[24:], 1<<63); return b }, nil, "limit 16777216"},
		{"end of text outside", func(b []byte) []byte { le.PutUint64(b[32:], 300); return b }, nil, "end-of-text id is 300"},
		{"end of text below -1", func(b []byte) []byte { le.PutUint64(b[32:], 1<<63); return b }, nil, "end-of-text id -9223372036854775808"},
		{"rest not zero", func(b []byte) []byte { b[127] = 1; return b }, nil, "not zero"},
	}
	dir := writeShards(t, tokens.Vocab{Size: 300, EOT: 299, Hash: someHash}, 100, count(19, 300))
	good, err := os.ReadFile(filepath.Join(dir, "shard-00000.tok"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		path := filepath.Join(t.TempDir(), "x.tok")
		if err := os.WriteFile(path, c.damage(bytes.Clone(good)), 0o666); err != nil {
			t.Fatal(err)
		}
		_, err := tokens.Open(path)
		checkFormatError(t, c.name, err, c.kind, c.want)
	}
}

func checkFormatError(t *testing.T, name string, err, kind error, want string) {
	t.Helper()
	var format *tokens.FormatError
	if !errors.As(err, &format) || !strings.Contains(err.Error(), want) {
		t.Errorf("%s: error %v, want a FormatError with %q", name, err, want)
		return
	}
	for _, k := range []error{tokens.ErrNotShard, tokens.ErrUnsupported, tokens.ErrSize, tokens.ErrChecksum} {
		if errors.Is(err, k) != (k == kind) {
			t.Errorf("%s: error %q: is %q: %v", name, err, k, errors.Is(err, k))
		}
	}
}

// TestContentDamage damages ids, which Open does not look at.
func TestContentDamage(t *testing.T) {
	dir := writeShards(t, tokens.Vocab{Size: 300, EOT: -1}, 100, count(20, 300))
	path := filepath.Join(dir, "shard-00000.tok")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[128+2*5] = 9
	if err := os.WriteFile(path, b, 0o666); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir)
	readAll(t, s)
	checkFormatError(t, "another id", s.Verify(), tokens.ErrChecksum, "sha256")
	b[128+2*5+1] = 9
	if err := os.WriteFile(path, b, 0o666); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	checkFormatError(t, "id outside", s.Read(make([]int32, 20), 0), nil, "id 2313 at 5 is outside the vocabulary of 300")
	checkFormatError(t, "id outside", s.Verify(), nil, "id 2313 at 5")
}

// TestCutWhileOpen cuts a file under its mapping. A page must go for that to
// matter.
func TestCutWhileOpen(t *testing.T) {
	dir := writeShards(t, tokens.Vocab{Size: 300, EOT: -1}, 1<<20, count(1<<18, 300))
	s := open(t, dir)
	if err := os.Truncate(filepath.Join(dir, "shard-00000.tok"), 128); err != nil {
		t.Fatal(err)
	}
	if err := s.Read(make([]int32, 1<<18), 0); err == nil {
		t.Error("Read of a file that was cut: no error")
	}
}

func TestIndexRejects(t *testing.T) {
	shard := func(x map[string]any) map[string]any { return x["shards"].([]any)[0].(map[string]any) }
	cases := []struct {
		name   string
		damage func(x map[string]any)
		kind   error
		want   string
	}{
		{"other format", func(x map[string]any) { x["format"] = "x" }, nil, `format is "x"`},
		{"later version", func(x map[string]any) { x["version"] = 2 }, tokens.ErrUnsupported, "version is 2"},
		{"other dtype", func(x map[string]any) { x["dtype"] = "uint32" }, nil, "dtype"},
		{"vocabulary", func(x map[string]any) { x["vocab_size"] = -1 }, nil, "vocabulary size is -1"},
		{"vocabulary of another", func(x map[string]any) { x["vocab_size"] = 301 }, nil, "the index has 301"},
		{"tokenizer of another", func(x map[string]any) { x["tokenizer_sha256"] = strings.Repeat("1", 64) }, nil, "the index has"},
		{"hash no hash", func(x map[string]any) { x["tokenizer_sha256"] = "xyz" }, nil, "not 64"},
		{"sum", func(x map[string]any) { x["tokens"] = 1000 }, nil, "add up to 20"},
		{"negative sum", func(x map[string]any) { x["tokens"] = -1 }, nil, "are left of -1"},
		{"negative shard", func(x map[string]any) { shard(x)["tokens"] = -5 }, nil, "-5 tokens"},
		{"shard too long", func(x map[string]any) { shard(x)["tokens"] = 19; x["tokens"] = 19 }, tokens.ErrSize, "20 tokens, the index has 19"},
		{"checksum", func(x map[string]any) { shard(x)["sha256"] = "00" }, tokens.ErrChecksum, "the index has 00"},
		{"shard elsewhere", func(x map[string]any) { shard(x)["file"] = "../x.tok" }, nil, "not a plain file name"},
		{"shard by path", func(x map[string]any) { shard(x)["file"] = "/etc/passwd" }, nil, "not a plain file name"},
		{"shard above", func(x map[string]any) { shard(x)["file"] = ".." }, nil, "not a plain file name"},
		{"shard without name", func(x map[string]any) { shard(x)["file"] = "" }, nil, "not a plain file name"},
		{"shard twice", func(x map[string]any) { x["shards"] = []any{shard(x), shard(x)}; x["tokens"] = 40 }, nil, "listed twice"},
		{"negative documents", func(x map[string]any) { x["documents"] = -1 }, nil, "negative"},
		{"wrong type", func(x map[string]any) { x["documents"] = "x" }, nil, "documents"},
		{"huge number", func(x map[string]any) { x["tokens"] = 1e30 }, nil, "tokens"},
	}
	for _, c := range cases {
		dir := writeShards(t, tokens.Vocab{Size: 300, EOT: 299, Hash: someHash}, 100, count(19, 300))
		path := filepath.Join(dir, tokens.IndexFile)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var x map[string]any
		if err := json.Unmarshal(data, &x); err != nil {
			t.Fatal(err)
		}
		c.damage(x)
		if data, err = json.Marshal(x); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o666); err != nil {
			t.Fatal(err)
		}
		_, err = tokens.Open(dir)
		checkFormatError(t, c.name, err, c.kind, c.want)
	}
}

func TestIndexText(t *testing.T) {
	dir := writeShards(t, tokens.Vocab{Size: 300, EOT: 299}, 100, count(19, 300))
	path := filepath.Join(dir, tokens.IndexFile)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		text string
		kind error
		want string
	}{
		"empty":       {"", tokens.ErrSize, "cut short"},
		"cut short":   {string(data[:len(data)/2]), tokens.ErrSize, "cut short"},
		"more behind": {string(data) + "{}", nil, "followed by more"},
		"no JSON":     {"spdf", nil, "invalid character"},
	} {
		if err := os.WriteFile(path, []byte(c.text), 0o666); err != nil {
			t.Fatal(err)
		}
		_, err := tokens.Open(dir)
		checkFormatError(t, name, err, c.kind, c.want)
	}
	if err := os.Truncate(path, 64<<20+1); err != nil {
		t.Fatal(err)
	}
	_, err = tokens.Open(dir)
	checkFormatError(t, "too large", err, nil, "67108864 bytes")
}

func TestOpenMissing(t *testing.T) {
	dir := writeShards(t, tokens.Vocab{Size: 300, EOT: -1}, 7, count(19, 300))
	if err := os.Remove(filepath.Join(dir, "shard-00001.tok")); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, t.TempDir(), filepath.Join(dir, "none")} {
		if _, err := tokens.Open(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Open(%s) = %v, want an error that is fs.ErrNotExist", path, err)
		}
	}
}

// FuzzShard opens any bytes as a shard. What opens, reads and verifies is the
// same after it is written again.
func FuzzShard(f *testing.F) {
	for _, v := range []tokens.Vocab{{Size: 300, EOT: 299, Hash: someHash}, {Size: 70000, EOT: -1}} {
		b, err := os.ReadFile(filepath.Join(writeShards(f, v, 100, count(9, v.Size)), "shard-00000.tok"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(b[:130])
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "x.tok")
		if err := os.WriteFile(path, data, 0o666); err != nil {
			t.Fatal(err)
		}
		s, err := tokens.Open(path)
		if err != nil {
			var format *tokens.FormatError
			if !errors.As(err, &format) {
				t.Fatalf("error %v is no FormatError", err)
			}
			return
		}
		defer s.Close()
		ids := make([]int32, s.Len())
		if s.Read(ids, 0) != nil || s.Verify() != nil || len(ids) == 0 {
			return
		}
		x := s.Index()
		dir := t.TempDir()
		w, err := tokens.Create(dir, tokens.Vocab{Size: x.VocabSize, EOT: x.EOT, Hash: x.TokenizerHash}, len(ids))
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Append(ids); err != nil {
			t.Fatal(err)
		}
		again, err := os.ReadFile(filepath.Join(dir, "shard-00000.tok"))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(again, data) {
			t.Fatalf("wrote %x, read %x", again, data)
		}
	})
}

func BenchmarkRead(b *testing.B) {
	s := open(b, writeShards(b, tokens.Vocab{Size: 50257, EOT: 50256}, 1<<20, count(1<<22, 50257)))
	dst := make([]int32, 1025)
	b.SetBytes(2 * int64(len(dst)))
	for i := 0; b.Loop(); i++ {
		if err := s.Read(dst, i*7919%(1<<21)); err != nil {
			b.Fatal(err)
		}
	}
}
