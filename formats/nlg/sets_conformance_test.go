//go:build conformance

package nlg_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spdfctl/spdfctl/formats/nlg"
)

// TestSets reads every data set whole. The numbers of records and texts are those
// that a JSON or XML parser counts in the files.
func TestSets(t *testing.T) {
	for _, tc := range []struct{ task, name, want string }{
		{"e2e", "e2e-nlg/trainset.csv.gz", "42061 records with 42061 texts; left out: nothing"},
		{"e2e", "e2e-cleaned/devel-fixed.no-ol.csv.gz", "4299 records with 4299 texts; left out: nothing"},
		{"e2e", "e2e-cleaned/test-fixed.csv.gz", "4693 records with 4693 texts; left out: nothing"},
		{"webnlg", "webnlg-2017/webnlg_challenge_2017.tar.gz:webnlg_challenge_2017/train", "6935 records with 18025 texts; left out: 77 × text marked toFix, 5 × record without a text left"},
		{"webnlg", "webnlg-2017/webnlg_challenge_2017.tar.gz:webnlg_challenge_2017/dev", "871 records with 2258 texts; left out: 10 × text marked toFix, 1 × record without a text left"},
		{"webnlg", "webnlg-2017/webnlg_challenge_2017.tar.gz:webnlg_challenge_2017/test/testdata_with_lex.xml", "1862 records with 4928 texts; left out: nothing"},
		{"webnlg", "webnlg-2017/webnlg_challenge_2017.tar.gz:webnlg_challenge_2017/test/testdata_unseen_with_lex.xml", "891 records with 2433 texts; left out: nothing"},
		{"webnlg", "webnlg-2017/lora_dev.json.gz", "871 records with 2258 texts; left out: 10 × text marked toFix, 1 × record without a text left"},
		{"webnlg", "webnlg-v3/webnlg-v3.0-en.tar.gz:en/train", "3878 records with 10430 texts; left out: 1 × text marked toFix"},
		{"webnlg", "webnlg-v3/webnlg-v3.0-en.tar.gz:en/dev", "482 records with 1289 texts; left out: nothing"},
		{"webnlg", "webnlg-v3/webnlg-v3.0-en.tar.gz:en/test/rdf-to-text-generation-test-data-with-refs-en.xml", "1779 records with 5150 texts; left out: nothing"},
		{"webnlg", "webnlg-v3/webnlg-v3.0-en.tar.gz:en/test/semantic-parsing-test-data-with-refs-en.xml", "2155 records with 2155 texts; left out: nothing"},
		{"dart", "dart/dart-v1.1.1-full-dev.json.gz", "2768 records with 6980 texts; left out: nothing"},
		{"dart", "dart/dart-v1.1.1-full-test.xml.gz", "5097 records with 12551 texts; left out: 1 × empty text"},
		{"scitldr", "scitldr/SciTLDR-A_train.jsonl.gz", "1992 records with 1992 texts; left out: nothing"},
		{"scitldr", "scitldr/SciTLDR-A_dev.jsonl.gz", "619 records with 1453 texts; left out: nothing"},
		{"scitldr", "scitldr/SciTLDR-A_test.jsonl.gz", "618 records with 1967 texts; left out: nothing"},
	} {
		set, err := nlg.ReadSet(tc.task, conformanceData(t, tc.name))
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		if got := set.String(); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}

// TestWebNLGLikeLoRA compares the development set in XML with the JSON that LoRA's
// pipeline converts: every prompt and text must be there, byte for byte.
func TestWebNLGLikeLoRA(t *testing.T) {
	fromXML, err := nlg.ReadSet("webnlg", conformanceData(t, "webnlg-2017/webnlg_challenge_2017.tar.gz:webnlg_challenge_2017/dev"))
	if err != nil {
		t.Fatal(err)
	}
	fromJSON, err := nlg.ReadSet("webnlg", conformanceData(t, "webnlg-2017/lora_dev.json.gz"))
	if err != nil {
		t.Fatal(err)
	}
	texts := func(set nlg.Set) map[string]int {
		m := map[string]int{}
		for _, e := range set.Examples {
			for _, text := range e.References {
				m[e.Source+" || "+text]++
			}
		}
		return m
	}
	if d := cmp.Diff(texts(fromJSON), texts(fromXML)); d != "" {
		t.Errorf("-LoRA +XML:\n%s", d)
	}
}

// TestPassages reads LAMBADA and WikiText-2 whole. The test set has 60 articles by
// its paper; two lines in them look like titles, and the documents of
// EleutherAI's harness are 62 for the same reason.
func TestPassages(t *testing.T) {
	r, _, err := nlg.Open(conformanceData(t, "lambada/lambada_test.jsonl.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	list, drops, err := nlg.ReadLambada(r)
	if err != nil || len(list) != 5153 || len(drops) != 0 {
		t.Errorf("LAMBADA: %d passages, %v left out, %v; want 5153", len(list), drops, err)
	}
	for name, want := range map[string]int{"valid": 60, "test": 62} {
		r, _, err := nlg.Open(conformanceData(t, "wikitext-2-eval/"+name+".txt.gz"))
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		articles, err := nlg.ReadWikiText(r)
		if err != nil || len(articles) != want {
			t.Errorf("WikiText-2 %s: %d articles, %v, want %d", name, len(articles), err, want)
		}
	}
}
