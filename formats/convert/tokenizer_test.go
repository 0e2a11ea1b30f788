package convert_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/bpe"
	"github.com/spdfctl/spdfctl/formats/convert"
	"github.com/spdfctl/spdfctl/formats/gguf"
)

// TestTokenizer: the tokenizer of a directory goes into a GGUF file and comes out
// of it into a directory, byte for byte.
func TestTokenizer(t *testing.T) {
	trained, err := bpe.Train(slices.Values([][]byte{[]byte("low lower lowest new newer newest")}), 270, bpe.TrainOptions{})
	if err != nil {
		t.Fatal(err)
	}
	model := func(vocab int) string {
		g := tiny{L: 1, H: 1, C: 2, I: 8, T: 2, V: vocab, dtype: formats.F32, prefix: "transformer."}
		return filepath.Dir(g.dir(t))
	}
	rows := trained.VocabSize() + 2
	dir := model(rows)
	if err := trained.Save(dir); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "x.gguf")
	run(t, dir, file, convert.Options{To: convert.GGUF})
	f, err := gguf.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	values := make(map[string]any)
	for _, e := range f.Metadata() {
		values[e.Key] = e.Value
	}
	tokens, kinds := values["tokenizer.ggml.tokens"].(gguf.List).Items, values["tokenizer.ggml.token_type"].(gguf.List).Items
	end, _ := trained.EndOfText()
	if len(tokens) != rows || len(kinds) != rows || tokens[end] != bpe.EndOfTextToken || values["tokenizer.ggml.eos_token_id"] != uint64(end) ||
		kinds[end] != int64(3) || kinds[(end+1)%10] != int64(1) || kinds[rows-1] != int64(5) {
		t.Errorf("%d tokens, %d kinds, the last %v %v, eos %v", len(tokens), len(kinds), tokens[rows-1], kinds[rows-1], values["tokenizer.ggml.eos_token_id"])
	}

	back := filepath.Join(t.TempDir(), "back") + "/"
	run(t, file, back, convert.Options{To: convert.SafeTensors})
	for _, name := range append([]string{"model.safetensors"}, bpe.Files...) {
		sameFile(t, filepath.Join(back, name), filepath.Join(dir, name))
	}
	again := filepath.Join(t.TempDir(), "again.gguf")
	run(t, back, again, convert.Options{To: convert.GGUF})
	sameFile(t, again, file)

	// What does not fit is left out, and said.
	for name, spoil := range map[string]func(dir string) error{
		"more tokens than rows": trained.Save,
		"not GPT-2's":           func(dir string) error { return os.WriteFile(filepath.Join(dir, "tokenizer.json"), []byte("{}"), 0o666) },
	} {
		dir := model(9)
		if err := spoil(dir); err != nil {
			t.Fatal(err)
		}
		p := run(t, dir, filepath.Join(t.TempDir(), "x.gguf"), convert.Options{To: convert.GGUF})
		if len(p.Notes) != 1 || !strings.Contains(p.Notes[0], "tokenizer is left out") {
			t.Errorf("%s: notes are %q", name, p.Notes)
		}
	}
}
