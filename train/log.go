package train

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// MetricsFile is the log of a run: one Metrics object per line.
const MetricsFile = "metrics.jsonl"

// maxMetricsFile bounds what a resume reads back; a line has about 200 bytes.
const maxMetricsFile = 1 << 30

// metricsLog appends to metrics.jsonl.
type metricsLog struct{ f *os.File }

// openMetrics opens the log of the run in dir and returns its last line.
// Lines beyond step, written after the checkpoint that is taken up, are cut
// off: those steps are done again, with the same numbers.
func openMetrics(dir string, step int) (*metricsLog, Metrics, error) {
	path := filepath.Join(dir, MetricsFile)
	keep, last, err := linesUpTo(path, step)
	if err != nil {
		return nil, last, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, last, fmt.Errorf("train: %w", err)
	}
	if err := f.Truncate(keep); err != nil {
		f.Close()
		return nil, last, fmt.Errorf("train: %w", err)
	}
	if _, err := f.Seek(keep, io.SeekStart); err != nil {
		f.Close()
		return nil, last, fmt.Errorf("train: %w", err)
	}
	return &metricsLog{f}, last, nil
}

// linesUpTo returns the length of the part of the log that ends with the last
// whole line of a step not after step, and that line.
func linesUpTo(path string, step int) (keep int64, last Metrics, err error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, last, nil
	}
	if err != nil {
		return 0, last, fmt.Errorf("train: %w", err)
	}
	if info.Size() > maxMetricsFile {
		return 0, last, fmt.Errorf("train: %s: %d bytes, limit %d", path, info.Size(), maxMetricsFile)
	}
	f, err := os.Open(path)
	if err != nil {
		return 0, last, fmt.Errorf("train: %w", err)
	}
	defer f.Close()
	for r := bufio.NewReader(f); ; {
		line, err := r.ReadBytes('\n')
		if err != nil || !bytes.HasSuffix(line, []byte("\n")) {
			return keep, last, nil
		}
		var m Metrics
		if json.Unmarshal(line, &m) != nil || m.Step > step {
			return keep, last, nil
		}
		keep += int64(len(line))
		if m.Seconds > 0 { // not a note
			last = m
		}
	}
}

func (l *metricsLog) write(m Metrics) error { return l.append(m) }

func (l *metricsLog) append(v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("train: metrics: %w", err)
	}
	if _, err := l.f.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("train: metrics: %w", err)
	}
	return nil
}

// note is a line of metrics.jsonl that is not the outcome of an update: a
// validation on its own, a skipped step, a rollback. It has no seconds.
type note struct {
	Step    int      `json:"step"`
	Tokens  int64    `json:"tokens"`
	ValLoss *float64 `json:"val_loss,omitempty"`
	Event   string   `json:"event,omitempty"`

	ValLosses map[string]float64 `json:"val_losses,omitempty"`
}

// cut drops the lines after step.
func (l *metricsLog) cut(dir string, step int) error {
	keep, _, err := linesUpTo(filepath.Join(dir, MetricsFile), step)
	if err != nil {
		return err
	}
	if err := l.f.Truncate(keep); err != nil {
		return fmt.Errorf("train: metrics: %w", err)
	}
	if _, err := l.f.Seek(keep, io.SeekStart); err != nil {
		return fmt.Errorf("train: metrics: %w", err)
	}
	return nil
}

// Close closes the log.
func (l *metricsLog) Close() error { return l.f.Close() }
