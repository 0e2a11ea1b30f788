package npz

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/spdfctl/spdfctl/formats"
)

const (
	magic = "\x93NUMPY"
	// maxHeader bounds the header; NumPy writes 64 to 256 bytes and, by
	// default, reads 10000.
	maxHeader = 64 << 10
	// maxRank is the most dimensions that NumPy allows.
	maxRank = 64
)

// ErrUnsupported is wrapped by errors about arrays that are well formed but have
// no form here.
var ErrUnsupported = errors.New("not supported")

// header is what precedes the data.
type header struct {
	descr   string
	fortran bool
	shape   []int
	size    int64 // of everything before the data
}

// types gives the element type of a descr without its byte order.
var types = map[string]formats.DType{
	"f2": formats.F16, "f4": formats.F32, "f8": formats.F64, "c8": formats.C64, "b1": formats.BOOL,
	"i1": formats.I8, "i2": formats.I16, "i4": formats.I32, "i8": formats.I64,
	"u1": formats.U8, "u2": formats.U16, "u4": formats.U32, "u8": formats.U64,
}

// readHeader reads a header from r, of which size bytes are there.
func readHeader(r io.Reader, size int64) (header, error) {
	text, err := readText(r, size)
	if err != nil {
		return header{}, err
	}
	h := header{size: int64(len(text))}
	start := 10
	if text[6] > 1 {
		start = 12
	}
	if err := h.parse(string(text[start:])); err != nil {
		return header{}, fmt.Errorf("header: %w", err)
	}
	return h, nil
}

// readText reads everything before the data, magic and length included.
func readText(r io.Reader, size int64) ([]byte, error) {
	start := make([]byte, 12)
	if _, err := io.ReadFull(r, start[:8]); err != nil {
		return nil, fmt.Errorf("has %d bytes, magic and version take 8", size)
	}
	if string(start[:6]) != magic {
		return nil, fmt.Errorf("starts with % x, want % x", start[:6], magic)
	}
	width := 4
	switch version := [2]byte(start[6:8]); version {
	case [2]byte{1, 0}:
		width = 2
	case [2]byte{2, 0}, [2]byte{3, 0}:
	default:
		return nil, fmt.Errorf("version is %d.%d, known are 1.0, 2.0 and 3.0: %w", version[0], version[1], ErrUnsupported)
	}
	start = start[:8+width]
	if _, err := io.ReadFull(r, start[8:]); err != nil {
		return nil, fmt.Errorf("has %d bytes, the length of the header ends at %d", size, len(start))
	}
	length := int64(binary.LittleEndian.Uint16(start[8:]))
	if width == 4 {
		length = int64(binary.LittleEndian.Uint32(start[8:]))
	}
	if length > maxHeader {
		return nil, fmt.Errorf("header is %d bytes, limit %d: %w", length, maxHeader, ErrUnsupported)
	}
	if left := size - int64(len(start)); length > left {
		return nil, fmt.Errorf("header is %d bytes, %d are there: %w", length, left, io.ErrUnexpectedEOF)
	}
	text := append(start, make([]byte, length)...)
	if _, err := io.ReadFull(r, text[len(start):]); err != nil {
		return nil, fmt.Errorf("header: %w", io.ErrUnexpectedEOF)
	}
	return text, nil
}

// parse reads the dict.
func (h *header) parse(text string) error {
	p := &literal{text: text}
	seen := make(map[string]bool)
	if err := p.want("{"); err != nil {
		return err
	}
	for !p.take("}") {
		key, err := p.quoted()
		if err != nil {
			return err
		}
		if seen[key] {
			return fmt.Errorf("key %q occurs twice", key)
		}
		seen[key] = true
		if err := p.want(":"); err != nil {
			return err
		}
		switch key {
		case "descr":
			if p.peek() == '[' {
				return fmt.Errorf("array of structures: %w", ErrUnsupported)
			}
			h.descr, err = p.quoted()
		case "fortran_order":
			h.fortran, err = p.bool()
		case "shape":
			h.shape, err = p.tuple()
		default:
			return fmt.Errorf("key %.40q is none of descr, fortran_order and shape", key)
		}
		if err != nil {
			return err
		}
		if !p.take(",") && p.peek() != '}' {
			return p.unexpected(", or }")
		}
	}
	if p.space(); p.pos != len(p.text) {
		return p.unexpected("the end")
	}
	for _, key := range []string{"descr", "fortran_order", "shape"} {
		if !seen[key] {
			return fmt.Errorf("key %q is missing", key)
		}
	}
	return nil
}

// dtype returns the element type and the bytes of the groups that have to be
// reversed, 0 if none. raw is true for elements without a meaning.
func (h *header) dtype() (d formats.DType, swap int, raw bool, err error) {
	if len(h.descr) < 2 {
		return "", 0, false, fmt.Errorf("descr is %.40q", h.descr)
	}
	order, kind := h.descr[0], h.descr[1:]
	if !strings.ContainsRune("<>|=", rune(order)) {
		return "", 0, false, fmt.Errorf("descr is %.40q: no byte order", h.descr)
	}
	if kind[0] == 'O' {
		return "", 0, false, fmt.Errorf("array of Python objects, which are pickles: %w", ErrUnsupported)
	}
	switch kind {
	case "V1":
		return formats.U8, 0, true, nil
	case "V2":
		return formats.U16, 0, true, nil
	}
	d, ok := types[kind]
	if !ok {
		return "", 0, false, fmt.Errorf("descr is %.40q: %w", h.descr, ErrUnsupported)
	}
	// "=" is the order of the machine that wrote the file: no one can know it.
	if order == '=' && d.Bits() > 8 {
		return "", 0, false, fmt.Errorf("descr is %.40q: byte order is not given", h.descr)
	}
	if order == '>' {
		swap = d.Bits() / 8
		if d == formats.C64 {
			swap = 4
		}
	}
	return d, swap, false, nil
}

// literal reads the part of Python's literals that a header has.
type literal struct {
	text string
	pos  int
}

func (p *literal) space() {
	for p.pos < len(p.text) && strings.IndexByte(" \t\r\n\f", p.text[p.pos]) >= 0 {
		p.pos++
	}
}

// peek returns the next byte that is not white space, 0 at the end.
func (p *literal) peek() byte {
	if p.space(); p.pos < len(p.text) {
		return p.text[p.pos]
	}
	return 0
}

func (p *literal) take(s string) bool {
	p.space()
	if !strings.HasPrefix(p.text[p.pos:], s) {
		return false
	}
	p.pos += len(s)
	return true
}

func (p *literal) want(s string) error {
	if !p.take(s) {
		return p.unexpected(s)
	}
	return nil
}

func (p *literal) unexpected(want string) error {
	return fmt.Errorf("byte %d: want %s, got %.10q", p.pos, want, p.text[p.pos:])
}

// quoted reads a string without escapes.
func (p *literal) quoted() (string, error) {
	q := p.peek()
	if q != '\'' && q != '"' {
		return "", p.unexpected("a string")
	}
	rest := p.text[p.pos+1:]
	end := strings.IndexByte(rest, q)
	if end < 0 || strings.ContainsRune(rest[:end], '\\') {
		return "", p.unexpected("a string without escapes")
	}
	p.pos += end + 2
	return rest[:end], nil
}

func (p *literal) bool() (bool, error) {
	switch {
	case p.take("True"):
		return true, nil
	case p.take("False"):
		return false, nil
	}
	return false, p.unexpected("True or False")
}

// tuple reads a tuple of numbers. Python 2 wrote an L behind long ones.
func (p *literal) tuple() ([]int, error) {
	if err := p.want("("); err != nil {
		return nil, err
	}
	list := []int{}
	for !p.take(")") {
		p.space()
		start := p.pos
		for p.pos < len(p.text) && p.text[p.pos] >= '0' && p.text[p.pos] <= '9' {
			p.pos++
		}
		n, err := strconv.ParseInt(p.text[start:p.pos], 10, 64)
		if err != nil || n > math.MaxInt {
			p.pos = start
			return nil, p.unexpected("a dimension")
		}
		p.take("L")
		if list = append(list, int(n)); len(list) > maxRank {
			return nil, fmt.Errorf("shape has more than %d dimensions", maxRank)
		}
		if !p.take(",") && p.peek() != ')' {
			return nil, p.unexpected(", or )")
		}
	}
	return list, nil
}

// encode writes a header, padded as NumPy pads it.
func encode(descr string, shape []int) ([]byte, error) {
	dims := make([]string, len(shape))
	for i, d := range shape {
		dims[i] = strconv.Itoa(d)
	}
	tuple := strings.Join(dims, ", ")
	if len(shape) == 1 {
		tuple += "," // Python's tuple of one
	}
	text := fmt.Sprintf("{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", descr, tuple)
	// Blanks for the first dimension to grow to 21 digits in place, then up to
	// a multiple of 64 with the newline.
	if len(dims) > 0 {
		text += strings.Repeat(" ", max(0, 21-len(dims[0])))
	}
	const before, align = 10, 64
	pad := (align - (before+len(text)+1)%align) % align
	text += strings.Repeat(" ", pad) + "\n"
	if len(text) > math.MaxUint16 {
		return nil, fmt.Errorf("npz: shape of rank %d needs a header of %d bytes, limit %d", len(shape), len(text), math.MaxUint16)
	}
	out := append([]byte(magic), 1, 0)
	out = binary.LittleEndian.AppendUint16(out, uint16(len(text)))
	return append(out, text...), nil
}
