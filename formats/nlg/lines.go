package nlg

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// eachLine calls f with every line of r, without its line feed and without a
// carriage return before that. A last line without a line feed counts, an empty
// one after the last line feed does not.
func eachLine(r io.Reader, f func(line int, text []byte) error) error {
	b := bufio.NewReaderSize(r, 64<<10)
	var long []byte // a line over several buffers
	var total int64
	for n := 1; ; n++ {
		long = long[:0]
		part, err := b.ReadSlice('\n')
		for errors.Is(err, bufio.ErrBufferFull) {
			long = append(long, part...)
			if len(long) > MaxRecord {
				return &LineError{Line: n, Err: fmt.Errorf("line has more than %d bytes, the limit", MaxRecord)}
			}
			part, err = b.ReadSlice('\n')
		}
		if err != nil && err != io.EOF {
			return &LineError{Line: n, Err: err}
		}
		text := part
		if len(long) > 0 {
			long = append(long, part...)
			text = long
		}
		if total += int64(len(text)); total > maxFile {
			return &LineError{Line: n, Err: fmt.Errorf("file has more than %d bytes, the limit", maxFile)}
		}
		if err == io.EOF && len(text) == 0 {
			return nil
		}
		if l := len(text); l > 0 && text[l-1] == '\n' {
			text = text[:l-1]
			if l := len(text); l > 0 && text[l-1] == '\r' {
				text = text[:l-1]
			}
		}
		if len(text) > MaxRecord {
			return &LineError{Line: n, Err: fmt.Errorf("line has %d bytes, limit %d", len(text), MaxRecord)}
		}
		if !utf8.Valid(text) {
			return &LineError{Line: n, Err: errors.New("not UTF-8")}
		}
		if e := f(n, text); e != nil {
			return &LineError{Line: n, Err: e}
		}
		if err == io.EOF {
			return nil
		}
	}
}

// ReadLines reads one segment per line. An empty line is an empty segment.
func ReadLines(r io.Reader) ([]string, error) {
	var lines []string
	err := eachLine(r, func(_ int, text []byte) error {
		lines = append(lines, string(text))
		return nil
	})
	return lines, err
}

// Blocks groups lines into segments of one or more references each: lines
// without a line of nothing but spaces between them belong together. Several
// such lines in a row separate like one.
func Blocks(lines []string) [][]string {
	var blocks [][]string
	open := false
	for _, line := range lines {
		if strings.TrimSpace(line) == "" {
			open = false
			continue
		}
		if !open {
			blocks = append(blocks, nil)
			open = true
		}
		blocks[len(blocks)-1] = append(blocks[len(blocks)-1], line)
	}
	return blocks
}

// ReadTSV reads the references of one segment per line, tabs between them.
// Segments may have different numbers: empty fields are left out, but an empty
// line is one empty reference.
func ReadTSV(r io.Reader) ([][]string, error) {
	var segments [][]string
	err := eachLine(r, func(_ int, text []byte) error {
		var refs []string
		for field := range strings.SplitSeq(string(text), "\t") {
			if field != "" {
				refs = append(refs, field)
			}
		}
		if len(refs) == 0 {
			refs = []string{""}
		}
		segments = append(segments, refs)
		return nil
	})
	return segments, err
}
