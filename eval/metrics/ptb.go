package metrics

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// PTBVersion is a release of Stanford's Penn Treebank tokenizer. Its rules for
// numbers beside letters and signs changed over the years.
type PTBVersion string

const (
	// PTB2025 is that of CoreNLP 2025 with the options that make it behave as of
	// old: Treebank escapes, hyphenated words whole, currencies as # and $.
	PTB2025 PTBVersion = "corenlp-2025"
	// PTB341 is that of CoreNLP 3.4.1, which coco-caption ships.
	PTB341 PTBVersion = "corenlp-3.4.1"
)

// PTBVersions lists the values of PTBVersion.
func PTBVersions() []string { return []string{string(PTB2025), string(PTB341)} }

// ptbPunctuation are the tokens that coco-caption drops. Brackets stay: the list
// has them in capitals, the tokens are in lower case.
var ptbPunctuation = []string{"''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"}

// PTBTokens returns the tokens of a text as coco-caption sees them: those of
// Stanford's PTBTokenizer in lower case, without punctuation. The rules were
// written anew from the tokenizer's behaviour, for English text; see docs/scores.md
// for how far they agree. It returns an error for an unknown version.
//
// Source: pycocoevalcap/tokenizer/ptbtokenizer.py of github.com/tylin/coco-caption.
func PTBTokens(text string, version PTBVersion) ([]string, error) {
	if !slices.Contains(PTBVersions(), string(version)) {
		return nil, fmt.Errorf("metrics: ptb: version %q is none of %s", version, strings.Join(PTBVersions(), ", "))
	}
	return slices.DeleteFunc(ptbTokens(text, version == PTB341), func(token string) bool {
		return slices.Contains(ptbPunctuation, token)
	}), nil
}

// ptbCorpus returns texts as their PTB tokens, joined with single spaces.
func ptbCorpus(hyps []string, refs [][]string, version PTBVersion) ([]string, [][]string, error) {
	if _, err := PTBTokens("", version); err != nil {
		return nil, nil, err
	}
	c := tokenizeCorpus(hyps, refs, func(s string) []string {
		tokens, _ := PTBTokens(s, version) // the version was checked above
		return []string{strings.Join(tokens, " ")}
	})
	outHyps, outRefs := make([]string, len(hyps)), make([][]string, len(refs))
	for i := range c.hyps {
		outHyps[i] = c.hyps[i][0]
		for _, ref := range c.refs[i] {
			outRefs[i] = append(outRefs[i], ref[0])
		}
	}
	return outHyps, outRefs, nil
}

// ptbLexer reads one text. At every place all rules are tried, and the one that
// sees furthest wins, where what a rule wants to see behind its token counts; of
// equals the first.
type ptbLexer struct {
	text []rune
	at   int
	old  bool   // 3.4.1
	last string // the token before, as written

	bestEnd, bestSeen int
	bestToken         string // "": as written
	bestDrop          bool   // no token at all
}

// offer proposes the text up to end as a token, having looked at seen.
func (l *ptbLexer) offer(end, seen int, token string) {
	if end > l.at && seen > l.bestSeen {
		l.bestEnd, l.bestSeen, l.bestToken, l.bestDrop = end, seen, token, false
	}
}

// word proposes the text up to end as it is written.
func (l *ptbLexer) word(end int) { l.offer(end, end, "") }

// peek returns the character at i, or a line feed at the end.
func (l *ptbLexer) peek(i int) rune {
	if i < 0 || i >= len(l.text) {
		return '\n'
	}
	return l.text[i]
}

// span returns the end of the characters from i on that accept takes.
func (l *ptbLexer) span(i int, accept func(rune) bool) int {
	for i < len(l.text) && accept(l.text[i]) {
		i++
	}
	return i
}

// has reports whether the text continues at i with s, without regard to case.
func (l *ptbLexer) has(i int, s string) bool {
	for _, r := range s {
		if i >= len(l.text) || unicode.ToLower(l.text[i]) != r {
			return false
		}
		i++
	}
	return true
}

// ptbEntities are undone in the tokens that they stand in.
var ptbEntities = strings.NewReplacer("&amp;", "&", "&AMP;", "&", "&apos;", "'", "&quot;", `"`, "&lt;", "<", "&gt;", ">", "&nbsp;", " ")

func ptbTokens(text string, old bool) []string {
	l := &ptbLexer{text: []rune(ptbEntities.Replace(text)), old: old}
	var out []string
	for l.at < len(l.text) {
		l.bestEnd, l.bestSeen, l.bestToken, l.bestDrop = l.at+1, l.at, "", true
		l.rules()
		written := string(l.text[l.at:l.bestEnd])
		l.at = l.bestEnd
		if l.bestDrop {
			continue
		}
		l.last = written
		token := l.bestToken
		if token == "" {
			token = strings.ReplaceAll(strings.ReplaceAll(written, "\u00ad", ""), " ", "\u00a0")
		}
		if token != "" {
			out = append(out, lower(token))
		}
	}
	return out
}

func isPTBSpace(r rune) bool {
	return r == ' ' || r == '\t' || r == '\u00a0' || '\u2000' <= r && r <= '\u200a' || r == '\u3000'
}

func isPTBSpaceOrEnd(r rune) bool {
	return isPTBSpace(r) || '\n' <= r && r <= '\r' || r == '\u0085' || r == '\u2028' || r == '\u2029'
}

func isPTBLetter(r rune) bool {
	if r < 0x80 {
		return isASCIILetter(r)
	}
	return unicode.IsLetter(r) || r == '\u00ad' || '\u0300' <= r && r <= '\u036f' || unicode.In(r, unicode.Mc)
}

func isASCIILetter(r rune) bool { return 'a' <= r|0x20 && r|0x20 <= 'z' }
func isASCIIAlnum(r rune) bool  { return isASCIILetter(r) || isDigitRune(r) }
func isPTBDigit(r rune) bool    { return unicode.IsDigit(r) }
func isPTBAlnum(r rune) bool    { return isPTBLetter(r) || isPTBDigit(r) }
func isPTBApos(r rune) bool     { return r == '\'' || r == '’' || r == '\u0092' }
func isPTBAposLike(r rune) bool {
	return isPTBApos(r) || r == '`' || r == '‘' || r == '\u0091' || r == '‛'
}
func isPTBHyphen(r rune) bool {
	return r == '-' || r == '_' || r == '\u058a' || r == '‐' || r == '‑'
}

// rules tries every rule at l.at.
func (l *ptbLexer) rules() {
	c := l.peek(l.at)
	switch {
	case isPTBSpaceOrEnd(c):
		return // dropped
	case isPTBLetter(c):
		l.assimilations()
		l.words()
		l.apostropheWords()
		l.addresses()
		l.abbreviations()
		l.compounds()
		l.dollars()
	case isPTBDigit(c):
		l.numbers()
		l.addresses()
		l.compounds()
	default:
		l.symbols(c)
	}
}

// ptbSplit are words of two parts, with the length of the first.
var ptbSplit = []struct {
	word  string
	first int
}{{"cannot", 3}, {"gonna", 3}, {"gotta", 3}, {"lemme", 3}, {"gimme", 3}, {"wanna", 3}}

func (l *ptbLexer) assimilations() {
	for _, s := range ptbSplit {
		if l.has(l.at, s.word) {
			l.offer(l.at+s.first, l.at+len(s.word), "")
		}
	}
}

// wordEnds calls f with every end that a word from i on may have: letters and
// digits after a letter, and such groups between full stops, ! and ?.
func (l *ptbLexer) wordEnds(i int, f func(end int)) {
	for isPTBLetter(l.peek(i)) {
		end := l.span(i, isPTBAlnum)
		for j := i + 1; j <= end; j++ {
			f(j)
		}
		if !strings.ContainsRune(".!?", l.peek(end)) || !isPTBLetter(l.peek(end+1)) {
			return
		}
		i = end + 1
	}
}

// contraction returns the end of 's, 'll and their like at i, or i.
func (l *ptbLexer) contraction(i int) int {
	if !isPTBApos(l.peek(i)) && (l.old || !isPTBAposLike(l.peek(i))) {
		return i
	}
	for _, s := range []string{"re", "ve", "ll"} {
		if l.has(i+1, s) {
			return i + 3
		}
	}
	if !l.old && l.has(i+1, "em") {
		return i + 3
	}
	if i+1 < len(l.text) && strings.ContainsRune("msdMSD", l.text[i+1]) {
		return i + 2
	}
	return i
}

// negation returns the end of n't at i, or i.
func (l *ptbLexer) negation(i int) int {
	if l.has(i, "n") && isPTBAposLike(l.peek(i+1)) && l.has(i+2, "t") {
		return i + 3
	}
	return i
}

// words are plain words, alone and before a contraction.
func (l *ptbLexer) words() {
	longest := l.at
	l.wordEnds(l.at, func(end int) {
		longest = end
		if seen := l.contraction(end); seen > end {
			l.offer(end, seen, "")
		}
	})
	end := l.span(l.at, isASCIILetter)
	for i := l.at + 1; i <= end; i++ {
		if r := l.text[i-1]; r|0x20 == 'n' {
			continue
		}
		if seen := l.negation(i); seen > i {
			l.offer(i, seen, "")
		}
	}
	l.word(longest)
	if l.peek(longest) == '.' && strings.ContainsRune(",;:\u3001", l.peek(longest+1)) {
		l.offer(longest+1, longest+2, "")
	}
	if !l.old { // the number behind a word is a token of its own: "RM1,000"
		l.wordEnds(l.at, func(end int) {
			if isPTBLetter(l.text[end-1]) {
				if seen := l.separatedNumber(end); seen > end {
					l.offer(end, seen, "")
				}
			}
		})
	}
	// n't by itself, where the word before ends
	if end := l.negation(l.at); end > l.at {
		if r := l.peek(end); !isASCIILetter(r) {
			l.offer(end, end+1, "n't")
		}
		l.offer(end, end, "n't")
	}
}

// separatedNumber returns the end of digits with separators at i, or i.
func (l *ptbLexer) separatedNumber(i int) int {
	end := l.span(i, isPTBDigit)
	if end == i {
		return i
	}
	start := end
	for strings.ContainsRune(".:,", l.peek(end)) && isPTBDigit(l.peek(end+1)) {
		end = l.span(end+1, isPTBDigit)
	}
	if end == start {
		return i
	}
	return end
}
