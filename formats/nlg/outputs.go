package nlg

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode/utf8"
)

// Headers of tables with system outputs: those that measure_scores.py of the E2E
// challenge knows.
var (
	sourceHeader = regexp.MustCompile(`(?i)^(mr|src|source|meaning([_ .-]rep(resentation)?)?|da|dial(ogue)?[_ .-]act)s?`)
	outputHeader = regexp.MustCompile(`(?i)^(out(put)?|ref(erence)?|sys(tem)?([_ .-](out(put)?|ref(erence)?))?)s?`)
)

// ReadOutputs reads a table of system outputs, tab-separated (separator '\t') or
// comma-separated, one Example per row: Source is the input, References the one
// output. The first row names the columns, of which exactly one must be an input
// ("MR", "source", …) and one an output ("output", "system output", …). Blank lines
// are left out, spaces around a line too; repair, if not nil, is applied to every
// line before it is split.
func ReadOutputs(r io.Reader, separator rune, repair func(string) string) ([]Example, error) {
	var rows []Example
	columns, source, output := 0, -1, -1
	err := eachLine(r, func(_ int, text []byte) error {
		line := strings.TrimSpace(string(text))
		if repair != nil {
			line = repair(line)
		}
		if line == "" {
			return nil
		}
		c := csv.NewReader(strings.NewReader(line))
		c.Comma, c.LazyQuotes, c.FieldsPerRecord = separator, true, -1
		fields, err := c.Read()
		if err != nil {
			return fmt.Errorf("not a row of a table: %w", err)
		}
		if columns == 0 {
			for i, name := range fields {
				if sourceHeader.MatchString(name) {
					if source >= 0 {
						return fmt.Errorf("columns %d and %d are both inputs", source+1, i+1)
					}
					source = i
				} else if outputHeader.MatchString(name) {
					if output >= 0 {
						return fmt.Errorf("columns %d and %d are both outputs", output+1, i+1)
					}
					output = i
				}
			}
			if columns = len(fields); source < 0 || output < 0 {
				return fmt.Errorf("header is %.80q, want a column of inputs (MR, source) and one of outputs (output)", line)
			}
			return nil
		}
		if len(fields) != columns {
			return fmt.Errorf("%d columns, the header has %d", len(fields), columns)
		}
		if !utf8.ValidString(line) {
			return errors.New("not UTF-8")
		}
		rows = append(rows, Example{Source: fields[source], References: []string{fields[output]}})
		return nil
	})
	if err == nil && columns == 0 {
		err = &LineError{Line: 1, Err: errors.New("no header, want a column of inputs (MR, source) and one of outputs (output)")}
	}
	return rows, err
}

// ReadOutputsFile is ReadOutputs of a file with the extension .tsv or .csv, which
// may be compressed (see Open). The second result is false for other extensions.
func ReadOutputsFile(path string, repair func(string) string) ([]Example, bool, error) {
	r, ext, err := Open(path)
	if err != nil {
		return nil, false, err
	}
	defer r.Close()
	separator := ','
	switch ext {
	case ".tsv":
		separator = '\t'
	case ".csv":
	default:
		return nil, false, nil
	}
	rows, err := ReadOutputs(r, separator, repair)
	return rows, true, InFile(path, err)
}

// ReferencesOf returns the references of every source, in the order of sources,
// from the rows of a data set.
func ReferencesOf(rows []Example, sources []string) ([][]string, error) {
	index := map[string][]string{}
	for _, row := range rows {
		index[row.Source] = append(index[row.Source], row.References...)
	}
	out := make([][]string, len(sources))
	for i, source := range sources {
		if out[i] = index[source]; len(out[i]) == 0 {
			return nil, fmt.Errorf("nlg: no reference for input %d, %.80q", i+1, source)
		}
	}
	return out, nil
}
