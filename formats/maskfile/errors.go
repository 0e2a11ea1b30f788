package maskfile

import (
	"errors"
	"fmt"
)

// ErrUnsupported is wrapped by errors about mask files of another version or
// bit order than this package knows.
var ErrUnsupported = errors.New("not supported")

// FormatError says that a file is no mask file: not safetensors, without the
// metadata, or with metadata that break the grammar. Tensor is the key of the
// mask, empty when the fault is not in one mask; Err is never nil.
type FormatError struct {
	File   string
	Tensor string
	Err    error
}

// Error returns the message, led by the file and the mask where there is one.
func (e *FormatError) Error() string { return subject(e.File, e.Tensor) + e.Err.Error() }

// Unwrap returns Err.
func (e *FormatError) Unwrap() error { return e.Err }

// MismatchError says that the bits of a mask file are not those that its
// metadata were written for, or the metadata not those that were hashed: the
// file was changed or damaged. Tensor is empty when What is about the file.
type MismatchError struct {
	File   string
	Tensor string
	What   string // "SHA-256", "kept", ...
	Got    string // what the file's content gives
	Want   string // what the file says
}

// Error returns the message with both values.
func (e *MismatchError) Error() string {
	return fmt.Sprintf("%s%s is %s, the file says %s", subject(e.File, e.Tensor), e.What, e.Got, e.Want)
}

func subject(file, tensor string) string {
	s := "maskfile: "
	if file != "" {
		s += file + ": "
	}
	if tensor != "" {
		s += fmt.Sprintf("mask %q: ", tensor)
	}
	return s
}
