package nlg_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	pq "github.com/parquet-go/parquet-go"

	"github.com/spdfctl/spdfctl/formats/nlg"
)

func TestReadTable(t *testing.T) {
	got, err := nlg.ReadTable(strings.NewReader("\ufeffid,completion,prompt\r\n1,\"two\r\nlines\",\"a \"\"b\"\"\"\r\n2,,c\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := []nlg.Example{{Source: `a "b"`, References: []string{"two\nlines"}}, {Source: "c", References: []string{""}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for _, c := range []struct{ name, text, want string }{
		{"nothing", "", `line 1: no header, want the columns "prompt" and "completion"`},
		{"another set", "mr,ref\na,b\n", `line 1: no column "prompt" among "mr,ref"`},
		{"half", "prompt,x\na,b\n", `line 1: no column "completion"`},
		{"twice", "prompt,completion,prompt\na,b,c\n", `line 1: two columns "prompt"`},
		{"empty prompt", "prompt,completion\na,b\n,c\n", "line 3: empty prompt"},
		{"bytes", "prompt,completion\na,\xff\n", "line 2: not UTF-8"},
		{"ragged", "prompt,completion\na\n", "line 2: column 1: wrong number of fields"},
		{"open quote", "prompt,completion\na,\"b\n", "line 2"},
		{"long", "prompt,completion\na,\"" + strings.Repeat("x", nlg.MaxRecord+1<<14) + "\"\n", "limit"},
	} {
		if _, err := nlg.ReadTable(strings.NewReader(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

func TestReadParquet(t *testing.T) {
	type pair struct {
		Completion string `parquet:"completion"`
		Prompt     string `parquet:"prompt"`
	}
	type several struct {
		Prompt     string   `parquet:"prompt"`
		References []string `parquet:"references,list"`
	}
	type both struct {
		pair
		References []string `parquet:"references,list"`
	}
	dir := t.TempDir()
	read := func(data []byte) (nlg.Set, error) {
		path := filepath.Join(dir, "set.parquet")
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		return nlg.ReadSet(nlg.TaskOf(path), path)
	}
	got, err := read(table(t, []pair{{"b", "a"}, {" ", "blank"}, {"c", "a"}}))
	want := nlg.Set{
		Examples: []nlg.Example{{Source: "a", References: []string{"b"}}, {Source: "a", References: []string{"c"}}},
		Drops:    []nlg.Drop{{Reason: "empty text", Count: 1}, {Reason: "record without a text left", Count: 1}},
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v, -want +got:\n%s", err, diff)
	}
	got, err = read(table(t, []several{{"a", []string{"b", "c"}}, {"d", []string{"e"}}}))
	want = nlg.Set{Examples: []nlg.Example{{Source: "a", References: []string{"b", "c"}}, {Source: "d", References: []string{"e"}}}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v, -want +got:\n%s", err, diff)
	}
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"both columns": {table(t, []both{{pair{"b", "a"}, nil}}), `both the columns "completion" and "references"`},
		"empty prompt": {table(t, []pair{{"b", "a"}, {"b", ""}}), "row 2: empty prompt"},
		"bytes":        {table(t, []pair{{"\xff", "a"}}), "row 1: not UTF-8"},
		"long":         {table(t, []pair{{strings.Repeat("x", nlg.MaxRecord), "a"}}), "row 1: 1048577 bytes, limit 1048576"},
		"none":         {[]byte("PAR1, says the file"), "parquet: begins with"},
	} {
		if _, err := read(c.data); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func table[T any](t *testing.T, rows []T) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := pq.Write(&b, rows); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
