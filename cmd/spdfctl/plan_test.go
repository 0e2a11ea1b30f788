package main

import (
	"bytes"
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spdfctl/spdfctl/analysis"
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
	checkPaperPrices(t, "GPT-2 Small", prices["gpt2-small.yaml"])
	checkPaperPrices(t, "GPT-3 XL", prices["gpt3-xl.yaml"])
}

// stepSlack is what runs of whole steps have more than the tokens of the paper.
const stepSlack = 3e-4

// checkPaperPrices compares the price of a plan with the numbers that "flops
// paper" counts and compares with the print: table 2 of the supplement, and table 3,
// FLOPs of a sequence, for five epochs of every variant of the grids.
func checkPaperPrices(t *testing.T, title string, plan planPrice) {
	t.Helper()
	cells, err := analysis.PaperTables()
	if err != nil {
		t.Fatal(err)
	}
	phases := map[string]phasePrice{}
	flops := func(name string) float64 {
		p, ok := phases[name]
		if !ok {
			t.Fatalf("%s: no phase %s", title, name)
		}
		return asFloat(p.FLOPs)
	}
	for _, p := range plan.Phases {
		phases[p.Phase] = p
	}
	check := func(name string, got, want float64) {
		t.Helper()
		if got < want*(1-stepSlack) || got > want*(1+stepSlack) {
			t.Errorf("%s: %s: %.5g FLOPs, the paper's tables make it %.5g", title, name, got, want)
		}
	}
	tasks := []struct {
		name              string
		examples, runs    float64
		devTexts, inTests float64 // that a variant decodes, that the test set has
	}{{"E2E", 42061, 12, 547, 630}, {"WebNLG", 18025, 12, 872, 1862}, {"DART", 62659, 12, 2768, 5097}, {"Curation", 31929, 6, 0, 3991}}
	const epochs, passes = 5, 3 // forward, and backward twice that
	compared := 0
	for _, c := range cells {
		arms := map[float64]string{0: "dense", 0.5: "s50", 0.75: "s75"}
		switch {
		case c.Model != title:
		case c.Table == analysis.PaperSupplement2 && c.Column == "total":
			check(arms[c.Sparsity], flops(arms[c.Sparsity]), c.Computed)
			compared++
		case c.Table == analysis.PaperSupplement3:
			for _, task := range tasks {
				if c.Column != task.name+"/forward" {
					continue
				}
				for _, arm := range arms {
					name := arm + "-" + strings.ToLower(task.name)
					if n := phases[name].Runs; n != int(task.runs) {
						t.Errorf("%s: %s: %d runs, want %g", title, name, n, task.runs)
					}
					decoded := flops(name+"-test") / task.inTests * task.devTexts * task.runs
					check(name, flops(name)-decoded, passes*c.Computed*task.examples*epochs*task.runs)
					compared++
				}
			}
		}
	}
	if compared != 3+12 {
		t.Errorf("%s: %d numbers compared, want 15", title, compared)
	}
}
