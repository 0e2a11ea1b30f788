package main

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"
)

// TestAwait: a command that does not end after an interrupt is left, unless it
// trains; what it returns is returned.
func TestAwait(t *testing.T) {
	failed := errors.New("failed")
	interrupted, cancel := context.WithCancel(context.Background())
	cancel()
	for _, c := range []struct {
		name     string
		ctx      context.Context
		after    time.Duration // -1: the command never returns
		training bool
		want     error
	}{
		{"no interrupt", context.Background(), time.Millisecond, false, failed},
		{"ends in time", interrupted, 0, false, failed},
		{"never ends", interrupted, -1, false, context.Canceled},
		{"trains", interrupted, 20 * time.Millisecond, true, failed},
	} {
		a := &app{training: new(atomic.Bool)}
		a.training.Store(c.training)
		done := make(chan error, 1)
		if c.after >= 0 {
			time.AfterFunc(c.after, func() { done <- failed })
		}
		limit := time.Millisecond
		if c.after == 0 {
			limit = time.Minute
		}
		if err := a.await(c.ctx, done, limit); err != c.want {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}
