package safetensors

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"unicode/utf8"

	library "github.com/nlpodyssey/safetensors"

	"github.com/spdfctl/spdfctl/formats"
)

const (
	// lengthSize is the size of the number before the header.
	lengthSize = 8
	// maxHeader is the limit of the format itself.
	maxHeader = 100_000_000
	// maxTensors bounds what a header can make Open allocate beyond its own
	// size. 61 layers of 256 experts, each with three matrices and their
	// scales, are 93696 tensors.
	maxTensors = 1 << 17
	// maxRank is the most dimensions that NumPy and PyTorch allow.
	maxRank = 64
	// metadataKey is the one key of the header that is not a tensor.
	metadataKey = "__metadata__"
)

// entry is one tensor of a header; begin and end count bytes of the data.
type entry struct {
	formats.Info
	begin, end int64
}

// header is what precedes the data. Entries are in the order of their data;
// empty ones at the same offset in the order of the text.
type header struct {
	entries  []entry
	metadata map[string]string // nil: absent
}

// standIn is what the library is shown in place of the nine element types that
// it does not know, any of which would make it refuse the whole header. Quoted
// it is no longer than any of them, so it is written over them in place.
const standIn = library.U8

// parseHeader decodes the text of a header, which it overwrites, for a file
// with dataSize bytes of data.
//
// The guard walks the outer object; the library decodes each value of it. One at
// a time, because given the whole header it allocates about 1 KB for each
// tensor, loses their order, and names at random one of several that are wrong.
// The checks on offsets are ours: the library exports its own only for a whole
// file in one slice, and they know no element of less than a byte.
func parseHeader(text []byte, dataSize int64) (*header, error) {
	h := new(header)
	var newer formats.DType // of the tensor being walked, where a stand-in hides it
	g := &guard{text: text, maxDepth: 3, maxMembers: maxTensors + 1, maxItems: maxRank}
	g.member = func(depth int, parent, key string, value []byte) (err error) {
		switch {
		case depth == 2 && key == "dtype" && parent != metadataKey:
			newer, err = hideNewer(parent, value)
		case depth == 1 && key == metadataKey:
			h.metadata, err = decodeMetadata(value)
		case depth == 1:
			var e entry
			e, err = decodeTensor(key, value)
			if newer != "" {
				e.DType, newer = newer, ""
			}
			h.entries = append(h.entries, e)
		}
		return err
	}
	if err := g.run(); err != nil {
		return nil, err
	}
	if len(h.entries) > maxTensors {
		return nil, unsupported("", "header has %d tensors, limit %d", len(h.entries), maxTensors)
	}
	// The library's own order of empty tensors at one offset is another each
	// time: it sorts a map, and not stably.
	slices.SortStableFunc(h.entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.end, b.end))
	})
	return h, h.check(dataSize)
}

// hideNewer refuses unknown element types and overwrites the newer ones, which
// it returns, with the stand-in.
func hideNewer(tensor string, value []byte) (formats.DType, error) {
	var name string
	if value[0] != '"' || json.Unmarshal(value, &name) != nil {
		return "", malformed(tensor, "dtype is %s, want a string", shorten(string(value)))
	}
	if _, err := library.ParseDType(name); err == nil {
		return "", nil
	}
	d := formats.DType(name)
	if d.Bits() == 0 {
		return "", unsupported(tensor, "dtype %q is unknown", shorten(name))
	}
	n := copy(value, fmt.Sprintf("%q", standIn))
	for i := range value[n:] {
		value[n+i] = ' '
	}
	return d, nil
}

// decodeMetadata returns nil for null: the reference takes it for absent.
func decodeMetadata(value []byte) (map[string]string, error) {
	if string(value) == "null" {
		return nil, nil
	}
	decoded, err := decodeMember(metadataKey, value)
	if err != nil {
		return nil, malformed("", "%s: %w", metadataKey, err)
	}
	return decoded.Metadata(), nil
}

func decodeTensor(name string, value []byte) (entry, error) {
	const key = "t" // any will do
	decoded, err := decodeMember(key, value)
	if err != nil {
		return entry{}, malformed(name, "%w", err)
	}
	return newEntry(name, decoded.Tensors()[key])
}

// decodeMember has the library decode a header of one member.
func decodeMember(key string, value []byte) (library.Metadata, error) {
	var decoded library.Metadata
	if value[0] != '{' {
		return decoded, fmt.Errorf("%s is not an object", shorten(string(value)))
	}
	text := append(append(append(appendString([]byte{'{'}, key), ':'), value...), '}')
	// Unmarshal, not the method, which does not look at what follows.
	err := json.Unmarshal(text, &decoded)
	if err == nil {
		return decoded, nil
	}
	if inner := errors.Unwrap(err); inner != nil {
		err = inner // without the library's word on which tensor
	}
	return decoded, errors.New(shorten(err.Error()))
}

func newEntry(name string, t *library.TensorInfo) (entry, error) {
	e := entry{Info: formats.Info{Name: name, DType: formats.DType(t.DType.String()), Shape: make([]int, len(t.Shape))}}
	for i, d := range t.Shape {
		if d > math.MaxInt {
			return entry{}, malformed(name, "shape has the dimension %d, limit %d", d, math.MaxInt)
		}
		e.Shape[i] = int(d)
	}
	begin, end := t.DataOffsets[0], t.DataOffsets[1]
	if begin > end || end > math.MaxInt64 {
		return entry{}, malformed(name, "data_offsets are [%d, %d]", begin, end)
	}
	e.begin, e.end = int64(begin), int64(end)
	return e, nil
}

// check demands that the tensors cover the data without hole or overlap, each
// with the number of bytes that its type and shape take.
func (h *header) check(dataSize int64) error {
	at := int64(0)
	for _, e := range h.entries {
		if e.begin != at {
			return malformed(e.Name, "data_offsets start at %d, the data before it ends at %d", e.begin, at)
		}
		size, err := e.NumBytes()
		if err != nil {
			return malformed(e.Name, "%w", err)
		}
		if e.end-e.begin != size {
			return malformed(e.Name, "%s needs %d bytes, data_offsets span %d", e.Info, size, e.end-e.begin)
		}
		at = e.end
	}
	if at != dataSize {
		return malformed("", "tensors end at byte %d of the data, the file has %d", at, dataSize)
	}
	return nil
}

// newHeader lays out tensors as the reference does: by descending alignment of
// the element type, then by name, without gaps.
func newHeader(infos []formats.Info, metadata map[string]string) (*header, error) {
	if len(infos) > maxTensors {
		return nil, unsupported("", "%d tensors to write, limit %d", len(infos), maxTensors)
	}
	h := &header{entries: make([]entry, 0, len(infos)), metadata: metadata}
	for _, info := range infos {
		if err := checkInfo(info); err != nil {
			return nil, err
		}
		h.entries = append(h.entries, entry{Info: info})
	}
	slices.SortFunc(h.entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(alignment[b.DType], alignment[a.DType]), cmp.Compare(a.Name, b.Name))
	})
	seen := make(map[string]struct{}, len(infos))
	at := int64(0)
	for i := range h.entries {
		e := &h.entries[i]
		if _, ok := seen[e.Name]; ok {
			return nil, malformed(e.Name, "given twice")
		}
		seen[e.Name] = struct{}{}
		size, err := e.NumBytes()
		if err != nil {
			return nil, malformed(e.Name, "%w", err)
		}
		if size > math.MaxInt64-at {
			return nil, malformed(e.Name, "data is longer than %d bytes", int64(math.MaxInt64))
		}
		e.begin, e.end = at, at+size
		at += size
	}
	return h, nil
}

// alignment ranks the element types as the reference compares them.
var alignment = func() map[formats.DType]int {
	rank := make(map[formats.DType]int)
	for i, d := range formats.DTypes() {
		rank[d] = i
	}
	return rank
}()

// checkInfo refuses what the library writes and then cannot read.
func checkInfo(info formats.Info) error {
	switch {
	case info.Name == metadataKey:
		return malformed(info.Name, "the name is taken by the format")
	case !utf8.ValidString(info.Name):
		return malformed(info.Name, "name is not UTF-8")
	case info.DType.Bits() == 0:
		return unsupported(info.Name, "dtype %q is unknown", string(info.DType))
	case len(info.Shape) > maxRank:
		return unsupported(info.Name, "shape has %d dimensions, limit %d", len(info.Shape), maxRank)
	}
	return nil
}

// encode returns the length and the text of the header, padded with spaces to a
// multiple of 8: keys in the order of the data with the metadata first, as the
// reference writes it. (The library sorts all keys, which puts the metadata
// among the tensors.) Metadata are sorted by key; the reference leaves them in
// the order of a hash map.
func (h *header) encode() ([]byte, error) {
	text := append(make([]byte, lengthSize), '{')
	if h.metadata != nil {
		text = append(appendString(text, metadataKey), ":{"...)
		for i, key := range slices.Sorted(maps.Keys(h.metadata)) {
			value := h.metadata[key]
			if !utf8.ValidString(key) || !utf8.ValidString(value) {
				return nil, malformed("", "metadata %q: not UTF-8", shorten(key))
			}
			if i > 0 {
				text = append(text, ',')
			}
			text = appendString(append(appendString(text, key), ':'), value)
		}
		text = append(text, '}')
	}
	for i := range h.entries {
		if i > 0 || h.metadata != nil {
			text = append(text, ',')
		}
		e := &h.entries[i]
		info, err := e.encode()
		if err != nil {
			return nil, malformed(e.Name, "%w", err)
		}
		text = append(append(appendString(text, e.Name), ':'), info...)
	}
	text = append(text, '}')
	for len(text)%8 != 0 {
		text = append(text, ' ')
	}
	size := len(text) - lengthSize
	if size > maxHeader {
		return nil, malformed("", "header is %d bytes, limit %d", size, maxHeader)
	}
	binary.LittleEndian.PutUint64(text, uint64(size))
	return text, nil
}

// encode has the library write the value of one tensor.
func (e *entry) encode() ([]byte, error) {
	t := library.TensorInfo{
		// Never nil: the library writes that as null and cannot read it back.
		Shape:       make([]uint64, len(e.Shape)),
		DataOffsets: [2]uint64{uint64(e.begin), uint64(e.end)},
	}
	for i, d := range e.Shape {
		t.Shape[i] = uint64(d)
	}
	known, err := library.ParseDType(string(e.DType))
	if err == nil {
		t.DType = known
		return json.Marshal(t)
	}
	t.DType = standIn
	text, err := json.Marshal(t)
	return bytes.Replace(text, fmt.Appendf(nil, "%q", standIn), fmt.Appendf(nil, "%q", e.DType), 1), err
}

// appendString quotes s as the reference does: it escapes only quote, backslash
// and control characters, where encoding/json also escapes <, >, &, U+2028 and
// U+2029.
func appendString(dst []byte, s string) []byte {
	const short = "btn.fr" // escapes of 8 to 13, but for 11
	dst = append(dst, '"')
	done := 0 // what is before it has been appended
	for i := range len(s) {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[done:i]...)
		done = i + 1
		switch {
		case c >= 0x20:
			dst = append(dst, '\\', c)
		case c >= '\b' && c <= '\r' && c != '\v':
			dst = append(dst, '\\', short[c-'\b'])
		default:
			dst = fmt.Appendf(dst, `\u%04x`, c)
		}
	}
	return append(append(dst, s[done:]...), '"')
}
