package train

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spdfctl/spdfctl/formats/tfevents"
	"github.com/spdfctl/spdfctl/masks"
	"github.com/spdfctl/spdfctl/train/gpt"
)

// SparsityFile is the history of the masks of a run: one object per line,
// written when a run begins and when a sparsity has changed.
const SparsityFile = "sparsity.jsonl"

// IsRunFile reports whether a run writes a file or directory of this name into
// its directory.
func IsRunFile(name string) bool {
	switch name {
	case ConfigFile, MetricsFile, CSVFile, SparsityFile, CheckpointsDir:
		return true
	}
	return strings.HasPrefix(name, tfevents.FilePrefix)
}

// SparsityLine is one line of sparsity.jsonl.
type SparsityLine struct {
	Step    int              `json:"step"`
	Tensors []TensorSparsity `json:"tensors"`
}

// TensorSparsity is what one sparsified matrix was meant to be and is.
type TensorSparsity struct {
	Name   string   `json:"name"` // key of the mask, as "h.0.attn.c_attn.weight#q"
	Target *float64 `json:"target,omitempty"`
	Actual float64  `json:"actual"`
}

// watcher writes what people watch a run by beside metrics.jsonl: the same as
// CSV, TensorBoard events, and the sparsity of every matrix.
type watcher struct {
	csv      *os.File
	events   *tfevents.Writer
	sparsity *os.File
	last     []byte // the line of sparsity.jsonl without its step
}

// openWatch opens the files of the run in dir, which goes on after step.
// TensorBoard is told to forget what it has of later steps.
func openWatch(dir string, step int) (w *watcher, err error) {
	w = new(watcher)
	defer func() {
		if err != nil {
			w.Close()
		}
	}()
	if w.csv, err = openCSV(dir); err != nil {
		return w, err
	}
	path := filepath.Join(dir, SparsityFile)
	keep, _, err := linesUpTo(path, step)
	if err != nil {
		return w, err
	}
	if w.sparsity, err = os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o644); err != nil {
		return w, fmt.Errorf("train: %w", err)
	}
	if err := w.sparsity.Truncate(keep); err != nil {
		return w, fmt.Errorf("train: %w", err)
	}
	if _, err := w.sparsity.Seek(0, io.SeekEnd); err != nil {
		return w, fmt.Errorf("train: %w", err)
	}
	if w.events, err = tfevents.Create(dir); err != nil {
		return w, err
	}
	return w, w.events.Append(tfevents.Event{Step: int64(step + 1), Start: true})
}

// log writes one line of metrics.
func (w *watcher) log(m Metrics) error {
	if err := writeCSV(w.csv, m); err != nil {
		return fmt.Errorf("train: %s: %w", CSVFile, err)
	}
	var values []tfevents.Value
	for _, c := range csvColumns {
		if x, ok := c.number(m); ok && c.key != "step" {
			values = append(values, tfevents.Value{Tag: eventTag(c.key), Scalar: float32(x)})
		}
	}
	values = append(values, lossesBySet(m.ValLosses)...)
	return w.events.Append(tfevents.Event{Step: int64(m.Step), Values: values})
}

// note writes the validation loss of a note.
func (w *watcher) note(n note) error {
	m := Metrics{Step: n.Step, Tokens: n.Tokens, ValLoss: n.ValLoss}
	if err := writeCSV(w.csv, m); err != nil {
		return fmt.Errorf("train: %s: %w", CSVFile, err)
	}
	values := append([]tfevents.Value{{Tag: eventTag("val_loss"), Scalar: float32(*n.ValLoss)}}, lossesBySet(n.ValLosses)...)
	return w.events.Append(tfevents.Event{Step: int64(n.Step), Values: values})
}

// lossesBySet returns the losses of several validation sets.
func lossesBySet(losses map[string]float64) []tfevents.Value {
	var values []tfevents.Value
	for _, name := range slices.Sorted(maps.Keys(losses)) {
		values = append(values, tfevents.Value{Tag: eventTag("val_loss/" + name), Scalar: float32(losses[name])})
	}
	return values
}

// eventTag puts the metrics of validations and of training into panes of
// their own.
func eventTag(key string) string {
	if rest, ok := strings.CutPrefix(key, "val_"); ok {
		return "val/" + rest
	}
	return "train/" + key
}

// weights writes a histogram of every trainable tensor of m, and how sparse it
// is and is meant to be.
func (w *watcher) weights(m *gpt.Model, target *float64, step int) error {
	var values []tfevents.Value
	for _, p := range m.Trainable() {
		if h := tfevents.NewHistogram(p.W); h != nil {
			values = append(values, tfevents.Value{Tag: "weights/" + p.Name, Histogram: h})
		}
	}
	for _, t := range sparsities(m.Masks, target) {
		values = append(values, tfevents.Value{Tag: "sparsity/actual/" + t.Name, Scalar: float32(t.Actual)})
		if t.Target != nil {
			values = append(values, tfevents.Value{Tag: "sparsity/target/" + t.Name, Scalar: float32(*t.Target)})
		}
	}
	return w.events.Append(tfevents.Event{Step: int64(step), Values: values})
}

// masks writes a line of sparsity.jsonl if a sparsity is not what it was.
func (w *watcher) masks(m *gpt.Model, target *float64, step int) error {
	list := sparsities(m.Masks, target)
	now, err := json.Marshal(list)
	if err != nil {
		return fmt.Errorf("train: %s: %w", SparsityFile, err)
	}
	if bytes.Equal(now, w.last) {
		return nil
	}
	w.last = now
	line, err := json.Marshal(SparsityLine{step, list})
	if err == nil {
		_, err = w.sparsity.Write(append(line, '\n'))
	}
	if err != nil {
		return fmt.Errorf("train: %s: %w", SparsityFile, err)
	}
	return nil
}

// target returns the sparsity that every matrix is meant to have in the end; nil
// if they differ or there is none.
func (r *Run) target() *float64 {
	set := r.Model.Masks
	if set == nil {
		return nil
	}
	s := r.Target
	if r.Config.Dynamic != "gmp" {
		var err error
		if s, err = masks.ParseSparsity(set.Recipe.Sparsity); err != nil || set.Recipe.Distribution != "uniform" {
			return nil
		}
	}
	x := s.Float64()
	return &x
}

// sparsities lists the matrices of set, which may be nil.
func sparsities(set *masks.Set, target *float64) []TensorSparsity {
	list := []TensorSparsity{}
	if set == nil {
		return list
	}
	for _, k := range set.Masks {
		list = append(list, TensorSparsity{k.Key(), target, k.Sparsity()})
	}
	return list
}

// Close closes the files.
func (w *watcher) Close() error {
	var errs []error
	for _, f := range []*os.File{w.csv, w.sparsity} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	if w.events != nil {
		errs = append(errs, w.events.Close())
	}
	return errors.Join(errs...)
}
