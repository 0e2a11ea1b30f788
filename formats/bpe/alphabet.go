package bpe

import (
	"fmt"
	"unicode/utf8"
)

// The byte alphabet writes each byte as one visible character, so that a token
// is text without spaces. It also fixes the order in which GPT-2 numbers the
// 256 byte tokens: that of the characters.
//
// Source: openai/gpt-2, src/encoder.py, bytes_to_unicode.

// alphabetSize is one past the last code point of the alphabet.
const alphabetSize = 0x100 + 68

// alphabet holds both directions.
type alphabet struct {
	runeOf [256]rune          // character of a byte
	byteOf [alphabetSize]byte // byte of a character, where known
	known  [alphabetSize]bool
	order  [256]byte // bytes in the order of their characters
}

var letters = newAlphabet()

func newAlphabet() *alphabet {
	a := new(alphabet)
	hidden := rune(0x100)
	for b := range 256 {
		r := rune(b)
		if !visible(b) {
			r = hidden
			hidden++
		}
		a.runeOf[b] = r
		a.byteOf[r], a.known[r] = byte(b), true
	}
	n := 0
	for r, ok := range a.known {
		if ok {
			a.order[n] = a.byteOf[r]
			n++
		}
	}
	return a
}

// visible reports whether b stands for itself: Latin-1 without the controls,
// the spaces and the soft hyphen.
func visible(b int) bool {
	return 0x21 <= b && b <= 0x7e || 0xa1 <= b && b <= 0xac || 0xae <= b
}

// appendAlphabet appends token as written in the alphabet.
func appendAlphabet(dst, token []byte) []byte {
	for _, b := range token {
		dst = utf8.AppendRune(dst, letters.runeOf[b])
	}
	return dst
}

// fromAlphabet returns the bytes of a token written in the alphabet.
func fromAlphabet(token string) ([]byte, error) {
	if token == "" {
		return nil, fmt.Errorf("empty token")
	}
	out := make([]byte, 0, len(token))
	for _, r := range token {
		if r >= alphabetSize || !letters.known[r] {
			return nil, fmt.Errorf("token %.60q: character %U is outside the byte alphabet", token, r)
		}
		out = append(out, letters.byteOf[r])
	}
	return out, nil
}
