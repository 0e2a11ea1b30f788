package tokens_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spdfctl/spdfctl/formats/tokens"
)

// llmc returns a file as llm.c's data_common.py writes it.
func llmc(magic, version, width int, ids []int32) []byte {
	b := make([]byte, 1024)
	for i, x := range []int{magic, version, len(ids)} {
		binary.LittleEndian.PutUint32(b[4*i:], uint32(x))
	}
	return append(b, bare(width, ids)...)
}

// bare returns ids of width bytes and nothing else, as NumPy's tofile writes them.
func bare(width int, ids []int32) []byte {
	var b []byte
	for _, id := range ids {
		if width == 2 {
			b = binary.LittleEndian.AppendUint16(b, uint16(id))
		} else {
			b = binary.LittleEndian.AppendUint32(b, uint32(id))
		}
	}
	return b
}

// writeBin writes a file and returns its path.
func writeBin(t testing.TB, dir, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, content, 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

// spread returns n ids below vocab of which few follow each other.
func spread(n, vocab int) []int32 {
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32(1 + i*7919%(vocab-1))
	}
	return ids
}

// TestBinFiles reads files of all kinds, several as one sequence.
func TestBinFiles(t *testing.T) {
	cases := []struct {
		name  string
		file  func(ids []int32) []byte
		vocab tokens.Vocab
		dtype string
	}{
		{"nanoGPT", func(ids []int32) []byte { return bare(2, ids) }, tokens.Vocab{Size: 50257, EOT: 50256}, "uint16"},
		{"llm.c, gpt-2", func(ids []int32) []byte { return llmc(20240520, 1, 2, ids) }, tokens.Vocab{Size: 50257, EOT: 50256}, "uint16"},
		{"llm.c, llama-3", func(ids []int32) []byte { return llmc(20240801, 7, 4, ids) }, tokens.Vocab{Size: 128256, EOT: 128000}, "uint32"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			ids := spread(3000, c.vocab.Size)
			a := writeBin(t, dir, "a.bin", c.file(ids[:1700]))
			b := writeBin(t, dir, "b.bin", c.file(ids[1700:]))
			if v, err := tokens.BinVocab(a); err != nil || v != c.vocab {
				t.Errorf("vocabulary is %+v, %v; want %+v", v, err, c.vocab)
			}
			s, err := tokens.OpenBin([]string{a, b}, tokens.Vocab{})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if got := readAll(t, s); !slices.Equal(got, ids) {
				t.Error("other ids than were written")
			}
			part := make([]int32, 10)
			if err := s.Read(part, 1695); err != nil || !slices.Equal(part, ids[1695:1705]) {
				t.Errorf("ids across the files are %v, %v; want %v", part, err, ids[1695:1705])
			}
			x := s.Index()
			if eot, ok := s.EOT(); x.Format != c.name || x.DType != c.dtype || s.VocabSize() != c.vocab.Size || !ok || eot != c.vocab.EOT {
				t.Errorf("format %q, %s, vocabulary %d, end of text %d", x.Format, x.DType, s.VocabSize(), eot)
			}
			if err := s.Verify(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestBinRejects(t *testing.T) {
	ids := spread(2000, 50257)
	good := llmc(20240520, 1, 2, ids)
	broken := func(at int, value uint32) []byte {
		b := bytes.Clone(good)
		binary.LittleEndian.PutUint32(b[at:], value)
		return b
	}
	cases := []struct {
		name string
		file []byte
		kind error
		want string
	}{
		{"empty", nil, tokens.ErrSize, "file is 0 bytes"},
		{"odd", bare(2, ids)[1:], tokens.ErrSize, "file is 3999 bytes, ids take 2 each"},
		{"header cut", good[:1000], tokens.ErrSize, "file is 1000 bytes, the header alone takes 1024"},
		{"ids cut", good[:len(good)-6], tokens.ErrSize, "2000 ids of 2 bytes do not fill a file of 5018 bytes, which has room for 1997"},
		{"byte behind", append(bytes.Clone(good), 0), tokens.ErrSize, "2000 ids"},
		{"negative count", broken(8, 1<<31), tokens.ErrSize, "-2147483648 ids"},
		{"version", broken(4, 2), tokens.ErrUnsupported, "version is 2, this program reads 1"},
		{"magic", broken(0, 20240522), tokens.ErrNotShard, "magic number 20240522, want 20240520 or 20240801"},
		{"four bytes, no header", bare(4, spread(2000, 100000)), tokens.ErrUnsupported, "take 4 bytes"},
		{"zip", append([]byte("PK\x03\x04"), good...), tokens.ErrNotShard, "holds no bare ids"},
		{"id at the start", bare(2, []int32{5, 50257, 7}), nil, "id 50257 at 1 is outside the vocabulary of 50257"},
		{"id at the end", bare(2, append(spread(100000, 50257), 60000)), nil, "id 60000 at 100000 is outside"},
		{"id of four bytes", llmc(20240801, 7, 4, []int32{1, -1}), nil, "id 4294967295 at 1 is outside the vocabulary of 128256"},
	}
	for _, c := range cases {
		path := writeBin(t, t.TempDir(), "x.bin", c.file)
		s, err := tokens.OpenBin([]string{path}, tokens.Vocab{})
		if err == nil {
			s.Close()
		}
		checkFormatError(t, c.name, err, c.kind, c.want)
	}
}

// TestBinIdInside: what opening does not look at is found where it is read.
func TestBinIdInside(t *testing.T) {
	ids := spread(300000, 50257)
	ids[150000] = 50300
	path := writeBin(t, t.TempDir(), "x.bin", bare(2, ids))
	s, err := tokens.OpenBin([]string{path}, tokens.Vocab{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	checkFormatError(t, "read", s.Read(make([]int32, 10), 149995), nil, "x.bin: id 50300 at 150000 is outside the vocabulary of 50257")
	if err := s.Read(make([]int32, 10), 1000); err != nil {
		t.Error(err)
	}
	// A larger vocabulary that the user names takes it.
	wide, err := tokens.OpenBin([]string{path}, tokens.Vocab{Size: 50304, EOT: 50256})
	if err != nil {
		t.Fatal(err)
	}
	defer wide.Close()
	if err := wide.Verify(); err != nil {
		t.Error(err)
	}
}

func TestBinMixedKinds(t *testing.T) {
	dir := t.TempDir()
	a := writeBin(t, dir, "a.bin", bare(2, spread(100, 50257)))
	b := writeBin(t, dir, "b.bin", llmc(20240520, 1, 2, spread(100, 50257)))
	_, err := tokens.OpenBin([]string{a, b}, tokens.Vocab{})
	checkFormatError(t, "mixed", err, nil, "b.bin: file is of llm.c, gpt-2, the first of nanoGPT")
	if _, err := tokens.OpenBin(nil, tokens.Vocab{}); err == nil {
		t.Error("no file is accepted")
	}
	if _, err := tokens.OpenBin([]string{a}, tokens.Vocab{Size: 1 << 30}); err == nil {
		t.Error("a vocabulary over the limit is accepted")
	}
}

func TestBinFolders(t *testing.T) {
	cases := []struct {
		name             string
		files            []string
		train, val, fail string
	}{
		{"nanoGPT", []string{"train.bin", "val.bin", "meta.pkl"}, "train.bin", "val.bin", ""},
		{"llm.c", []string{"fineweb_val_000000.bin", "fineweb_train_000002.bin", "fineweb_train_000001.bin"},
			"fineweb_train_000001.bin fineweb_train_000002.bin", "fineweb_val_000000.bin", ""},
		{"one half", []string{"TinyStories_train.bin"}, "TinyStories_train.bin", "", ""},
		{"no words", []string{"b.bin", "a.bin", "strained.bin"}, "a.bin b.bin strained.bin", "", ""},
		{"mixed", []string{"train.bin", "pytorch_model.bin"}, "", "", "pytorch_model.bin: neither train nor val"},
		{"our own", []string{"train.bin", "index.json"}, "", "", ""},
		{"nothing", []string{"notes.txt"}, "", "", ""},
	}
	names := func(paths []string) string {
		var list []string
		for _, p := range paths {
			list = append(list, filepath.Base(p))
		}
		return strings.Join(list, " ")
	}
	for _, c := range cases {
		dir := t.TempDir()
		for _, f := range c.files {
			writeBin(t, dir, f, []byte("x"))
		}
		train, val, err := tokens.BinFiles(dir)
		if names(train) != c.train || names(val) != c.val || (err == nil) != (c.fail == "") || err != nil && !strings.Contains(err.Error(), c.fail) {
			t.Errorf("%s: train %q, val %q, %v; want %q, %q, %q", c.name, names(train), names(val), err, c.train, c.val, c.fail)
		}
	}
	dir := t.TempDir()
	writeBin(t, dir, "a_train_2.bin", nil)
	writeBin(t, dir, "a_train_1.bin", nil)
	train, _, err := tokens.BinFiles(filepath.Join(dir, "a_train_*.bin"))
	if err != nil || names(train) != "a_train_1.bin a_train_2.bin" {
		t.Errorf("pattern matches %q, %v", names(train), err)
	}
	for _, pattern := range []string{"b_*.bin", "[.bin"} {
		if _, _, err := tokens.BinFiles(filepath.Join(dir, pattern)); err == nil {
			t.Errorf("pattern %s is accepted", pattern)
		}
	}
}

// FuzzBin opens any bytes as a .bin file. What is accepted has the bytes of its
// ids at its end, and in front of them a header or nothing.
func FuzzBin(f *testing.F) {
	f.Add(bare(2, spread(40, 50257)))
	f.Add(bare(4, spread(600, 100000)))
	f.Add(llmc(20240520, 1, 2, spread(5, 50257)))
	f.Add(llmc(20240801, 7, 4, spread(3, 128256)))
	f.Add(llmc(20240522, 1, 2, spread(5, 50257)))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := writeBin(t, t.TempDir(), "x.bin", data)
		s, err := tokens.OpenBin([]string{path}, tokens.Vocab{})
		if err != nil {
			var format *tokens.FormatError
			if !errors.As(err, &format) {
				t.Fatalf("error %v is no FormatError", err)
			}
			return
		}
		defer s.Close()
		width := 2
		if s.Index().DType == "uint32" {
			width = 4
		}
		ids := readAll(t, s)
		if again := bare(width, ids); !bytes.HasSuffix(data, again) || len(data)-len(again) != 0 && len(data)-len(again) != 1024 {
			t.Fatalf("%d ids of %d bytes in a file of %d", len(ids), width, len(data))
		}
	})
}
