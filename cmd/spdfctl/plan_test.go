package main

import (
	"bytes"
	"context"
	"encoding/json"
	"math/big"
	"path/filepath"
	"testing"
)

// TestPlansOfTheDocs: every plan in docs/plans is one, and can be priced where
// none of its data is.
func TestPlansOfTheDocs(t *testing.T) {
	paths, err := filepath.Glob("../../docs/plans/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	prices := map[string]planPrice{}
	for _, path := range paths {
		p, err := readPlan(path)
		if err != nil {
			t.Error(err)
			continue
		}
		var out bytes.Buffer
		a := &app{stdout: &out, stderr: &out, quiet: true, json: true}
		if err := a.pricePlan(context.Background(), p, 1e12); err != nil {
			t.Error(err)
			continue
		}
		var price planPrice
		if err := json.Unmarshal(out.Bytes(), &price); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		prices[filepath.Base(path)] = price
	}
	// The paper's table 2 of the supplement, in exaFLOPs, and the number of runs
	// that its grids have.
	const tolerance = 0.0075 // it multiplies rounded numbers
	for _, want := range []struct {
		plan, phase string
		exa         float64
		runs        int
	}{
		{"gpt2-small.yaml", "dense", 2.43, 1}, {"gpt2-small.yaml", "s50", 1.79, 1}, {"gpt2-small.yaml", "s75", 1.46, 1},
		{"gpt3-xl.yaml", "dense", 236.10, 1}, {"gpt3-xl.yaml", "s50", 141.87, 1}, {"gpt3-xl.yaml", "s75", 94.76, 1},
		// Table 3: the dense FLOPs of a sequence of 512 tokens; five epochs, of twelve
		// and of six runs.
		{"gpt2-small.yaml", "s75-e2e", 3 * 1.363e11 * 42061 * 5 * 12 / 1e18, 12},
		{"gpt3-xl.yaml", "s75-curation", 3 * 1.394e12 * 31929 * 5 * 6 / 1e18, 6},
	} {
		found := false
		for _, p := range prices[want.plan].Phases {
			if p.Phase != want.phase {
				continue
			}
			found = true
			got, _ := new(big.Rat).SetFrac(p.FLOPs, big.NewInt(1e18)).Float64()
			if got < want.exa*(1-tolerance) || got > want.exa*(1+tolerance) || p.Runs != want.runs {
				t.Errorf("%s: %s: %d runs of %.4f exaFLOPs together, want %d of %.4f", want.plan, want.phase, p.Runs, got, want.runs, want.exa)
			}
		}
		if !found {
			t.Errorf("%s: no phase %s", want.plan, want.phase)
		}
	}
}
