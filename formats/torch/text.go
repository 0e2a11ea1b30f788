package torch

import (
	"bytes"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxDigits bounds whole numbers, whose conversion takes quadratic time.
const maxDigits = 1000

// parseInt reads the number of INT and LONG. LONG may end in an L; INT has 00
// and 01 for False and True.
func parseInt(line []byte, long bool) (any, error) {
	s := string(bytes.TrimSpace(line))
	if !long && (s == "00" || s == "01") {
		return s == "01", nil
	}
	if long {
		s = strings.TrimSuffix(s, "L")
	}
	if v, err := strconv.ParseInt(s, 10, 64); err == nil {
		return v, nil
	}
	if len(s) > maxDigits {
		return nil, malformed("number has %d digits, limit %d", len(s), maxDigits)
	}
	v, ok := new(big.Int).SetString(s, 10)
	if !ok || strings.Contains(s, "_") {
		return nil, malformed("%q is not a whole number", shorten(s))
	}
	return v, nil
}

// longBytes decodes two's complement, little-endian.
func longBytes(b []byte) any {
	v := new(big.Int)
	reversed := make([]byte, len(b))
	for i, x := range b {
		reversed[len(b)-1-i] = x
	}
	v.SetBytes(reversed)
	if len(b) > 0 && b[len(b)-1]&0x80 != 0 {
		v.Sub(v, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
	}
	if v.IsInt64() {
		return v.Int64()
	}
	return v
}

// python2String is a str of Python 2: text where it is UTF-8, otherwise bytes.
func python2String(b []byte) any {
	if utf8.Valid(b) {
		return string(b)
	}
	return bytes.Clone(b)
}

// parseQuoted reads the operand of STRING: a Python 2 literal.
func parseQuoted(line []byte) (any, error) {
	line = bytes.TrimRight(line, " \t\r")
	if len(line) < 2 || line[0] != line[len(line)-1] || line[0] != '\'' && line[0] != '"' {
		return nil, malformed("string %q is not in quotes", shorten(string(line)))
	}
	line = line[1 : len(line)-1]
	out := make([]byte, 0, len(line))
	for i := 0; i < len(line); i++ {
		if line[i] != '\\' {
			out = append(out, line[i])
			continue
		}
		i++
		if i == len(line) {
			return nil, malformed("string ends in a backslash")
		}
		switch c := line[i]; c {
		case '\\', '\'', '"':
			out = append(out, c)
		case 'n', 't', 'r', 'a', 'b', 'f', 'v':
			out = append(out, "\n\t\r\a\b\f\v"[strings.IndexByte("ntrabfv", c)])
		case 'x':
			v, err := strconv.ParseUint(string(line[i+1:min(i+3, len(line))]), 16, 8)
			if err != nil || i+3 > len(line) {
				return nil, malformed("string has a bad \\x escape")
			}
			out = append(out, byte(v))
			i += 2
		case '0', '1', '2', '3', '4', '5', '6', '7':
			end := i + 1
			for end < len(line) && end < i+3 && line[end] >= '0' && line[end] <= '7' {
				end++
			}
			v, _ := strconv.ParseUint(string(line[i:end]), 8, 16)
			out = append(out, byte(v))
			i = end - 1
		default:
			out = append(out, '\\', c)
		}
	}
	return python2String(out), nil
}

// parseRawUnicode reads the operand of UNICODE: Latin-1 with \uXXXX and
// \UXXXXXXXX.
func parseRawUnicode(line []byte) (string, error) {
	var out strings.Builder
	for i := 0; i < len(line); i++ {
		n := 0
		if line[i] == '\\' && i+1 < len(line) {
			switch line[i+1] {
			case 'u':
				n = 4
			case 'U':
				n = 8
			}
		}
		if n == 0 {
			out.WriteRune(rune(line[i]))
			continue
		}
		if i+2+n > len(line) {
			return "", malformed("string has a cut \\%c escape", line[i+1])
		}
		v, err := strconv.ParseUint(string(line[i+2:i+2+n]), 16, 32)
		if err != nil || v > utf8.MaxRune {
			return "", malformed("string has a bad \\%c escape", line[i+1])
		}
		out.WriteRune(rune(v))
		i += 1 + n
	}
	return out.String(), nil
}
