package nlg

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// eachElement calls f with every element of a JSON array that is open in d, one
// in memory at a time, and reads the bracket that closes it. Errors of f get the
// line on which the element starts.
func (j *jsonFile) eachElement(f func(element json.RawMessage) error) error {
	for j.d.More() {
		var raw json.RawMessage
		if err := j.d.Decode(&raw); err != nil {
			return j.fail(jsonError(err))
		}
		line := j.lines.at(j.d.InputOffset() - int64(len(raw)))
		if len(raw) > MaxRecord {
			return &LineError{Line: line, Err: fmt.Errorf("record has %d bytes, limit %d", len(raw), MaxRecord)}
		}
		if err := f(raw); err != nil {
			return &LineError{Line: line, Err: err}
		}
		j.allow()
	}
	return j.want(json.Delim(']'))
}

// jsonFile reads a JSON document piece by piece.
type jsonFile struct {
	d       *json.Decoder
	bounded *recordReader
	lines   *lineCounter
}

func openJSON(r io.Reader) *jsonFile {
	bounded := &recordReader{r: r}
	lines := &lineCounter{r: bounded, line: 1}
	j := &jsonFile{d: json.NewDecoder(lines), bounded: bounded, lines: lines}
	j.allow()
	return j
}

// allow moves the limit past the next record. The decoder's buffer doubles, so
// that it reads ahead by as much as the record is long.
func (j *jsonFile) allow() { j.bounded.limit = j.d.InputOffset() + readAhead + 2*MaxRecord }

// want reads one token, which must be t.
func (j *jsonFile) want(t json.Token) error {
	got, err := j.d.Token()
	if err == nil && got != t {
		err = fmt.Errorf("%v, want %v", got, t)
	} else if err != nil {
		err = jsonError(err)
	}
	if err != nil {
		return j.fail(err)
	}
	return nil
}

// end wants nothing more.
func (j *jsonFile) end() error {
	if _, err := j.d.Token(); err != io.EOF {
		return j.fail(errors.New("text after the JSON document"))
	}
	return nil
}

// fail adds the line at which the reading stands.
func (j *jsonFile) fail(err error) error {
	return &LineError{Line: j.lines.at(j.d.InputOffset()), Err: err}
}

// lineCounter finds the lines of ascending offsets. It keeps what was read and
// not counted yet.
type lineCounter struct {
	r    io.Reader
	kept []byte
	base int64 // offset of kept
	line int   // of base, from 1
}

func (l *lineCounter) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	l.kept = append(l.kept, p[:n]...)
	return n, err
}

// at returns the line of an offset that is not before the last one asked for.
func (l *lineCounter) at(offset int64) int {
	n := min(int(max(0, offset-l.base)), len(l.kept))
	l.line += bytes.Count(l.kept[:n], []byte("\n"))
	l.kept = append(l.kept[:0], l.kept[n:]...)
	l.base += int64(n)
	return l.line
}
