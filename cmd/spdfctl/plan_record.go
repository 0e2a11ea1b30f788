package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/tokens"
	"github.com/spdfctl/spdfctl/train"
	"github.com/spdfctl/spdfctl/train/gpt"
)

// record says that a phase is done: NAME.json in the directory of the plan,
// written as a whole after everything else of the phase.
type record struct {
	Phase   string            `json:"phase"`
	Kind    string            `json:"kind"`
	Args    []string          `json:"args"`
	Inputs  map[string]string `json:"inputs"`  // path: SHA-256
	Outputs map[string]string `json:"outputs"` // path below the phase's directory: SHA-256
	Picked  string            `json:"picked,omitempty"`
	Score   *float64          `json:"score,omitempty"` // of the variant picked
	Result  json.RawMessage   `json:"result,omitempty"`
}

// maxRecord bounds a record; real ones hold a few kB.
const maxRecord = 16 << 20

// readRecord returns the record at path, nil if there is none.
func readRecord(path string) (*record, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("run: %w", err)
	}
	if info.Size() > maxRecord {
		return nil, fmt.Errorf("run: %s: %d bytes, limit %d", path, info.Size(), maxRecord)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("run: %w", err)
	}
	r := new(record)
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("run: %s: %w", path, err)
	}
	return r, nil
}

func (r *record) write(path string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("run: %w", err)
	}
	return formats.WriteAtomic(path, true, func(w io.Writer) error {
		_, err := w.Write(append(text, '\n'))
		return err
	})
}

// hashPath returns the SHA-256 of a file, or of the names and hashes of the
// files of a directory. Of token shards the index is enough, which holds the
// hashes of the shards; of a run its newest checkpoint is.
func hashPath(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("run: %w", err)
	}
	if !info.IsDir() {
		return hashFile(path)
	}
	if isDir(filepath.Join(path, train.CheckpointsDir)) {
		if path, err = gpt.CheckpointDir(path); err != nil {
			return "", err
		}
	}
	files, err := hashFiles(path)
	if err != nil {
		return "", err
	}
	return hashMap(files), nil
}

// hashFiles returns the SHA-256 of every file below dir, without the shards
// that an index names.
func hashFiles(dir string) (map[string]string, error) {
	sums := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) == tokens.Extension && isFile(filepath.Join(filepath.Dir(path), tokens.IndexFile)) {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		sums[filepath.ToSlash(name)], err = hashFile(path)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("run: %w", err)
	}
	return sums, nil
}

func hashMap(sums map[string]string) string {
	names := make([]string, 0, len(sums))
	for name := range sums {
		names = append(names, name)
	}
	sort.Strings(names)
	h := sha256.New()
	for _, name := range names {
		fmt.Fprintf(h, "%q %s\n", name, sums[name])
	}
	return hex.EncodeToString(h.Sum(nil))
}

func hashFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("run: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("run: %s: %w", path, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
