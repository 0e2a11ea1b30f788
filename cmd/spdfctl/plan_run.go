package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/tokens"
	"github.com/spdfctl/spdfctl/train"
)

// planRun runs a plan.
type planRun struct {
	a     *app
	plan  *plan
	force bool
	done  map[string]*record // of the phases that are done, by name
}

// do runs the phases that are not done yet, in order.
func (r *planRun) do(ctx context.Context) error {
	if err := os.MkdirAll(r.plan.out, 0o755); err != nil {
		return fmt.Errorf("run: %w", err)
	}
	r.done = map[string]*record{}
	for i := range r.plan.phases {
		x := &r.plan.phases[i]
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("run: before phase %s: %w", x.Name, err)
		}
		rec, err := r.phase(ctx, x)
		if err != nil {
			return fmt.Errorf("run: phase %s: %w", x.Name, err)
		}
		r.done[x.Name] = rec
	}
	return nil
}

// phase runs one phase, or the grid of it.
func (r *planRun) phase(ctx context.Context, x *phase) (*record, error) {
	if x.grid == nil {
		return r.step(ctx, x, x.Name, "", x.settings, nil)
	}
	best := &record{}
	inputs := map[string]string{}
	for _, v := range x.variants() {
		rec, err := r.step(ctx, x, x.Name, v.name, v.settings, nil)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", v.name, err)
		}
		score, err := r.scoreOf(ctx, x, v, rec)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", v.name, err)
		}
		maps.Copy(inputs, rec.Inputs)
		better := best.Score == nil || x.Pick == "val_loss" && score < *best.Score || x.Pick == "bleu" && score > *best.Score
		if better {
			best.Picked, best.Score, best.Result, best.Outputs = v.name, &score, rec.Result, rec.Outputs
		}
	}
	best.Phase, best.Kind, best.Inputs = x.Name, x.Kind, inputs
	r.a.logf("run: %s: picked %s, %s %.4f", x.Name, best.Picked, x.Pick, *best.Score)
	return best, best.write(filepath.Join(r.plan.out, x.Name+".json"))
}

// scoreOf returns what a variant is picked by.
func (r *planRun) scoreOf(ctx context.Context, x *phase, v variant, rec *record) (float64, error) {
	if x.Pick == "bleu" {
		scored, err := r.step(ctx, x.decoding(), x.Name, v.name+".dev", x.decode, []string{r.plan.dirOf(x.Name, v.name)})
		if err != nil {
			return 0, err
		}
		rec = scored
	}
	var result struct {
		ValLoss *float64 `json:"val_loss"`
		Metrics struct {
			BLEU *float64 `json:"bleu"`
		} `json:"metrics"`
	}
	if err := json.Unmarshal(rec.Result, &result); err != nil {
		return 0, err
	}
	switch {
	case x.Pick == "bleu" && result.Metrics.BLEU != nil:
		return *result.Metrics.BLEU, nil
	case x.Pick == "val_loss" && result.ValLoss != nil:
		return *result.ValLoss, nil
	}
	return 0, fmt.Errorf("the result has no %s to pick by", x.Pick)
}

// outputOf returns what a later phase reads of a done one.
func (r *planRun) outputOf(name string) string {
	x, rec := r.plan.find(name), r.done[name]
	dir := r.plan.dirOf(name, rec.Picked)
	return filepath.Join(dir, x.kind.output)
}

// resolve returns the path that a value names: "@phase" and the name of a phase
// in from stand for its output.
func (r *planRun) resolve(value string, from bool) string {
	name, isRef := strings.CutPrefix(value, "@")
	if r.done[name] != nil && (isRef || from) {
		return r.outputOf(name)
	}
	return value
}

// inputFiles returns what a setting that is a path reads: the files of a pattern
// of .bin files, else the path.
func inputFiles(path string) ([]string, error) {
	if isDir(path) {
		return []string{path}, nil
	}
	files, _, err := tokens.BinFiles(path)
	if len(files) == 0 {
		files = []string{path}
	}
	return files, err
}

// expand returns the files that patterns match, in order.
func expand(patterns []string) ([]string, error) {
	var list []string
	for _, pattern := range patterns {
		files, err := filepath.Glob(pattern)
		if err != nil {
			return nil, fmt.Errorf("in: %q: %w", pattern, err)
		}
		if len(files) == 0 {
			return nil, fmt.Errorf("in: %s: no such file", pattern)
		}
		list = append(list, files...)
	}
	return list, nil
}

// step runs the command of a phase, or of one variant of it, unless its record
// says that it is done with the same arguments and inputs.
func (r *planRun) step(ctx context.Context, x *phase, name, variant string, settings []setting, arguments []string) (*record, error) {
	dir := r.plan.dirOf(name, variant)
	path := dir + ".json"
	rec := &record{Phase: name, Kind: x.Kind, Picked: variant, Inputs: map[string]string{}}
	input := func(path string) error {
		sum, err := hashPath(path)
		rec.Inputs[filepath.ToSlash(path)] = sum
		return err
	}
	in, err := expand(x.In)
	if err != nil {
		return nil, err
	}
	in = append(in, arguments...)
	for _, path := range in {
		if err := input(path); err != nil {
			return nil, err
		}
	}
	rec.Args = slices.Concat(x.kind.command, in)
	if x.From != "" {
		from := r.resolve(x.From, true)
		if err := input(from); err != nil {
			return nil, err
		}
		if x.kind.flag != "" {
			from = "--" + x.kind.flag + "=" + from
		}
		rec.Args = append(rec.Args, from)
	}
	for _, s := range settings {
		for _, value := range s.values {
			source := x.source(s.key, value)
			source.Path = r.resolve(source.Path, false)
			if _, ok := x.kind.paths[s.key]; ok {
				files, err := inputFiles(source.Path)
				if err != nil {
					return nil, err
				}
				for _, path := range files {
					if err := input(path); err != nil {
						return nil, err
					}
				}
			}
			rec.Args = append(rec.Args, "--"+strings.ReplaceAll(s.key, "_", "-")+"="+source.String())
		}
	}
	old, err := readRecord(path)
	if err != nil {
		return nil, err
	}
	if old != nil {
		changed := old.differs(rec, dir)
		if changed == "" {
			r.a.logf("run: %s: done", strings.TrimSuffix(name+" "+variant, " "))
			return old, nil
		}
		if !r.force {
			return nil, withHint(fmt.Errorf("%s: was done, but %s", dir, changed), "--force does it again, and what follows from it")
		}
		if err := errors.Join(os.Remove(path), os.RemoveAll(dir)); err != nil {
			return nil, err
		}
	}
	if rec.Result, err = r.command(ctx, x, dir, rec.Args); err != nil {
		return nil, err
	}
	if rec.Outputs, err = outputs(dir); err != nil {
		return nil, err
	}
	return rec, rec.write(path)
}

// differs says in what the record of a done phase, whose files are in dir, is
// not what would be done now; "" if in nothing.
func (old *record) differs(now *record, dir string) string {
	if !slices.Equal(old.Args, now.Args) {
		for i := range now.Args {
			if i >= len(old.Args) || old.Args[i] != now.Args[i] {
				return fmt.Sprintf("its settings had no %q", now.Args[i])
			}
		}
		return fmt.Sprintf("its settings had %q", old.Args[len(now.Args)])
	}
	for _, path := range slices.Sorted(maps.Keys(now.Inputs)) {
		if got, want := now.Inputs[path], old.Inputs[path]; got != want {
			return fmt.Sprintf("%s had SHA-256 %.12s and has %.12s", path, want, got)
		}
	}
	sums, err := outputs(dir)
	if err != nil {
		return err.Error()
	}
	for _, name := range slices.Sorted(maps.Keys(old.Outputs)) {
		if got, want := sums[name], old.Outputs[name]; got != want {
			return fmt.Sprintf("its file %s had SHA-256 %.12s and has %.12s", name, want, got)
		}
	}
	return ""
}

// outputs returns the hashes of what a phase left that later ones read.
func outputs(dir string) (map[string]string, error) {
	if !isDir(dir) {
		return nil, fmt.Errorf("run: %s: is gone", dir)
	}
	if isDir(filepath.Join(dir, train.CheckpointsDir)) {
		sum, err := hashPath(dir)
		return map[string]string{train.CheckpointsDir: sum}, err
	}
	return hashFiles(dir)
}

// command runs a command of this program whose output goes to dir, and returns
// what it printed.
func (r *planRun) command(ctx context.Context, x *phase, dir string, args []string) (json.RawMessage, error) {
	args = slices.Clone(args)
	switch {
	case x.kind.resumes:
		args = append(args, "-o", dir)
		if isFile(filepath.Join(dir, train.ConfigFile)) {
			args = append(args, "--resume")
		} else if err := os.RemoveAll(dir); err != nil { // cut down before it wrote anything
			return nil, err
		}
	default:
		if err := os.RemoveAll(dir); err != nil {
			return nil, err
		}
		target := dir
		if x.kind.output != "" {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return nil, err
			}
			target = filepath.Join(dir, x.kind.output)
		}
		if !x.kind.prints {
			args = append(args, "-o", target)
		}
	}
	r.a.logf("run: %s: %s", x.Name, strings.Join(args, " "))
	args = append(args, "--json", "--threads", strconv.Itoa(r.a.threads), "--kernels", r.a.kernels, "--log-format", r.a.logFormat)
	if r.a.quiet {
		args = append(args, "--quiet")
	}
	var stdout bytes.Buffer
	sub := &app{stdout: &stdout, stderr: r.a.stderr, training: r.a.training}
	root := newRootCmd(sub)
	root.SetArgs(args)
	root.SetOut(&stdout)
	root.SetErr(r.a.stderr)
	err := root.ExecuteContext(ctx)
	sub.closeProgress()
	if err != nil {
		return nil, err
	}
	if !x.kind.prints {
		return asJSON(stdout.Bytes()), nil
	}
	return asJSON(stdout.Bytes()), formats.WriteAtomic(filepath.Join(dir, resultFile), true, func(w io.Writer) error {
		_, err := w.Write(stdout.Bytes())
		return err
	})
}

// asJSON returns what a command printed if that is a JSON document.
func asJSON(text []byte) json.RawMessage {
	if !json.Valid(text) {
		return nil
	}
	return json.RawMessage(bytes.TrimSpace(text))
}
