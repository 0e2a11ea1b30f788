package tokens

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"

	"github.com/spdfctl/spdfctl/formats/parquet"
)

// readJSONL yields the text of every line.
func readJSONL(r *bufio.Reader, field string, yield func(Piece) error) error {
	trimBOM(r)
	for number, line := 1, []byte(nil); ; number++ {
		var err error
		line, err = readLine(r, line[:0])
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		text, err := jsonField(line, field)
		if err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
		if text == "" {
			continue
		}
		if err := yield(Piece{[]byte(text), true, true}); err != nil {
			return yieldError{err}
		}
	}
}

// readLine appends the next line to line, with what ends it. At the end of r it
// returns io.EOF if there is nothing left.
func readLine(r *bufio.Reader, line []byte) ([]byte, error) {
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > maxDocument:
			return line, fmt.Errorf("is over %d bytes, the limit", maxDocument)
		case err == io.EOF && len(line) > 0:
			return line, nil
		case err != bufio.ErrBufferFull:
			return line, err
		}
	}
}

// jsonField returns the string under a key of an object.
func jsonField(line []byte, field string) (string, error) {
	if !utf8.Valid(line) {
		return "", errors.New("is not UTF-8")
	}
	var object map[string]json.RawMessage // unlike a struct, exact about keys
	if err := json.Unmarshal(line, &object); err != nil {
		return "", fmt.Errorf("is no JSON object: %w", err)
	}
	raw, ok := object[field]
	if !ok {
		return "", fmt.Errorf("has no key %q", field)
	}
	var text *string
	if err := json.Unmarshal(raw, &text); err != nil || text == nil {
		return "", fmt.Errorf("key %q is %.40s, want a string", field, raw)
	}
	return *text, nil
}

// readCSV yields one column of every row below the first.
func readCSV(r *bufio.Reader, field string, yield func(Piece) error) error {
	trimBOM(r)
	limited := &rowReader{r: r}
	rows := csv.NewReader(limited)
	rows.ReuseRecord = true
	head, err := rows.Read()
	if err == io.EOF {
		return errors.New("is empty, want a row with the names of the columns")
	}
	if err != nil {
		return csvError(err)
	}
	column := slices.Index(head, field)
	if column < 0 {
		return fmt.Errorf("has no column %q among %.200q", field, head)
	}
	if slices.Contains(head[column+1:], field) {
		return fmt.Errorf("has two columns %q", field)
	}
	for {
		limited.n = 0
		row, err := rows.Read()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return csvError(err)
		}
		text := row[column]
		if !utf8.ValidString(text) {
			line, _ := rows.FieldPos(column)
			return fmt.Errorf("line %d: column %q is not UTF-8", line, field)
		}
		if text == "" {
			continue
		}
		if err := yield(Piece{[]byte(text), true, true}); err != nil {
			return yieldError{err}
		}
	}
}

// readParquet yields one column of every row of a file of size bytes.
func readParquet(r io.ReaderAt, size int64, field string, yield func(Piece) error) error {
	f, err := parquet.Open(r, size)
	if err != nil {
		return err
	}
	number := 0
	return f.Read([]string{field}, func(row [][]string) error {
		number++
		switch n := len(row[0]); {
		case n > 1:
			return fmt.Errorf("row %d: column %q has %d texts", number, field, n)
		case n == 0 || row[0][0] == "":
			return nil
		}
		text := row[0][0]
		if len(text) > maxDocument {
			return fmt.Errorf("row %d: %d bytes, limit %d", number, len(text), maxDocument)
		}
		if !utf8.ValidString(text) {
			return fmt.Errorf("row %d: column %q is not UTF-8", number, field)
		}
		if err := yield(Piece{[]byte(text), true, true}); err != nil {
			return yieldError{err}
		}
		return nil
	})
}

// csvError drops the columns and doubled names of a csv.ParseError.
func csvError(err error) error {
	var parse *csv.ParseError
	if errors.As(err, &parse) {
		return fmt.Errorf("line %d: %w", parse.Line, parse.Err)
	}
	return err
}

// rowReader bounds what is read for one row: an open quote would otherwise take
// in the rest of the file.
type rowReader struct {
	r io.Reader
	n int // since the last row
}

func (l *rowReader) Read(p []byte) (int, error) {
	if l.n > maxDocument {
		return 0, fmt.Errorf("a row is over %d bytes, the limit", maxDocument)
	}
	n, err := l.r.Read(p)
	l.n += n
	return n, err
}
