package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/spdfctl/spdfctl/train"
)

func TestStepNote(t *testing.T) {
	val := 2.5
	before := train.Metrics{Step: 4, FLOPs: 4e9, Seconds: 2}
	m := train.Metrics{Step: 5, FLOPs: 5e9, Seconds: 2.5, Loss: 3.25, TokensPerSecond: 12345, ValLoss: &val}
	if got, want := stepNote(m, before, 8e9), "loss 3.250, 12.3k tokens/s, 25 % of peak, validation 2.500"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := stepNote(m, train.Metrics{}, 8e9), "loss 3.250, 12.3k tokens/s, validation 2.500"; got != want {
		t.Errorf("first step: got %q, want %q", got, want)
	}
}

// TestProgressAfterResume: the time left is reckoned from the steps of this
// process, not from those that a run had before it was taken up.
func TestProgressAfterResume(t *testing.T) {
	var b bytes.Buffer
	a := &app{stderr: &b, logFormat: "text"}
	p := a.startProgress("pretrain", "steps", 1100)
	p.start = time.Now().Add(-10 * time.Second)
	p.last = time.Time{}
	p.Resume(1000)
	p.Set(1050, "")
	if !strings.Contains(b.String(), "1050 of 1100 steps, 10s left") {
		t.Errorf("printed %q, want 10s left: 50 steps took 10 s, 50 are to do", b.String())
	}
}
