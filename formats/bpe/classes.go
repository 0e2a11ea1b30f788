package bpe

import (
	"sync"
	"unicode"
	"unicode/utf8"
)

// class is what the word pattern asks of a character.
type class uint8

const (
	symbol class = iota // everything else, and invalid bytes
	letter              // \p{L}
	number              // \p{N}
	space               // \s, the property White_Space
)

// Letters and numbers of Unicode 15.1, 16 and 17 that package unicode of Go
// 1.26 (Unicode 15.0) does not know. They are listed here so that the ids of a
// text do not depend on the Go release that built the program.
//
// Source: DerivedGeneralCategory.txt 17.0, as seen by Python's regex 2026.5.9.
var newLetters = [][2]rune{
	{0x088f, 0x088f}, {0x0c5c, 0x0c5c}, {0x0cdc, 0x0cdc}, {0x1c89, 0x1c8a},
	{0xa7cb, 0xa7cf}, {0xa7d2, 0xa7d2}, {0xa7d4, 0xa7d4}, {0xa7da, 0xa7dc},
	{0xa7f1, 0xa7f1}, {0x105c0, 0x105f3}, {0x10940, 0x10959}, {0x10d4a, 0x10d65},
	{0x10d6f, 0x10d85}, {0x10ec2, 0x10ec7}, {0x11380, 0x11389}, {0x1138b, 0x1138b},
	{0x1138e, 0x1138e}, {0x11390, 0x113b5}, {0x113b7, 0x113b7}, {0x113d1, 0x113d1},
	{0x113d3, 0x113d3}, {0x11bc0, 0x11be0}, {0x11db0, 0x11ddb}, {0x13460, 0x143fa},
	{0x16100, 0x1611d}, {0x16d40, 0x16d6c}, {0x16ea0, 0x16eb8}, {0x16ebb, 0x16ed3},
	{0x16ff2, 0x16ff3}, {0x187f8, 0x187ff}, {0x18cff, 0x18cff}, {0x18d09, 0x18d1e},
	{0x18d80, 0x18df2}, {0x1e5d0, 0x1e5ed}, {0x1e5f0, 0x1e5f0}, {0x1e6c0, 0x1e6de},
	{0x1e6e0, 0x1e6e2}, {0x1e6e4, 0x1e6e5}, {0x1e6e7, 0x1e6ed}, {0x1e6f0, 0x1e6f4},
	{0x1e6fe, 0x1e6ff}, {0x2b73a, 0x2b73f}, {0x2cea2, 0x2cead}, {0x2ebf0, 0x2ee5d},
	{0x323b0, 0x33479},
}

var newNumbers = [][2]rune{
	{0x10d40, 0x10d49}, {0x116d0, 0x116e3}, {0x11bf0, 0x11bf9}, {0x11de0, 0x11de9},
	{0x16130, 0x16139}, {0x16d70, 0x16d79}, {0x16ff4, 0x16ff6}, {0x1ccf0, 0x1ccf9},
	{0x1e5f1, 0x1e5fa},
}

// classLimit is one past the last letter, number or space; the code points from
// there on are variation selectors, tags, private use and unassigned.
const classLimit = 0x33480

// runeClasses holds the class of every code point below classLimit (206 KiB).
var runeClasses = sync.OnceValue(func() *[classLimit]class {
	t := new([classLimit]class)
	set := func(table *unicode.RangeTable, c class) {
		for _, r := range table.R16 {
			for k := rune(r.Lo); k <= rune(r.Hi); k += rune(r.Stride) {
				t[k] = c
			}
		}
		for _, r := range table.R32 {
			for k := rune(r.Lo); k <= rune(r.Hi) && k < classLimit; k += rune(r.Stride) {
				t[k] = c
			}
		}
	}
	set(unicode.L, letter)
	set(unicode.N, number)
	set(unicode.White_Space, space)
	for _, r := range newLetters {
		for k := r[0]; k <= r[1]; k++ {
			t[k] = letter
		}
	}
	for _, r := range newNumbers {
		for k := r[0]; k <= r[1]; k++ {
			t[k] = number
		}
	}
	return t
})

// classifier finds the class of the character at the start of a text.
type classifier struct{ table *[classLimit]class }

func newClassifier() classifier { return classifier{runeClasses()} }

// first returns the class and the length of the first character of text, which
// is not empty.
func (c classifier) first(text []byte) (class, int) {
	if b := text[0]; b < utf8.RuneSelf {
		return c.table[b], 1
	}
	r, size := utf8.DecodeRune(text)
	return c.of(r, size), size
}

// of returns the class of a decoded rune of size bytes.
func (c classifier) of(r rune, size int) class {
	if r >= classLimit || r == utf8.RuneError && size == 1 {
		return symbol
	}
	return c.table[r]
}
