package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v4"

	"github.com/spdfctl/spdfctl/analysis"
	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/maskfile"
	"github.com/spdfctl/spdfctl/kernels"
	"github.com/spdfctl/spdfctl/train"
	"github.com/spdfctl/spdfctl/train/gpt"
)

// Files of a run directory that a report shows, beside those of training.
const (
	samplesFile = "samples.jsonl"
	scoresFile  = "scores.json"
	reportFile  = "report.html"
)

// reportFlags are the flags of "report".
type reportFlags struct {
	out, figures, listen, title string
	force, watch                bool
}

func newReportCmd(a *app) *cobra.Command {
	var flags reportFlags
	cmd := &cobra.Command{
		Use:   "report RUN...",
		Short: "One self-contained HTML page about one or more runs",
		Long: `Report writes one HTML file about the runs given: a headline table, loss against
tokens and against FLOPs, learning rate, norms and speed, FLOPs per layer dense
beside sparse, sparsity of every matrix, drift of a fine-tuned run from what it
started from, samples, scores with their intervals, configuration and
environment. The file needs no network, and every chart has its table.

Scores come from RUN/scores.json, which "score --json" or "eval nlg --json"
printed, samples from RUN/samples.jsonl. --figures also writes every chart as
PNG and SVG. --watch serves the page on this machine instead and reads the runs
anew whenever it is loaded, which the page does every few seconds.`,
		Example: `  spdfctl report runs/dense runs/sparse -o report.html
  spdfctl report runs/sparse --watch`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if flags.watch {
				return a.watchReport(cmd.Context(), flags, args)
			}
			return a.writeReport(flags, args)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&flags.out, "out", "o", "", "file to write (default report.html)")
	f.StringVar(&flags.figures, "figures", "", "directory for every chart as PNG and SVG")
	f.StringVar(&flags.title, "title", "", "heading of the page")
	f.BoolVar(&flags.force, "force", false, "replace existing files")
	f.BoolVar(&flags.watch, "watch", false, "serve the page on the loopback interface and keep it fresh")
	f.StringVar(&flags.listen, "listen", "127.0.0.1:8765", "address of --watch, on the loopback interface")
	return cmd
}

// writeReport writes the page, and the figures if asked for.
func (a *app) writeReport(flags reportFlags, runs []string) error {
	if flags.out == "" {
		flags.out = reportFile
	}
	page, err := readPage(flags.title, runs)
	if err != nil {
		return err
	}
	if err := formats.WriteAtomic(flags.out, flags.force, page.Write); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	a.logf("report: %s: %d runs", flags.out, len(runs))
	paths := []string{}
	if flags.figures != "" {
		if err := os.MkdirAll(flags.figures, 0o755); err != nil {
			return fmt.Errorf("report: %w", err)
		}
		charts, err := page.Charts()
		if err != nil {
			return err
		}
		if paths, err = analysis.WriteFigures(flags.figures, charts, flags.force); err != nil {
			return err
		}
		a.logf("report: %s: %d figures", flags.figures, len(paths))
	}
	if a.json {
		return a.printJSON(map[string]any{"report": flags.out, "figures": paths})
	}
	return nil
}

// readPage reads all runs.
func readPage(title string, runs []string) (analysis.Page, error) {
	page := analysis.Page{Title: title, Environment: environment()}
	seen := map[string]bool{}
	for _, dir := range runs {
		name := filepath.Clean(dir)
		if seen[name] {
			return page, usageErrorf("report: %s is given twice", dir)
		}
		seen[name] = true
		r, err := readRun(dir)
		if err != nil {
			return page, fmt.Errorf("report: %w", err)
		}
		page.Runs = append(page.Runs, r)
	}
	// Names are what tells the lines of a chart apart; the last element is
	// enough unless two runs share it.
	base := map[string]int{}
	for _, r := range page.Runs {
		base[filepath.Base(r.Name)]++
	}
	for i := range page.Runs {
		if b := filepath.Base(page.Runs[i].Name); base[b] == 1 {
			page.Runs[i].Name = b
		}
	}
	if title == "" {
		names := make([]string, len(page.Runs))
		for i, r := range page.Runs {
			names[i] = r.Name
		}
		page.Title = "Report: " + strings.Join(names, ", ")
	}
	return page, nil
}

// environment describes where the page was made.
func environment() []analysis.Fact {
	facts := []analysis.Fact{{Name: "page made", Value: time.Now().UTC().Format("2006-01-02 15:04 UTC")}}
	for line := range strings.Lines(versionText()) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		facts = append(facts, analysis.Fact{Name: strings.TrimSuffix(name, ":"), Value: strings.TrimSpace(value)})
	}
	return append(facts, analysis.Fact{Name: "processor", Value: cpuName()},
		analysis.Fact{Name: "threads", Value: fmt.Sprintf("%d of %d", kernels.Threads(), runtime.NumCPU())})
}

// readRun reads what a run directory holds so far.
func readRun(dir string) (r analysis.RunReport, err error) {
	r.Name = filepath.Clean(dir)
	if r.Metrics, err = analysis.ReadMetrics(filepath.Join(dir, train.MetricsFile)); err != nil {
		return r, withHint(err, "a report wants run directories, as pretrain and finetune write them")
	}
	if err := readRunModel(dir, &r); err != nil {
		return r, err
	}
	var config struct {
		From     string `yaml:"from"`
		KeepMask bool   `yaml:"keep_mask"`
		SeqLen   int    `yaml:"seq_len"`
	}
	text, err := os.ReadFile(filepath.Join(dir, train.ConfigFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return r, err
	case len(text) > maxConfigFile:
		return r, fmt.Errorf("%s: %d bytes, limit %d", filepath.Join(dir, train.ConfigFile), len(text), maxConfigFile)
	default:
		r.Config = string(text)
		if err := yaml.Load(text, &config); err != nil {
			return r, fmt.Errorf("%s: %w", filepath.Join(dir, train.ConfigFile), err)
		}
	}
	if r.Model != nil && config.SeqLen > 0 && config.SeqLen <= r.Model.NCtx {
		r.SeqLen = config.SeqLen
	}
	if from := startOf(dir, config.From); from != "" && r.Model != nil {
		if r.Drift, err = driftBetween(from, dir, "", false); err != nil {
			return r, err
		}
		r.From = filepath.Base(from)
	}
	if path := filepath.Join(dir, samplesFile); exists(path) {
		if r.Samples, err = analysis.ReadSamples(path); err != nil {
			return r, err
		}
	}
	if path := filepath.Join(dir, scoresFile); exists(path) {
		if r.Scores, err = analysis.ReadScores(path); err != nil {
			return r, err
		}
	}
	return r, nil
}

// readRunModel reads the shape and the masks of the newest checkpoint, if the
// run has come to one.
func readRunModel(dir string, r *analysis.RunReport) error {
	if !exists(filepath.Join(dir, train.CheckpointsDir, train.LatestFile)) {
		return nil
	}
	c, err := gpt.ReadConfig(dir)
	if err != nil {
		return err
	}
	r.Model = &c
	if path := ownMasks(dir); path != "" {
		r.Masks, err = maskfile.Read(path)
	}
	return err
}

// startOf returns the checkpoint that a fine-tuning started from, as its
// config.yaml names it: relative to where it was started, or beside the run.
func startOf(dir, from string) string {
	if from == "" {
		return ""
	}
	for _, path := range []string{from, filepath.Join(filepath.Dir(filepath.Clean(dir)), filepath.Base(from))} {
		if _, err := modelDir(path); err == nil {
			return path
		}
	}
	return ""
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// watchEvery is how often a watched page loads itself again, in seconds.
const watchEvery = 5

// watchReport serves the page until ctx ends.
func (a *app) watchReport(ctx context.Context, flags reportFlags, runs []string) error {
	if flags.out != "" || flags.figures != "" {
		return usageErrorf("report: --watch writes no files: leave -o and --figures out")
	}
	host, _, err := net.SplitHostPort(flags.listen)
	if err != nil {
		return usageErrorf("report: --listen %q is not HOST:PORT", flags.listen)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return usageErrorf("report: --listen %q is not on the loopback interface: the page has no password", flags.listen)
	}
	if _, err := readPage(flags.title, runs); err != nil {
		return err
	}
	l, err := net.Listen("tcp", flags.listen)
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	server := &http.Server{
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) { a.servePage(w, q, flags.title, runs) }),
		ReadHeaderTimeout: 10 * time.Second,
	}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if _, err := fmt.Fprintf(a.stdout, "http://%s/\n", l.Addr()); err != nil {
		return err
	}
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

// servePage answers one request. A foreign Host is refused, so that no name of
// someone else's leads a browser here.
func (a *app) servePage(w http.ResponseWriter, q *http.Request, title string, runs []string) {
	host, _, err := net.SplitHostPort(q.Host)
	if err != nil {
		host = q.Host
	}
	switch ip := net.ParseIP(host); {
	case host != "localhost" && (ip == nil || !ip.IsLoopback()):
		http.Error(w, "this page is for this machine only", http.StatusForbidden)
		return
	case q.URL.Path != "/":
		http.NotFound(w, q)
		return
	case q.Method != http.MethodGet && q.Method != http.MethodHead:
		http.Error(w, "only GET", http.StatusMethodNotAllowed)
		return
	}
	page, err := readPage(title, runs)
	if err != nil {
		// A run that writes a checkpoint right now reads whole a moment later.
		a.logf("%v", err)
		w.Header().Set("Refresh", fmt.Sprint(watchEvery))
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	page.Refresh = watchEvery
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	if err := page.Write(w); err != nil && !errors.Is(err, io.ErrClosedPipe) {
		a.logf("report: %v", err)
	}
}
