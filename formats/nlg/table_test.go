package nlg_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

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
