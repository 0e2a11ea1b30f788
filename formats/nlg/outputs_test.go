package nlg

import (
	"slices"
	"strings"
	"testing"
)

func TestReadOutputs(t *testing.T) {
	in := "\ufeff\"MR\"\toutput\n\"name[The \"\"Mill\"\"]\"\t A pub. \n\nname[B], price[Ł9]\tIt's \"good\".\n"
	rows, err := ReadOutputs(strings.NewReader(in), '\t', strings.NewReplacer("\ufeff", "", "Ł", "£").Replace)
	if err != nil {
		t.Fatal(err)
	}
	var sources, outputs []string
	for _, row := range rows {
		sources = append(sources, row.Source)
		outputs = append(outputs, row.References...)
	}
	if want := []string{`name[The "Mill"]`, "name[B], price[£9]"}; !slices.Equal(sources, want) {
		t.Errorf("inputs %q, want %q", sources, want)
	}
	if want := []string{" A pub.", `It's "good".`}; !slices.Equal(outputs, want) {
		t.Errorf("outputs %q, want %q", outputs, want)
	}
	refs, err := ReferencesOf([]Example{{"b", []string{"1"}}, {"a", []string{"2"}}, {"b", []string{"3"}}}, []string{"a", "b"})
	if err != nil || !slices.Equal(refs[0], []string{"2"}) || !slices.Equal(refs[1], []string{"1", "3"}) {
		t.Errorf("references %q, %v", refs, err)
	}
	if _, err := ReferencesOf(nil, []string{"a"}); err == nil || !strings.Contains(err.Error(), `no reference for input 1, "a"`) {
		t.Errorf("missing reference: %v", err)
	}
}

func TestReadOutputsRejects(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
		{"empty", "", "line 1: no header"},
		{"header", "a\tb\n", "line 1: header is"},
		{"two outputs", "mr\toutput\tsystem\n", "line 1: columns 2 and 3 are both outputs"},
		{"two inputs", "mr\tsource\toutput\n", "line 1: columns 1 and 2 are both inputs"},
		{"columns", "mr\toutput\na\tb\nc\n", "line 3: 1 columns, the header has 2"},
		{"encoding", "mr\toutput\na\t\xff\n", "line 2: not UTF-8"},
	} {
		_, err := ReadOutputs(strings.NewReader(tc.in), '\t', nil)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error %v, want %q", tc.name, err, tc.want)
		}
	}
}

func FuzzReadOutputs(f *testing.F) {
	f.Add("mr\toutput\n\"a\tb\"\tc\n")
	f.Add("MR,ref\n\"\"\"\",x\n")
	f.Fuzz(func(t *testing.T, s string) {
		for _, separator := range "\t," {
			rows, err := ReadOutputs(strings.NewReader(s), separator, nil)
			for _, row := range rows {
				if err == nil && len(row.References) != 1 {
					t.Errorf("%d outputs in a row", len(row.References))
				}
			}
		}
	})
}
