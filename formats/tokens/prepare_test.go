package tokens_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spdfctl/spdfctl/formats/bpe"
	"github.com/spdfctl/spdfctl/formats/tokens"
)

// prose returns n bytes or a few more of words, symbols, lines and bytes that
// are not UTF-8.
func prose(n int, seed uint64) []byte {
	rng := rand.New(rand.NewPCG(seed, 0))
	words := []string{"the", "sparse", "weights", " ", "\n\n", "don't", "  ", "42", "naïve", "日本語", "\xff", "!?", "\t"}
	var b []byte
	for len(b) < n {
		b = append(b, words[rng.IntN(len(words))]...)
		if rng.IntN(3) > 0 {
			b = append(b, ' ')
		}
	}
	return b
}

func tokenizer(t testing.TB) *bpe.Tokenizer {
	t.Helper()
	tok, err := bpe.Train(slices.Values([][]byte{prose(10000, 1)}), 300, bpe.TrainOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// write writes a file, compressed if its name ends in .gz.
func write(t testing.TB, path string, data []byte) string {
	t.Helper()
	if strings.HasSuffix(path, ".gz") {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		z.Write(data)
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		data = b.Bytes()
	}
	if err := os.WriteFile(path, data, 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

// tree returns the files below dir.
func tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		below, _ := filepath.Rel(dir, path)
		files[filepath.ToSlash(below)] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// documents joins the pieces of every document.
func documents(t testing.TB, field string, paths ...string) ([]string, error) {
	t.Helper()
	var list []string
	inside := false
	_, err := tokens.ReadDocuments(context.Background(), paths, tokens.Reading{Field: field}, func(p tokens.Piece) error {
		if len(p.Text) == 0 || p.First == inside {
			t.Errorf("piece of %d bytes, first %v, inside a document %v", len(p.Text), p.First, inside)
		}
		if p.First {
			list = append(list, "")
		}
		list[len(list)-1] += string(p.Text)
		inside = !p.Last
		return nil
	})
	if err == nil && inside {
		t.Error("the last document has no last piece")
	}
	return list, err
}

func TestReadDocuments(t *testing.T) {
	long := string(prose(5<<20, 2))
	run := strings.Repeat("a", 3<<20)
	cases := []struct {
		name, file, field, text string
		want                    []string
	}{
		{"text", "a.txt", "", "one\r\ntwo\xff\x00", []string{"one\r\ntwo\xff\x00"}},
		{"text with byte order mark", "a.txt", "", "\ufeffone", []string{"\ufeffone"}},
		{"empty text", "a.txt", "", "", nil},
		{"long text", "a.txt", "", long, []string{long}},
		{"long run", "a.txt", "", run, []string{run}},
		{"text of exactly a piece", "a.txt", "", long[:1<<20], []string{long[:1<<20]}},
		{"compressed text", "a.txt.gz", "", long, []string{long}},
		{"capital extension", "a.TXT", "", "one", []string{"one"}},
		{"JSON Lines", "a.jsonl", "", "{\"text\":\"one\"}\n\n {\"x\":1, \"text\":\"t\\u0077o\\n\"} \r\n{\"text\":\"\"}\n{\"text\":\"three\"}", []string{"one", "two\n", "three"}},
		{"JSON Lines, byte order mark", "a.jsonl", "", "\ufeff{\"text\":\"one\"}\n", []string{"one"}},
		{"JSON Lines, field", "a.jsonl.gz", "body", "{\"text\":7,\"body\":\"one\"}\n", []string{"one"}},
		{"JSON Lines, key twice", "a.jsonl", "", "{\"text\":\"one\",\"text\":\"two\",\"Text\":\"three\"}\n", []string{"two"}},
		{"JSON Lines, long line", "a.jsonl", "", "{\"text\":\"" + run + "\"}\n", []string{run}},
		{"empty JSON Lines", "a.jsonl", "", "", nil},
		{"CSV", "a.csv", "", "id,text\n1,one\n2,\"two, \"\"quoted\"\"\r\nlines\"\n3,\n", []string{"one", "two, \"quoted\"\nlines"}},
		{"CSV, byte order mark", "a.csv", "", "\ufefftext,id\r\none,1\r\n", []string{"one"}},
		{"CSV, field", "a.csv.gz", "ref", "mr,ref\na,b\n", []string{"b"}},
		{"CSV, names only", "a.csv", "", "text\n", nil},
	}
	for _, c := range cases {
		got, err := documents(t, c.field, write(t, filepath.Join(t.TempDir(), c.file), []byte(c.text)))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		} else if !slices.Equal(got, c.want) {
			t.Errorf("%s: %d documents %.80q, want %d %.80q", c.name, len(got), got, len(c.want), c.want)
		}
	}
}

func TestReadDocumentsRejects(t *testing.T) {
	cases := []struct{ name, file, text, want string }{
		{"JSON", "a.jsonl", "{\"text\":\"one\"}\n{\"text\":\n", "line 2: is no JSON object"},
		{"JSON list", "a.jsonl", "[1]\n", "line 1: is no JSON object"},
		{"JSON null", "a.jsonl", "null\n", "line 1: has no key \"text\""},
		{"no key", "a.jsonl", "\n{\"Text\":\"one\"}\n", "line 2: has no key \"text\""},
		{"no string", "a.jsonl", "{\"text\":7}\n", "key \"text\" is 7, want a string"},
		{"null", "a.jsonl", "{\"text\":null}\n", "key \"text\" is null, want a string"},
		{"two values", "a.jsonl", "{\"text\":\"one\"}{\"text\":\"two\"}\n", "line 1: is no JSON object"},
		{"invalid line", "a.jsonl", "{\"text\":\"\xff\"}\n", "line 1: is not UTF-8"},
		{"empty CSV", "a.csv", "", "is empty"},
		{"no column", "a.csv", "a,b\n1,2\n", "has no column \"text\" among [\"a\" \"b\"]"},
		{"two columns", "a.csv", "text,text\n1,2\n", "has two columns \"text\""},
		{"short row", "a.csv", "a,text\n1,2\n3\n", "line 3: wrong number of fields"},
		{"stray quote", "a.csv", "a,text\n1,2\n3,x\"y\n", "line 3: bare"},
		{"open quote", "a.csv", "a,text\n1,\"2\n", "extraneous or missing"},
		{"invalid row", "a.csv", "a,text\n1,\xff\n", "line 2: column \"text\" is not UTF-8"},
		{"no gzip", "a.txt.gz", "", "gzip"},
		{"Parquet", "a.parquet.gz", "PAR1", "Parquet is compressed already"},
		{"no Parquet", "a.parquet", "PAR1 is how it begins", "parquet: begins with"},
		{"unknown", "a.doc", "x", "extension is \".doc\""},
		{"none", "a", "x", "extension is \"\""},
	}
	for _, c := range cases {
		path := filepath.Join(t.TempDir(), c.file)
		if err := os.WriteFile(path, []byte(c.text), 0o666); err != nil {
			t.Fatal(err)
		}
		_, err := documents(t, "", path)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.file) {
			t.Errorf("%s: error %v, want one with %q and the file", c.name, err, c.want)
		}
		unsupported := slices.Contains([]string{"Parquet", "unknown", "none"}, c.name)
		if errors.Is(err, tokens.ErrUnsupported) != unsupported {
			t.Errorf("%s: error %v: unsupported is %v, want %v", c.name, err, !unsupported, unsupported)
		}
	}
}

// TestCompressedCut cuts a compressed file short, at a place where what comes
// before is all there.
func TestCompressedCut(t *testing.T) {
	for _, name := range []string{"a.txt.gz", "a.jsonl.gz", "a.csv.gz"} {
		path := write(t, filepath.Join(t.TempDir(), name), []byte("text\n"))
		if strings.HasPrefix(name, "a.jsonl") {
			write(t, path, []byte("{\"text\":\"one\"}\n"))
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, info.Size()-4); err != nil {
			t.Fatal(err)
		}
		if _, err := documents(t, "", path); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestCheckFiles(t *testing.T) {
	dir := t.TempDir()
	a, b := write(t, filepath.Join(dir, "a.txt"), []byte("12345")), write(t, filepath.Join(dir, "b.csv"), []byte("123"))
	if n, err := tokens.CheckFiles([]string{a, b}); n != 8 || err != nil {
		t.Errorf("CheckFiles = %d, %v, want 8", n, err)
	}
	if err := os.Mkdir(filepath.Join(dir, "d.txt"), 0o777); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"none.txt", "d.txt", "a.parquet"} {
		if _, err := tokens.CheckFiles([]string{a, filepath.Join(dir, name)}); err == nil {
			t.Errorf("CheckFiles of %s: no error", name)
		}
	}
}

// TestPrepare compares with ids of whole documents, for several numbers of
// threads and shards.
func TestPrepare(t *testing.T) {
	tok := tokenizer(t)
	dir := t.TempDir()
	texts := [][]byte{prose(3<<20, 3), []byte("small"), bytes.Repeat([]byte("b"), 2<<20)}
	var paths []string
	for i, text := range texts {
		paths = append(paths, write(t, filepath.Join(dir, fmt.Sprintf("%d.txt", i)), text))
	}
	var rows strings.Builder
	for i := range 2000 {
		text := fmt.Sprintf("row %d of many", i)
		fmt.Fprintf(&rows, "{\"text\":%q}\n", text)
		texts = append(texts, []byte(text))
	}
	paths = append(paths, write(t, filepath.Join(dir, "rows.jsonl.gz"), []byte(rows.String())))

	var want []int32
	size := 0
	eot, _ := tok.EndOfText()
	for _, text := range texts {
		want = append(tok.AppendEncode(want, text), eot)
		size += len(text)
	}
	var first map[string]string
	for _, threads := range []int{1, 2, 7} {
		out := filepath.Join(t.TempDir(), "out")
		splits, err := tokens.Prepare(context.Background(), out, tokens.Job{
			Train: paths, Tokenizer: tok, ShardTokens: 100_000, Threads: threads,
		})
		if err != nil {
			t.Fatal(err)
		}
		s := open(t, out)
		if got := readAll(t, s); !slices.Equal(got, want) {
			t.Errorf("%d threads: %d ids differ from the %d of whole documents", threads, len(got), len(want))
		}
		if err := s.Verify(); err != nil {
			t.Error(err)
		}
		x := s.Index()
		if x.Documents != int64(len(texts)) || x.Bytes != int64(size) || len(x.Sources) != len(paths) || x.TokenizerHash != tok.Hash() {
			t.Errorf("%d documents of %d bytes from %d files, want %d, %d, %d", x.Documents, x.Bytes, len(x.Sources), len(texts), size, len(paths))
		}
		if len(splits) != 1 || splits[0].Dir != "." || splits[0].Index.Tokens != x.Tokens {
			t.Errorf("splits %+v", splits)
		}
		if again, err := bpe.Load(out); err != nil || again.Hash() != tok.Hash() {
			t.Errorf("the tokenizer beside the shards: %v", err)
		}
		files := tree(t, out)
		if first == nil {
			first = files
		}
		for name, text := range files {
			if first[name] != text {
				t.Errorf("%d threads: %s differs", threads, name)
			}
		}
	}
}

func TestPrepareSplit(t *testing.T) {
	tok := tokenizer(t)
	dir := t.TempDir()
	var lines []string
	for i := range 1000 {
		lines = append(lines, fmt.Sprintf("{\"text\":\"document %d\"}\n", i))
	}
	prepare := func(lines []string) (train, val []int32) {
		path := write(t, filepath.Join(dir, "a.jsonl"), []byte(strings.Join(lines, "")))
		out := filepath.Join(t.TempDir(), "out")
		splits, err := tokens.Prepare(context.Background(), out, tokens.Job{Train: []string{path}, Tokenizer: tok, ValFraction: 0.1})
		if err != nil {
			t.Fatal(err)
		}
		if n := splits[1].Index.Documents; n < 60 || n > 140 {
			t.Errorf("%d documents of 1000 put aside, want about 100", n)
		}
		if n := splits[0].Index.Documents + splits[1].Index.Documents; n != 1000 {
			t.Errorf("%d documents, want 1000", n)
		}
		return readAll(t, open(t, filepath.Join(out, "train"))), readAll(t, open(t, filepath.Join(out, "val")))
	}
	train, val := prepare(lines)
	slices.Reverse(lines)
	train2, val2 := prepare(lines)
	if !slices.Equal(sorted(train), sorted(train2)) || !slices.Equal(sorted(val), sorted(val2)) {
		t.Error("the order of the documents changes where they go")
	}
}

func sorted(ids []int32) []int32 {
	slices.Sort(ids)
	return ids
}

func TestPrepareValFiles(t *testing.T) {
	tok := tokenizer(t)
	dir := t.TempDir()
	a, b := write(t, filepath.Join(dir, "a.txt"), []byte("the train")), write(t, filepath.Join(dir, "b.txt"), []byte("the val"))
	out := filepath.Join(dir, "out")
	var seen int64
	job := tokens.Job{Train: []string{a}, Val: []string{b}, Tokenizer: tok, Progress: func(n int64) { seen = n }}
	if _, err := tokens.Prepare(context.Background(), out, job); err != nil {
		t.Fatal(err)
	}
	if seen != 16 {
		t.Errorf("Progress ended at %d bytes, want 16", seen)
	}
	for name, want := range map[string]string{"train": "the train", "val": "the val"} {
		s := open(t, filepath.Join(out, name))
		text, err := tok.Decode(readAll(t, s))
		if err != nil || string(text) != want+bpe.EndOfTextToken {
			t.Errorf("%s holds %q, %v, want %q", name, text, err, want)
		}
		if sources := s.Index().Sources; len(sources) != 1 || !strings.HasSuffix(sources[0].Path, map[string]string{"train": "a.txt", "val": "b.txt"}[name]) {
			t.Errorf("%s: sources %+v", name, sources)
		}
	}
	if _, err := tokens.Open(out); err == nil || !strings.Contains(err.Error(), "holds train and val") {
		t.Errorf("Open of a split directory: %v", err)
	}
}

func TestPrepareDryRun(t *testing.T) {
	tok := tokenizer(t)
	path := write(t, filepath.Join(t.TempDir(), "a.txt"), prose(100_000, 4))
	out := filepath.Join(t.TempDir(), "out")
	job := tokens.Job{Train: []string{path}, Tokenizer: tok, ShardTokens: 1000, DryRun: true}
	dry, err := tokens.Prepare(context.Background(), out, job)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(out); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a dry run leaves %s: %v", out, err)
	}
	job.DryRun = false
	real, err := tokens.Prepare(context.Background(), out, job)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(dry[0].Index.Shards, real[0].Index.Shards) {
		t.Errorf("a dry run counts %d shards, a real one %d", len(dry[0].Index.Shards), len(real[0].Index.Shards))
	}
}

func TestPrepareRejects(t *testing.T) {
	tok := tokenizer(t)
	dir := t.TempDir()
	one := write(t, filepath.Join(dir, "a.txt"), []byte("one document"))
	empty := write(t, filepath.Join(dir, "empty.txt"), nil)
	bad := write(t, filepath.Join(dir, "bad.jsonl"), []byte("{"))
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	cases := []struct {
		name string
		ctx  context.Context
		job  tokens.Job
		is   error
		want string
	}{
		{"no document", nil, tokens.Job{Train: []string{empty}}, tokens.ErrEmptySplit, "train: no documents of 0"},
		{"no validation document", nil, tokens.Job{Train: []string{one}, ValFraction: 1e-9}, tokens.ErrEmptySplit, "val: no documents of 1"},
		{"empty validation file", nil, tokens.Job{Train: []string{one}, Val: []string{empty}}, tokens.ErrEmptySplit, "val: no documents"},
		{"fraction and files", nil, tokens.Job{Train: []string{one}, Val: []string{one}, ValFraction: 0.5}, nil, "exclude each other"},
		{"fraction of 1", nil, tokens.Job{Train: []string{one}, ValFraction: 1}, nil, "outside [0, 1)"},
		{"damaged file", nil, tokens.Job{Train: []string{one, bad}}, nil, "bad.jsonl: line 1"},
		{"missing file", nil, tokens.Job{Train: []string{one, "none.txt"}}, fs.ErrNotExist, "none.txt"},
		{"interrupted", cancelled, tokens.Job{Train: []string{one}}, context.Canceled, ""},
		{"shards too long", nil, tokens.Job{Train: []string{one}, ShardTokens: 1 << 40}, nil, "outside 1 to"},
	}
	for _, c := range cases {
		if c.ctx == nil {
			c.ctx = context.Background()
		}
		c.job.Tokenizer = tok
		_, err := tokens.Prepare(c.ctx, filepath.Join(t.TempDir(), "out"), c.job)
		if err == nil || !strings.Contains(err.Error(), c.want) || c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("%s: error %v, want %q that is %v", c.name, err, c.want, c.is)
		}
	}
}
