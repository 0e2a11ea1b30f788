package formats_test

import (
	"os"
	"testing"

	"github.com/spdfctl/spdfctl/formats"
)

// Only memory faults are caught.
func TestCatchFaultPassesPanics(t *testing.T) {
	for name, f := range map[string]func(){
		"string": func() { panic("of our own") },
		"index":  func() { _ = make([]int, 1)[len(os.Args)+1] },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("the panic did not get through")
				}
			}()
			err := formats.CatchFault(f)
			t.Errorf("got error %v", err)
		})
	}
}
