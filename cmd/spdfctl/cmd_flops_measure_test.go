package main

import (
	"context"
	"testing"

	"github.com/spdfctl/spdfctl/analysis"
	"github.com/spdfctl/spdfctl/kernels"
	"github.com/spdfctl/spdfctl/masks"
	"github.com/spdfctl/spdfctl/train/gpt"
)

// In a real step the kernels count exactly the multiply-adds of the ledger, for
// every dense and sparse product, whatever the thread count and the padding.
func TestLedgerEqualsExecuted(t *testing.T) {
	c := gpt.Config{VocabSize: 301, NCtx: 80, NEmbd: 48, NLayer: 2, NHead: 3}.WithDefaults()
	defer kernels.SetThreads(0)
	for _, tc := range []struct {
		name           string
		sparsity       string
		only           bool // masks of the queries only: a fused tensor in parts
		batch, seqLen  int
		threads, steps int
	}{
		{"dense", "", false, 2, 80, 2, 2},
		{"dense, odd sizes", "", false, 3, 37, 1, 1},
		{"sparse", "0.75", false, 2, 80, 3, 2},
		{"sparse, odd sizes", "0.9", false, 1, 71, 2, 1},
		{"a few tokens", "0.5", false, 1, 3, 2, 1},
		{"partly masked", "0.5", true, 1, 70, 2, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			kernels.SetThreads(tc.threads)
			var set *masks.Set
			var kept analysis.Kept
			if tc.sparsity != "" {
				s, err := masks.ParseSparsity(tc.sparsity)
				if err != nil {
					t.Fatal(err)
				}
				targets := gpt.MaskTargets(c)
				if tc.only {
					targets = targets[:1]
				}
				if set, err = masks.Random(targets, s, 5); err != nil {
					t.Fatal(err)
				}
				if kept, err = analysis.MaskKept(c, set); err != nil {
					t.Fatal(err)
				}
			}
			spent, err := measureSteps(context.Background(), c, set, measureFlags{batch: tc.batch, seqLen: tc.seqLen, steps: tc.steps})
			if err != nil {
				t.Fatal(err)
			}
			m, err := analysis.Reconcile(analysis.ShapeOf(c), analysis.SPDF, tc.batch, tc.seqLen, kept, spent, 1e9)
			if err != nil {
				t.Fatal(err)
			}
			products := 0
			for _, r := range m.Rows {
				switch r.Group {
				case analysis.GroupAttention:
					if r.Executed == 0 {
						t.Errorf("%s: nothing executed", r.Name)
					}
				case analysis.GroupOther, analysis.GroupOptimizer:
					if r.Executed != 0 {
						t.Errorf("%s: %d FLOPs in products", r.Name, r.Executed)
					}
				default:
					products++
					if r.Difference.Sign() != 0 || r.Issued < r.Executed || r.Executed == 0 {
						t.Errorf("%s %s: %d FLOPs executed, %d issued, the ledger says %v", r.Name, r.Pass(), r.Executed, r.Issued, r.Ledger)
					}
				}
			}
			// Four products in two blocks and the head, forward and backward.
			if products != 18 || !m.ProductsEqual {
				t.Errorf("%d rows of products, want 18; equal: %v", products, m.ProductsEqual)
			}
		})
	}
}
