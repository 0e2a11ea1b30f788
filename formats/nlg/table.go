package nlg

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spdfctl/spdfctl/formats/parquet"
)

// The columns of a generic table of examples.
const (
	promptColumn     = "prompt"
	completionColumn = "completion"
	referencesColumn = "references" // of Parquet
)

// ReadTable reads a CSV table of examples: RFC 4180 with a header that has the
// columns "prompt" and "completion", once each; others are ignored. Rows with one
// prompt are separate records, see Group. A prompt must not be empty.
func ReadTable(r io.Reader) ([]Example, error) {
	f := newCSVFile(r)
	header, err := f.header(fmt.Sprintf("no header, want the columns %q and %q", promptColumn, completionColumn))
	if err != nil {
		return nil, err
	}
	prompt, err := columnOf(header, promptColumn)
	if err != nil {
		return nil, &LineError{Line: 1, Err: err}
	}
	completion, err := columnOf(header, completionColumn)
	if err != nil {
		return nil, &LineError{Line: 1, Err: err}
	}
	return f.rows(func(fields []string) (Example, error) {
		e := Example{Source: strings.Clone(fields[prompt]), References: []string{strings.Clone(fields[completion])}}
		return e, e.check()
	})
}

// ReadParquet reads a Parquet table of examples, a file of size bytes: its column
// "prompt" has the prompt, and either "completion" the text or the list "references"
// the texts that are right for it. Rows are records as those of ReadTable.
func ReadParquet(r io.ReaderAt, size int64) ([]Example, error) {
	f, err := parquet.Open(r, size)
	if err != nil {
		return nil, err
	}
	names := f.Columns()
	texts := completionColumn
	if slices.Contains(names, referencesColumn) {
		if texts = referencesColumn; slices.Contains(names, completionColumn) {
			return nil, fmt.Errorf("both the columns %q and %q", completionColumn, referencesColumn)
		}
	}
	var rows []Example
	total := 0
	err = f.Read([]string{promptColumn, texts}, func(row [][]string) error {
		if len(row[0]) != 1 || texts == completionColumn && len(row[1]) != 1 {
			return fmt.Errorf("row %d: %d values of %q and %d of %q", len(rows)+1, len(row[0]), promptColumn, len(row[1]), texts)
		}
		e := Example{Source: row[0][0], References: slices.Clone(row[1])}
		n := len(e.Source)
		for _, text := range e.References {
			n += len(text)
		}
		if total += n; n > MaxRecord || total > maxFile {
			return fmt.Errorf("row %d: %d bytes, limit %d, and %d so far, limit %d", len(rows)+1, n, MaxRecord, total, maxFile)
		}
		if err := e.check(); err != nil {
			return fmt.Errorf("row %d: %w", len(rows)+1, err)
		}
		rows = append(rows, e)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return rows, nil
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

// readParquetSet reads a file where it lies, a member of an archive or a packed
// file in memory.
func readParquetSet(r io.Reader) (Set, error) {
	var at io.ReaderAt
	var size int64
	if f, ok := r.(*os.File); ok {
		info, err := f.Stat()
		if err != nil {
			return Set{}, err
		}
		at, size = f, info.Size()
	} else {
		data, err := io.ReadAll(io.LimitReader(r, maxArchive+1))
		if err != nil {
			return Set{}, err
		}
		if len(data) > maxArchive {
			return Set{}, fmt.Errorf("unpacked over %d bytes, the limit", maxArchive)
		}
		at, size = bytes.NewReader(data), int64(len(data))
	}
	rows, err := ReadParquet(at, size)
	if err != nil {
		return Set{}, err
	}
	return withoutBlanks(rows), nil
}
