package metrics

import (
	"regexp"
	"strings"
	"unicode"
)

// The tokenizers return text whose tokens stand between spaces. They follow
// those of sacreBLEU of the same names, character class by character class.

// tokenizers by name; see BLEUOptions.
var tokenizers = map[string]func(string) string{
	"13a":  tokenize13a,
	"char": tokenizeChar,
	"intl": tokenizeIntl,
	"none": func(s string) string { return s },
}

// entities13a are undone in this order: "&amp;lt;" ends as "<".
var entities13a = [][2]string{{"&quot;", `"`}, {"&amp;", "&"}, {"&lt;", "<"}, {"&gt;", ">"}}

// tokenize13a is the tokenizer of NIST's mteval-v13a, the default of WMT.
func tokenize13a(s string) string {
	s = strings.ReplaceAll(s, "<skipped>", "")
	s = strings.ReplaceAll(s, "-\n", "")
	s = strings.ReplaceAll(s, "\n", " ")
	if strings.Contains(s, "&") {
		for _, e := range entities13a {
			s = strings.ReplaceAll(s, e[0], e[1])
		}
	}
	// The spaces let the rules see a mark at either end.
	line := append(append([]byte{' '}, s...), ' ')
	// The rules, one after the other as in the script:
	// every ASCII punctuation mark but apostrophe, comma, hyphen and full stop,
	line = apart13a(line)
	// comma and full stop unless a digit stands before them,
	line = pairs13a(line, func(a, b byte) bool { return !isDigit(a) && isStop(b) }, false)
	// comma and full stop unless a digit stands after them,
	line = pairs13a(line, func(a, b byte) bool { return isStop(a) && !isDigit(b) }, true)
	// and a hyphen after a digit.
	line = pairs13a(line, func(a, b byte) bool { return isDigit(a) && b == '-' }, false)
	return string(line)
}

// apart13a puts spaces around the marks that are always tokens.
func apart13a(line []byte) []byte {
	out := make([]byte, 0, 2*len(line))
	for _, c := range line {
		if is13aToken(c) {
			out = append(out, ' ', c, ' ')
		} else {
			out = append(out, c)
		}
	}
	return out
}

// is13aToken reports whether c is in the script's first character class, which
// has the space too.
func is13aToken(c byte) bool {
	return '{' <= c && c <= '~' || '[' <= c && c <= '`' || ' ' <= c && c <= '&' ||
		'(' <= c && c <= '+' || ':' <= c && c <= '@' || c == '/'
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
func isStop(c byte) bool  { return c == '.' || c == ',' }

// pairs13a puts spaces around the second byte of every pair that match accepts,
// or, if first is set, around the first. Like the substitution of a regular
// expression it goes on behind a pair that it has found. Bytes will do in place
// of characters: no class tells one character beyond ASCII from another, so
// only the byte next to the ASCII one decides.
func pairs13a(line []byte, match func(a, b byte) bool, first bool) []byte {
	out := make([]byte, 0, len(line)+len(line)/4)
	for i := 0; i < len(line); i++ {
		if i+1 == len(line) || !match(line[i], line[i+1]) {
			out = append(out, line[i])
			continue
		}
		if first {
			out = append(out, ' ', line[i], ' ', line[i+1])
		} else {
			out = append(out, line[i], ' ', line[i+1], ' ')
		}
		i++
	}
	return out
}

// substitution is one regular expression and what its matches become.
type substitution struct {
	pattern *regexp.Regexp
	with    string
}

func substitute(s string, list []substitution) string {
	for _, sub := range list {
		s = sub.pattern.ReplaceAllString(s, sub.with)
	}
	return s
}

// rulesIntl split off punctuation unless digits surround it, and all symbols.
var rulesIntl = []substitution{
	{regexp.MustCompile(`(\P{N})(\p{P})`), "${1} ${2} "},
	{regexp.MustCompile(`(\p{P})(\P{N})`), " ${1} ${2}"},
	{regexp.MustCompile(`(\p{S})`), " ${1} "},
}

// tokenizeIntl is the international tokenizer of mteval-v14. Its classes are
// those of the Unicode tables of the Go release, sacreBLEU's those of Python's.
func tokenizeIntl(s string) string { return substitute(s, rulesIntl) }

// tokenizeChar makes every character a token.
func tokenizeChar(s string) string {
	var b strings.Builder
	b.Grow(2 * len(s))
	for _, r := range s {
		b.WriteRune(r)
		b.WriteByte(' ')
	}
	return b.String()
}

// isSpace is Python's str.isspace, which has the four ASCII separators on top
// of Unicode's white space.
func isSpace(r rune) bool { return unicode.IsSpace(r) || 0x1c <= r && r <= 0x1f }

// lower is Python's str.lower. It differs from strings.ToLower in the final
// sigma and in the dotted capital I, which keeps its dot.
func lower(s string) string {
	if !strings.ContainsAny(s, "Σİ") {
		return strings.ToLower(s)
	}
	runes := []rune(s)
	var b strings.Builder
	for i, r := range runes {
		switch {
		case r == 'İ':
			b.WriteString("i\u0307")
		case r == 'Σ' && caseNear(runes, i, -1) && !caseNear(runes, i, +1):
			b.WriteRune('ς')
		default:
			b.WriteRune(unicode.ToLower(r))
		}
	}
	return b.String()
}

// caseNear reports whether the next character from i in direction step that is
// not case-ignorable is a cased letter.
//
// Source: Unicode, section 3.13, Final_Sigma.
func caseNear(runes []rune, i, step int) bool {
	for i += step; 0 <= i && i < len(runes); i += step {
		r := runes[i]
		switch {
		case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf, unicode.Lm, unicode.Sk), strings.ContainsRune(caseIgnorable, r):
		default:
			return unicode.In(r, unicode.Lu, unicode.Ll, unicode.Lt, unicode.Other_Lowercase, unicode.Other_Uppercase)
		}
	}
	return false
}

// caseIgnorable are the punctuation marks that may stand inside a word.
const caseIgnorable = "'.:·\u0387\u055f\u05f4‘’\u2024\u2027\ufe13\ufe52\ufe55\uff07\uff0e\uff1a"
