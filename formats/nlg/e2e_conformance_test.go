//go:build conformance

package nlg_test

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spdfctl/spdfctl/formats/nlg"
)

// conformanceData returns the path of a file below SPDF_DATA.
func conformanceData(t *testing.T, name string) string {
	t.Helper()
	dir := os.Getenv("SPDF_DATA")
	if dir == "" {
		t.Fatal("SPDF_DATA is not set: it names the folder with the data sets")
	}
	return filepath.Join(dir, filepath.FromSlash(name))
}

func readE2E(t *testing.T, name string) []nlg.Example {
	t.Helper()
	r, _, err := nlg.Open(conformanceData(t, name))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	rows, err := nlg.ReadE2E(r)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// TestE2ESets reads the whole data set; the counts are those of its SOURCE.md.
func TestE2ESets(t *testing.T) {
	for _, tc := range []struct {
		name         string
		rows, groups int
	}{
		{"e2e-nlg/trainset.csv.gz", 42061, 4862},
		{"e2e-nlg/devset.csv.gz", 4672, 547},
		{"e2e-nlg/testset_w_refs.csv.gz", 4693, 630},
		{"e2e-nlg/testset.csv.gz", 630, 630},
	} {
		rows := readE2E(t, tc.name)
		if groups := nlg.Group(rows); len(rows) != tc.rows || len(groups) != tc.groups {
			t.Errorf("%s: %d rows in %d groups, want %d in %d", tc.name, len(rows), len(groups), tc.rows, tc.groups)
		}
		for i, row := range rows {
			if _, err := nlg.LinearizeMR(row.Source); err != nil {
				t.Errorf("%s: row %d: %v", tc.name, i+1, err)
				break
			}
		}
	}
}

// TestLinearizeMRLikeLoRA compares the prompts with those of LoRA's files, of
// which every line must agree. The references there are tokenised, ours are the
// data set's own text, so only the part before || is compared.
func TestLinearizeMRLikeLoRA(t *testing.T) {
	for _, tc := range []struct{ ours, lora string }{
		{"e2e-nlg/devset.csv.gz", "e2e-lora-format/valid.txt.gz"},
		{"e2e-nlg/testset_w_refs.csv.gz", "e2e-lora-format/test.txt.gz"},
	} {
		rows := readE2E(t, tc.ours)
		lines := readLines(t, tc.lora)
		if len(rows) != len(lines) {
			t.Errorf("%s: %d rows, %s: %d lines", tc.ours, len(rows), tc.lora, len(lines))
			continue
		}
		wrong := 0
		for i, line := range lines {
			want, _, _ := strings.Cut(line, "||")
			got, err := nlg.LinearizeMR(rows[i].Source)
			if err != nil || got != want {
				if wrong++; wrong <= 3 {
					t.Errorf("%s: line %d: %q, %v, want %q", tc.lora, i+1, got, err, want)
				}
			}
		}
		if wrong > 0 {
			t.Errorf("%s: %d of %d lines differ", tc.lora, wrong, len(lines))
		}
	}
}

func readLines(t *testing.T, name string) []string {
	t.Helper()
	r, _, err := nlg.Open(conformanceData(t, name))
	if err != nil {
		t.Fatal(err)
	}
	defer func(c io.Closer) { c.Close() }(r)
	lines, err := nlg.ReadLines(r)
	if err != nil {
		t.Fatal(err)
	}
	return lines
}
