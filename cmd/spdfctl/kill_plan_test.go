//go:build linux

package main

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// killPlan has every kind of phase that trains, and a grid.
const killPlan = `out: plan
phases:
  - {name: tok, kind: tokenizer, in: [text.txt], settings: {vocab_size: 280}}
  - {name: tokens, kind: prepare, in: [text.txt], settings: {tokenizer: "@tok"}}
  - name: sparse
    kind: pretrain
    settings: {data: "@tokens", sparsity: 0.75, n_layer: 1, n_head: 2, n_embd: 32, n_ctx: 32, batch_size: 4, max_steps: 40, save_every: 5, log_every: 1}
  - {name: dense, kind: densify, from: sparse}
  - name: tuned
    kind: finetune
    from: dense
    settings: {data: pairs.jsonl, dev: pairs.jsonl, max_steps: 20, batch_size: 4, save_every: 5, log_every: 1}
    grid: {lr: [0.001, 0.003]}
    pick: val_loss
  - {name: texts, kind: decode, from: tuned, settings: {task: jsonl, data: pairs.jsonl, max_tokens: 8}}
  - {name: score, kind: score, from: texts, settings: {profile: sacrebleu, ref: refs.jsonl}}
`

// TestKillPlan kills a plan at moments all over it and starts it again: in the
// end every record has the hashes of the plan that nobody touched, and every loss
// curve its lines.
func TestKillPlan(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("plan.yaml", killPlan)
	write("text.txt", strings.Repeat("the cat saw the dog\nthe hog met the fog\n", 400))
	write("pairs.jsonl", strings.Repeat(`{"prompt": "a cat", "completion": "the cat sat"}`+"\n"+`{"prompt": "a dog", "completion": "the dog ran"}`+"\n", 8))
	write("refs.jsonl", `{"completion": "the cat sat"}`+"\n"+`{"completion": "the dog ran"}`+"\n")
	command := func(args ...string) *exec.Cmd {
		cmd := exec.Command("spdfctl", append([]string{"run", "plan.yaml"}, args...)...)
		cmd.Dir = dir
		return cmd
	}
	start := time.Now()
	if out, err := command("--quiet").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	took := time.Since(start)
	if err := os.Rename(filepath.Join(dir, "plan"), filepath.Join(dir, "whole")); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(5, 6))
	kills, finished := 0, false
	for !finished {
		cmd := command("--quiet", "--threads", []string{"1", "2", "3"}[rng.IntN(3)])
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- cmd.Wait() }()
		// Seven kills at most: a busy machine must not keep the plan from its end.
		limit := time.Duration(float64(took) * (0.1 + 0.2*rng.Float64()))
		if kills == 7 {
			limit = time.Hour
		}
		select {
		case err := <-done:
			if err != nil {
				t.Fatalf("after %d kills: %v\n%s", kills, err, &out)
			}
			finished = true
		case <-time.After(limit):
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			<-done
			kills++
		}
	}
	t.Logf("%d kills", kills)
	records, err := filepath.Glob(filepath.Join(dir, "whole", "*.json"))
	if err != nil || len(records) != 7 {
		t.Fatalf("%d records: %v", len(records), err)
	}
	for _, path := range records {
		want, err := readRecord(path)
		if err != nil {
			t.Fatal(err)
		}
		got, err := readRecord(filepath.Join(dir, "plan", filepath.Base(path)))
		if err != nil || got == nil {
			t.Fatalf("%s: no record of the killed plan: %v", path, err)
		}
		if diff := cmp.Diff(want.Outputs, got.Outputs); diff != "" || want.Picked != got.Picked {
			t.Errorf("after %d kills %s picked %q, without %q; outputs (-whole +killed):\n%s", kills, got.Phase, got.Picked, want.Picked, diff)
		}
	}
	for _, run := range []string{"sparse", "tuned/lr=0.001", "tuned/lr=0.003"} {
		if diff := cmp.Diff(curve(t, filepath.Join(dir, "whole", run)), curve(t, filepath.Join(dir, "plan", run))); diff != "" {
			t.Errorf("%s: curve (-whole +killed):\n%s", run, diff)
		}
	}
}
