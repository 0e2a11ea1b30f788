package safetensors

import (
	"errors"
	"fmt"
	"strings"
)

// ErrUnsupported is wrapped by errors about files that are, or may be, well
// formed but that this package cannot use: an element type it does not know,
// more tensors or dimensions than it accepts, a tensor that has no float32 form.
var ErrUnsupported = errors.New("not supported")

// FormatError says that a file, or what was given to Write, is not valid
// safetensors. File is empty when writing, Tensor when the fault is not in one
// tensor; Err is never nil.
type FormatError struct {
	File   string
	Tensor string
	Err    error
}

// Error returns the message, led by the file and the tensor where there is one.
func (e *FormatError) Error() string {
	return subject(e.File, e.Tensor) + e.Err.Error()
}

// Unwrap returns Err.
func (e *FormatError) Unwrap() error { return e.Err }

func malformed(tensor, format string, args ...any) error {
	return &FormatError{Tensor: tensor, Err: fmt.Errorf(format, args...)}
}

// unsupportedError is apart from FormatError, so that a caller who asks for one
// with errors.As does not get the other.
type unsupportedError struct {
	file, tensor, message string
}

func (e *unsupportedError) Error() string {
	return subject(e.file, e.tensor) + e.message
}

func (e *unsupportedError) Unwrap() error { return ErrUnsupported }

func unsupported(tensor, format string, args ...any) error {
	return &unsupportedError{tensor: tensor, message: fmt.Sprintf(format, args...)}
}

// inFile adds the name of the file to an error made where it is not known.
func inFile(file string, err error) error {
	switch e := err.(type) {
	case *FormatError:
		return &FormatError{File: file, Tensor: e.Tensor, Err: e.Err}
	case *unsupportedError:
		return &unsupportedError{file: file, tensor: e.tensor, message: e.message}
	}
	return fmt.Errorf("%s%w", subject(file, ""), err)
}

func subject(file, tensor string) string {
	var b strings.Builder
	b.WriteString("safetensors: ")
	if file != "" {
		b.WriteString(file + ": ")
	}
	if tensor != "" {
		fmt.Fprintf(&b, "tensor %q: ", shorten(tensor))
	}
	return b.String()
}

// shorten keeps a name or a message that a file chose from filling the screen:
// a header may hold a string of 100 MB.
func shorten(s string) string {
	const limit = 300
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + "..."
}
