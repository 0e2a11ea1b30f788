package bpe_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spdfctl/spdfctl/formats/bpe"
)

func train(t testing.TB, vocabSize, threads int, texts ...[]byte) *bpe.Tokenizer {
	t.Helper()
	tok, err := bpe.Train(slices.Values(texts), vocabSize, bpe.TrainOptions{Threads: threads})
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func TestTrain(t *testing.T) {
	text := speech(t)
	tok := train(t, 1000, 1, text)
	if got := tok.VocabSize(); got != 1000 {
		t.Errorf("VocabSize() = %d, want 1000", got)
	}
	if id, ok := tok.EndOfText(); id != 999 || !ok {
		t.Errorf("EndOfText() = %d, %v, want 999, true", id, ok)
	}
	for id, want := range map[int32]string{256: " t", 257: "he", 258: "ou", 259: " a", 260: " the", 275: "en"} {
		if got, _ := tok.Decode([]int32{id}); string(got) != want {
			t.Errorf("token %d is %q, want %q", id, got, want)
		}
	}
	// From a program of a few lines in Python that counts all pairs anew for
	// every merge and cuts words with its module regex.
	const want = "ff95fb3cb1f6da1775e5c1fbcd82c0951a6838f25d019007dfd533a061c58c3d"
	if got := tok.Hash(); got != want {
		t.Errorf("Hash() = %s, want %s", got, want)
	}
	ids := tok.Encode(text)
	if back, err := tok.Decode(ids); err != nil || !bytes.Equal(back, text) {
		t.Errorf("the training text does not come back: %v", err)
	}
	if perToken := float64(len(text)) / float64(len(ids)); perToken < 2.5 {
		t.Errorf("%.2f bytes a token", perToken)
	}
}

// TestTrainThreads checks that neither the threads nor the way a text is cut at
// boundaries changes the result.
func TestTrainThreads(t *testing.T) {
	text := bytes.Repeat(speech(t), 40) // several batches
	want := train(t, 600, 1, text).Hash()
	for _, threads := range []int{2, 3, 7} {
		if got := train(t, 600, threads, text).Hash(); got != want {
			t.Errorf("%d threads give another tokenizer", threads)
		}
	}
	var parts [][]byte
	for rest := text; len(rest) > 0; {
		n := bpe.LastBoundary(rest[:min(len(rest), 10000)])
		if len(rest) <= 10000 {
			n = len(rest)
		}
		parts = append(parts, rest[:n])
		rest = rest[n:]
	}
	if got := train(t, 600, 2, parts...).Hash(); got != want {
		t.Errorf("the text in %d parts gives another tokenizer", len(parts))
	}
}

func TestTrainStopsEarly(t *testing.T) {
	cases := []struct {
		name, text string
		want       int
	}{
		{"nothing", "", 257},
		{"no pair twice", "abcdef", 257},
		{"one pair", "ab ab", 258},
		{"one run", strings.Repeat("a", 10000), 257 + 8}, // 2, 4, ... 256 letters
	}
	for _, c := range cases {
		tok := train(t, 1000, 1, []byte(c.text))
		if got := tok.VocabSize(); got != c.want {
			t.Errorf("%s: VocabSize() = %d, want %d", c.name, got, c.want)
		}
		if got, ok := tok.EndOfText(); int(got) != c.want-1 || !ok {
			t.Errorf("%s: EndOfText() = %d, %v, want the last id", c.name, got, ok)
		}
	}
}

func TestTrainRejects(t *testing.T) {
	for size, want := range map[int]string{
		256:     "bpe: train: vocabulary of 256 tokens is outside 257 to 4194304",
		4194305: "bpe: train: vocabulary of 4194305 tokens is outside 257 to 4194304",
	} {
		_, err := bpe.Train(slices.Values([][]byte{}), size, bpe.TrainOptions{})
		if err == nil || err.Error() != want {
			t.Errorf("Train to %d: error %v, want %q", size, err, want)
		}
	}
}

func TestTrainProgress(t *testing.T) {
	stop := errors.New("stop")
	var seen []int
	_, err := bpe.Train(slices.Values([][]byte{speech(t)}), 1000, bpe.TrainOptions{Progress: func(tokens int) error {
		seen = append(seen, tokens)
		if tokens > 300 {
			return stop
		}
		return nil
	}})
	if !errors.Is(err, stop) {
		t.Errorf("Train = %v, want the error of Progress", err)
	}
	if want := []int{256, 320}; !slices.Equal(seen, want) {
		t.Errorf("Progress was told %v, want %v", seen, want)
	}
}

func TestTrainSaveLoad(t *testing.T) {
	tok := train(t, 400, 2, speech(t), []byte("naïve \xff日本語 日本語"))
	first, second := t.TempDir(), t.TempDir()
	if err := tok.Save(first); err != nil {
		t.Fatal(err)
	}
	again, err := bpe.Load(first)
	if err != nil {
		t.Fatal(err)
	}
	if again.Hash() != tok.Hash() {
		t.Errorf("hash %s after Save and Load, want %s", again.Hash(), tok.Hash())
	}
	if err := again.Save(second); err != nil {
		t.Fatal(err)
	}
	for _, name := range bpe.Files {
		a, err := os.ReadFile(filepath.Join(first, name))
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(second, name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a, b) {
			t.Errorf("%s changes when it is saved again", name)
		}
	}
}

func BenchmarkTrain(b *testing.B) {
	text := bytes.Repeat(speech(b), 16)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		train(b, 4096, 0, text)
	}
}
