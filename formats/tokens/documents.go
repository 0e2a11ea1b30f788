package tokens

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spdfctl/spdfctl/formats/bpe"
)

// DefaultField is the JSON key or CSV column that holds the text.
const DefaultField = "text"

// maxDocument bounds what is held in memory at once: a line, a row, or text
// without a place to cut it.
const maxDocument = 256 << 20

// pieceBytes is the least that is read of a text before it is cut.
const pieceBytes = 1 << 20

// Piece is a document or, of a long text, a part of one. Texts are cut where
// the ids of the parts, joined, are those of the whole: see bpe.LastBoundary.
type Piece struct {
	Text        []byte // never empty; valid until the next piece is asked for
	First, Last bool   // of its document
}

// Reading is how ReadDocuments reads.
type Reading struct {
	// Field is the JSON key or CSV column of the text; "" means DefaultField.
	Field string
	// Progress, if not nil, is told how many bytes of the files were read, as
	// they are on disk.
	Progress func(bytes int64)
}

// kindOf returns the extension of a path that says how to read it, and whether
// the file is compressed.
func kindOf(path string) (ext string, packed bool, err error) {
	plain, packed := strings.CutSuffix(path, ".gz")
	switch ext = strings.ToLower(filepath.Ext(plain)); ext {
	case ".txt", ".jsonl", ".csv":
		return ext, packed, nil
	case ".parquet":
		if packed {
			return "", false, fmt.Errorf("tokens: %s: %w", path, kindf(ErrUnsupported, "Parquet is compressed already, unpack the .gz"))
		}
		return ext, false, nil
	}
	return "", false, fmt.Errorf("tokens: %s: %w", path, kindf(ErrUnsupported, "extension is %q, want .txt, .jsonl or .csv, each also with .gz, or .parquet", ext))
}

// CheckFiles returns the bytes that ReadDocuments will read of the files. It
// returns an error, ErrUnsupported by kind, for a file that it cannot read.
func CheckFiles(paths []string) (bytes int64, err error) {
	for _, path := range paths {
		if _, _, err := kindOf(path); err != nil {
			return 0, err
		}
		info, err := os.Stat(path)
		if err != nil {
			return 0, fmt.Errorf("tokens: %w", err)
		}
		if info.IsDir() {
			return 0, fmt.Errorf("tokens: %s: is a directory, name the files in it", path)
		}
		bytes += info.Size()
	}
	return bytes, nil
}

// ReadDocuments reads files in order and calls yield for every piece of every
// document in them. How a file is read depends on its extension, after .gz,
// which means that it is compressed:
//
//	.txt    the file is one document, byte for byte
//	.jsonl  a document a line: the string under the key Field of an object;
//	        blank lines are left out; of a key that repeats the last counts
//	.csv    a document a row: the column that the first row calls Field, read
//	        as RFC 4180 says, CR LF in a field as LF
//	.parquet a document a row, in the column Field; never compressed around
//
// Lines and rows must be UTF-8 and may begin, in the file, with a byte order
// mark. Documents without text are left out. At most a document is held in
// memory, of a text about a megabyte; lines, rows and stretches without a word
// boundary may take 256 MiB. An error of yield ends the reading and is returned.
func ReadDocuments(ctx context.Context, paths []string, opts Reading, yield func(Piece) error) ([]File, error) {
	if opts.Field == "" {
		opts.Field = DefaultField
	}
	in := &input{ctx: ctx, progress: opts.Progress}
	files := make([]File, 0, len(paths))
	for _, path := range paths {
		file, err := in.read(path, opts.Field, yield)
		if err != nil {
			return nil, err
		}
		files = append(files, file)
	}
	return files, nil
}

// input reads one file after the other, counting and hashing.
type input struct {
	ctx      context.Context
	progress func(int64)
	file     *os.File
	sum      hash.Hash
	size     int64 // of this file, so far
	total    int64 // of the files before it
}

func (in *input) Read(p []byte) (int, error) {
	if err := in.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := in.file.Read(p)
	in.sum.Write(p[:n])
	in.size += int64(n)
	if in.progress != nil {
		in.progress(in.total + in.size)
	}
	return n, err
}

func (in *input) read(path, field string, yield func(Piece) error) (File, error) {
	ext, packed, err := kindOf(path)
	if err != nil {
		return File{}, err
	}
	f, err := os.Open(path)
	if err != nil {
		return File{}, fmt.Errorf("tokens: %w", err)
	}
	defer f.Close()
	in.file, in.sum, in.size = f, sha256.New(), 0
	r := bufio.NewReaderSize(in, 256<<10)
	if packed {
		z, err := gzip.NewReader(r)
		if err != nil {
			return File{}, fmt.Errorf("tokens: %s: gzip: %w", path, err)
		}
		r = bufio.NewReaderSize(z, 256<<10)
	}
	switch ext {
	case ".txt":
		err = ReadText(r, yield)
	case ".jsonl":
		err = readJSONL(r, field, yield)
	case ".csv":
		err = readCSV(r, field, yield)
	case ".parquet":
		// Its order is not that of the bytes: hash it first, then read it where it lies.
		if _, err = io.Copy(io.Discard, r); err == nil {
			err = readParquet(f, in.size, field, yield)
		}
	}
	if err != nil {
		var y yieldError
		if errors.As(err, &y) {
			return File{}, y.error
		}
		return File{}, fmt.Errorf("tokens: %s: %w", path, err)
	}
	in.total += in.size
	return File{Path: filepath.ToSlash(path), Bytes: in.size, SHA256: hex.EncodeToString(in.sum.Sum(nil))}, nil
}

// yieldError is an error of yield, which says nothing about the file.
type yieldError struct{ error }

func (e yieldError) Unwrap() error { return e.error }

// ReadText yields r as one document, in pieces of about a megabyte. An error of
// yield ends the reading and is wrapped.
func ReadText(r io.Reader, yield func(Piece) error) error {
	var buf []byte
	for first := true; ; first = false {
		n, err := fillToBoundary(r, &buf)
		if err != nil {
			return err
		}
		last := n == 0 // r has ended
		if last {
			n = len(buf)
		}
		if n > 0 {
			if err := yield(Piece{buf[:n], first, last}); err != nil {
				return yieldError{err}
			}
		}
		if last {
			return nil
		}
		buf = append(buf[:0], buf[n:]...)
	}
}

// fillToBoundary reads on into buf until it can be cut, and returns where; 0
// means that r has ended. Each read doubles what is there, so that the bytes
// looked at stay proportional to the text.
func fillToBoundary(r io.Reader, buf *[]byte) (int, error) {
	for {
		have := len(*buf)
		if have >= maxDocument {
			return 0, fmt.Errorf("no word boundary in %d bytes, limit %d", have, maxDocument)
		}
		*buf = slices.Grow(*buf, max(pieceBytes, have))
		free := (*buf)[have : have+max(pieceBytes, have)]
		for len(free) > 0 {
			// Not io.ReadFull: at the end of r it gives the error of a compressed
			// file that is cut short.
			n, err := r.Read(free)
			*buf, free = (*buf)[:len(*buf)+n], free[n:]
			if err == io.EOF {
				return 0, nil
			}
			if err != nil {
				return 0, err
			}
		}
		if n := bpe.LastBoundary(*buf); n > 0 {
			return n, nil
		}
	}
}

// trimBOM removes a byte order mark from the start of r.
func trimBOM(r *bufio.Reader) {
	if b, _ := r.Peek(3); bytes.Equal(b, []byte("\ufeff")) {
		r.Discard(3)
	}
}
