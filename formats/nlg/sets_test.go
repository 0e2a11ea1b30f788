package nlg_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spdfctl/spdfctl/formats/nlg"
)

const webnlg = `<?xml version='1.0' encoding='utf-8'?>
<benchmark>
  <entries>
    <entry category="Airport" eid="Id1" size="2">
      <originaltripleset><otriple>A | b | "c"@en</otriple></originaltripleset>
      <modifiedtripleset>
        <mtriple>A | leaderName | C &amp; D</mtriple>
        <mtriple>A | is in | E</mtriple>
      </modifiedtripleset>
      <lex comment="good" lid="Id1"> C &amp; D leads A. </lex>
      <lex comment="toFix" lid="Id2">wrong</lex>
      <lex lang="ru" lid="Id3">другой</lex>
      <lex lang="en" lid="Id4">In E.</lex>
      <lex comment="good" lid="Id5"/>
    </entry>
    <entry><modifiedtripleset><mtriple>x | Y | z</mtriple></modifiedtripleset><lex comment="toFix">w</lex></entry>
    <entry><modifiedtripleset><mtriple>x | Y | z</mtriple></modifiedtripleset></entry>
  </entries>
</benchmark>
`

func TestReadWebNLG(t *testing.T) {
	got, err := nlg.ReadWebNLG(strings.NewReader(webnlg))
	if err != nil {
		t.Fatal(err)
	}
	want := nlg.Set{
		Examples: []nlg.Example{
			{Source: "A : leaderName : C & D | A : is in : E", References: []string{"C & D leads A.", "In E."}},
			{Source: "x : Y : z"},
		},
		Drops: []nlg.Drop{{Reason: "text marked toFix", Count: 2}, {Reason: "text in language ru", Count: 1},
			{Reason: "empty text", Count: 1}, {Reason: "record without a text left", Count: 1}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	dart, err := nlg.ReadDARTXML(strings.NewReader(webnlg))
	if err != nil {
		t.Fatal(err)
	}
	if s := dart.String(); s != "3 records with 4 texts; left out: 1 × text in language ru, 1 × empty text" || dart.Examples[1].Source != "x : y : z" {
		t.Errorf("as DART: %s, %+v", s, dart.Examples)
	}
}

func TestReadWebNLGRejects(t *testing.T) {
	triples := "<modifiedtripleset><mtriple>a | b | c</mtriple></modifiedtripleset>"
	in := func(entry string) string {
		return "<benchmark>\n<entries>\n<entry>" + entry + "</entry></entries></benchmark>"
	}
	for _, tc := range []struct {
		name, in string
		line     int
		want     string
	}{
		{"empty", "", 1, "no <benchmark>"},
		{"blank", "\n\n", 3, "no <benchmark>"},
		{"text", "hello", 1, `text "hello" between elements`},
		{"other root", "\n<html></html>", 2, "element <html>, want <benchmark>"},
		{"other child", "<benchmark>\n<entry/></benchmark>", 2, "element <entry>, want <entries>"},
		{"two roots", "<benchmark></benchmark>\n<benchmark></benchmark>", 2, "a second <benchmark>"},
		{"doctype", "<!DOCTYPE x>\n<benchmark></benchmark>", 1, "document type declaration"},
		{"encoding", "<?xml version='1.0' encoding='latin1'?><benchmark></benchmark>", 1, "encoding"},
		{"not UTF-8", in(triples + "<lex>\xff</lex>"), 3, "invalid UTF-8"},
		{"cut", "<benchmark>\n<entries><entry>", 2, "unexpected EOF"},
		{"unclosed", "<benchmark>\n<entries>", 2, "unexpected EOF"},
		{"no triples", in("<lex>x</lex>"), 3, "entry has 0 <modifiedtripleset>, want 1"},
		{"two sets", in(triples + triples), 3, "entry has 2 <modifiedtripleset>, want 1"},
		{"empty set", in("<modifiedtripleset></modifiedtripleset>"), 3, "entry without triples"},
		{"two parts", in("<modifiedtripleset><mtriple>a | b</mtriple></modifiedtripleset>"), 3, "has 2 parts"},
		{"stray element", in(triples + "<foo/>"), 3, "element <foo> in an entry"},
		{"element in triples", in("<modifiedtripleset><triple/></modifiedtripleset>"), 3, "element <triple> in a triple set"},
		{"element in text", in(triples + "<lex><text>x</text></lex>"), 3, "element <text> in a text"},
		{"long entry", in(triples + "<lex>" + strings.Repeat("x", 2*nlg.MaxRecord) + "</lex>"), 3, "limit"},
	} {
		_, err := nlg.ReadWebNLG(strings.NewReader(tc.in))
		wantLine(t, tc.name, err, tc.line, tc.want)
	}
}

func TestReadTriplesJSON(t *testing.T) {
	dart, err := nlg.ReadDART(strings.NewReader(`[
{"tripleset":[["A","LEADER","B"],["A","In","C"]],"subtree_was_extended":true,"annotations":[{"source":"s","text":"t1"},{"source":"s","text":" "}]},
{"tripleset":[["A","b","C"]],"annotations":[]}]
`))
	if err != nil {
		t.Fatal(err)
	}
	want := nlg.Set{
		Examples: []nlg.Example{{Source: "A : leader : B | A : in : C", References: []string{"t1"}}, {Source: "A : b : C"}},
		Drops:    []nlg.Drop{{Reason: "empty text", Count: 1}},
	}
	if d := cmp.Diff(want, dart); d != "" {
		t.Errorf("DART: -want +got:\n%s", d)
	}
	web, err := nlg.ReadWebNLGJSON(strings.NewReader(`{"entries":[
{"1":{"category":"x","lexicalisations":[{"comment":"good","lang":"","lex":"t1"},{"comment":"toFix","lex":"no"}],"modifiedtripleset":[{"object":"o","property":"P","subject":"s"}]}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	want = nlg.Set{Examples: []nlg.Example{{Source: "s : P : o", References: []string{"t1"}}}, Drops: []nlg.Drop{{Reason: "text marked toFix", Count: 1}}}
	if d := cmp.Diff(want, web); d != "" {
		t.Errorf("WebNLG: -want +got:\n%s", d)
	}
}

func TestReadTriplesJSONRejects(t *testing.T) {
	good := `{"tripleset":[["a","b","c"]],"annotations":[{"text":"x"}]}`
	for _, tc := range []struct {
		name, in string
		line     int
		want     string
	}{
		{"empty", "", 1, "unexpected EOF"},
		{"object", "{}", 1, "{, want ["},
		{"cut", "[\n" + good, 2, "unexpected EOF"},
		{"more", "[\n" + good + "]\n[]", 3, "text after the JSON document"},
		{"number", "[\n" + good + ",\n 7]", 3, "not a JSON object"},
		{"no texts", "[\n" + good + ",\n {\"tripleset\":[[\"a\",\"b\",\"c\"]]}]", 3, `no "annotations"`},
		{"null", "[\n{\"tripleset\":null,\"annotations\":[]}]", 2, `no "tripleset"`},
		{"twice", "[\n{\"tripleset\":[],\"tripleset\":[],\"annotations\":[]}]", 2, `key "tripleset" twice`},
		{"two parts", "[\n\n{\"tripleset\":[[\"a\",\"b\"]],\"annotations\":[]}]", 3, "triple 1 has 2 parts, want 3"},
		{"no triples", "[{\"tripleset\":[],\"annotations\":[]}]", 1, "record without triples"},
		{"text missing", "[{\"tripleset\":[[\"a\",\"b\",\"c\"]],\"annotations\":[{\"lex\":\"x\"}]}]", 1, "text 1 is missing"},
		{"not UTF-8", "[{\"tripleset\":[[\"a\",\"b\",\"\xff\"]],\"annotations\":[]}]", 1, "not UTF-8"},
		{"long", "[\n\"" + strings.Repeat("x", 4*nlg.MaxRecord) + "\"]", 2, "limit"},
	} {
		_, err := nlg.ReadDART(strings.NewReader(tc.in))
		wantLine(t, tc.name, err, tc.line, tc.want)
	}
	for _, tc := range []struct{ name, in, want string }{
		{"array", "[]", "[, want {"},
		{"key", `{"items":[]}`, "items, want entries"},
		{"number", `{"entries":[{"2":{}}]}`, `no "1"`},
		{"no comment", `{"entries":[{"1":{"modifiedtripleset":[{"subject":"s","property":"p","object":"o"}],"lexicalisations":[{"lex":"x"}]}}]}`, `no "comment"`},
		{"no object", `{"entries":[{"1":{"modifiedtripleset":[{"subject":"s","property":"p"}],"lexicalisations":[]}}]}`, `no "subject", "property" or "object"`},
	} {
		_, err := nlg.ReadWebNLGJSON(strings.NewReader(tc.in))
		wantLine(t, tc.name, err, 1, tc.want)
	}
}

func TestReadSciTLDR(t *testing.T) {
	got, err := nlg.ReadSciTLDR(strings.NewReader(`{"source":["One.","Two."],"target":["T","  "],"title":"x"}` + "\n\n" + `{"source":["A"],"target":[""]}` + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := nlg.Set{
		Examples: []nlg.Example{{Source: "One. Two.", References: []string{"T"}}},
		Drops:    []nlg.Drop{{Reason: "empty text", Count: 2}, {Reason: "record without a text left", Count: 1}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	for _, tc := range []struct{ name, in, want string }{
		{"no target", `{"source":["x"]}`, `no "target"`},
		{"empty target", `{"source":["x"],"target":[]}`, `"target" is empty`},
		{"empty source", `{"source":[],"target":["x"]}`, `"source" is empty`},
		{"text", `{"source":"x","target":["x"]}`, `"source": `},
	} {
		_, err := nlg.ReadSciTLDR(strings.NewReader("\n" + tc.in))
		wantLine(t, tc.name, err, 2, tc.want)
	}
}

func TestReadLambada(t *testing.T) {
	got, drops, err := nlg.ReadLambada(strings.NewReader("{\"text\":\"He said:\\n\\n\\\"No, Shane\"}\n{\"text\":\"word\"}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]nlg.Cloze{{Context: "He said:\n\n\"No,", Word: "Shane"}}, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	if len(drops) != 1 || drops[0].Count != 1 {
		t.Errorf("left out: %+v, want one passage", drops)
	}
	_, _, err = nlg.ReadLambada(strings.NewReader("{\"passage\":\"a b\"}\n"))
	wantLine(t, "no text", err, 1, `no "text"`)
}

func TestReadWikiText(t *testing.T) {
	in := " \n = Robert = \n \n He . \n = = Life = = \n He was . \n = Two Parts = \n x\n"
	got, err := nlg.ReadWikiText(strings.NewReader(in))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{" = Robert = \n \n He . \n = = Life = = \n He was . \n", " = Two Parts = \n x\n"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	_, err = nlg.ReadWikiText(strings.NewReader("a\n\xff\n"))
	wantLine(t, "not UTF-8", err, 2, "not UTF-8")
}

// FuzzReadSets checks that no reader panics and that what they accept has prompts.
func FuzzReadSets(f *testing.F) {
	f.Add(webnlg)
	f.Add(`[{"tripleset":[["A","LEADER","B"]],"annotations":[{"text":"t1"}]}]`)
	f.Add(`{"entries":[{"1":{"lexicalisations":[{"comment":"good","lex":"t1"}],"modifiedtripleset":[{"object":"o","property":"P","subject":"s"}]}}]}`)
	f.Add(`{"source":["One."],"target":["T"]}`)
	f.Add(`{"text":"one two"}`)
	f.Fuzz(func(t *testing.T, in string) {
		for name, read := range map[string]func() (nlg.Set, error){
			"webnlg":      func() (nlg.Set, error) { return nlg.ReadWebNLG(strings.NewReader(in)) },
			"dart xml":    func() (nlg.Set, error) { return nlg.ReadDARTXML(strings.NewReader(in)) },
			"dart":        func() (nlg.Set, error) { return nlg.ReadDART(strings.NewReader(in)) },
			"webnlg json": func() (nlg.Set, error) { return nlg.ReadWebNLGJSON(strings.NewReader(in)) },
			"scitldr":     func() (nlg.Set, error) { return nlg.ReadSciTLDR(strings.NewReader(in)) },
		} {
			set, err := read()
			if err != nil && len(set.Examples) > 0 {
				t.Errorf("%s: records beside an error", name)
			}
			for _, e := range set.Examples {
				for _, text := range e.References {
					if strings.TrimSpace(text) == "" {
						t.Errorf("%s: blank text kept", name)
					}
				}
			}
		}
		if list, _, err := nlg.ReadLambada(strings.NewReader(in)); err == nil {
			for _, c := range list {
				if c.Context == "" || c.Word == "" {
					t.Errorf("lambada: %+v", c)
				}
			}
		}
		nlg.ReadWikiText(strings.NewReader(in))
	})
}
