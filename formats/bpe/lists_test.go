package bpe_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/spdfctl/spdfctl/formats/bpe"
)

func TestLists(t *testing.T) {
	want, err := bpe.Train(slices.Values([][]byte{[]byte("low lower lowest new newer newest \xff\x00")}), 280, bpe.TrainOptions{})
	if err != nil {
		t.Fatal(err)
	}
	tokens, merges, special := want.Lists()
	got, err := bpe.FromLists(tokens, merges, special)
	if err != nil || got.Hash() != want.Hash() {
		t.Fatalf("there and back: %v", err)
	}
	end, ok := want.EndOfText()
	if !ok || !slices.Contains(special, end) {
		t.Errorf("special tokens are %v, the end of text is %d", special, end)
	}
	for _, tc := range []struct {
		name, want     string
		tokens, merges []string
		special        []int32
	}{
		{"token twice", "are both", append(slices.Clone(tokens), tokens[3]), merges, special},
		{"empty token", "empty token", append(slices.Clone(tokens), ""), merges, special},
		{"no bytes", "none for byte", tokens[256:], nil, nil},
		{"outside the alphabet", "outside the byte alphabet", append(slices.Clone(tokens), "日"), merges, special},
		{"merge of one", "is not two tokens", tokens, []string{"lo"}, special},
		{"merge of unknown tokens", "is not in the vocabulary", tokens, []string{"l qqq"}, special},
		{"special past the end", "is outside 0 to", tokens, merges, []int32{int32(len(tokens))}},
	} {
		if _, err := bpe.FromLists(tc.tokens, tc.merges, tc.special); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want %q in it", tc.name, err, tc.want)
		}
	}
}
