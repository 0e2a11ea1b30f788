package nlg

import (
	"encoding/csv"
	"errors"
	"io"
	"strings"
)

// csvFile reads a CSV table row by row, no record of which is over MaxRecord.
type csvFile struct {
	bounded *recordReader
	c       *csv.Reader
}

func newCSVFile(r io.Reader) *csvFile {
	bounded := &recordReader{r: r, limit: readAhead + MaxRecord}
	return &csvFile{bounded, csv.NewReader(bounded)}
}

// header reads the first row without its byte order mark. missing is the error of
// an empty file.
func (f *csvFile) header(missing string) ([]string, error) {
	header, err := f.c.Read()
	if err == io.EOF {
		return nil, &LineError{Line: 1, Err: errors.New(missing)}
	}
	if err != nil {
		return nil, csvError(err, 1)
	}
	header[0] = strings.TrimPrefix(header[0], "\ufeff")
	return header, nil
}

// rows makes an example of every other row. example must not keep the fields.
func (f *csvFile) rows(example func(fields []string) (Example, error)) ([]Example, error) {
	f.c.ReuseRecord = true
	var rows []Example
	for line := 1; ; {
		f.bounded.limit = f.c.InputOffset() + readAhead + MaxRecord
		fields, err := f.c.Read()
		if err == io.EOF {
			return rows, nil
		}
		if err != nil {
			return nil, csvError(err, line+1)
		}
		line, _ = f.c.FieldPos(0)
		e, err := example(fields)
		if err != nil {
			return nil, &LineError{Line: line, Err: err}
		}
		rows = append(rows, e)
	}
}
