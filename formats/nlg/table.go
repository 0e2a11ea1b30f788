package nlg

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// The columns of a generic table of examples.
const (
	promptColumn     = "prompt"
	completionColumn = "completion"
)

// ReadTable reads a CSV table of examples: RFC 4180 with a header that has the
// columns "prompt" and "completion", once each; others are ignored. Rows with one
// prompt are separate records, see Group. A prompt must not be empty.
func ReadTable(r io.Reader) ([]Example, error) {
	bounded := &recordReader{r: r, limit: readAhead + MaxRecord}
	c := csv.NewReader(bounded)
	header, err := c.Read()
	if err == io.EOF {
		return nil, &LineError{Line: 1, Err: fmt.Errorf("no header, want the columns %q and %q", promptColumn, completionColumn)}
	}
	if err != nil {
		return nil, csvError(err, 1)
	}
	header[0] = strings.TrimPrefix(header[0], "\ufeff")
	prompt, err := columnOf(header, promptColumn)
	if err != nil {
		return nil, &LineError{Line: 1, Err: err}
	}
	completion, err := columnOf(header, completionColumn)
	if err != nil {
		return nil, &LineError{Line: 1, Err: err}
	}
	c.ReuseRecord = true
	var rows []Example
	for line := 1; ; {
		bounded.limit = c.InputOffset() + readAhead + MaxRecord
		fields, err := c.Read()
		if err == io.EOF {
			return rows, nil
		}
		if err != nil {
			return nil, csvError(err, line+1)
		}
		line, _ = c.FieldPos(0)
		e := Example{Source: strings.Clone(fields[prompt]), References: []string{strings.Clone(fields[completion])}}
		if err := e.check(); err != nil {
			return nil, &LineError{Line: line, Err: err}
		}
		rows = append(rows, e)
	}
}

// columnOf returns the place of a column that must be there once.
func columnOf(header []string, name string) (int, error) {
	i := slices.Index(header, name)
	if i < 0 {
		return 0, fmt.Errorf("no column %q among %.80q", name, strings.Join(header, ","))
	}
	if slices.Contains(header[i+1:], name) {
		return 0, fmt.Errorf("two columns %q", name)
	}
	return i, nil
}

// check reports an example of a table that is not text.
func (e Example) check() error {
	if e.Source == "" {
		return errors.New("empty prompt")
	}
	for _, text := range append([]string{e.Source}, e.References...) {
		if !utf8.ValidString(text) {
			return errors.New("not UTF-8")
		}
	}
	return nil
}

func readTableSet(r io.Reader) (Set, error) {
	rows, err := ReadTable(r)
	if err != nil {
		return Set{}, err
	}
	return withoutBlanks(rows), nil
}
