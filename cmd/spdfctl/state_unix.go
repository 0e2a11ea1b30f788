//go:build unix

package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spdfctl/spdfctl/train"
)

// printStateOnSignal prints the state of r to standard error at every SIGUSR1,
// --quiet or not, until the function it returns is called.
func (a *app) printStateOnSignal(what string, r *train.Run) (stop func()) {
	state := keepState(r)
	asked, end := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(asked, syscall.SIGUSR1)
	go func() {
		for {
			select {
			case <-asked:
				fmt.Fprintf(a.stderr, "spdfctl: %s: %s\n", what, state.text(r))
			case <-end:
				return
			}
		}
	}()
	return func() {
		signal.Stop(asked)
		close(end)
	}
}
