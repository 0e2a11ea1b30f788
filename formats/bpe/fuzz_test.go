package bpe_test

import (
	"bytes"
	"testing"

	"github.com/spdfctl/spdfctl/formats/bpe"
)

// FuzzEncode checks that every text comes back, and that the ids do not depend
// on where a text is cut at a boundary.
func FuzzEncode(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add([]byte(v.Text))
	}
	f.Add([]byte("a\xff b\xe6\x97 \xed\xa0\x80'\xc0\xa0's"))
	tok := gpt2(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		ids := tok.Encode(text)
		back, err := tok.Decode(ids)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(back, text) {
			t.Fatalf("Decode(Encode(%q)) = %q", text, back)
		}
		for _, id := range ids {
			if id == 50256 {
				t.Fatalf("Encode(%q) gives the end of text", text)
			}
		}
		if n := bpe.LastBoundary(text); n > 0 {
			parts := tok.AppendEncode(tok.Encode(text[:n]), text[n:])
			if len(parts) != len(ids) {
				t.Fatalf("%q cut at %d gives %v, want %v", text, n, parts, ids)
			}
		}
	})
}
