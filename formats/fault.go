package formats

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
)

// CatchFault runs f, which reads memory from Map, and returns an error that is
// io.ErrUnexpectedEOF if it touches a page that the file no longer has.
func CatchFault(f func()) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		switch r := recover().(type) {
		case nil:
		case interface {
			runtime.Error
			Addr() uintptr // only memory faults have one
		}:
			err = fmt.Errorf("file was cut while it was read: %w", io.ErrUnexpectedEOF)
		default:
			panic(r)
		}
	}()
	f()
	return nil
}
