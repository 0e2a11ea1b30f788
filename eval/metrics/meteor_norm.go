package metrics

import (
	"slices"
	"strings"
	"unicode"
)

// This file is METEOR's -norm for English: Moses' tokenizer with quotes and
// dashes made alike, words split at hyphens and dots dropped from abbreviations.
// Every step goes once over the text from left to right and on behind what it has
// replaced, so that of "a,b,c" only the first comma is split off.

// meteorTokens returns the tokens of a text in lower case. prefixes are the words
// that keep their full stop; true: before a number only.
func meteorTokens(text string, prefixes map[string]bool) []string {
	r := []rune(" " + text + " ")
	r = separateSymbols(r)
	r = separateDots(r)
	notDigit := func(c rune) bool { return !isDigitRune(c) }
	if slices.Contains(r, ',') {
		r = between(r, ',', notDigit, notDigit, " , ")
		r = between(r, ',', isDigitRune, notDigit, " , ")
		r = between(r, ',', notDigit, isDigitRune, " , ")
	}
	r = quotesAndDashes(r)
	if slices.Contains(r, '-') {
		r = between(r, '-', func(c rune) bool { return c == '.' || isMeteorAlnum(c) }, isMeteorAlnum, " ")
	}
	if slices.Contains(r, '\'') {
		notAlpha := func(c rune) bool { return !isMeteorAlpha(c) }
		r = between(r, '\'', notAlpha, notAlpha, " ' ")
		r = between(r, '\'', func(c rune) bool { return notAlpha(c) && notDigit(c) }, isMeteorAlpha, " ' ")
		r = between(r, '\'', isMeteorAlpha, notAlpha, " ' ")
		r = between(r, '\'', isMeteorAlpha, isMeteorAlpha, " '")
		r = between(r, '\'', isDigitRune, func(c rune) bool { return c == 's' }, " '")
	}
	words := strings.FieldsFunc(string(r), isJavaBlank)
	if slices.ContainsFunc(words, func(w string) bool { return len(w) > 1 && strings.HasSuffix(w, ".") }) {
		words = splitFullStops(words, prefixes)
	}
	return strings.FieldsFunc(lower(strings.Join(words, " ")), isMeteorSpace)
}

func isDigitRune(c rune) bool { return '0' <= c && c <= '9' }

// isJavaBlank is the set of Java's StringTokenizer and, with the line tabulation,
// of \s.
func isJavaBlank(c rune) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\f' || c == '\r' }

// isMeteorSpace are the spaces that end as one blank.
func isMeteorSpace(c rune) bool {
	return isJavaBlank(c) || unicode.Is(unicode.Zs, c) && c != '\u1680'
}

// meteorLetters are METEOR's letters: Latin, Cyrillic and phonetic extensions.
var meteorLetters = &unicode.RangeTable{R16: []unicode.Range16{
	{Lo: 'A', Hi: 'Z', Stride: 1}, {Lo: 'a', Hi: 'z', Stride: 1},
	{Lo: 0xc0, Hi: 0xd6, Stride: 1}, {Lo: 0xd8, Hi: 0xf6, Stride: 1}, {Lo: 0xf8, Hi: 0x17e, Stride: 1},
	{Lo: 0x400, Hi: 0x527, Stride: 1}, {Lo: 0x1d00, Hi: 0x1d7f, Stride: 1},
	{Lo: 0xa640, Hi: 0xa66e, Stride: 1}, {Lo: 0xa67e, Hi: 0xa697, Stride: 1},
}, LatinOffset: 4}

func isMeteorAlpha(c rune) bool {
	if c < 0x80 {
		return 'a' <= c|0x20 && c|0x20 <= 'z'
	}
	return unicode.Is(meteorLetters, c)
}

func isMeteorAlnum(c rune) bool { return isDigitRune(c) || isMeteorAlpha(c) }

// separateSymbols puts blanks around every character that is no letter, digit or
// blank and none of those that later steps decide on.
func separateSymbols(r []rune) []rune {
	keep := func(c rune) bool {
		return isMeteorAlnum(c) || isJavaBlank(c) || c == '\v' || strings.ContainsRune(".'`,-‘’", c)
	}
	if !slices.ContainsFunc(r, func(c rune) bool { return !keep(c) }) {
		return r
	}
	out := make([]rune, 0, len(r)+8)
	for _, c := range r {
		if keep(c) {
			out = append(out, c)
		} else {
			out = append(out, ' ', c, ' ')
		}
	}
	return out
}

// separateDots makes every run of two or more full stops a word.
func separateDots(r []rune) []rune {
	if !strings.Contains(string(r), "..") {
		return r
	}
	out := make([]rune, 0, len(r)+8)
	for i := 0; i < len(r); {
		n := i
		for n < len(r) && r[n] == '.' {
			n++
		}
		switch n - i {
		case 0:
			out = append(out, r[i])
			i++
		case 1:
			out = append(out, '.')
			i++
		default:
			out = append(out, ' ')
			out = append(out, r[i:n]...)
			out = append(out, ' ')
			i = n
		}
	}
	return out
}

// between replaces mark with text wherever left accepts the character before and
// right that behind it. The next place is looked for behind the latter.
func between(r []rune, mark rune, left, right func(rune) bool, text string) []rune {
	out := make([]rune, 0, len(r)+8)
	for i := 0; i < len(r); {
		if i+2 < len(r) && r[i+1] == mark && left(r[i]) && right(r[i+2]) {
			out = append(out, r[i])
			out = append(out, []rune(text)...)
			out = append(out, r[i+2])
			i += 3
			continue
		}
		out = append(out, r[i])
		i++
	}
	return out
}

var (
	singleQuotes = strings.NewReplacer("`", "'", "‘", "'", "’", "'")
	doubleQuotes = strings.NewReplacer("“", ` " `, "”", ` " `, "''", ` " `)
)

func quotesAndDashes(r []rune) []rune {
	if !slices.ContainsFunc(r, func(c rune) bool { return strings.ContainsRune("`'‘’“”–-", c) }) {
		return r
	}
	s := doubleQuotes.Replace(singleQuotes.Replace(string(r)))
	s = strings.ReplaceAll(s, "–", "-")
	return []rune(strings.ReplaceAll(s, "--", "-"))
}

// splitFullStops splits the full stop off the words that end in one, unless they
// are a prefix or a word in lower case follows; words such as "U.S." lose theirs.
func splitFullStops(words []string, prefixes map[string]bool) []string {
	out := make([]string, 0, len(words)+4)
	for i, word := range words {
		before, ok := strings.CutSuffix(word, ".")
		if !ok || before == "" || strings.Trim(word, ".") == "" {
			out = append(out, word)
			continue
		}
		next := byte(0) // the first of the word that follows
		if i+1 < len(words) {
			next = words[i+1][0]
		}
		numeric, known := prefixes[before]
		switch {
		case strings.Contains(before, ".") && strings.ContainsFunc(before, isMeteorAlpha):
			out = append(out, strings.ReplaceAll(word, ".", ""))
		case known && !numeric, 'a' <= next && next <= 'z', known && isDigit(next):
			out = append(out, word)
		default:
			out = append(out, before, ".")
		}
	}
	return out
}
