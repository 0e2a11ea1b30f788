package train

import (
	"fmt"
	"os"
)

// writer writes checkpoints beside the training: the loop waits for the copy
// of the state, not for the disk. One is written at a time, so that memory
// holds one copy at most.
type writer struct {
	run  *Run
	logs []*os.File // on the disk before the checkpoint that follows their lines
	copy snapshot
	done chan error // of the write under way; nil: none
}

// start copies the state and begins to write it. It first waits for the write
// under way, and returns its error.
func (w *writer) start() error {
	if err := w.wait(); err != nil {
		return err
	}
	w.run.snapshot(&w.copy)
	done := make(chan error, 1)
	w.done = done
	go func() { done <- w.write() }()
	return nil
}

// write writes the copy. A power cut then never leaves a checkpoint whose steps
// the logs lack.
func (w *writer) write() error {
	for _, f := range w.logs {
		if err := f.Sync(); err != nil {
			return fmt.Errorf("train: %w", err)
		}
	}
	return w.run.write(&w.copy)
}

// poll returns the error of a write that has ended, without waiting.
func (w *writer) poll() error {
	select {
	case err := <-w.done:
		w.done = nil
		return err
	default:
		return nil
	}
}

// wait waits for the write under way and returns its error.
func (w *writer) wait() error {
	if w.done == nil {
		return nil
	}
	err := <-w.done
	w.done = nil
	return err
}
