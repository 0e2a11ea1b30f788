package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// This file holds the manners of the command line:
//
//   - standard output carries data only; everything else goes to standard
//     error with a "spdfctl:" prefix, lower case, without a full stop;
//   - a progress bar appears on a terminal only; elsewhere a plain line
//     every few seconds, without carriage returns;
//   - --quiet silences both, never an error.

// Exit codes of the command line.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitDifference  = 3
	exitInterrupted = 130
)

// app is what every command shares: the streams and the global flags.
type app struct {
	stdout, stderr io.Writer

	threads   int
	kernels   string
	json      bool
	quiet     bool
	logFormat string

	progress *progress    // the one that is on screen, if any
	training *atomic.Bool // a run is under way that has a checkpoint to write at its end
}

// usageError is a wrong command line: exit code 2.
type usageError struct {
	err     error
	command string
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usageErrorf(format string, args ...any) error {
	return &usageError{err: fmt.Errorf(format, args...)}
}

// differenceError is a check that found a difference: exit code 3.
type differenceError struct{ err error }

func (e *differenceError) Error() string { return e.err.Error() }
func (e *differenceError) Unwrap() error { return e.err }

func differenceErrorf(format string, args ...any) error {
	return &differenceError{err: fmt.Errorf(format, args...)}
}

// hintError carries a way out, printed on a line of its own.
type hintError struct {
	err  error
	hint string
}

func (e *hintError) Error() string { return e.err.Error() }
func (e *hintError) Unwrap() error { return e.err }

func withHint(err error, format string, args ...any) error {
	return &hintError{err: err, hint: fmt.Sprintf(format, args...)}
}

// report prints err, with its hint, and returns the exit code.
func (a *app) report(ctx context.Context, err error) int {
	if err == nil {
		return exitOK
	}
	var (
		usage *usageError
		diff  *differenceError
		hint  *hintError
	)
	interrupted := ctx.Err() != nil && errors.Is(err, context.Canceled)
	text := strings.TrimPrefix(err.Error(), "spdfctl: ")
	if interrupted {
		// The word reads better than "context canceled" in front of a user.
		text = strings.ReplaceAll(text, context.Canceled.Error(), "interrupted")
	}
	fmt.Fprintf(a.stderr, "spdfctl: %s\n", text)
	switch {
	case errors.As(err, &hint):
		fmt.Fprintf(a.stderr, "spdfctl: hint: %s\n", hint.hint)
	case errors.As(err, &usage) && usage.command != "":
		fmt.Fprintf(a.stderr, "spdfctl: hint: %q shows the flags and two examples\n", usage.command+" --help")
	}
	switch {
	case interrupted:
		return exitInterrupted
	case errors.As(err, &usage):
		return exitUsage
	case errors.As(err, &diff):
		return exitDifference
	}
	return exitFailed
}

// logf writes one log line unless --quiet.
func (a *app) logf(format string, args ...any) {
	if a.quiet {
		return
	}
	a.clearProgress()
	msg := fmt.Sprintf(format, args...)
	if a.logFormat == "json" {
		slog.New(slog.NewJSONHandler(a.stderr, nil)).Info(msg)
		return
	}
	fmt.Fprintf(a.stderr, "spdfctl: %s\n", msg)
}

// printJSON writes v as one indented JSON document to standard output.
func (a *app) printJSON(v any) error {
	enc := json.NewEncoder(a.stdout)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// logEvery is the time between two progress lines off a terminal.
const logEvery = 5 * time.Second

// progress shows how far long work has come: a bar on a terminal, otherwise a
// log line every few seconds. Its methods may be called from any goroutine.
type progress struct {
	a     *app
	what  string
	unit  string
	total int64

	mu     sync.Mutex
	done   int64
	from   int64 // done before this process began
	note   string
	start  time.Time
	last   time.Time
	bar    *progressbar.ProgressBar
	closed bool
}

// startProgress shows the progress of total units of work (0: unknown).
func (a *app) startProgress(what, unit string, total int64) *progress {
	a.closeProgress()
	p := &progress{a: a, what: what, unit: unit, total: total, start: time.Now(), last: time.Now()}
	if f, ok := a.stderr.(*os.File); ok && !a.quiet && a.logFormat == "text" && term.IsTerminal(int(f.Fd())) {
		max := total
		if max <= 0 {
			max = -1 // a spinner; progressbar refuses a maximum of 0
		}
		p.bar = progressbar.NewOptions64(max,
			progressbar.OptionSetWriter(f),
			progressbar.OptionSetDescription(what),
			progressbar.OptionSetItsString(unit),
			progressbar.OptionShowIts(),
			progressbar.OptionShowCount(),
			progressbar.OptionSetPredictTime(true),
			progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionClearOnFinish(),
			progressbar.OptionFullWidth(),
		)
	}
	a.progress = p
	return p
}

// Set moves the progress to done units; note, if not empty, is shown with it.
func (p *progress) Set(done int64, note string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done, p.note = done, note
	if p.closed || p.a.quiet {
		return
	}
	if p.bar != nil {
		if p.total > 0 {
			done = min(done, p.total) // the bar returns an error past its maximum
		}
		if note != "" {
			p.bar.Describe(p.what + " " + note)
		}
		_ = p.bar.Set64(done)
		return
	}
	if time.Since(p.last) >= logEvery {
		p.last = time.Now()
		p.line()
	}
}

// Resume says that done units were there before the work began.
func (p *progress) Resume(done int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.from = done
}

// line prints the state as a plain log line.
func (p *progress) line() {
	text := fmt.Sprintf("%s: %d %s", p.what, p.done, p.unit)
	if p.total > 0 {
		text = fmt.Sprintf("%s: %d of %d %s", p.what, p.done, p.total, p.unit)
	}
	if p.note != "" {
		text += ", " + p.note
	}
	if p.total > 0 && p.done > p.from {
		spent := time.Since(p.start)
		left := time.Duration(float64(spent) * float64(p.total-p.done) / float64(p.done-p.from))
		text += fmt.Sprintf(", %s left", left.Round(time.Second))
	}
	p.a.logf("%s", text)
}

// Close takes the progress off the screen.
func (p *progress) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.closed = true
	if p.bar != nil {
		_ = p.bar.Clear()
	}
}

func (a *app) closeProgress() {
	if a.progress != nil {
		a.progress.Close()
		a.progress = nil
	}
}

// clearProgress wipes the bar so that a log line starts on an empty one.
func (a *app) clearProgress() {
	if a.progress != nil && a.progress.bar != nil && !a.progress.closed {
		_ = a.progress.bar.Clear()
	}
}
