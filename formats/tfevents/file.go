package tfevents

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
	"unicode/utf8"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// masked is the checksum of a TFRecord.
func masked(data []byte) uint32 {
	c := crc32.Checksum(data, castagnoli)
	return (c>>15 | c<<17) + 0xa282ead8
}

// Writer appends events to a file. It is used by one goroutine.
type Writer struct {
	w io.Writer
	f *os.File // nil: not ours to close
}

// Create starts a new event file in dir, which exists, named after the second
// in which it was made; the files of several runs into one directory lie beside
// each other, as TensorBoard expects.
func Create(dir string) (*Writer, error) {
	now := time.Now()
	for i := 0; ; i++ {
		name := fmt.Sprintf("%s%010d.spdfctl.%d", FilePrefix, now.Unix(), i)
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("tfevents: %w", err)
		}
		w := &Writer{w: f, f: f}
		if err := w.Append(Event{WallTime: seconds(now), Version: Version}); err != nil {
			f.Close()
			return nil, err
		}
		return w, nil
	}
}

func seconds(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }

// NewWriter returns a Writer of whole records to w; the first event must be the
// one with the Version.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Append writes one event, at the present time if it has none. It returns an
// error for an event that Read would refuse.
func (w *Writer) Append(e Event) error {
	if e.WallTime == 0 {
		e.WallTime = seconds(time.Now())
	}
	if len(e.Values) > maxValues {
		return fmt.Errorf("tfevents: %d values, limit %d", len(e.Values), maxValues)
	}
	for _, v := range e.Values {
		if !utf8.ValidString(v.Tag) {
			return fmt.Errorf("tfevents: tag %q is not UTF-8", v.Tag)
		}
		if h := v.Histogram; h != nil && (len(h.Limits) != len(h.Buckets) || len(h.Limits) > maxBuckets) {
			return fmt.Errorf("tfevents: %s: %d bucket limits, %d buckets, limit %d", v.Tag, len(h.Limits), len(h.Buckets), maxBuckets)
		}
	}
	data := e.marshal()
	if len(data) > maxRecord {
		return fmt.Errorf("tfevents: event has %d bytes, limit %d", len(data), maxRecord)
	}
	record := binary.LittleEndian.AppendUint64(nil, uint64(len(data)))
	record = binary.LittleEndian.AppendUint32(record, masked(record))
	record = append(record, data...)
	record = binary.LittleEndian.AppendUint32(record, masked(data))
	// One write a record: whoever reads the file meanwhile sees whole ones.
	if _, err := w.w.Write(record); err != nil {
		return fmt.Errorf("tfevents: %w", err)
	}
	return nil
}

// Close closes the file.
func (w *Writer) Close() error {
	if w.f == nil {
		return nil
	}
	return w.f.Close()
}

// Read calls f with the events of a file, in their order. A file that ends
// within a record, as that of a run that was killed does, gives
// io.ErrUnexpectedEOF after the whole ones; a record with a wrong checksum gives
// ErrChecksum.
func Read(r io.Reader, f func(Event) error) error {
	b := bufio.NewReader(r)
	var head [12]byte
	for n := 1; ; n++ {
		if _, err := io.ReadFull(b, head[:]); err == io.EOF {
			return nil
		} else if err != nil {
			return fmt.Errorf("tfevents: record %d: %w", n, err)
		}
		size := binary.LittleEndian.Uint64(head[:])
		if masked(head[:8]) != binary.LittleEndian.Uint32(head[8:]) {
			return fmt.Errorf("tfevents: record %d: length: %w", n, ErrChecksum)
		}
		if size > maxRecord {
			return fmt.Errorf("tfevents: record %d: %d bytes, limit %d", n, size, maxRecord)
		}
		// The buffer grows with what is there, not with what is promised.
		var data bytes.Buffer
		if got, err := io.CopyN(&data, b, int64(size)+4); err == io.EOF {
			return fmt.Errorf("tfevents: record %d: %d of %d bytes: %w", n, got, size+4, io.ErrUnexpectedEOF)
		} else if err != nil {
			return fmt.Errorf("tfevents: record %d: %w", n, err)
		}
		body, sum := data.Bytes()[:size], data.Bytes()[size:]
		if masked(body) != binary.LittleEndian.Uint32(sum) {
			return fmt.Errorf("tfevents: record %d: data: %w", n, ErrChecksum)
		}
		e, err := unmarshal(body)
		if err != nil {
			return fmt.Errorf("tfevents: record %d: %w", n, err)
		}
		if err := f(e); err != nil {
			return err
		}
	}
}

// ReadFile is Read of the file at path.
func ReadFile(path string, f func(Event) error) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("tfevents: %w", err)
	}
	defer file.Close()
	return Read(file, f)
}
