package gpt_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/spdfctl/spdfctl/kernels"
	"github.com/spdfctl/spdfctl/masks"
	"github.com/spdfctl/spdfctl/train/gpt"
)

// batchModel is a small model, sparse if s is not 0, whose sizes are no multiples
// of a vector.
func batchModel(t *testing.T, s string) *gpt.Model {
	t.Helper()
	c := gpt.Config{VocabSize: 61, NCtx: 24, NEmbd: 27, NLayer: 2, NHead: 3}.WithDefaults()
	var set *masks.Set
	if s != "" {
		sparsity, err := masks.ParseSparsity(s)
		if err != nil {
			t.Fatal(err)
		}
		if set, err = masks.Random(gpt.MaskTargets(c), sparsity, 1); err != nil {
			t.Fatal(err)
		}
	}
	m, err := gpt.New(c, set)
	if err != nil {
		t.Fatal(err)
	}
	m.Init(4)
	for _, p := range m.Params {
		for i := range p.W {
			p.W[i] *= 8
		}
	}
	return m
}

// TestBatchDecoder compares the logits of texts stepped together, forked and
// released on the way, with those of the whole text, and demands the same bits
// from a text alone and from any number of threads.
func TestBatchDecoder(t *testing.T) {
	defer kernels.SetThreads(0)
	for _, sparsity := range []string{"", "0.75"} {
		m := batchModel(t, sparsity)
		c := m.Config
		rng := rand.New(rand.NewPCG(1, 2))
		draw := func(n int) []int32 {
			ids := make([]int32, n)
			for i := range ids {
				ids[i] = int32(rng.IntN(c.VocabSize))
			}
			return ids
		}
		d := m.NewBatchDecoder()
		texts, ids := []*gpt.Text{}, [][]int32{}
		step := func(appended [][]int32) []float32 {
			var inputs []gpt.Input
			for i := range texts {
				inputs = append(inputs, gpt.Input{Text: texts[i], IDs: appended[i]})
				ids[i] = append(ids[i], appended[i]...)
			}
			logits, err := d.Step(inputs)
			if err != nil {
				t.Fatal(err)
			}
			return logits
		}
		var first [][]int32
		for _, n := range []int{3, 1, 7, 12, 2} {
			texts, ids, first = append(texts, d.NewText()), append(ids, nil), append(first, draw(n))
		}
		step(first)
		// The third text goes on as three, the second one ends.
		texts = append(texts, texts[2].Fork(), texts[2].Fork())
		ids = append(ids, slices.Clone(ids[2]), slices.Clone(ids[2]))
		texts[1].Release()
		texts, ids = slices.Delete(texts, 1, 2), slices.Delete(ids, 1, 2)
		var logits []float32
		for range 6 {
			var appended [][]int32
			for range texts {
				appended = append(appended, draw(1))
			}
			logits = step(appended)
		}
		for i := range texts {
			whole := make([]float32, len(ids[i])*c.VocabSize)
			if err := m.Logits(whole, ids[i], 1, len(ids[i])); err != nil {
				t.Fatal(err)
			}
			got, want := logits[i*c.VocabSize:][:c.VocabSize], whole[len(whole)-c.VocabSize:]
			for j := range want {
				// A few hundred roundings of numbers of about 10.
				if math.Abs(float64(got[j]-want[j])) > 1e-3 {
					t.Errorf("sparsity %q: text %d: logit %d is %g, of the whole text %g", sparsity, i, j, got[j], want[j])
					break
				}
			}
			for _, threads := range []int{1, 3} {
				kernels.SetThreads(threads)
				alone := m.NewBatchDecoder()
				text := alone.NewText()
				var last []float32
				for _, id := range ids[i] {
					var err error
					if last, err = alone.Step([]gpt.Input{{Text: text, IDs: []int32{id}}}); err != nil {
						t.Fatal(err)
					}
				}
				if !slices.Equal(got, last) {
					t.Errorf("sparsity %q: text %d alone on %d threads has other logits", sparsity, i, threads)
				}
			}
			kernels.SetThreads(0)
		}
	}
}

func TestBatchDecoderRefuses(t *testing.T) {
	m := batchModel(t, "")
	d := m.NewBatchDecoder()
	text := d.NewText()
	for name, ids := range map[string][]int32{"nothing": nil, "negative": {-1}, "vocabulary": {61}, "context": make([]int32, 25)} {
		if _, err := d.Step([]gpt.Input{{Text: text, IDs: ids}}); err == nil || text.Len() != 0 {
			t.Errorf("%s: error %v, %d tokens kept", name, err, text.Len())
		}
	}
}
