package metrics

import (
	"regexp"
	"strings"
	"unicode"
)

// Numbers with two or three parts.
var (
	ptbDate     = regexp.MustCompile(`^[0-9]{1,2}[-/][0-9]{1,2}[-/][0-9]{2,4}`)
	ptbFraction = regexp.MustCompile("^([0-9]{1,4}[- \u00a0])?[0-9]{1,4}(/|\u2044)[0-9]{1,4}")
	ptbUnits    = regexp.MustCompile(`^(?i)(usd|eur|jpy|gbp|aud|cad|chf|cny|sek|nzd|mxn|sgd|hkd|nok|krw|try|rub|inr|brl|zar|lbs?|ltr|mins?|[kcm][gml]|fps|bpm|[ap]m|hrs?|words?|m(on)?ths?|y(ea)?rs?|pts?)`)
)

// number returns the end of a number at i, or i: digits with full stops, commas
// and colons between them, which in 3.4.1 may all come first too.
func (l *ptbLexer) number(i int) int {
	end := l.span(i, isPTBDigit)
	first := ".:,"
	if !l.old && end == i {
		first = "."
	}
	for strings.ContainsRune(first+"\u00ad\u066b\u066c", l.peek(end)) && isPTBDigit(l.peek(end+1)) {
		end = l.span(end+1, isPTBDigit)
		first = ".:,"
	}
	return end
}

func (l *ptbLexer) numbers() {
	rest := string(l.text[l.at:min(len(l.text), l.at+32)])
	try := func(p *regexp.Regexp) {
		if m := p.FindString(rest); m != "" {
			l.word(l.at + len([]rune(m)))
		}
	}
	try(ptbDate)
	end := l.number(l.at)
	l.word(end)
	if !l.old { // numbers joined by hyphens: "01:01-17"
		for isPTBHyphen(l.peek(end)) {
			next := max(l.number(end+1), l.span(end+1, isPTBAlnum))
			if next == end+1 {
				break
			}
			end = next
		}
		l.word(end)
	}
	try(ptbFraction)
	try(ptbPhone)
	if !l.old {
		digits := l.span(l.at, isPTBDigit)
		if unit := ptbUnits.FindString(string(l.text[digits:min(len(l.text), digits+8)])); unit != "" {
			l.offer(digits, digits+len(unit), "")
		}
	}
}

// ptbCurrency are signs that the Treebank writes otherwise.
var ptbCurrency = map[rune]string{'£': "#", '€': "$", '\u0080': "$", '¤': "$", '\u20a0': "$", '¢': "cents"}

// ptbBrackets are written as names.
var ptbBrackets = map[rune]string{'(': "-lrb-", ')': "-rrb-", '[': "-lsb-", ']': "-rsb-", '{': "-lcb-", '}': "-rcb-"}

// ptbFractionSigns are written out.
var ptbFractionSigns = map[rune]string{'¼': "1/4", '½': "1/2", '¾': "3/4", '⅓': "1/3", '⅔': "2/3"}

var (
	ptbTag    = regexp.MustCompile(`^<([!?][A-Za-z-][^>]*|/?[A-Za-z][A-Za-z0-9_:.-]*( +[A-Za-z][A-Za-z0-9_:.-]*( *= *('[^']*'|"[^"]*"))?)* */?) *>`)
	ptbSmiley = regexp.MustCompile(`^[<>]?[:;=][-o*']?[()DPdpO\\{@|\[\]]`)
)

// symbols are tokens that start with neither letter nor digit.
func (l *ptbLexer) symbols(c rune) {
	at := l.at
	run := func(r rune) int { return l.span(at, func(x rune) bool { return x == r }) }
	switch c {
	case '<', '>', ':', ';', '=':
		rest := string(l.text[at:min(len(l.text), at+200)])
		if m := ptbTag.FindString(rest); m != "" {
			l.word(at + len([]rune(m)))
		}
		if m := ptbSmiley.FindString(rest); m != "" && !isASCIIAlnum(l.peek(at+len(m))) {
			l.offer(at+len(m), at+len(m)+1, strings.NewReplacer("(", "-lrb-", ")", "-rrb-").Replace(m))
		}
		if (c == '<' || c == '>') && l.peek(at+1) == c {
			l.word(at + 2)
		}
	case '\'', '’', '\u0092', '`', '‘', '‛', '\u0091', '"', '“', '”', '«', '»', '‹', '›', '‚', '„', '‟':
		l.quotes(c)
		return
	case '-', '−', '+':
		l.signs(c)
	case '–', '—', '―', '\u0096', '\u0097':
		l.offer(at+1, at+1, "--")
	case '.', '…':
		l.fullStops()
	case '@', '#':
		end := l.span(at+1, isPTBLetter)
		if c == '@' && (isASCIILetter(l.peek(at+1)) || l.peek(at+1) == '_') {
			end = l.span(at+1, func(r rune) bool { return isASCIIAlnum(r) || r == '_' })
		}
		if end > at+1 {
			l.word(end)
		}
		l.word(run(c))
	case '_', '*':
		l.word(run(c))
	case '?', '!':
		l.word(l.span(at, func(r rune) bool { return r == '?' || r == '!' }))
	case ',':
		if end := l.number(at); l.old && end > at {
			l.word(end)
		}
	case '(':
		if m := ptbPhone.FindString(string(l.text[at:min(len(l.text), at+32)])); m != "" {
			l.offer(at+len([]rune(m)), at+len([]rune(m)), strings.NewReplacer("(", "-lrb-", ")", "-rrb-", " ", "\u00a0").Replace(m))
		}
	case '´':
		if !l.old {
			l.offer(at+1, at+1, "'")
		}
	}
	if c == ':' && l.old {
		if end := l.number(at); end > at {
			l.word(end)
		}
	}
	if name := ptbBrackets[c] + ptbCurrency[c] + ptbFractionSigns[c]; name != "" {
		l.offer(at+1, at+1, name)
	}
	if isPTBSymbol(c) {
		l.word(at + 1)
	}
}

// isPTBSymbol reports whether c is a token by itself; the rest is dropped.
func isPTBSymbol(c rune) bool {
	return c < 0x80 && c > ' ' && c != 0x7f || strings.ContainsRune("¥¡¿§¨©¬®¯´¶·¸¹º×÷¦\u3001\u3002", c) || '\u00b0' <= c && c <= '\u00ba' ||
		unicode.In(c, unicode.Sm, unicode.Sc, unicode.So, unicode.Sk) || '\u2016' <= c && c <= '\u204f' || '\u2070' <= c && c <= '\u209c' || '\u2150' <= c && c <= '\u215e'
}

// signs are hyphens and signs of numbers.
func (l *ptbLexer) signs(c rune) {
	at := l.at
	for _, name := range []string{"-rrb-", "-lrb-", "-rcb-", "-lcb-", "-rsb-", "-lsb-"} {
		if l.has(at, name) {
			l.word(at + len(name))
		}
	}
	if end := l.number(at + 1); end > at+1 && (c != '−' || !l.old) {
		if !l.old && c != '+' && l.joinsNumbers() {
			l.offer(at+1, end, "") // 20-25, written apart
		} else {
			l.word(end)
			if !l.old {
				l.word(l.hyphenated(end))
			}
		}
	}
	if c == '-' {
		end := l.span(at, func(r rune) bool { return r == '-' })
		if n := end - at; n == 3 || n == 4 {
			l.offer(end, end, "--")
		}
		l.word(end)
	}
}

// joinsNumbers reports whether the token before makes a hyphen no sign.
func (l *ptbLexer) joinsNumbers() bool {
	switch strings.ToLower(l.last) {
	case "early", "mid", "late", "for", "top", "£", "$", "€":
		return true
	}
	return false
}

// fullStops are dots and numbers that start with one.
func (l *ptbLexer) fullStops() {
	at := l.at
	if l.text[at] == '…' {
		l.offer(at+1, at+1, "...")
		return
	}
	if end := l.number(at); end > at {
		l.word(end)
	}
	end := min(at+5, l.span(at, func(r rune) bool { return r == '.' }))
	if end-at >= 3 {
		l.offer(end, end, "...")
	}
	// dots with spaces between them
	n := 0
	for n < 4 && l.peek(at+2*n) == '.' && (l.peek(at+2*n+1) == ' ' || l.peek(at+2*n+1) == '\u00a0') {
		n++
	}
	for ; n >= 2; n-- {
		if l.peek(at+2*n) == '.' {
			l.offer(at+2*n+1, at+2*n+1, "...")
			break
		}
	}
}

// quotes are quotation marks, apostrophes and what starts with one.
func (l *ptbLexer) quotes(c rune) {
	at := l.at
	if isPTBApos(c) || !l.old && isPTBAposLike(c) {
		if l.has(at+1, "twas") {
			l.offer(at+2, at+5, "'t")
		}
		if l.has(at+1, "tis") {
			l.offer(at+2, at+4, "'t")
		}
		// Words that start with an apostrophe; newer releases write a straight one.
		word := func(end int) {
			token := ""
			if !l.old {
				token = "'" + string(l.text[at+1:end])
			}
			l.offer(end, end, token)
		}
		for _, w := range []string{"em", "till", "til", "cause"} {
			if l.has(at+1, w) {
				word(at + 1 + len(w))
			}
		}
		if d := l.peek(at + 1); '1' <= d && d <= '9' && l.peek(at+2) == '0' && l.has(at+3, "s") && (!l.old || d != '1') {
			word(at + 4)
		}
		if l.has(at+1, "n") {
			if isPTBApos(l.peek(at + 2)) {
				word(at + 3)
			}
			word(at + 2)
		}
		if isDigitRune(l.peek(at+1)) && isDigitRune(l.peek(at+2)) && isPTBSpaceOrEnd(l.peek(at+3)) {
			l.offer(at+3, at+4, "")
		}
		if end := l.contraction(at); end > at && (c == '\'' || l.old || !isASCIILetter(l.peek(end))) {
			token := strings.NewReplacer("’", "'", "\u0092", "'", "‘", "`", "\u0091", "`").Replace(string(l.text[at:end]))
			if !isASCIILetter(l.peek(end)) {
				l.offer(end, end+1, token)
			}
			if c == '\'' && isASCIILetter(l.peek(at+1)) && !isPTBSpaceOrEnd(l.peek(at+2)) {
				l.offer(at+1, at+3, "`")
			}
			l.offer(end, end, token)
		}
	}
	switch {
	case c == '"':
		if r := l.peek(at + 1); isASCIIAlnum(r) || r == '$' {
			l.offer(at+1, at+2, "``")
		}
		l.offer(at+1, at+1, "''")
		return
	case c == '\'' && isASCIILetter(l.peek(at+1)) && !isPTBSpaceOrEnd(l.peek(at+2)):
		l.offer(at+1, at+3, "`")
	}
	isQuote := func(r rune) bool {
		return strings.ContainsRune("`‘’‚‛“”\u0091\u0092\u0093\u0094„‟‹›«»", r)
	}
	end := at + 1
	if c == '\'' && l.peek(end) == '\'' || c != '\'' && isQuote(l.peek(end)) {
		end++
	}
	l.offer(end, end, ptbQuote.Replace(string(l.text[at:end])))
}

// ptbQuote writes quotation marks as the Treebank does.
var ptbQuote = strings.NewReplacer("‘", "`", "‛", "`", "\u0091", "`", "‹", "`", "’", "'", "\u0092", "'", "›", "'",
	"“", "``", "\u0093", "``", "«", "``", "”", "''", "\u0094", "''", "»", "''")
