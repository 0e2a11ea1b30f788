package main

import (
	"fmt"
	"strconv"
	"time"

	"github.com/spdfctl/spdfctl/kernels"
	"github.com/spdfctl/spdfctl/kernels/kerneltest"
	"github.com/spdfctl/spdfctl/train"
)

// peakBudget is the time spent on measuring what the CPU can do before a run.
const peakBudget = 50 * time.Millisecond

// watch attaches the progress of run to the screen and returns a function that
// takes it off again.
func (a *app) watch(what string, r *train.Run) (stop func()) {
	var peak float64
	if !a.quiet {
		peak = kerneltest.Peak(kernels.Current(), peakBudget)
	}
	p := a.startProgress(what, "steps", int64(r.Config.MaxSteps))
	var before train.Metrics
	r.OnStep = func(m train.Metrics) {
		if before.Step == 0 {
			p.Resume(int64(m.Step - 1)) // steps of an earlier process say nothing of the time left
		}
		p.Set(int64(m.Step), stepNote(m, before, peak))
		before = m
	}
	return a.closeProgress
}

// stepNote says what the step that led from before to m was like. The share of
// the peak counts the FLOPs of the ledger, those of kept weights only.
func stepNote(m, before train.Metrics, peak float64) string {
	note := fmt.Sprintf("loss %.3f, %s tokens/s", m.Loss, humanRate(m.TokensPerSecond))
	if seconds := m.Seconds - before.Seconds; before.Step > 0 && peak > 0 && seconds > 0 {
		note += fmt.Sprintf(", %.0f %% of peak", 100*(m.FLOPs-before.FLOPs)/seconds/peak)
	}
	if m.ValLoss != nil {
		note += fmt.Sprintf(", validation %.3f", *m.ValLoss)
	}
	return note
}

// humanRate prints a rate with three significant digits.
func humanRate(x float64) string {
	if x >= 1000 {
		return strconv.FormatFloat(x/1000, 'g', 3, 64) + "k"
	}
	return strconv.FormatFloat(x, 'f', 0, 64)
}
