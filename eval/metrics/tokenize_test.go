package metrics

import (
	"regexp"
	"strings"
	"testing"
)

func TestTokenizers(t *testing.T) {
	for _, tc := range []struct{ tokenizer, in, want string }{
		// By hand from the rules of mteval-v13a.
		{"13a", "Hello, world!", "Hello , world !"},
		{"13a", "It's 1,000.5 or 3-4, i.e. well-known.", "It's 1,000.5 or 3 - 4 , i . e . well-known ."},
		{"13a", "costs £20-25.", "costs £20 - 25 ."},
		{"13a", `"A" (b) [c] {d} e/f g@h i_j k^l`, `" A " ( b ) [ c ] { d } e / f g @ h i _ j k ^ l`},
		{"13a", "&quot;a&quot; &amp;lt; &gt; &apos;", `" a " < > & apos ;`},
		{"13a", "a<skipped>b-\nc\nd", "abc d"},
		{"13a", ".5 5.", ". 5 5 ."},
		{"13a", "a\u00a0b\u001cc", "a b c"},
		{"intl", "Hello, world!", "Hello , world !"},
		{"intl", "1,000.5 «a» 5. x+y €5", "1,000.5 « a » 5 . x + y € 5"},
		{"intl", "in 1999.", "in 1999."},
		{"char", "ab é.", "a b é ."},
		{"none", " a,  b. ", "a, b."},
	} {
		got := strings.Join(strings.FieldsFunc(tokenizers[tc.tokenizer](tc.in), isSpace), " ")
		if got != tc.want {
			t.Errorf("%s: %q becomes %q, want %q", tc.tokenizer, tc.in, got, tc.want)
		}
	}
}

// The expected values are those of Python's str.lower.
func TestLower(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"ÀB", "àb"},
		{"İstanbul", "i\u0307stanbul"},
		{"ΟΔΥΣΣΕΥΣ", "οδυσσευς"},
		{"ΣΑΣ ΣΑ'Σ. Σ", "σας σα'ς. σ"},
		{"ΑΣΑ", "ασα"},
		{"ẞ", "ß"},
	} {
		if got := lower(tc.in); got != tc.want {
			t.Errorf("lower(%q) = %q, want %q", tc.in, got, tc.want)
		}
	}
}

// rules13a are the substitutions of mteval-v13a as it writes them: the slow
// twin of tokenize13a.
var rules13a = []substitution{
	{regexp.MustCompile("([{-~[-` -&(-+:-@/])"), " ${1} "},
	{regexp.MustCompile(`([^0-9])([.,])`), "${1} ${2} "},
	{regexp.MustCompile(`([.,])([^0-9])`), " ${1} ${2}"},
	{regexp.MustCompile(`([0-9])(-)`), "${1} ${2} "},
}

func FuzzTokenize13a(f *testing.F) {
	f.Add("It's 1,000.5 or 3-4, i.e. well-known.")
	f.Add("..,,5.,5-é.é,5--")
	f.Add("\u4e2d.\u0663,\u00e9-")
	f.Fuzz(func(t *testing.T, s string) {
		s = strings.ToValidUTF8(s, "?")
		if strings.ContainsAny(s, "&<\n") {
			return // undone before the rules
		}
		if got, want := tokenize13a(s), substitute(" "+s+" ", rules13a); got != want {
			t.Errorf("%q becomes\n%q, want\n%q", s, got, want)
		}
	})
}
