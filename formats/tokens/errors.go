package tokens

import (
	"errors"
	"fmt"
	"path/filepath"
)

// Kinds of damage, for errors.Is. Every other damage of a shard or an index is a
// FormatError that is none of them.
var (
	// ErrNotShard marks a file that does not begin like a token shard.
	ErrNotShard = errors.New("not a token shard")
	// ErrUnsupported marks a version or an input that this program cannot read.
	ErrUnsupported = errors.New("unsupported")
	// ErrSize marks a file that is longer or shorter than its header says.
	ErrSize = errors.New("wrong size")
	// ErrChecksum marks ids that are not those the file was written with.
	ErrChecksum = errors.New("wrong checksum")
)

// FormatError is a token shard or an index that cannot be read as one.
type FormatError struct {
	File string
	Err  error
}

// Error returns "tokens: FILE: what is wrong".
func (e *FormatError) Error() string {
	return fmt.Sprintf("tokens: %s: %v", filepath.ToSlash(e.File), e.Err)
}

// Unwrap returns Err.
func (e *FormatError) Unwrap() error { return e.Err }

// kindf returns an error that is kind.
func kindf(kind error, format string, args ...any) error {
	return fmt.Errorf("%w: %w", kind, fmt.Errorf(format, args...))
}
