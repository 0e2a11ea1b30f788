package torch

import (
	"errors"
	"fmt"
	"strings"
)

// ErrUnsupported is wrapped by errors about files that are, or may be, well
// formed but that this package cannot use.
var ErrUnsupported = errors.New("not supported")

// FormatError says that a file is malformed. Member is the part of it that is
// meant, "" for the whole; Err is never nil.
type FormatError struct {
	File, Member string
	Err          error
}

// Error returns the message, led by the file and the member.
func (e *FormatError) Error() string {
	return subject(e.File, e.Member) + e.Err.Error()
}

// Unwrap returns Err.
func (e *FormatError) Unwrap() error { return e.Err }

// UnsafeError says that a pickle refers to something outside the allow-list.
// Nothing has been imported or called.
type UnsafeError struct {
	File, Member string
	Global       string // module and name, "posix.system"
	Offset       int64  // of the opcode in the pickle
}

// Error names the global.
func (e *UnsafeError) Error() string {
	return fmt.Sprintf("%sbyte %d: pickle refers to %q, which is not on the allow-list", subject(e.File, e.Member), e.Offset, shorten(e.Global))
}

// malformed returns an error about a file whose name the caller adds.
func malformed(format string, args ...any) error {
	return &FormatError{Err: fmt.Errorf(format, args...)}
}

// unsupported is apart from FormatError: errors.As for one does not find the
// other.
type unsupportedError struct {
	file, member, message string
}

func (e *unsupportedError) Error() string { return subject(e.file, e.member) + e.message }
func (e *unsupportedError) Unwrap() error { return ErrUnsupported }

func unsupported(format string, args ...any) error {
	return &unsupportedError{message: fmt.Sprintf(format, args...)}
}

// atByte adds the position of the opcode to an error made where it is not known.
func atByte(at int64, err error) error {
	switch e := err.(type) {
	case *FormatError:
		return malformed("byte %d: %w", at, e.Err)
	case *unsupportedError:
		return unsupported("byte %d: %s", at, e.message)
	}
	return err
}

// inFile adds the name of the file, and of the member, to an error made where
// they are not known.
func inFile(file, member string, err error) error {
	switch e := err.(type) {
	case *FormatError:
		if e.File != "" {
			return err
		}
		return &FormatError{File: file, Member: member, Err: e.Err}
	case *UnsafeError:
		return &UnsafeError{File: file, Member: member, Global: e.Global, Offset: e.Offset}
	case *unsupportedError:
		if e.file != "" {
			return err
		}
		return &unsupportedError{file: file, member: member, message: e.message}
	}
	return fmt.Errorf("%s%w", subject(file, member), err)
}

func subject(file, member string) string {
	s := "torch: "
	if file != "" {
		s += file + ": "
	}
	if member != "" {
		s += shorten(member) + ": "
	}
	return s
}

// shorten keeps a text that a file chose from filling the screen, and from
// moving the cursor.
func shorten(s string) string {
	const limit = 120
	tail := ""
	if len(s) > limit {
		s, tail = s[:limit], "..."
	}
	s = strings.ToValidUTF8(s, "�")
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '�'
		}
		return r
	}, s) + tail
}
