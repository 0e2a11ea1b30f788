package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path"
	"path/filepath"
	"slices"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/bpe"
	"github.com/spdfctl/spdfctl/formats/tokens"
)

// trainTokenizer trains a tokenizer of vocab tokens on the documents of files.
func (a *app) trainTokenizer(ctx context.Context, files []string, field string, vocab int) (*bpe.Tokenizer, error) {
	total, err := tokens.CheckFiles(files)
	if err != nil {
		return nil, err
	}
	// The reading runs inside Train, which takes texts only: its error is kept
	// here and wins over what Train makes of a text that ended early.
	var readErr error
	texts := func(yield func([]byte) bool) {
		bar := a.startProgress("read text", "bytes", total)
		defer a.closeProgress()
		readErr = func() error {
			_, err := tokens.ReadDocuments(ctx, files, tokens.Reading{Field: field, Progress: func(n int64) { bar.Set(n, "") }},
				func(p tokens.Piece) error {
					if !yield(p.Text) {
						return errStopped
					}
					return nil
				})
			return err
		}()
	}
	var merging *progress
	tok, err := bpe.Train(iter.Seq[[]byte](texts), vocab, bpe.TrainOptions{
		Threads: a.threads,
		Progress: func(n int) error {
			if readErr != nil {
				return readErr
			}
			if merging == nil {
				merging = a.startProgress("merge", "tokens", int64(vocab))
			}
			merging.Set(int64(n), "")
			return ctx.Err()
		},
	})
	a.closeProgress()
	if readErr != nil && !errors.Is(readErr, errStopped) {
		return nil, readErr
	}
	return tok, err
}

// errStopped ends a reading whose consumer wants no more.
var errStopped = errors.New("stopped")

// prepareTokens encodes the files of job into dir, which comes to be as a
// whole or not at all, and returns what it holds.
func (a *app) prepareTokens(ctx context.Context, dir string, force bool, job tokens.Job) ([]tokens.Split, error) {
	total, err := tokens.CheckFiles(append(job.Train[:len(job.Train):len(job.Train)], job.Val...))
	if err != nil {
		return nil, err
	}
	bar := a.startProgress("encode", "bytes", total)
	defer a.closeProgress()
	job.Progress = func(n int64) { bar.Set(n, "") }
	job.Threads = a.threads
	if job.DryRun {
		return tokens.Prepare(ctx, dir, job)
	}
	if force {
		if err := checkReplaceable("data prepare", dir, isTokensFile, tokens.IndexFile, tokens.TrainDir+"/"+tokens.IndexFile); err != nil {
			return nil, err
		}
	}
	var splits []tokens.Split
	err = formats.AtomicDir(dir, force, func(tmp string) error {
		splits, err = tokens.Prepare(ctx, tmp, job)
		return err
	})
	return splits, err
}

// checkReplaceable refuses to replace a directory that is not the work of the
// command: own reports whether the command writes a file of this name, and one
// of the marks must be there. --force is no leave to delete anything else. An
// empty directory may be replaced.
func checkReplaceable(command, dir string, own func(name string) bool, marks ...string) error {
	if !isDir(dir) {
		return nil
	}
	empty, marked := true, false
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		if !own(name) {
			return fmt.Errorf("%s: %s: --force, but %s in it is not this command's", command, dir, name)
		}
		empty, marked = false, marked || slices.Contains(marks, name)
		return nil
	})
	if err == nil && !empty && !marked {
		return fmt.Errorf("%s: %s: --force, but it holds no %s", command, dir, marks[0])
	}
	return err
}

// isTokenizerFile reports whether "tokenizer train" writes a file of this name.
func isTokenizerFile(name string) bool { return slices.Contains(bpe.Files, name) }

// isTokensFile reports whether "data prepare" writes a file of this name.
func isTokensFile(name string) bool {
	dir, base := path.Split(name)
	switch dir {
	case "":
		if isTokenizerFile(base) {
			return true
		}
	case tokens.TrainDir + "/", tokens.ValDir + "/":
	default:
		return false
	}
	return base == tokens.IndexFile || path.Ext(base) == tokens.Extension
}

// withForceHint adds the way out to the error of a path that exists.
func withForceHint(err error) error {
	if errors.Is(err, fs.ErrExist) {
		return withHint(err, "name another directory with -o or replace this one with --force")
	}
	return err
}
