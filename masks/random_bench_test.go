package masks_test

import (
	"fmt"
	"testing"

	"github.com/spdfctl/spdfctl/masks"
)

// One layer of GPT-3 XL: q, k, v and the projection (2048, 2048), the MLP
// (8192, 2048) and (2048, 8192).
var xlLayer = []masks.Target{
	{Name: "h.0.attn.c_attn.weight", Part: "q", Out: 2048, In: 2048},
	{Name: "h.0.attn.c_attn.weight", Part: "k", Out: 2048, In: 2048},
	{Name: "h.0.attn.c_attn.weight", Part: "v", Out: 2048, In: 2048},
	{Name: "h.0.attn.c_proj.weight", Out: 2048, In: 2048},
	{Name: "h.0.mlp.c_fc.weight", Out: 8192, In: 2048},
	{Name: "h.0.mlp.c_proj.weight", Out: 2048, In: 8192},
}

func BenchmarkRandom(b *testing.B) {
	for _, text := range []string{"0.5", "0.75", "0.9"} {
		b.Run(fmt.Sprintf("model=xl-layer/sparsity=%s", text), func(b *testing.B) {
			s, err := masks.ParseSparsity(text)
			if err != nil {
				b.Fatal(err)
			}
			weights := 0
			for _, t := range xlLayer {
				weights += t.Total()
			}
			b.ReportAllocs()
			for seed := uint64(0); b.Loop(); seed++ {
				if _, err := masks.Random(xlLayer, s, seed); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(weights)*float64(b.N)/b.Elapsed().Seconds()/1e9, "Gweights/s")
		})
	}
}
