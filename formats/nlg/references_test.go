package nlg_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spdfctl/spdfctl/formats/nlg"
)

func TestReadReferences(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		return path
	}
	blocks := write("blocks.txt", "a\nb\n\nc\n")
	tsv := write("refs.tsv", "a\tb\nc\n")
	jsonl := write("refs.jsonl", "{\"references\":[\"a\",\"b\"]}\n{\"completion\":\"c\"}\n")
	csv := write("refs.csv", "mr,ref\nx[1],a\ny[2],c\nx[1],b\n")
	two := [][]string{{"a", "b"}, {"c"}}

	for _, tc := range []struct {
		path, format string
		n            int
		want         [][]string
	}{
		{blocks, "auto", 2, two},
		{blocks, "auto", 4, [][]string{{"a"}, {"b"}, {""}, {"c"}}},
		{blocks, "lines", 4, [][]string{{"a"}, {"b"}, {""}, {"c"}}},
		{blocks, "blocks", 2, two},
		{tsv, "auto", 2, two},
		{tsv, "lines", 2, [][]string{{"a\tb"}, {"c"}}},
		{jsonl, "auto", 2, two},
		{csv, "auto", 2, two},
		{write("other.refs", "mr,ref\nx[1],a\nx[1],b\ny[2],c\n"), "e2e", 2, two},
	} {
		got, err := nlg.ReadReferences(tc.path, tc.format, tc.n)
		if err != nil {
			t.Errorf("%s as %s: %v", tc.path, tc.format, err)
			continue
		}
		if d := cmp.Diff(tc.want, got); d != "" {
			t.Errorf("%s as %s: -want +got:\n%s", tc.path, tc.format, d)
		}
	}

	for _, tc := range []struct {
		path, format string
		n            int
		want         string
	}{
		{blocks, "auto", 3, "blocks.txt: 4 lines, or 2 blocks between blank lines, for 3 segments"},
		{blocks, "lines", 2, "blocks.txt: references for 4 segments, want 2"},
		{tsv, "auto", 1, "refs.tsv: references for 2 segments, want 1"},
		{tsv, "xml", 1, `reference format "xml" is none of auto, lines, blocks, tsv, jsonl, e2e`},
		{write("bad.txt", "a\n\xff\n"), "auto", 2, "bad.txt: line 2: not UTF-8"},
		{write("bad.jsonl", "[]\n"), "auto", 1, "bad.jsonl: line 1: not a JSON object"},
		{write("blind.csv", "MR\nx[1]\n"), "auto", 1, "blind.csv: meaning representation 1 has no reference"},
		{filepath.Join(dir, "gone"), "auto", 1, "gone"},
	} {
		_, err := nlg.ReadReferences(tc.path, tc.format, tc.n)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s as %s: error %v, want %q", tc.path, tc.format, err, tc.want)
		}
	}
}
