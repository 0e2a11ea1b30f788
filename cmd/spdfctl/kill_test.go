//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// kills is how often TestKill kills its run. SPDF_KILLS asks for more.
const kills = 12

// killRun is a run with everything on that could lose its place: accumulation,
// RigL, dropout, validation, early stopping, the best checkpoint, and a
// checkpoint after every second step, so that many kills hit the writing of one.
var killRun = strings.Fields(`pretrain --quiet --data tokens --sparsity 0.75
	--n-layer 2 --n-head 2 --n-embd 64 --n-ctx 32 --batch-size 6 --micro-batch-size 4
	--max-steps 60 --lr 0.003 --dropout 0.1 --dynamic rigl --mask-update-every 5
	--eval-every 4 --patience 50 --keep-best 1 --spike-factor 3 --log-every 1 --save-every 2`)

// job starts spdfctl in dir.
func job(t *testing.T, dir string, args ...string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	cmd := exec.Command("spdfctl", args...)
	cmd.Dir = dir
	out := new(bytes.Buffer)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, out
}

// mustRun runs spdfctl in dir to its end.
func mustRun(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd, out := job(t, dir, args...)
	if err := cmd.Wait(); err != nil {
		t.Fatalf("spdfctl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out.String()
}

// prepareShards makes tokens in dir.
func prepareShards(t *testing.T, dir string) {
	t.Helper()
	var text strings.Builder
	rng := rand.New(rand.NewPCG(1, 2))
	for range 4000 {
		fmt.Fprintf(&text, "the %s %s the %s\n", pick(rng, "cat", "dog", "hog"), pick(rng, "saw", "bit", "met"), pick(rng, "log", "mat", "fog"))
	}
	if err := os.WriteFile(filepath.Join(dir, "text.txt"), []byte(text.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	valid := strings.Repeat("the cat met the hog\nthe dog bit the fog\n", 40)
	if err := os.WriteFile(filepath.Join(dir, "valid.txt"), []byte(valid), 0o644); err != nil {
		t.Fatal(err)
	}
	mustRun(t, dir, "tokenizer", "train", "text.txt", "--vocab-size", "280", "-o", "tok", "--quiet")
	mustRun(t, dir, "data", "prepare", "text.txt", "--val", "valid.txt", "-o", "tokens", "--tokenizer", "tok", "--quiet")
}

func pick(rng *rand.Rand, words ...string) string { return words[rng.IntN(len(words))] }

// curve reads metrics.jsonl without what the clock decides.
func curve(t *testing.T, run string) []map[string]any {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(run, "metrics.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var lines []map[string]any
	for line := range strings.Lines(string(data)) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatal(err)
		}
		delete(m, "seconds")
		delete(m, "tokens_per_second")
		lines = append(lines, m)
	}
	return lines
}

// lastSums returns the hashes of the newest checkpoint of a run.
func lastSums(t *testing.T, run string) string {
	t.Helper()
	latest, err := os.ReadFile(filepath.Join(run, "checkpoints", "latest"))
	if err != nil {
		t.Fatal(err)
	}
	sums, err := os.ReadFile(filepath.Join(run, "checkpoints", strings.TrimSpace(string(latest)), "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	return string(latest) + string(sums)
}

// TestKill kills a run at random moments, also while it writes checkpoints, and
// takes it up on other thread counts: loss curve, weights, moments and masks are
// in the end those of the run that nobody touched.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	prepareShards(t, dir)
	start := time.Now()
	mustRun(t, dir, append(slices.Clone(killRun), "-o", "whole")...)
	took := time.Since(start)
	if last := curve(t, filepath.Join(dir, "whole")); last[len(last)-1]["val_loss"] == nil {
		t.Fatal("the run validates on nothing")
	}

	want := kills
	if s := os.Getenv("SPDF_KILLS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		want = n
	}
	rng := rand.New(rand.NewPCG(3, 4))
	killed, writing, finished := 0, 0, 0
	run := filepath.Join(dir, "run")
	for killed < want {
		args := append(slices.Clone(killRun), "-o", "run", "--threads", strconv.Itoa(1+rng.IntN(3)))
		if _, err := os.Stat(filepath.Join(run, "config.yaml")); err == nil {
			args = append(args, "--resume")
		}
		cmd, out := job(t, dir, args...)
		done := make(chan error, 1)
		go func() { done <- cmd.Wait() }()
		// A moment that leaves about ten kills to a run.
		wait := time.NewTimer(time.Duration(float64(took) * (0.02 + 0.25*rng.Float64())))
		select {
		case err := <-done:
			if err != nil {
				t.Fatalf("after %d kills: %v\n%s", killed, err, out)
			}
			finished++
			compareRuns(t, dir, killed)
			if err := os.RemoveAll(run); err != nil {
				t.Fatal(err)
			}
		case <-wait.C:
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			<-done
			killed++
			if half, _ := filepath.Glob(filepath.Join(run, "checkpoints", ".step-*")); len(half) > 0 {
				writing++
			}
		}
		wait.Stop()
	}
	if _, err := os.Stat(filepath.Join(run, "config.yaml")); err == nil {
		mustRun(t, dir, append(slices.Clone(killRun), "-o", "run", "--resume", "--threads", "3")...)
		compareRuns(t, dir, killed)
		finished++
	}
	if half, _ := filepath.Glob(filepath.Join(run, "checkpoints", ".step-*")); len(half) > 0 {
		t.Errorf("half-written checkpoints stay: %v", half)
	}
	t.Logf("%d kills, %d of them while a checkpoint was being written; %d runs finished, each with the bits of the whole one", killed, writing, finished)
}

// compareRuns compares the run with the whole one.
func compareRuns(t *testing.T, dir string, killed int) {
	t.Helper()
	whole, run := filepath.Join(dir, "whole"), filepath.Join(dir, "run")
	if a, b := lastSums(t, whole), lastSums(t, run); a != b {
		t.Fatalf("after %d kills the last checkpoint is\n%s\nwithout\n%s", killed, b, a)
	}
	a, b := curve(t, whole), curve(t, run)
	if !reflect.DeepEqual(a, b) {
		t.Fatalf("after %d kills metrics.jsonl has other lines: %d, without %d", killed, len(b), len(a))
	}
}

// TestSignals: SIGUSR1 prints the state, SIGTERM leaves a checkpoint within ten
// seconds and exits with 130, and the run goes on to the same end.
func TestSignals(t *testing.T) {
	dir := t.TempDir()
	prepareShards(t, dir)
	long := append(slices.Clone(killRun), "--max-steps", "100000", "--save-every", "0", "--patience", "0", "-o", "run")
	cmd, out := job(t, dir, long...)
	waitForLines(t, filepath.Join(dir, "run", "metrics.jsonl"), 5)
	if err := cmd.Process.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	waitForLines(t, filepath.Join(dir, "run", "metrics.jsonl"), 8)
	began := time.Now()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	err := cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != exitInterrupted {
		t.Errorf("SIGTERM: exit code %d (%v), want %d\n%s", code, err, exitInterrupted, out)
	}
	t.Logf("SIGTERM to exit: %v", time.Since(began))
	if !strings.Contains(out.String(), "spdfctl: pretrain: state: step ") {
		t.Errorf("SIGUSR1 printed %q", out)
	}
	mustRun(t, dir, "pretrain", "--quiet", "--resume", "--verify", "-o", "run")
}

// waitForLines returns when a file has n lines.
func waitForLines(t *testing.T, path string, n int) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		data, _ := os.ReadFile(path)
		if bytes.Count(data, []byte("\n")) >= n {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s has %q after a minute", path, data)
		}
	}
}

// TestDiskFull: when a checkpoint cannot be written the run says so and fails,
// and what it had before is whole. The limit on the size of files, which any user can
// lower, refuses writes half-way as a full disk does.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	prepareShards(t, dir)
	mustRun(t, dir, append(slices.Clone(killRun), "--max-steps", "60", "-o", "whole")...)
	first := append(slices.Clone(killRun), "--max-time", "1ns", "-o", "run")
	mustRun(t, dir, first...)
	cmd, out := job(t, dir, append(slices.Clone(killRun), "-o", "run", "--resume", "--max-time", "1h")...)
	waitForLines(t, filepath.Join(dir, "run", "metrics.jsonl"), 9)
	if err := limitFileSize(cmd.Process.Pid, 50<<10); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != exitFailed || !strings.Contains(out.String(), "file too large") {
		t.Errorf("with no room: %v\n%s", err, out)
	}
	if half, _ := filepath.Glob(filepath.Join(dir, "run", "checkpoints", ".step-*")); len(half) > 0 {
		t.Errorf("half-written checkpoints stay: %v", half)
	}
	mustRun(t, dir, append(slices.Clone(killRun), "-o", "run", "--resume", "--max-time", "0s")...)
	compareRuns(t, dir, 0)
}

// limitFileSize lowers the size to which a process may write files.
func limitFileSize(pid int, bytes uint64) error {
	limit := unix.Rlimit{Cur: bytes, Max: bytes}
	return unix.Prlimit(pid, unix.RLIMIT_FSIZE, &limit, nil)
}
