package metrics

import (
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// nltkTokens are the tokens of NLTK's word_tokenize: the Penn Treebank's, sentence
// by sentence, since only the full stop at the end of a sentence is split off.
// NLTK finds sentences with a model learnt from text (Punkt); here a full stop, a
// question or an exclamation mark ends one where a space and no small letter
// follow, unless it stands behind an initial or an abbreviation.
func nltkTokens(text string) []string {
	var out []string
	for _, sentence := range nltkSentences(text) {
		s := substitute(sentence, nltkBefore)
		s = substitute(" "+s+" ", nltkAfter)
		out = append(out, fields(s)...)
	}
	return out
}

// nltkBefore splits off opening quotes and punctuation.
var nltkBefore = []substitution{
	{regexp.MustCompile("([«“‘„]|`+)"), " $1 "},
	{regexp.MustCompile(`^"`), "``"},
	{regexp.MustCompile("(``)"), " $1 "},
	{regexp.MustCompile(`([ (\[{<])("|'')`), "$1 `` "},
	{regexp.MustCompile(`(?i)'([0-9_a-ce-lo-ru-z])\b`), "' $1"}, // a word of one letter that no contraction ends in
	{regexp.MustCompile(`([^.])(\.)([\])}>"'»”’ ]*)\s*$`), "$1 $2 $3 "},
	{regexp.MustCompile(`([:,])(\D)`), " $1 $2"},
	{regexp.MustCompile(`([:,])$`), " $1 "},
	{regexp.MustCompile(`(\.{2,})`), " $1 "},
	{regexp.MustCompile(`([;@#$%&])`), " $1 "},
	{regexp.MustCompile(`([^.])(\.)([\])}>"']*)\s*$`), "$1 $2$3 "},
	{regexp.MustCompile(`([?!])`), " $1 "},
	{regexp.MustCompile(`([^'])' `), "$1 ' "},
	{regexp.MustCompile(`([*])`), " $1 "},
	{regexp.MustCompile(`([\]\[(){}<>])`), " $1 "},
	{regexp.MustCompile(`--`), " -- "},
}

// nltkAfter splits off closing quotes and contractions, from a text between spaces.
var nltkAfter = []substitution{
	{regexp.MustCompile(`([»”’])`), " $1 "},
	{regexp.MustCompile(`''`), " '' "},
	{regexp.MustCompile(`"`), " '' "},
	{regexp.MustCompile(`([^' ])('[sSmMdD]|') `), "$1 $2 "},
	{regexp.MustCompile(`([^' ])('ll|'LL|'re|'RE|'ve|'VE|n't|N'T) `), "$1 $2 "},
	{regexp.MustCompile(`(?i)\b(can)(not)\b`), " $1 $2 "},
	{regexp.MustCompile(`(?i)\b(d)('ye)\b`), " $1 $2 "},
	{regexp.MustCompile(`(?i)\b(gim|lem)(me)\b`), " $1 $2 "},
	{regexp.MustCompile(`(?i)\b(gon|wan)(na)\b`), " $1 $2 "},
	{regexp.MustCompile(`(?i)\b(got)(ta)\b`), " $1 $2 "},
	{regexp.MustCompile(`(?i)\b(more)('n)\b`), " $1 $2 "},
	{regexp.MustCompile(`(?i) ('t)(is|was)\b`), " $1 $2 "},
}

// nltkAbbreviations do not end a sentence.
var nltkAbbreviations = []string{
	"adm", "ave", "capt", "co", "col", "corp", "dr", "e.g", "fig", "ft", "gen", "gov", "hon", "i.e", "inc", "jr", "lt", "ltd", "maj",
	"mr", "mrs", "ms", "mt", "prof", "rep", "rev", "sen", "sgt", "sr", "st", "u.k", "u.s", "v", "vs",
	"jan", "feb", "mar", "apr", "aug", "sept", "oct", "nov", "dec",
}

func nltkSentences(text string) []string {
	var out []string
	start := 0
	for i := 0; i < len(text); i++ {
		if !strings.ContainsRune(".?!", rune(text[i])) {
			continue
		}
		end := i + 1
		for end < len(text) && strings.IndexByte(`"')]}`, text[end]) >= 0 {
			end++
		}
		rest := strings.TrimLeftFunc(text[end:], isSpace)
		if rest == "" || len(rest) == len(text)-end || text[i] == '.' && !endsSentence(text[start:i], rest) {
			continue
		}
		out = append(out, text[start:end])
		start = len(text) - len(rest)
		i = start - 1
	}
	return append(out, text[start:])
}

// endsSentence reports whether a full stop between the two ends a sentence.
func endsSentence(before, after string) bool {
	word := before[strings.LastIndexFunc(before, isSpace)+1:]
	word = strings.ToLower(strings.TrimLeft(word, `"'([{`))
	if utf8.RuneCountInString(word) == 1 && unicode.IsLetter([]rune(word)[0]) || slices.Contains(nltkAbbreviations, word) {
		return false
	}
	first, _ := utf8.DecodeRuneInString(strings.TrimLeft(after, "\"'([{`"))
	return !unicode.IsLower(first)
}
