package bpe

import "unicode/utf8"

// longestWord bounds what is merged at once, so that positions in a word fit
// 32 bits.
const longestWord = 1 << 30

// wordLen returns the length of the first word of text, which is not empty.
func (c classifier) wordLen(text []byte) int {
	if text[0] == '\'' {
		if n := contraction(text); n > 0 {
			return n
		}
	}
	kind, n := c.first(text)
	if text[0] == ' ' && len(text) > 1 {
		if k, _ := c.first(text[1:]); k != space {
			kind = k // " ?" took the space
		}
	}
	if kind == space {
		return c.spaceLen(text)
	}
	for n < len(text) {
		k, size := c.first(text[n:])
		if k != kind {
			return n
		}
		n += size
	}
	return n
}

// contraction returns the length of 's 't 're 've 'm 'll 'd at the start of
// text, which begins with the quote, or 0.
func contraction(text []byte) int {
	if len(text) < 2 {
		return 0
	}
	switch text[1] {
	case 's', 't', 'm', 'd':
		return 2
	case 'r', 'v':
		if len(text) > 2 && text[2] == 'e' {
			return 3
		}
	case 'l':
		if len(text) > 2 && text[2] == 'l' {
			return 3
		}
	}
	return 0
}

// spaceLen returns the length of the word at the start of text, which begins
// with white space that does not belong to what follows: the whole run at the
// end of the text, otherwise the run without its last character, unless that is
// its only one.
func (c classifier) spaceLen(text []byte) int {
	n, last := 0, 0
	for n < len(text) {
		k, size := c.first(text[n:])
		if k != space {
			if last > 0 {
				return last
			}
			return n
		}
		last = n
		n += size
	}
	return n
}

// LastBoundary returns the greatest n > 0 at which text can be cut without
// changing its ids, whatever comes before or after text:
//
//	Encode(a + text + b) = Encode(a + text[:n]) + Encode(text[n:] + b)
//
// It returns 0 if there is no such place. The cost is that of the bytes after n.
func LastBoundary(text []byte) int {
	// A word never goes on from a letter or a number to another class, nor from
	// a symbol to a number or to white space (from a symbol to a letter it can:
	// 's). Neither side looks further than that: only white space is cut
	// depending on what follows it.
	c := newClassifier()
	end := len(text)
	r, size := utf8.DecodeLastRune(text)
	for end > size {
		// An invalid byte may be the start of a character that b completes, or
		// its rest; such a pair decides nothing.
		known := r != utf8.RuneError || size > 1
		start := end - size
		before, beforeSize := utf8.DecodeLastRune(text[:start])
		if known && (before != utf8.RuneError || beforeSize > 1) {
			left, right := c.of(before, beforeSize), c.of(r, size)
			if left != space && left != right && (left != symbol || right != letter) {
				return start
			}
		}
		end, r, size = start, before, beforeSize
	}
	return 0
}
