package nlg

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Open opens a text file for reading, decompressed if its name ends in .gz.
// The second result is the extension below that, such as ".csv".
func Open(path string) (io.ReadCloser, string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, "", fmt.Errorf("nlg: %w", err)
	}
	plain, packed := strings.CutSuffix(path, ".gz")
	ext := strings.ToLower(filepath.Ext(plain))
	if !packed {
		return f, ext, nil
	}
	z, err := gzip.NewReader(f)
	if err != nil {
		f.Close()
		return nil, "", fmt.Errorf("nlg: %s: %w", path, err)
	}
	return &gzipFile{z, f}, ext, nil
}

// gzipFile closes the file below the decompressor with it.
type gzipFile struct {
	*gzip.Reader
	file *os.File
}

func (g *gzipFile) Close() error {
	err := g.Reader.Close()
	if e := g.file.Close(); err == nil {
		err = e
	}
	return err
}

// InFile adds the path to an error of a reader of this package.
func InFile(path string, err error) error {
	var line *LineError
	if errors.As(err, &line) && line.Path == "" {
		return &LineError{Path: path, Line: line.Line, Err: line.Err}
	}
	return err
}
