package safetensors

import (
	"encoding/json"
	"fmt"
	"unicode/utf8"
)

// guard walks JSON text from a file before encoding/json sees it. It bounds what
// the decoder would allocate, and it refuses three things that encoding/json
// repairs in silence: a key that occurs twice (the last one wins), bytes that
// are not UTF-8, and half a surrogate pair (both become U+FFFD, so that two
// names can fall together). Numbers and literals it skips: the decoder that
// follows knows their grammar.
type guard struct {
	text       []byte
	pos        int
	maxDepth   int // of nested objects and arrays
	maxMembers int // of one object
	maxItems   int // of one array

	// member, where set, is called after each member of an object. depth is 1
	// for the outermost object, whose parent is "". value is the text of the
	// value and may be overwritten with JSON of the same length.
	member func(depth int, parent, key string, value []byte) error
}

// run walks the whole text, which must be one object and white space around it.
func (g *guard) run() error {
	if !utf8.Valid(g.text) {
		return malformed("", "JSON text is not UTF-8")
	}
	g.space()
	if g.peek() != '{' {
		return g.unexpected("{")
	}
	if err := g.value(0, ""); err != nil {
		return err
	}
	g.space()
	if g.pos != len(g.text) {
		return malformed("", "JSON text: %d bytes follow the object, which ends at byte %d", len(g.text)-g.pos, g.pos)
	}
	return nil
}

// value walks one value; name is the key that it has in its object.
func (g *guard) value(depth int, name string) error {
	switch c := g.peek(); c {
	case '{', '[':
		if depth == g.maxDepth {
			return malformed("", "JSON text: byte %d: nested more than %d deep", g.pos, g.maxDepth)
		}
		g.pos++
		if c == '{' {
			return g.object(depth+1, name)
		}
		return g.array(depth + 1)
	case '"':
		_, err := g.str()
		return err
	}
	start := g.pos
	for g.pos < len(g.text) && !delimits(g.text[g.pos]) {
		g.pos++
	}
	if g.pos == start {
		return g.unexpected("a value")
	}
	return nil
}

// delimits says whether a number or literal ends before c.
func delimits(c byte) bool {
	switch c {
	case '"', '{', '}', '[', ']', ',', ':', ' ', '\t', '\r', '\n':
		return true
	}
	return false
}

func (g *guard) object(depth int, name string) error {
	seen := make(map[string]struct{})
	for first := true; ; first = false {
		g.space()
		if first && g.take('}') {
			return nil
		}
		if len(seen) == g.maxMembers {
			return unsupported("", "JSON text: byte %d: object has more than %d members", g.pos, g.maxMembers)
		}
		if g.peek() != '"' {
			return g.unexpected("a key")
		}
		key, err := g.str()
		if err != nil {
			return err
		}
		if _, ok := seen[key]; ok {
			return malformed("", "JSON text: byte %d: key %q occurs twice", g.pos, shorten(key))
		}
		seen[key] = struct{}{}
		g.space()
		if !g.take(':') {
			return g.unexpected(":")
		}
		g.space()
		start := g.pos
		if err := g.value(depth, key); err != nil {
			return err
		}
		if g.member != nil {
			if err := g.member(depth, name, key, g.text[start:g.pos]); err != nil {
				return err
			}
		}
		g.space()
		if g.take('}') {
			return nil
		}
		if !g.take(',') {
			return g.unexpected(", or }")
		}
	}
}

func (g *guard) array(depth int) error {
	for n := 0; ; n++ {
		g.space()
		if n == 0 && g.take(']') {
			return nil
		}
		if n == g.maxItems {
			return unsupported("", "JSON text: byte %d: array has more than %d items", g.pos, g.maxItems)
		}
		if err := g.value(depth, ""); err != nil {
			return err
		}
		g.space()
		if g.take(']') {
			return nil
		}
		if !g.take(',') {
			return g.unexpected(", or ]")
		}
	}
}

// str walks a string and returns what it stands for.
func (g *guard) str() (string, error) {
	start := g.pos
	escaped := false
	for g.pos++; g.pos < len(g.text); g.pos++ {
		switch c := g.text[g.pos]; {
		case c == '"':
			g.pos++
			return decodeString(g.text[start:g.pos], escaped)
		case c < 0x20:
			return "", malformed("", "JSON text: byte %d: control character %#02x in a string", g.pos, c)
		case c == '\\':
			escaped = true
			if err := g.escape(); err != nil {
				return "", err
			}
		}
	}
	return "", malformed("", "JSON text: string that starts at byte %d does not end", start)
}

func decodeString(quoted []byte, escaped bool) (string, error) {
	if !escaped {
		return string(quoted[1 : len(quoted)-1]), nil
	}
	var s string
	if err := json.Unmarshal(quoted, &s); err != nil {
		return "", malformed("", "JSON text: %w", err)
	}
	return s, nil
}

// escape walks the escape that starts at pos up to its last byte.
func (g *guard) escape() error {
	switch unit := g.hex4(g.pos); {
	case unit < 0:
		// One of the short escapes, or one that decodeString refuses.
		g.pos++
	case unit >= 0xdc00 && unit < 0xe000:
		return malformed("", "JSON text: byte %d: low surrogate without a high one", g.pos)
	case unit >= 0xd800 && unit < 0xdc00:
		if low := g.hex4(g.pos + 6); low < 0xdc00 || low >= 0xe000 {
			return malformed("", "JSON text: byte %d: high surrogate without a low one", g.pos)
		}
		g.pos += 11
	default:
		g.pos += 5
	}
	return nil
}

// hex4 returns the value of the \uXXXX at position i, or -1 if there is none.
func (g *guard) hex4(i int) int {
	if i+6 > len(g.text) || g.text[i] != '\\' || g.text[i+1] != 'u' {
		return -1
	}
	unit := 0
	for _, c := range g.text[i+2 : i+6] {
		switch {
		case c >= '0' && c <= '9':
			unit = unit<<4 | int(c-'0')
		case c >= 'a' && c <= 'f':
			unit = unit<<4 | int(c-'a'+10)
		case c >= 'A' && c <= 'F':
			unit = unit<<4 | int(c-'A'+10)
		default:
			return -1
		}
	}
	return unit
}

func (g *guard) space() {
	for g.pos < len(g.text) {
		switch g.text[g.pos] {
		case ' ', '\t', '\r', '\n':
			g.pos++
		default:
			return
		}
	}
}

// peek returns the next byte, or 0 at the end: a NUL byte is not JSON either.
func (g *guard) peek() byte {
	if g.pos < len(g.text) {
		return g.text[g.pos]
	}
	return 0
}

func (g *guard) take(c byte) bool {
	if g.peek() != c {
		return false
	}
	g.pos++
	return true
}

func (g *guard) unexpected(want string) error {
	got := "the end"
	if g.pos < len(g.text) {
		got = fmt.Sprintf("%q", g.text[g.pos])
	}
	return malformed("", "JSON text: byte %d: want %s, got %s", g.pos, want, got)
}
