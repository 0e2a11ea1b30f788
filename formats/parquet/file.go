package parquet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	parquet "github.com/parquet-go/parquet-go"
)

// File is an open Parquet file.
type File struct {
	f *parquet.File
}

// Open reads the footer of a file of size bytes.
func Open(r io.ReaderAt, size int64) (f *File, err error) {
	defer recovered(&err)
	const magic = "PAR1"
	var head [4]byte
	var tail [8]byte
	if size < int64(len(head)+len(tail)) {
		return nil, fmt.Errorf("parquet: %d bytes are too few for a file", size)
	}
	if _, err := r.ReadAt(head[:], 0); err != nil {
		return nil, fmt.Errorf("parquet: %w", err)
	}
	if _, err := r.ReadAt(tail[:], size-int64(len(tail))); err != nil {
		return nil, fmt.Errorf("parquet: %w", err)
	}
	if string(head[:]) != magic || string(tail[4:]) != magic {
		return nil, fmt.Errorf("parquet: begins with %q and ends with %q, want %q", head, tail[4:], magic)
	}
	footer := int64(binary.LittleEndian.Uint32(tail[:]))
	if limit := min(size-int64(len(head)+len(tail)), MaxFooter); footer > limit {
		return nil, fmt.Errorf("parquet: footer is %d bytes, limit %d", footer, limit)
	}
	p, err := parquet.OpenFile(r, size, parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return nil, fmt.Errorf("parquet: %w", err)
	}
	return &File{p}, nil
}

// recovered turns a panic of the library into an error.
func recovered(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("parquet: damaged: %v", p)
	}
}

// Columns returns the names of the columns at the top of the schema.
func (f *File) Columns() []string {
	var names []string
	for _, field := range f.f.Root().Columns() {
		names = append(names, field.Name())
	}
	return names
}

// Read calls yield for every row with the values of columns, in the order of the
// file. A column has no value in a row where it is null or an empty list. The
// slices are valid until the next row. An error of yield ends the reading and is
// returned as it is.
func (f *File) Read(columns []string, yield func(row [][]string) error) (err error) {
	defer recovered(&err)
	index := make([]int, len(columns))
	for i, name := range columns {
		if index[i], err = f.leaf(name); err != nil {
			return err
		}
	}
	row := make([][]string, len(columns))
	for g, group := range f.f.RowGroups() {
		chunks := group.ColumnChunks()
		readers := make([]*column, len(columns))
		for i, at := range index {
			if at >= len(chunks) {
				return fmt.Errorf("parquet: row group %d has %d columns", g, len(chunks))
			}
			// The library has made sure that the footer describes every chunk.
			if size := f.f.Metadata().RowGroups[g].Columns[at].MetaData.TotalUncompressedSize; size > MaxChunk {
				return fmt.Errorf("parquet: row group %d: column %q has %d bytes, limit %d", g, columns[i], size, MaxChunk)
			}
			readers[i] = &column{pages: chunks[at].Pages()}
		}
		err := readGroup(group.NumRows(), readers, row, yield)
		for _, c := range readers {
			err = errors.Join(err, c.pages.Close())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// readGroup reads the rows of a group.
func readGroup(rows int64, readers []*column, row [][]string, yield func(row [][]string) error) error {
	for n := range rows {
		for i, c := range readers {
			var err error
			if row[i], err = c.row(row[i][:0]); err != nil {
				return fmt.Errorf("parquet: row %d of its group: %w", n, err)
			}
		}
		if err := yield(row); err != nil {
			return err
		}
	}
	return nil
}

// leaf returns the place of the column of text, or of the one list of text, of
// that name.
func (f *File) leaf(name string) (int, error) {
	found := -1
	for _, path := range f.f.Schema().Columns() {
		if path[0] != name {
			continue
		}
		leaf, ok := f.f.Schema().Lookup(path...)
		switch {
		case !ok || found >= 0:
			return 0, fmt.Errorf("parquet: column %q is more than one list", name)
		case leaf.Node.Type().Kind() != parquet.ByteArray:
			return 0, fmt.Errorf("parquet: column %q is %s, want text", name, leaf.Node.Type())
		case leaf.MaxRepetitionLevel > 1:
			return 0, fmt.Errorf("parquet: column %q is a list of lists", name)
		}
		found = leaf.ColumnIndex
	}
	if found < 0 {
		return 0, fmt.Errorf("parquet: no column %q among %.80q", name, strings.Join(f.Columns(), ","))
	}
	return found, nil
}

// column reads the values of a column chunk row by row.
type column struct {
	pages  parquet.Pages
	values parquet.ValueReader
	buf    [64]parquet.Value
	next   []parquet.Value // of buf, not handed out yet
}

// fill makes sure that a value is there; io.EOF: there is none.
func (c *column) fill() error {
	for len(c.next) == 0 {
		if c.values == nil {
			page, err := c.pages.ReadPage()
			if err != nil {
				return err
			}
			c.values = page.Values()
		}
		n, err := c.values.ReadValues(c.buf[:])
		c.next = c.buf[:n]
		if err == io.EOF {
			c.values = nil
			continue
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return io.ErrNoProgress
		}
	}
	return nil
}

// row appends the values of the next row.
func (c *column) row(to []string) ([]string, error) {
	for first := true; ; first = false {
		err := c.fill()
		if err == io.EOF && !first {
			return to, nil
		}
		if err == io.EOF {
			return nil, io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, err
		}
		v := c.next[0]
		if !first && v.RepetitionLevel() == 0 {
			return to, nil
		}
		c.next = c.next[1:]
		if !v.IsNull() {
			to = append(to, string(v.ByteArray()))
		}
	}
}
