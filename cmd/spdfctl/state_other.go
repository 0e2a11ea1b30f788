//go:build !unix

package main

import "github.com/spdfctl/spdfctl/train"

// printStateOnSignal does nothing: there is no SIGUSR1 here.
func (a *app) printStateOnSignal(string, *train.Run) (stop func()) { return func() {} }
