package safetensors_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spdfctl/spdfctl/formats/safetensors"
)

// file returns a file with the given header, whose length may be a lie.
func file(length uint64, header string, data int) string {
	return string(binary.LittleEndian.AppendUint64(nil, length)) + header + strings.Repeat("\x00", data)
}

// whole returns a file with the given header and number of bytes of data.
func whole(header string, data int) string { return file(uint64(len(header)), header, data) }

func open(t *testing.T, content string) (*safetensors.File, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.safetensors")
	if err := os.WriteFile(path, []byte(content), 0o666); err != nil {
		t.Fatal(err)
	}
	f, err := safetensors.Open(path)
	if err == nil {
		t.Cleanup(func() { f.Close() })
	}
	return f, err
}

func numbers(n int) string { return strings.TrimSuffix(strings.Repeat("1,", n), ",") }

// empties returns n empty tensors, without the braces around.
func empties(n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `"%d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}`, i)
	}
	return b.String()
}

func TestOpenRejects(t *testing.T) {
	const (
		malformed = iota
		unsupported
	)
	const a = `"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}`
	tests := []struct {
		name    string
		content string
		kind    int
		want    string // in the message, after the name of the file
	}{
		{"empty file", "", malformed, "file has 0 bytes, the length of the header alone takes 8"},
		{"seven bytes", "\x02\x00\x00\x00\x00\x00\x00", malformed, "file has 7 bytes"},
		{"header over the limit", file(100_000_001, "{}", 0), malformed, "header is 100000001 bytes, limit 100000000"},
		{"header length near 2^64", file(1<<64-8, "{}", 0), malformed, "limit 100000000"},
		{"header past the end", file(9, "{}", 6), malformed, "header is 9 bytes, the file has 8 after its length"},
		{"empty header", whole("", 0), malformed, "want {, got the end"},
		{"blank header", whole(" \n ", 0), malformed, "want {, got the end"},
		{"not JSON", whole("{", 0), malformed, "want a key, got the end"},
		{"null", whole("null", 0), malformed, "want {, got 'n'"},
		{"array", whole("[]", 0), malformed, "want {, got '['"},
		{"string", whole(`"a"`, 0), malformed, "want {"},
		{"object not closed", whole("{"+a, 4), malformed, "want , or }, got the end"},
		{"trailing comma", whole("{"+a+",}", 4), malformed, "want a key, got '}'"},
		{"missing comma", whole("{"+a+" "+a+"}", 4), malformed, "want , or }"},
		{"missing colon", whole(`{"a"{}}`, 0), malformed, "want :, got '{'"},
		{"missing value", whole(`{"a":}`, 0), malformed, "want a value, got '}'"},
		{"key without quotes", whole(`{a:{}}`, 0), malformed, "want a key, got 'a'"},
		{"bytes after the object", whole("{}x", 0), malformed, "1 bytes follow the object, which ends at byte 2"},
		{"two objects", whole("{} {}", 0), malformed, "2 bytes follow the object"},
		{"NUL padding", whole("{}\x00\x00", 0), malformed, "2 bytes follow the object"},
		{"byte order mark", whole("\ufeff{}", 0), malformed, "want {"},
		{"string not closed", whole(`{"a`, 0), malformed, "string that starts at byte 1 does not end"},
		{"escape at the end", whole(`{"a\`, 0), malformed, "does not end"},
		{"control character", whole("{\"a\n\":1}", 0), malformed, "control character 0x0a"},
		{"unknown escape", whole(`{"\x":1}`, 0), malformed, "JSON text"},
		{"short \\u escape", whole(`{"\u12":1}`, 0), malformed, "JSON text"},
		{"not UTF-8", whole("{\"\xff\":"+a[4:]+"}", 4), malformed, "not UTF-8"},
		{"surrogate in UTF-8", whole("{\"\xed\xa0\x80\":"+a[4:]+"}", 4), malformed, "not UTF-8"},
		{"lone high surrogate", whole(`{"\ud800":`+a[4:]+"}", 4), malformed, "high surrogate without a low one"},
		{"high surrogate twice", whole(`{"\ud800\ud800":`+a[4:]+"}", 4), malformed, "high surrogate without a low one"},
		{"lone low surrogate", whole(`{"\udc00":`+a[4:]+"}", 4), malformed, "low surrogate without a high one"},
		{"half a pair in metadata", whole(`{"__metadata__":{"k":"\ud800x"}}`, 0), malformed, "high surrogate"},

		{"name twice", whole("{"+a+","+strings.Replace(a, "[0,4]", "[4,8]", 1)+"}", 8), malformed, `key "a" occurs twice`},
		{"name twice, once escaped", whole("{"+a+`,"\u0061":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}`, 8), malformed, `key "a" occurs twice`},
		{"metadata twice", whole(`{"__metadata__":{},"__metadata__":{}}`, 0), malformed, `key "__metadata__" occurs twice`},
		{"metadata key twice", whole(`{"__metadata__":{"k":"1","k":"2"}}`, 0), malformed, `key "k" occurs twice`},
		{"dtype twice", whole(`{"a":{"dtype":"F32","dtype":"I32","shape":[1],"data_offsets":[0,4]}}`, 4), malformed, `key "dtype" occurs twice`},

		{"metadata not an object", whole(`{"__metadata__":"pt"}`, 0), malformed, `__metadata__: "pt" is not an object`},
		{"metadata value not a string", whole(`{"__metadata__":{"n":1}}`, 0), malformed, "n"},
		{"metadata nested", whole(`{"__metadata__":{"n":{}}}`, 0), malformed, "n"},
		{"nested deeper than the format", whole(`{"a":{"shape":[[1]]}}`, 0), malformed, "nested more than 3 deep"},
		{"tensor null", whole(`{"a":null}`, 0), malformed, `tensor "a": null is not an object`},
		{"tensor a number", whole(`{"a":1}`, 0), malformed, `tensor "a": 1 is not an object`},
		{"tensor an array", whole(`{"a":[]}`, 0), malformed, `tensor "a": [] is not an object`},
		{"no dtype", whole(`{"a":{"shape":[1],"data_offsets":[0,4]}}`, 4), malformed, "2"},
		{"no shape", whole(`{"a":{"dtype":"F32","data_offsets":[0,4]}}`, 4), malformed, "2"},
		{"no data_offsets", whole(`{"a":{"dtype":"F32","shape":[1]}}`, 4), malformed, "2"},
		{"key in another case", whole(`{"a":{"DType":"F32","shape":[1],"data_offsets":[0,4]}}`, 4), malformed, "dtype"},
		{"fourth key", whole(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"strides":[1]}}`, 4), malformed, "4"},
		{"dtype a number", whole(`{"a":{"dtype":6,"shape":[1],"data_offsets":[0,4]}}`, 4), malformed, `tensor "a": dtype is 6, want a string`},
		{"dtype null", whole(`{"a":{"dtype":null,"shape":[1],"data_offsets":[0,4]}}`, 4), malformed, `tensor "a": dtype is null, want a string`},
		{"dtype unknown", whole(`{"a":{"dtype":"F128","shape":[1],"data_offsets":[0,16]}}`, 16), unsupported, `tensor "a": dtype "F128" is unknown`},
		{"dtype in another case", whole(`{"a":{"dtype":"f32","shape":[1],"data_offsets":[0,4]}}`, 4), unsupported, `dtype "f32" is unknown`},
		{"shape null", whole(`{"a":{"dtype":"F32","shape":null,"data_offsets":[0,4]}}`, 4), malformed, "shape"},
		{"shape a number", whole(`{"a":{"dtype":"F32","shape":1,"data_offsets":[0,4]}}`, 4), malformed, "shape"},
		{"dimension negative", whole(`{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}`, 4), malformed, "shape"},
		{"dimension a fraction", whole(`{"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}}`, 4), malformed, "shape"},
		{"dimension with exponent", whole(`{"a":{"dtype":"F32","shape":[1e0],"data_offsets":[0,4]}}`, 4), malformed, "shape"},
		{"dimension a string", whole(`{"a":{"dtype":"F32","shape":["1"],"data_offsets":[0,4]}}`, 4), malformed, "shape"},
		{"dimension with leading zero", whole(`{"a":{"dtype":"F32","shape":[01],"data_offsets":[0,4]}}`, 4), malformed, "invalid character"},
		{"dimension over 2^64", whole(`{"a":{"dtype":"F32","shape":[18446744073709551616],"data_offsets":[0,4]}}`, 4), malformed, "shape"},
		{"dimension over int", whole(`{"a":{"dtype":"F32","shape":[9223372036854775808],"data_offsets":[0,4]}}`, 4), malformed, `tensor "a": shape has the dimension 9223372036854775808`},
		{"elements overflow", whole(`{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}`, 0), malformed, "elements"},
		{"elements overflow before a zero", whole(`{"a":{"dtype":"U8","shape":[4294967296,4294967296,0],"data_offsets":[0,0]}}`, 0), malformed, "elements"},
		{"bits overflow", whole(`{"a":{"dtype":"F64","shape":[1073741824,1073741824],"data_offsets":[0,0]}}`, 0), malformed, "bits"},
		{"rank over the limit", whole(`{"a":{"dtype":"U8","shape":[`+numbers(65)+`],"data_offsets":[0,1]}}`, 1), unsupported, "array has more than 64 items"},
		{"tensors over the limit", whole("{"+empties(1<<17+1)+"}", 0), unsupported, "header has 131073 tensors, limit 131072"},
		{"members over the limit", whole("{"+empties(1<<17+2)+"}", 0), unsupported, "object has more than 131073 members"},

		{"data_offsets null", whole(`{"a":{"dtype":"F32","shape":[1],"data_offsets":null}}`, 4), malformed, "data_offsets"},
		{"one offset", whole(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[4]}}`, 4), malformed, "data_offsets"},
		{"three offsets", whole(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}}`, 4), malformed, "data_offsets"},
		{"offset negative", whole(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}}`, 4), malformed, "data_offsets"},
		{"offsets reversed", whole(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}`, 4), malformed, `tensor "a": data_offsets are [4, 0]`},
		{"offset over int64", whole(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,9223372036854775808]}}`, 4), malformed, "data_offsets are [0, 9223372036854775808]"},
		{"too few bytes for the shape", whole(`{"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,20]}}`, 20), malformed, `tensor "a": F32 (2, 3) needs 24 bytes, data_offsets span 20`},
		{"too many bytes for the shape", whole(`{"a":{"dtype":"F32","shape":[],"data_offsets":[0,8]}}`, 8), malformed, "F32 () needs 4 bytes, data_offsets span 8"},
		{"packed elements with a rest", whole(`{"a":{"dtype":"F4","shape":[3],"data_offsets":[0,2]}}`, 2), malformed, "12 bits"},
		{"newer dtype of the wrong size", whole(`{"a":{"dtype":"C64","shape":[2],"data_offsets":[0,2]}}`, 2), malformed, "C64 (2) needs 16 bytes, data_offsets span 2"},
		{"hole at the start", whole(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}`, 8), malformed, `tensor "a": data_offsets start at 4, the data before it ends at 0`},
		{"hole between", whole(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}}`, 3), malformed, `tensor "b": data_offsets start at 2, the data before it ends at 1`},
		{"overlap", whole(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}`, 3), malformed, `tensor "b": data_offsets start at 1, the data before it ends at 2`},
		{"same bytes twice", whole(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}`, 2), malformed, `tensor "b": data_offsets start at 0, the data before it ends at 2`},
		{"data cut", whole("{"+a+"}", 3), malformed, "tensors end at byte 4 of the data, the file has 3"},
		{"bytes after the data", whole("{"+a+"}", 5), malformed, "tensors end at byte 4 of the data, the file has 5"},
		{"data without tensors", whole("{}", 1), malformed, "tensors end at byte 0 of the data, the file has 1"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := open(t, test.content)
			var format *safetensors.FormatError
			switch {
			case err == nil:
				t.Fatal("opened")
			case test.kind == malformed && (!errors.As(err, &format) || errors.Is(err, safetensors.ErrUnsupported)):
				t.Errorf("got %T %v, want a FormatError", err, err)
			case test.kind == unsupported && (errors.As(err, &format) || !errors.Is(err, safetensors.ErrUnsupported)):
				t.Errorf("got %T %v, want ErrUnsupported", err, err)
			}
			before, after, ok := strings.Cut(err.Error(), "x.safetensors: ")
			if !ok || !strings.HasPrefix(before, "safetensors: ") || !strings.Contains(after, test.want) {
				t.Errorf("got %q, want the file and %q", err, test.want)
			}
		})
	}
}

// What a file puts into names and values does not fill the screen.
func TestErrorsAreShort(t *testing.T) {
	long := strings.Repeat("é", 1<<20)
	for name, header := range map[string]string{
		"name":     `{"` + long + `":{"dtype":"F32","shape":[1],"data_offsets":[0,0]}}`,
		"key":      `{"` + long + `":1,"` + long + `":1}`,
		"dtype":    `{"a":{"dtype":"` + long + `","shape":[1],"data_offsets":[0,0]}}`,
		"shape":    `{"a":{"dtype":"F32","shape":"` + long + `","data_offsets":[0,0]}}`,
		"metadata": `{"__metadata__":{"` + long + `":1}}`,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := open(t, whole(header, 0))
			if err == nil || len(err.Error()) > 2000 {
				t.Errorf("got an error of %d bytes, want at most 2000", len(fmt.Sprint(err)))
			}
		})
	}
}

func TestOpenAccepts(t *testing.T) {
	tests := []struct {
		name    string
		content string
		want    string // Infos
	}{
		{"no tensors", whole("{}", 0), "[]"},
		{"space after the object", whole("{} \t\r\n", 0), "[]"},
		{"space before the object", whole("\t\n {}", 0), "[]"},
		{"space inside", whole(` { "a" : { "dtype" : "U8" , "shape" : [ 1 , 2 ] , "data_offsets" : [ 0 , 2 ] } } `, 2), "[a U8 (1, 2)]"},
		{"scalar", whole(`{"a":{"dtype":"F64","shape":[],"data_offsets":[0,8]}}`, 8), "[a F64 ()]"},
		{"empty tensor", whole(`{"a":{"dtype":"F64","shape":[3,0],"data_offsets":[0,0]}}`, 0), "[a F64 (3, 0)]"},
		{"keys in another order", whole(`{"a":{"data_offsets":[0,1],"shape":[1],"dtype":"I8"}}`, 1), "[a I8 (1)]"},
		{"data in another order, unaligned", whole(`{"b":{"dtype":"I64","shape":[1],"data_offsets":[1,9]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 9), "[a U8 (1) b I64 (1)]"},
		{"empty tensors keep the order of the header", whole(`{"c":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"b":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}`, 0), "[c U8 (0) a U8 (0) b U8 (0)]"},
		{"escaped dtype", whole(`{"a":{"dtype":"\u00468_E4M3","shape":[1],"data_offsets":[0,1]}}`, 1), "[a F8_E4M3 (1)]"},
		{"tensor called dtype", whole(`{"dtype":{"dtype":"F8_E8M0","shape":[1],"data_offsets":[0,1]}}`, 1), "[dtype F8_E8M0 (1)]"},
		{"tensor without a name", whole(`{"":{"dtype":"F4","shape":[2],"data_offsets":[0,1]}}`, 1), "[ F4 (2)]"},
		{"metadata called dtype", whole(`{"__metadata__":{"dtype":"F128"}}`, 0), "[]"},
		{"surrogate pair", whole(`{"\ud83d\ude00":{"dtype":"U8","shape":[],"data_offsets":[0,1]}}`, 1), "[😀 U8 ()]"},
		{"rank at the limit", whole(`{"a":{"dtype":"U8","shape":[`+numbers(64)+`],"data_offsets":[0,1]}}`, 1), "[a U8 (" + strings.ReplaceAll(numbers(64), ",", ", ") + ")]"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f, err := open(t, test.content)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, info := range f.Infos() {
				got = append(got, info.Name+" "+info.String())
			}
			if got := fmt.Sprint(got); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func TestMetadata(t *testing.T) {
	for header, want := range map[string]map[string]string{
		`{}`:                              nil,
		`{"__metadata__":null}`:           nil,
		`{"__metadata__":{}}`:             {},
		`{"__metadata__":{"k":"\u003c"}}`: {"k": "<"},
	} {
		f, err := open(t, whole(header, 0))
		if err != nil {
			t.Fatal(err)
		}
		got := f.Metadata()
		if fmt.Sprint(got) != fmt.Sprint(want) || (got == nil) != (want == nil) {
			t.Errorf("%s: got %v, want %v", header, got, want)
		}
	}
}
