package metrics

import (
	"slices"
	"strings"
)

// stemEnglish is the Snowball stemmer "English", also called Porter2, on a word
// in lower case. Letters beyond a to z count as consonants.
//
// Source: Porter, "The English (Porter2) stemming algorithm", snowballstem.org,
// in the state of 2008 that METEOR 1.5 ships.
func stemEnglish(word string) string {
	runes := []rune(word)
	if len(runes) < 3 {
		return word
	}
	if stem, ok := stemExceptions[word]; ok {
		return stem
	}
	s := newStem(runes)
	s.possessive()
	s.plural()
	if slices.Contains(stemInvariant, string(s.word)) {
		return s.text()
	}
	s.pastAndGerund()
	s.finalY()
	s.suffixes(stemStep2, s.r1)
	s.suffixes(stemStep3, s.r1)
	s.suffixes(stemStep4, s.r2)
	s.finalEL()
	return s.text()
}

// stemExceptions are stemmed by hand.
var stemExceptions = map[string]string{
	"skis": "ski", "skies": "sky", "dying": "die", "lying": "lie", "tying": "tie", "idly": "idl", "gently": "gentl",
	"ugly": "ugli", "early": "earli", "only": "onli", "singly": "singl", "sky": "sky", "news": "news", "howe": "howe",
	"atlas": "atlas", "cosmos": "cosmos", "bias": "bias", "andes": "andes",
}

// stemInvariant are left alone once the plural is off.
var stemInvariant = []string{"inning", "outing", "canning", "herring", "earring", "proceed", "exceed", "succeed"}

// stem is a word at work. A y that stands for a consonant is written Y.
type stem struct {
	word   []rune
	r1, r2 int // where the regions begin that suffixes must lie in
}

func newStem(runes []rune) *stem {
	s := &stem{word: runes}
	if s.word[0] == '\'' {
		s.word = s.word[1:]
	}
	for i, r := range s.word {
		if r == 'y' && (i == 0 || isStemVowel(s.word[i-1])) {
			s.word[i] = 'Y'
		}
	}
	s.r1 = -1
	for _, start := range []string{"gener", "commun", "arsen"} {
		if strings.HasPrefix(string(s.word), start) {
			s.r1 = len(start)
		}
	}
	if s.r1 < 0 {
		s.r1 = s.afterConsonant(0)
	}
	s.r2 = s.afterConsonant(s.r1)
	return s
}

// afterConsonant returns the place behind the first consonant that follows a
// vowel from i on, or the end.
func (s *stem) afterConsonant(i int) int {
	for i < len(s.word) && !isStemVowel(s.word[i]) {
		i++
	}
	for i < len(s.word) && isStemVowel(s.word[i]) {
		i++
	}
	return min(i+1, len(s.word))
}

func (s *stem) text() string { return strings.ReplaceAll(string(s.word), "Y", "y") }

func isStemVowel(r rune) bool { return strings.ContainsRune("aeiouy", r) }

func (s *stem) ends(suffix string) bool { return endsWith(s.word, suffix) }

func endsWith(word []rune, suffix string) bool {
	n := len(word) - len(suffix)
	return n >= 0 && string(word[n:]) == suffix
}

// replace puts with in the place of the last n letters.
func (s *stem) replace(n int, with string) {
	s.word = append(s.word[:len(s.word)-n], []rune(with)...)
}

// longest returns the longest of the suffixes, in order of length, that s has.
func (s *stem) longest(suffixes ...string) string {
	for _, suffix := range suffixes {
		if s.ends(suffix) {
			return suffix
		}
	}
	return ""
}

func (s *stem) possessive() {
	s.replace(len(s.longest("'s'", "'s", "'")), "")
}

func (s *stem) plural() {
	switch suffix := s.longest("sses", "ied", "ies", "us", "ss", "s"); suffix {
	case "sses":
		s.replace(4, "ss")
	case "ied", "ies":
		if len(s.word) > 4 {
			s.replace(3, "i")
		} else {
			s.replace(3, "ie")
		}
	case "s":
		if n := len(s.word) - 2; n > 0 && slices.ContainsFunc(s.word[:n], isStemVowel) {
			s.replace(1, "")
		}
	}
}

func (s *stem) pastAndGerund() {
	switch suffix := s.longest("eedly", "ingly", "edly", "eed", "ing", "ed"); suffix {
	case "":
	case "eed", "eedly":
		if len(s.word)-len(suffix) >= s.r1 {
			s.replace(len(suffix), "ee")
		}
	default:
		n := len(s.word) - len(suffix)
		if !slices.ContainsFunc(s.word[:n], isStemVowel) {
			return
		}
		s.word = s.word[:n]
		switch {
		case s.longest("at", "bl", "iz") != "":
			s.replace(0, "e")
		case s.longest("bb", "dd", "ff", "gg", "mm", "nn", "pp", "rr", "tt") != "":
			s.replace(1, "")
		case len(s.word) == s.r1 && s.shortSyllable(len(s.word)):
			s.replace(0, "e")
		}
	}
}

// shortSyllable reports whether the letters before end close with a vowel
// between consonants, the last none of w, x and Y, or are a vowel and a consonant.
func (s *stem) shortSyllable(end int) bool {
	w := s.word[:end]
	switch n := len(w); {
	case n >= 3 && !isStemVowel(w[n-1]) && !strings.ContainsRune("wxY", w[n-1]):
		return isStemVowel(w[n-2]) && !isStemVowel(w[n-3])
	case n == 2:
		return isStemVowel(w[0]) && !isStemVowel(w[1])
	}
	return false
}

func (s *stem) finalY() {
	if n := len(s.word); n > 2 && (s.word[n-1] == 'y' || s.word[n-1] == 'Y') && !isStemVowel(s.word[n-2]) {
		s.word[n-1] = 'i'
	}
}

// suffixRule says what becomes of a suffix: with, if the letter before it is in
// after (empty: any) and, where second is set, it lies in the second region.
type suffixRule struct {
	suffix, with string
	after        string
	second       bool
}

// Longer suffixes come first.
var (
	stemStep2 = []suffixRule{
		{suffix: "ational", with: "ate"}, {suffix: "fulness", with: "ful"}, {suffix: "iveness", with: "ive"},
		{suffix: "ization", with: "ize"}, {suffix: "ousness", with: "ous"}, {suffix: "biliti", with: "ble"},
		{suffix: "lessli", with: "less"}, {suffix: "tional", with: "tion"}, {suffix: "alism", with: "al"},
		{suffix: "aliti", with: "al"}, {suffix: "ation", with: "ate"}, {suffix: "entli", with: "ent"},
		{suffix: "fulli", with: "ful"}, {suffix: "iviti", with: "ive"}, {suffix: "ousli", with: "ous"},
		{suffix: "abli", with: "able"}, {suffix: "alli", with: "al"}, {suffix: "anci", with: "ance"},
		{suffix: "ator", with: "ate"}, {suffix: "enci", with: "ence"}, {suffix: "izer", with: "ize"},
		{suffix: "bli", with: "ble"}, {suffix: "ogi", with: "og", after: "l"}, {suffix: "li", after: "cdeghkmnrt"},
	}
	stemStep3 = []suffixRule{
		{suffix: "ational", with: "ate"}, {suffix: "tional", with: "tion"}, {suffix: "alize", with: "al"},
		{suffix: "ative", second: true}, {suffix: "icate", with: "ic"}, {suffix: "iciti", with: "ic"},
		{suffix: "ical", with: "ic"}, {suffix: "ness"}, {suffix: "ful"},
	}
	stemStep4 = []suffixRule{
		{suffix: "ement"}, {suffix: "able"}, {suffix: "ance"}, {suffix: "ence"}, {suffix: "ible"}, {suffix: "ment"},
		{suffix: "ant"}, {suffix: "ate"}, {suffix: "ent"}, {suffix: "ion", after: "st"}, {suffix: "ism"},
		{suffix: "iti"}, {suffix: "ive"}, {suffix: "ize"}, {suffix: "ous"}, {suffix: "al"}, {suffix: "er"}, {suffix: "ic"},
	}
)

// suffixes applies the first rule whose suffix fits, if that lies behind region.
func (s *stem) suffixes(rules []suffixRule, region int) {
	for _, rule := range rules {
		if !s.ends(rule.suffix) {
			continue
		}
		n := len(s.word) - len(rule.suffix)
		if n < region || rule.second && n < s.r2 ||
			rule.after != "" && (n == 0 || !strings.ContainsRune(rule.after, s.word[n-1])) {
			return
		}
		s.replace(len(rule.suffix), rule.with)
		return
	}
}

func (s *stem) finalEL() {
	n := len(s.word) - 1
	if n < 0 {
		return
	}
	switch {
	case s.word[n] == 'e' && (n >= s.r2 || n >= s.r1 && !s.shortSyllable(n)):
		s.word = s.word[:n]
	case s.word[n] == 'l' && n >= s.r2 && n > 0 && s.word[n-1] == 'l':
		s.word = s.word[:n]
	}
}
