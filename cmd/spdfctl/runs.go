package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v4"

	"github.com/spdfctl/spdfctl/eval"
	"github.com/spdfctl/spdfctl/formats/bpe"
	"github.com/spdfctl/spdfctl/train"
)

// openRun begins the run r in its directory, or takes it up, as the flags say.
// done reports that a verification was all that was asked for.
func (a *app) openRun(ctx context.Context, what string, r *train.Run, flags runFlags, cfg any) (done bool, err error) {
	r.AllowChange = flags.change
	r.Log = func(line string) { a.logf("%s: %s", what, line) }
	r.Warn = func(line string) { // not silenced by --quiet
		a.clearProgress()
		fmt.Fprintf(a.stderr, "spdfctl: %s: warning: %s\n", what, line)
	}
	switch {
	case flags.verify:
		return true, a.verifyRun(ctx, what, r)
	case flags.resume == "":
		return false, startRunDir(r.Dir, flags.force, cfg)
	case flags.resume == resumeAuto:
		err = r.ResumeNewest()
	default:
		if err := startRunDir(r.Dir, flags.force, cfg); err != nil {
			return false, err
		}
		return false, r.Resume(flags.resume)
	}
	if err == nil && flags.change {
		err = writeRunConfig(r.Dir, cfg)
	}
	return false, err
}

// verifyRun does the last steps of a run again.
func (a *app) verifyRun(ctx context.Context, what string, r *train.Run) error {
	steps, err := r.Verify(ctx)
	var differs *train.ReplayError
	if errors.As(err, &differs) {
		return &differenceError{err: fmt.Errorf("%s: %s: %w", what, r.Dir, err)}
	}
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(map[string]any{"run": r.Dir, "steps": steps, "equal": true})
	}
	_, err = fmt.Fprintf(a.stdout, "%d steps done again: the same bits\n", steps)
	return err
}

// keyError is an error about settings that does not name them itself.
type keyError struct {
	keys []string // in the configuration file
	err  error
}

func (e *keyError) Error() string { return e.err.Error() }
func (e *keyError) Unwrap() error { return e.err }

// fieldErrorf returns a usage error about settings.
func fieldErrorf(keys []string, format string, args ...any) error {
	return &usageError{err: &train.FieldError{Keys: keys, Text: fmt.Sprintf(format, args...)}}
}

// keysOf returns the settings that an error is about.
func keysOf(err error) []string {
	var field *train.FieldError
	var key *keyError
	switch {
	case errors.As(err, &field):
		return field.Keys
	case errors.As(err, &key):
		return key.keys
	}
	return nil
}

// checkValidation refuses settings that wait for validations of a run that has
// nothing to validate on.
func checkValidation(c train.Config, r *train.Run) error {
	for _, f := range []struct {
		key   string
		value int
	}{{"patience", c.Patience}, {"keep_best", c.KeepBest}} {
		if f.value > 0 && len(r.Valid) == 0 {
			return fieldErrorf([]string{f.key}, "%s is %d, but there is no data to validate on", f.key, f.value)
		}
	}
	return nil
}

// withLine adds the lines of the configuration file to an error about settings
// that stand in it.
func (r runFlags) withLine(err error) error {
	if r.file == "" {
		return err
	}
	var lines []string
	for _, key := range keysOf(err) {
		if line := yamlLines(r.file)[key]; line > 0 {
			lines = append(lines, fmt.Sprint(line))
		}
	}
	if lines == nil {
		return err
	}
	return &usageError{err: fmt.Errorf("config: %s: line %s: %w", r.file, strings.Join(lines, " and "), err)}
}

// yamlLines returns the line of every key at the top of a YAML file.
func yamlLines(path string) map[string]int {
	lines := map[string]int{}
	data, err := os.ReadFile(path)
	if err != nil {
		return lines
	}
	var doc yaml.Node
	if yaml.Load(data, &doc) != nil || len(doc.Content) != 1 {
		return lines
	}
	for i := 0; i+1 < len(doc.Content[0].Content); i += 2 {
		lines[doc.Content[0].Content[i].Value] = doc.Content[0].Content[i].Line
	}
	return lines
}

// exclusive returns an error if key and one of others were both given, as flags
// or in the configuration file.
func (r runFlags) exclusive(cmd *cobra.Command, key string, others ...string) error {
	lines := yamlLines(r.file)
	given := func(key string) bool {
		return lines[key] > 0 || cmd.Flags().Changed(strings.ReplaceAll(key, "_", "-"))
	}
	i := slices.IndexFunc(others, given)
	if r.resume != "" || !given(key) || i < 0 {
		return nil
	}
	return r.withLine(fieldErrorf([]string{key, others[i]}, "%s and %s contradict each other", key, others[i]))
}

// sampleTokens is the length of a sample printed during training.
const sampleTokens = 48

// sampler returns the Sample of a run: a text of the model as it stands, drawn
// with a seed of its own, that the log shows.
func (a *app) sampler(r *train.Run, tok *bpe.Tokenizer) func(ctx context.Context, step int) error {
	return func(ctx context.Context, step int) error {
		prompt := tok.Encode([]byte(r.Config.SamplePrompt))
		if len(prompt) == 0 {
			prompt = []int32{int32(r.EOS)}
		}
		prompt = prompt[:min(len(prompt), r.Model.Config.NCtx)]
		search := eval.Search{
			Sampling: eval.Sampling{Temperature: 0.8, TopK: 50, Seed: r.Config.Seed},
			Limits:   eval.Limits{MaxTokens: sampleTokens, Stop: []int32{int32(r.EOS)}},
		}
		out, err := eval.Generate(ctx, r.Model, prompt, step, search, nil)
		if err != nil {
			return err
		}
		text, err := tok.Decode(out)
		if err != nil {
			return err
		}
		a.logf("step %d: sample: %s%q", step, r.Config.SamplePrompt, text)
		return nil
	}
}

// dryRun prints what a run would take, of its sources too.
func (a *app) dryRun(ctx context.Context, r *train.Run, seqLen int, uses []sourceUse) error {
	e, err := r.Estimate(ctx)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(struct {
			train.Estimate
			Sources []sourceUse `json:"sources,omitempty"`
		}{e, uses})
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "parameters\t%d\n", e.Parameters)
	fmt.Fprintf(w, "kept weights\t%d\t(%.1f %%)\n", e.Kept, 100*float64(e.Kept)/float64(e.Parameters))
	fmt.Fprintf(w, "steps\t%d\tof %d sequences of %d tokens\n", e.Steps, r.Config.BatchSize, seqLen)
	fmt.Fprintf(w, "tokens\t%d\n", e.Tokens)
	printUse(w, uses)
	const mib = 1 << 20
	fmt.Fprintf(w, "memory\t%.0f MiB\tstate %.0f, activations %.0f, copy for a checkpoint %.0f\n",
		float64(e.StateBytes+e.ActivationBytes+e.CopyBytes)/mib, float64(e.StateBytes)/mib, float64(e.ActivationBytes)/mib, float64(e.CopyBytes)/mib)
	fmt.Fprintf(w, "training FLOPs\t%.4g\t%.4g a step\n", e.FLOPs, e.StepFLOPs)
	fmt.Fprintf(w, "estimated time\t%s\t%.3f s a step, measured; without validation and checkpoints\n",
		time.Duration(e.Seconds*float64(time.Second)).Round(time.Second), e.StepSeconds)
	return w.Flush()
}

// runState is the last that was heard of a run, for those who ask in between.
type runState struct {
	mu    sync.Mutex
	last  train.Metrics
	began time.Time
}

// keepState notes every step of r beside what OnStep does already.
func keepState(r *train.Run) *runState {
	s := &runState{began: time.Now()}
	before := r.OnStep
	r.OnStep = func(m train.Metrics) {
		s.mu.Lock()
		s.last = m
		s.mu.Unlock()
		if before != nil {
			before(m)
		}
	}
	return s
}

// text says where the run stands.
func (s *runState) text(r *train.Run) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	newest := "none"
	if data, err := os.ReadFile(filepath.Join(r.Dir, train.CheckpointsDir, train.LatestFile)); err == nil {
		newest = strings.TrimSpace(string(data))
	}
	if s.last.Step == 0 {
		return fmt.Sprintf("state: no step done yet, %s since the start, checkpoint %s", time.Since(s.began).Round(time.Second), newest)
	}
	return fmt.Sprintf("state: step %d of %d, %d tokens, loss %.4f, learning rate %.3g, gradient norm %.3g, %.0f tokens/s, %.4g FLOPs, %s since the start, checkpoint %s",
		s.last.Step, r.Config.MaxSteps, s.last.Tokens, s.last.Loss, s.last.LR, s.last.GradNorm, s.last.TokensPerSecond, s.last.FLOPs,
		time.Since(s.began).Round(time.Second), newest)
}
