package bpe

import (
	"errors"
	"fmt"
)

// ErrUnsupported marks a tokenizer file that is well-formed but asks for
// something other than GPT-2's byte-level encoding.
var ErrUnsupported = errors.New("unsupported")

// FormatError is a tokenizer file that cannot be read as one. Err wraps
// ErrUnsupported if the file is well-formed.
type FormatError struct {
	File string // base name, such as merges.txt
	Err  error
}

// Error returns "bpe: FILE: what is wrong".
func (e *FormatError) Error() string { return fmt.Sprintf("bpe: %s: %v", e.File, e.Err) }

// Unwrap returns Err.
func (e *FormatError) Unwrap() error { return e.Err }

// unsupportedf returns an error that is ErrUnsupported.
func unsupportedf(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrUnsupported, fmt.Errorf(format, args...))
}
