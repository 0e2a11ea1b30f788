package gpt_test

import (
	"fmt"
	"testing"

	"github.com/spdfctl/spdfctl/kernels"
	"github.com/spdfctl/spdfctl/masks"
	"github.com/spdfctl/spdfctl/train/gpt"
)

// BenchmarkStep measures forward and backward of a batch, without the
// optimizer, in tokens per second.
func BenchmarkStep(b *testing.B) {
	for _, shape := range []struct {
		name   string
		config gpt.Config
		b, t   int
	}{
		{"quickstart", gpt.Config{VocabSize: 2048, NCtx: 128, NEmbd: 256, NLayer: 4, NHead: 4}, 16, 128},
		{"wide", gpt.Config{VocabSize: 8192, NCtx: 256, NEmbd: 512, NLayer: 8, NHead: 8}, 8, 256},
		{"gpt2", gpt.Config{VocabSize: 50257, NCtx: 1024, NEmbd: 768, NLayer: 12, NHead: 12}, 4, 256},
	} {
		for _, sparsity := range []string{"0", "0.75"} {
			b.Run(fmt.Sprintf("model=%s/sparsity=%s/set=%s", shape.name, sparsity, kernels.Current().Name), func(b *testing.B) {
				c := shape.config.WithDefaults()
				var set *masks.Set
				if sparsity != "0" {
					s, err := masks.ParseSparsity(sparsity)
					if err != nil {
						b.Fatal(err)
					}
					if set, err = masks.Random(gpt.MaskTargets(c), s, 1); err != nil {
						b.Fatal(err)
					}
				}
				m, err := gpt.New(c, set)
				if err != nil {
					b.Fatal(err)
				}
				m.Init(1)
				ids := make([]int32, shape.b*shape.t)
				for i := range ids {
					ids[i] = int32(i * 7919 % c.VocabSize)
				}
				step := func() {
					if _, _, err := m.LossAndGrad(ids, ids, shape.b, shape.t, 1e-3); err != nil {
						b.Fatal(err)
					}
				}
				step() // sizes the buffers
				b.ReportAllocs()
				for b.Loop() {
					step()
				}
				b.ReportMetric(float64(b.N*len(ids))/b.Elapsed().Seconds(), "tokens/s")
			})
		}
	}
}
