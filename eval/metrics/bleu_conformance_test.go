//go:build conformance

package metrics

import (
	"encoding/csv"
	"encoding/json"
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

func lines(t *testing.T, name string) []string {
	t.Helper()
	r, _, err := nlg.Open(conformanceData(t, name))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	out, err := nlg.ReadLines(r)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// table reads tab-separated fields, some of them quoted as in CSV.
func table(t *testing.T, name string) [][]string {
	t.Helper()
	r, _, err := nlg.Open(conformanceData(t, name))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c := csv.NewReader(r)
	c.Comma, c.FieldsPerRecord = '\t', 2
	rows, err := c.ReadAll()
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return rows
}

type sacre struct {
	BLEU, BLEU_lc float64
}

func compare(t *testing.T, name string, hyps []string, refs [][]string, want sacre) {
	t.Helper()
	checkScore(t, name, hyps, refs, BLEUOptions{}, want.BLEU, printed)
	checkScore(t, name+", lower case", hyps, refs, BLEUOptions{Lowercase: true}, want.BLEU_lc, printed)
}

// readE2E reads a set of E2E row by row.
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

// TestE2ESystems scores the outputs of the E2E challenge against the ragged
// references of its test set; the expected numbers come from sacreBLEU 2.6.
func TestE2ESystems(t *testing.T) {
	rows := readE2E(t, "e2e-nlg/testset_w_refs.csv.gz")
	var refs [][]string
	for _, group := range nlg.Group(rows) {
		refs = append(refs, group.References)
	}
	data, err := os.ReadFile(conformanceData(t, "e2e-systems/expected.json"))
	if err != nil {
		t.Fatal(err)
	}
	systems := decode[struct {
		Expected map[string]struct{ Sacrebleu sacre }
	}](t, data).Expected
	if len(systems) != 11 {
		t.Errorf("%d systems, want 11", len(systems))
	}
	// What the challenge's own script repairs before it scores.
	repair := strings.NewReplacer("\ufeff", "", "Ł", "£", "Â£", "£", "Ã©", "é")
	for name, system := range systems {
		var hyps []string
		for _, row := range table(t, "e2e-systems/"+name+".tsv.gz")[1:] {
			hyps = append(hyps, repair.Replace(row[1]))
		}
		compare(t, name, hyps, refs, system.Sacrebleu)
	}
}

// TestE2EMetricsExample scores the example of the e2e-metrics repository, whose
// references stand in blocks.
func TestE2EMetricsExample(t *testing.T) {
	data, err := os.ReadFile(conformanceData(t, "e2e-metrics-example/expected.json"))
	if err != nil {
		t.Fatal(err)
	}
	want := decode[map[string]json.RawMessage](t, data)
	compare(t, "example", lines(t, "e2e-metrics-example/baseline-output.txt"),
		nlg.Blocks(lines(t, "e2e-metrics-example/devel-conc.txt")), decode[sacre](t, want["sacrebleu"]))
}
