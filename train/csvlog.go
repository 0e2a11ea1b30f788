package train

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/spdfctl/spdfctl/formats"
)

// CSVFile is the log of a run as a table: a column per key of metrics.jsonl,
// empty where a line has no such key.
const CSVFile = "metrics.csv"

// column is a field of Metrics that is a number or a text.
type column struct {
	key   string
	index int
}

// csvColumns lists the columns of metrics.csv in the order of the fields; what is
// not one value has none.
var csvColumns = func() []column {
	t := reflect.TypeFor[Metrics]()
	var list []column
	for i := range t.NumField() {
		if t.Field(i).Type.Kind() == reflect.Map {
			continue
		}
		key, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		list = append(list, column{key, i})
	}
	return list
}()

// cell returns a field as text with all its digits, "" for nil and for what a
// note does not have.
func (c column) cell(m Metrics) string {
	if m.Seconds == 0 && !slices.Contains([]string{"step", "tokens", "val_loss"}, c.key) {
		return ""
	}
	v := reflect.ValueOf(m).Field(c.index)
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return ""
		}
		v = v.Elem()
	}
	if v.Kind() == reflect.Float64 {
		return strconv.FormatFloat(v.Float(), 'g', -1, 64)
	}
	return fmt.Sprint(v.Interface())
}

// number returns a field as a number, if it is one and is there.
func (c column) number(m Metrics) (float64, bool) {
	v := reflect.ValueOf(m).Field(c.index)
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return 0, false
		}
		v = v.Elem()
	}
	switch {
	case v.CanFloat():
		return v.Float(), true
	case v.CanInt():
		return float64(v.Int()), true
	}
	return 0, false
}

func writeCSV(w io.Writer, m Metrics) error {
	row := make([]string, len(csvColumns))
	for i, c := range csvColumns {
		row[i] = c.cell(m)
	}
	return writeRow(w, row)
}

// writeRow writes one record with one call of Write.
func writeRow(w io.Writer, row []string) error {
	var b strings.Builder
	c := csv.NewWriter(&b)
	if err := c.Write(row); err != nil {
		return err
	}
	c.Flush()
	_, err := io.WriteString(w, b.String())
	return err
}

// openCSV writes metrics.csv anew from metrics.jsonl, which a resume has cut to
// the step it goes on from, and returns it open at its end.
func openCSV(dir string) (*os.File, error) {
	path := filepath.Join(dir, CSVFile)
	err := formats.WriteAtomic(path, true, func(w io.Writer) error {
		head := make([]string, len(csvColumns))
		for i, c := range csvColumns {
			head[i] = c.key
		}
		if err := writeRow(w, head); err != nil {
			return err
		}
		f, err := os.Open(filepath.Join(dir, MetricsFile))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		defer f.Close()
		for lines := bufio.NewScanner(f); ; {
			if !lines.Scan() {
				return lines.Err()
			}
			var m Metrics
			if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
				return fmt.Errorf("%s: %w", MetricsFile, err)
			}
			if m.Seconds == 0 && m.ValLoss == nil {
				continue // an event
			}
			if err := writeCSV(w, m); err != nil {
				return err
			}
		}
	})
	if err != nil {
		return nil, fmt.Errorf("train: %s: %w", CSVFile, err)
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	return f, nil
}
