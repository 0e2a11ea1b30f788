package nlg_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spdfctl/spdfctl/formats/nlg"
)

func TestReadE2E(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		want     []nlg.Example
	}{
		{
			"rows, quotes and carriage returns",
			"mr,ref\r\n\"name[A], area[b]\",\"He said \"\"A\"\".\"\r\nname[B],plain \r\n",
			[]nlg.Example{
				{Source: "name[A], area[b]", References: []string{`He said "A".`}},
				{Source: "name[B]", References: []string{"plain "}},
			},
		},
		{
			"line feed inside a field, no last line feed",
			"\"mr\",\"ref\"\nname[A],\"one\r\ntwo\"",
			[]nlg.Example{{Source: "name[A]", References: []string{"one\ntwo"}}},
		},
		{
			"blind set with a byte order mark",
			"\ufeffMR\nname[A]\nname[B]\n",
			[]nlg.Example{{Source: "name[A]"}, {Source: "name[B]"}},
		},
		{"header only", "mr,ref\n", nil},
	} {
		got, err := nlg.ReadE2E(strings.NewReader(tc.in))
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		if d := cmp.Diff(tc.want, got); d != "" {
			t.Errorf("%s: -want +got:\n%s", tc.name, d)
		}
	}
}

func TestReadE2ERejects(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		line     int
		want     string
	}{
		{"empty file", "", 1, "no header"},
		{"other header", "source,target\n", 1, `header is "source,target"`},
		{"header in another case", "MR,Ref\n", 1, `header is "MR,Ref"`},
		{"too few fields", "mr,ref\na[b]\n", 2, "wrong number of fields"},
		{"too many fields", "mr,ref\na[b],x,y\n", 2, "wrong number of fields"},
		{"bare quote", "mr,ref\na[b],x\n\na[b],x \"y\"\n", 4, "bare \""},
		{"text after a quote", "mr,ref\na[b],\"x\" y\n", 2, "extraneous or missing \""},
		{"open quote", "mr,ref\na[b],\"x\n\n\n", 2, "extraneous or missing \""},
		{"open quote in the header", "mr,\"ref\n", 1, "extraneous or missing \""},
		{"no meaning representation", "mr,ref\na[b],x\n,text\n", 3, "empty meaning representation"},
		{"not UTF-8", "mr,ref\na[b],x\na[b],\"\n\xff\"\n", 3, "field 2 is not UTF-8"},
		{"endless record", "mr,ref\na[b],\"" + strings.Repeat("x\n", nlg.MaxRecord), 2, "record has more than 1048576 bytes"},
		{"endless header", strings.Repeat("m", 2*nlg.MaxRecord), 1, "record has more than 1048576 bytes"},
	} {
		_, err := nlg.ReadE2E(strings.NewReader(tc.in))
		wantLine(t, tc.name, err, tc.line, tc.want)
	}
}

func wantLine(t *testing.T, name string, err error, line int, want string) {
	t.Helper()
	var at *nlg.LineError
	if !errors.As(err, &at) {
		t.Errorf("%s: error %v, want a *LineError with %q", name, err, want)
		return
	}
	if at.Line != line || !strings.Contains(err.Error(), want) {
		t.Errorf("%s: %q at line %d, want %q at line %d", name, err, at.Line, want, line)
	}
}

func TestGroup(t *testing.T) {
	got := nlg.Group([]nlg.Example{
		{Source: "b", References: []string{"1"}},
		{Source: "a", References: []string{"2"}},
		{Source: "b", References: []string{"3", "4"}},
		{Source: "c"},
	})
	want := []nlg.Example{
		{Source: "b", References: []string{"1", "3", "4"}},
		{Source: "a", References: []string{"2"}},
		{Source: "c"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

func TestLinearizeMR(t *testing.T) {
	for _, tc := range []struct{ mr, want string }{
		{
			"name[Alimentum], area[city centre], familyFriendly[no]",
			"name : Alimentum | area : city centre | family friendly : no",
		},
		{
			"name[Cocum], eatType[coffee shop], food[English], priceRange[£20-25], customer rating[5 out of 5]",
			"name : Cocum | Type : coffee shop | food : English | price : £ 20 - 25 | customer rating : 5 out of 5",
		},
		{"name[The Mill],near[Café Rouge], priceRange[less than £20]", "name : The Mill | near : Café Rouge | price : less than £ 20"},
		{" other [ x  y ] ", "other : x y"},
		{"name[]", "name : "},
	} {
		got, err := nlg.LinearizeMR(tc.mr)
		if err != nil || got != tc.want {
			t.Errorf("LinearizeMR(%q) = %q, %v, want %q", tc.mr, got, err, tc.want)
		}
	}
	for _, mr := range []string{"", "name", "name[A", "[A]", "name[A] area[b]", "name[A],", "a]b[c]", "name[a[b]]", "x, name[A]"} {
		if got, err := nlg.LinearizeMR(mr); err == nil || !strings.Contains(err.Error(), "meaning representation") {
			t.Errorf("LinearizeMR(%q) = %q, %v, want an error", mr, got, err)
		}
	}
}

func TestReadJSONL(t *testing.T) {
	in := `{"prompt":"p","completion":"c"}

{"references":["a","b"], "prompt":"q", "id":{"Prompt":7}}
{"prompt":"","completion":"é\n"}`
	got, err := nlg.ReadJSONL(strings.NewReader(in))
	if err != nil {
		t.Fatal(err)
	}
	want := []nlg.Example{
		{Source: "p", References: []string{"c"}},
		{Source: "q", References: []string{"a", "b"}},
		{Source: "", References: []string{"é\n"}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	refs, err := nlg.ReadReferencesJSONL(strings.NewReader("{\"references\":[\"a\",\"b\"]}\n{\"completion\":\"\"}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([][]string{{"a", "b"}, {""}}, refs); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

func TestReadJSONLRejects(t *testing.T) {
	const ok = `{"prompt":"p","completion":"c"}` + "\n"
	for _, tc := range []struct{ name, in, want string }{
		{"not JSON", "prompt", "JSON: invalid character"},
		{"not an object", `["prompt"]`, "not a JSON object"},
		{"cut short", `{"prompt":"p"`, "unexpected EOF"},
		{"cut after a key", `{"prompt"`, "JSON:"},
		{"no comma", `{"prompt":"p" "completion":"c"}`, "JSON: invalid character"},
		{"two objects", ok[:len(ok)-1] + ok, "text after the JSON object"},
		{"repeated key", `{"prompt":"p","completion":"c","prompt":"q"}`, `key "prompt" twice`},
		{"no prompt", `{"Prompt":"p","completion":"c"}`, `no "prompt"`},
		{"prompt is null", `{"prompt":null,"completion":"c"}`, `"prompt" is not a string`},
		{"prompt is a number", `{"prompt":1,"completion":"c"}`, `"prompt" is not a string`},
		{"no text", `{"prompt":"p"}`, `neither "completion" nor "references"`},
		{"both texts", `{"prompt":"p","completion":"c","references":["r"]}`, `both "completion" and "references"`},
		{"references is a string", `{"prompt":"p","references":"r"}`, `"references" is not a list of strings`},
		{"references hold null", `{"prompt":"p","references":["r",null]}`, `"references" is not a list of strings`},
		{"references empty", `{"prompt":"p","references":[]}`, `"references" is empty`},
		{"not UTF-8", "{\"prompt\":\"\xff\"}", "not UTF-8"},
		{"long line", `{"prompt":"` + strings.Repeat("x", nlg.MaxRecord) + `"}`, "line has"},
	} {
		_, err := nlg.ReadJSONL(strings.NewReader(ok + tc.in + "\n"))
		wantLine(t, tc.name, err, 2, tc.want)
	}
}

func TestReadLines(t *testing.T) {
	long := strings.Repeat("y", 200<<10)
	for _, tc := range []struct {
		in   string
		want []string
	}{
		{"", nil},
		{"\n", []string{""}},
		{"a", []string{"a"}},
		{"a\r\n\nb \r\r\n", []string{"a", "", "b \r"}},
		{"a\n" + long + "\nc", []string{"a", long, "c"}},
		{long + "\r\n", []string{long}},
	} {
		got, err := nlg.ReadLines(strings.NewReader(tc.in))
		if err != nil {
			t.Errorf("ReadLines(%.20q): %v", tc.in, err)
			continue
		}
		if d := cmp.Diff(tc.want, got); d != "" {
			t.Errorf("ReadLines(%.20q): -want +got:\n%s", tc.in, d)
		}
	}
	_, err := nlg.ReadLines(strings.NewReader("a\n" + strings.Repeat("x", nlg.MaxRecord+1)))
	wantLine(t, "long line", err, 2, "limit 1048576")
	_, err = nlg.ReadLines(strings.NewReader("a\n" + strings.Repeat("x", 2*nlg.MaxRecord)))
	wantLine(t, "endless line", err, 2, "line has more than 1048576 bytes, the limit")
	_, err = nlg.ReadLines(strings.NewReader("a\nb\n\xc3\n"))
	wantLine(t, "not UTF-8", err, 3, "not UTF-8")
}

func TestBlocks(t *testing.T) {
	got := nlg.Blocks([]string{"", "a", "b", "", " \t", "c", ""})
	if d := cmp.Diff([][]string{{"a", "b"}, {"c"}}, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

func TestReadTSV(t *testing.T) {
	got, err := nlg.ReadTSV(strings.NewReader("a\tb\nc\t\t\n\n\td e\n"))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([][]string{{"a", "b"}, {"c"}, {""}, {"d e"}}, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

func TestReadSet(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o666); err != nil {
			t.Fatal(err)
		}
		return path
	}
	pack := func(data []byte) []byte {
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		z.Write(data)
		z.Close()
		return packed.Bytes()
	}
	csv := []byte("mr,ref\n\"name[A], eatType[pub]\",x\n")
	entry := func(subject string) []byte {
		return []byte("<benchmark><entries><entry><modifiedtripleset><mtriple>" + subject + " | p | o</mtriple></modifiedtripleset><lex>x</lex></entry></entries></benchmark>")
	}
	write("set/b/2.xml", entry("two"))
	write("set/b/notes.txt", []byte("no set"))
	write("set/a.xml.gz", pack(entry("one")))
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, m := range []struct{ name, subject string }{{"set/b/2.xml", "two"}, {"other/3.xml", "three"}, {"set/a.xml", "one"}} {
		data := entry(m.subject)
		w.WriteHeader(&tar.Header{Name: m.name, Size: int64(len(data)), Mode: 0o666})
		w.Write(data)
	}
	w.Close()
	tgz := write("sets.tar.gz", pack(archive.Bytes()))

	e2e := []nlg.Example{{Source: "name : A | Type : pub", References: []string{"x"}}}
	both := []nlg.Example{{Source: "one : p : o", References: []string{"x"}}, {Source: "two : p : o", References: []string{"x"}}}
	for _, tc := range []struct {
		task, path string
		want       []nlg.Example
	}{
		{"e2e", write("a.csv", csv), e2e},
		{"e2e", write("b.CSV.gz", pack(csv)), e2e},
		{"e2e", write("c.csv", []byte("mr,ref,fixed,orig_mr\n\"name[A], eatType[pub]\",x,1,name[B]\n")), e2e},
		{"jsonl", write("c.jsonl", []byte(`{"prompt":"p","completion":"x"}`)), []nlg.Example{{Source: "p", References: []string{"x"}}}},
		{"jsonl", write("d.jsonl", []byte(`{"context":"p","completion":"x","cate":true}`)), []nlg.Example{{Source: "p", References: []string{"x"}}}},
		{"webnlg", filepath.Join(dir, "set"), both},
		{"webnlg", tgz + ":set", both},
		{"webnlg", tgz + ":set/b", both[1:]},
		{"webnlg", tgz + ":set/b/2.xml", both[1:]},
	} {
		got, err := nlg.ReadSet(tc.task, tc.path)
		if err != nil {
			t.Errorf("%s: %v", tc.path, err)
		}
		if d := cmp.Diff(nlg.Set{Examples: tc.want}, got); d != "" {
			t.Errorf("%s: -want +got:\n%s", tc.path, d)
		}
	}
	blank, err := nlg.ReadSet("e2e", write("blank.csv", []byte("mr,ref\nname[A],x\nname[B], \n")))
	if err != nil || blank.String() != "1 records with 1 texts; left out: 1 × empty text, 1 × record without a text left" {
		t.Errorf("a set with a blank text: %s, %v", blank, err)
	}

	bad := write("bad.csv", []byte("mr,ref\nname[A]\n"))
	for _, tc := range []struct{ task, path, want string }{
		{"e2e", bad, "nlg: " + bad + ": line 2: "},
		{"e2e", write("x.txt", nil), "x.txt: no file of e2e, which has the extension .csv"},
		{"webnlg", bad, "no file of webnlg, which has the extension .json or .xml"},
		{"e2e", write("x.csv.gz", csv), "invalid header"},
		{"e2e", write("cut.csv.gz", pack(csv)[:20]), "unexpected EOF"},
		{"e2e", write("none.csv", []byte("mr,ref\n")), "none.csv: no records"},
		{"e2e", write("mr.csv", []byte("mr,ref\nname,x\n")), "record 1: nlg: meaning representation"},
		{"e2e", filepath.Join(dir, "gone.csv"), "gone.csv"},
		{"webnlg", tgz + ":nothing", "no file of webnlg"},
		{"webnlg", filepath.Join(dir, "gone.tar.gz:x"), "gone.tar.gz"},
		{"webnlg", write("cut.tar.gz", pack(archive.Bytes()[:600])), "cut.tar.gz"},
		{"wikipedia", bad, `task "wikipedia" is none of e2e, webnlg, dart, scitldr, jsonl`},
	} {
		_, err := nlg.ReadSet(tc.task, tc.path)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error %v, want %q", tc.path, err, tc.want)
		}
	}
}

func TestTaskOf(t *testing.T) {
	for name, want := range map[string]string{
		"a.csv": "e2e", "a.CSV.gz": "e2e", "a.jsonl": "jsonl", "dart.json.gz": "dart", "a.xml": "webnlg",
		"folder": "webnlg", "a.tar.gz": "webnlg", "a.tar.gz:dev": "webnlg", "a.txt": "",
	} {
		if got := nlg.TaskOf(name); got != want {
			t.Errorf("TaskOf(%q) = %q, want %q", name, got, want)
		}
	}
}
