package metrics

import (
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// apostropheWords are words with an apostrophe inside or at an end.
func (l *ptbLexer) apostropheWords() {
	for _, w := range []string{"c'mon", "nor'easter", "e'er", "s'mores", "ev'ry", "li'l", "nat'l", "o'o"} {
		if l.hasApos(w) {
			l.word(l.at + len(w))
		}
	}
	for _, w := range []string{"dunkin'", "somethin'", "ol'", "l'", "d'", "j'"} {
		if l.hasApos(w) {
			l.word(l.at + len(w))
		}
	}
	first := l.text[l.at]
	if isPTBAposLike(l.peek(l.at+1)) && ('A' <= first && first <= 'Z' && first != 'I' && first != 'Y' || first == 'n') {
		if end := l.span(l.at+2, unicode.IsLetter); end-l.at-2 >= 2 {
			l.word(end) // O'Donnell
		}
	}
	if end := l.span(l.at, unicode.IsLetter); end > l.at+1 && strings.ContainsRune("aeiouyAEIOUY", l.text[end-1]) && isPTBAposLike(l.peek(end)) {
		if r := l.peek(end + 1); strings.ContainsRune("aeiou", r) || 'A' <= r && r <= 'Z' {
			l.word(l.span(end+2, unicode.IsLetter)) // Shi'ite
		}
	}
	if !l.old { // any words joined by apostrophes
		for ends := []int{l.at}; len(ends) > 0; {
			var next []int
			for _, start := range ends {
				l.wordEnds(start, func(end int) {
					if start > l.at && l.contraction(start-1) != end {
						l.joined(end)
					}
					if isPTBAposLike(l.peek(end)) && !slices.Contains(next, end+1) {
						next = append(next, end+1)
					}
				})
			}
			ends = next
		}
	}
	if l.has(l.at, "y") && isPTBApos(l.peek(l.at+1)) && unicode.IsLetter(l.peek(l.at+2)) {
		l.offer(l.at+2, l.at+3, "")
	}
	// d'X, l'X and o'X with hyphens
	if strings.ContainsRune("dDoOlL", first) && isPTBAposLike(l.peek(l.at+1)) && isPTBAlnum(l.peek(l.at+2)) && isPTBAlnum(l.peek(l.at+3)) {
		l.word(l.hyphenated(l.span(l.at+3, isPTBAlnum)))
	}
}

// joined proposes words with apostrophes inside, which are written with straight
// ones. A contraction at the end is not inside.
func (l *ptbLexer) joined(end int) {
	token := strings.Map(func(r rune) rune {
		if isPTBApos(r) {
			return '\''
		}
		return r
	}, string(l.text[l.at:end]))
	if seen := l.contraction(end); seen > end {
		l.offer(end, seen, token)
	}
	l.offer(end, end, token)
}

// hasApos is has for a word with an apostrophe of any kind.
func (l *ptbLexer) hasApos(word string) bool {
	for i, r := range []rune(word) {
		c := l.peek(l.at + i)
		if r == '\'' && !isPTBApos(c) || r != '\'' && unicode.ToLower(c) != r {
			return false
		}
	}
	return true
}

// hyphenated extends a word that ends at end by groups behind hyphens.
func (l *ptbLexer) hyphenated(end int) int {
	for isPTBHyphen(l.peek(end)) {
		next := l.span(end+1, isPTBAlnum)
		if next == end+1 {
			return end
		}
		if next == end+2 && strings.ContainsRune("dDoOlL", l.text[end+1]) && isPTBAposLike(l.peek(next)) && isPTBAlnum(l.peek(next+1)) {
			next = l.span(next+1, isPTBAlnum)
		}
		end = next
	}
	return end
}

// compounds are words and numbers with hyphens, slashes and ampersands.
func (l *ptbLexer) compounds() {
	start := l.span(l.at, isPTBAlnum)
	end := l.hyphenated(start)
	l.asciiCompound()
	l.word(end)
	if l.peek(end) == '.' && strings.ContainsRune(",;:\u3001", l.peek(end+1)) {
		l.offer(end+1, end+2, "")
	}
	l.slashed()
	// AT&T
	isCapital := func(r rune) bool { return 'A' <= r && r <= 'Z' }
	if end := l.span(l.at, isCapital); end > l.at {
		more := end
		for (l.peek(more) == '&' || l.peek(more) == '+') && isCapital(l.peek(more+1)) {
			more = l.span(more+1, isCapital)
		}
		if more > end {
			l.word(more)
		}
	}
	for _, w := range []string{"pro-", "anti-", "c++", "c#", "f#"} {
		if l.has(l.at, w) {
			l.word(l.at + len(w))
		}
	}
}

// asciiCompound is a run of letters, digits, full stops and commas with groups
// behind hyphens: "4.5-star", but "food,kid-friendly" too.
func (l *ptbLexer) asciiCompound() {
	if !isASCIIAlnum(l.text[l.at]) {
		return
	}
	inside := func(r rune) bool { return isASCIIAlnum(r) || r == '.' || r == ',' || r == '\u00ad' }
	hyphen := func(r rune) bool { return r == '-' || r == '_' && !l.old }
	end := l.span(l.at+1, inside)
	if !hyphen(l.peek(end)) {
		return
	}
	best := l.at
	for hyphen(l.peek(end)) {
		next := l.span(end+1, isASCIIAlnum)
		if next == end+1 {
			break
		}
		if acronym := l.acronym(end + 1); acronym > end+2 && l.peek(acronym) == '.' {
			best = max(best, acronym+1) // non-U.S.
			if hyphen(l.peek(acronym + 1)) {
				end = acronym + 1
				continue
			}
		}
		end = next
		if !l.old && l.peek(end) == '.' && isDigitRune(l.peek(end+1)) {
			end = l.span(end+1, isDigitRune)
		}
		best = max(best, end)
	}
	if best > l.at {
		if l.peek(best) == '.' && strings.ContainsRune(",;:\u3001", l.peek(best+1)) {
			l.offer(best+1, best+2, "")
		}
		l.word(best)
	}
}

// acronym returns the end of letters between full stops at i, without the last.
func (l *ptbLexer) acronym(i int) int {
	if !isASCIILetter(l.peek(i)) {
		return i
	}
	end := i + 1
	for l.peek(end) == '.' && isASCIILetter(l.peek(end+1)) {
		end += 2
	}
	return end
}

// slashed are words on both sides of a slash.
func (l *ptbLexer) slashed() {
	part := func(i int) int {
		end := l.span(i, isASCIIAlnum)
		if end == i {
			return i
		}
		for n := 0; n < 2 && l.peek(end) == '-' && isASCIILetter(l.peek(end+1)); n++ {
			end = l.span(end+1, isASCIILetter)
		}
		return end
	}
	end := part(l.at)
	slashes := 0
	for slashes < 2 && end > l.at && l.peek(end) == '/' {
		next := part(end + 1)
		if next == end+1 {
			break
		}
		end = next
		slashes++
	}
	if slashes > 0 {
		l.word(end)
	}
}

// dollars are currencies such as US$.
func (l *ptbLexer) dollars() {
	if end := l.span(l.at, func(r rune) bool { return 'A' <= r && r <= 'Z' }); l.peek(end) == '$' {
		l.word(end + 1)
	}
}

// Addresses of the net, mail and files.
var (
	ptbURL   = regexp.MustCompile(`^(?i:https?)://[^\s"<>|(){}]+[^\s"<>|.!?(){},-]`)
	ptbSite  = regexp.MustCompile("^(?i)(www\\.([^\\s\"<>|.!?(){},]+\\.)+[a-z]{2,4}|([^\\s\"`'<>|.!?(){},$/]+\\.)+(com|net|org|edu))(/[^\\s\"<>|()]+[^\\s\"<>|.!?(){},-])?")
	ptbEmail = regexp.MustCompile(`^[a-zA-Z0-9][^\s"<>|(){}]*@([^\s"<>|(){}.]+\.)*[^\s"<>|(){}.]+`)
	ptbPhone = regexp.MustCompile(`^((\([0-9]{2,3}\)[ \x{a0}]?|(\+\+?)?([0-9]{2,4}[- \x{a0}])?[0-9]{2,4}[- \x{a0}])[0-9]{3,4}[- \x{a0}]?[0-9]{3,5}|((\+\+?)?[0-9]{2,4}\.)?[0-9]{2,4}\.[0-9]{3,4}\.[0-9]{3,5})`)
)

// addresses tries what is rare and costly only where a mark of it is in sight.
func (l *ptbLexer) addresses() {
	end := l.span(l.at, func(r rune) bool { return !isPTBSpaceOrEnd(r) })
	chunk := string(l.text[l.at:end])
	try := func(p *regexp.Regexp) {
		if m := p.FindString(chunk); m != "" {
			l.word(l.at + len([]rune(m)))
		}
	}
	if strings.Contains(chunk, "://") {
		try(ptbURL)
	}
	if strings.Contains(chunk, "@") {
		try(ptbEmail)
	}
	for _, mark := range []string{"www.", ".com", ".net", ".org", ".edu"} {
		if strings.Contains(lowerASCII(chunk), mark) {
			try(ptbSite)
			break
		}
	}
}

// ptbAbbreviations keep their full stop.
var ptbAbbreviations = abbreviationSet(`jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thurs fri
ala ariz az ark calif colo conn ct dak del fla ga ill ind kan kans ky la mass md mich minn miss mo mont neb nev okla ore pa penn tenn tex va
vt wash wis wisc wyo inc co cos corp pty pte ltys ppty ltd plc rt bancorp bhd assn univ intl sys tel est ext sq jr sr bros esq etc al seq bldg
mr mrs ms dr drs prof profs sen sens rep reps atty attys lt col gen messrs gov govs adm rev maj sgt cpl pvt capt st ste ave pres lieut hon
brig cmdr comdr pfc spc supt supts det mt ft adj adv asst assoc ens insp mlle mme msgr sfc vs alex wm jos cie cf treas ph invt elec natl mfg
mtg dept`)

// Releases differ in a few.
var (
	ptbAbbreviationsOld = abbreviationSet("blvd rd")
	ptbAbbreviationsNew = abbreviationSet("sci eng min max avg pl lb ect pls wrt orig incl kr eg cir cit blvd rd")
)

// ptbBeforeNumbers keep it before a digit.
var ptbBeforeNumbers = abbreviationSet("ca fig figs prop no nos art bldg pp op")

func abbreviationSet(words string) map[string]bool {
	set := map[string]bool{}
	for word := range strings.FieldsSeq(words) {
		set[word] = true
	}
	return set
}

// ptbStarters are words that begin a sentence, if a capital does.
var ptbStarters = strings.Fields(`About According Additionally After An A As At But Earlier He Her Here However If In It Last Many More Now Once One
Other Our She Since So Some Such That The Their Then There These They This We When While What Yet You`)

// abbreviations are words that end in a full stop.
func (l *ptbLexer) abbreviations() {
	end := l.span(l.at, isASCIILetter)
	if l.peek(end) == '.' {
		word := strings.ToLower(string(l.text[l.at:end]))
		own := ptbAbbreviationsNew
		if l.old {
			own = ptbAbbreviationsOld
		}
		if ptbAbbreviations[word] || own[word] {
			l.word(end + 1)
		}
		if next := l.peek(end + 1); ptbBeforeNumbers[word] && (isDigitRune(next) || isPTBSpace(next) && isDigitRune(l.peek(end+2))) {
			l.word(end + 1)
		}
		if (word == "ed" || word == "ph") && l.has(end+1, "d.") {
			l.word(end + 3)
		}
	}
	if end := l.acronym(l.at); end > l.at && l.peek(end) == '.' {
		if end == l.at+1 {
			// The full stop behind a single letter ends a sentence before some words.
			next := l.span(end+1, isPTBSpace)
			stop := l.span(next, unicode.IsLetter)
			if next > end+1 && isPTBSpaceOrEnd(l.peek(stop)) && slices.Contains(ptbStarters, string(l.text[next:stop])) {
				l.offer(end, stop+1, "")
			}
		}
		l.word(end + 1)
	}
}
