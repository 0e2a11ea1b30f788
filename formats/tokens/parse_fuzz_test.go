package tokens

import (
	"bufio"
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
	"unicode/utf8"
)

// FuzzRows reads any bytes as JSON Lines and as CSV.
func FuzzRows(f *testing.F) {
	for _, seed := range []string{
		"{\"text\":\"one\"}\n\n{\"text\":\"\\ud83d\\ude42\"}", "\ufeffid,text\r\n1,\"a \"\"b\"\"\r\n\"\n2,c", "{", "text\n\"",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, read := range []func(*bufio.Reader, string, func(Piece) error) error{readJSONL, readCSV} {
			// The error is not the point: what was given before it must be whole.
			_ = read(bufio.NewReader(bytes.NewReader(data)), DefaultField, func(p Piece) error {
				if !p.First || !p.Last || len(p.Text) == 0 || !utf8.Valid(p.Text) {
					t.Fatalf("piece %+v", p)
				}
				return nil
			})
		}
	})
}

// FuzzIndex reads any bytes as an index.json. What is accepted is the same after
// it is written again.
func FuzzIndex(f *testing.F) {
	x := Index{Format: indexFormat, Version: version, DType: "uint16", VocabSize: 300, EOT: 299, Tokens: 7,
		Shards: []Shard{{"shard-00000.tok", 7, "00"}}, Sources: []File{{"a.txt", 9, "00"}}}
	seed, err := json.Marshal(x)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Fuzz(func(t *testing.T, data []byte) {
		x, err := parseIndex(data)
		if err != nil {
			return
		}
		again, err := json.Marshal(x)
		if err != nil {
			t.Fatal(err)
		}
		y, err := parseIndex(again)
		if err != nil || !reflect.DeepEqual(x, y) {
			t.Fatalf("%+v after writing is %+v, %v", x, y, err)
		}
	})
}
