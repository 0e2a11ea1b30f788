package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/bpe"
	"github.com/spdfctl/spdfctl/formats/tokens"
)

func newTokenizerCmd(a *app) *cobra.Command {
	return group(a, "tokenizer", "Train and run byte-level BPE tokenizers",
		newTokenizerTrainCmd(a), newTokenizerEncodeCmd(a), newTokenizerDecodeCmd(a))
}

func newTokenizerTrainCmd(a *app) *cobra.Command {
	var (
		out, field string
		vocab      int64
		force      bool
	)
	cmd := &cobra.Command{
		Use:   "train IN... --vocab-size N -o DIR",
		Short: "Train a byte-level BPE tokenizer",
		Long: `Train makes a GPT-2 tokenizer: the 256 bytes, a token for each merge, and
<|endoftext|> as the last. It writes vocab.json, merges.txt, tokenizer.json and
tokenizer_config.json, as transformers reads them. The files are read as
"data prepare" reads them. The result does not depend on --threads.

If no pair of tokens occurs twice any more, the vocabulary stays smaller than
asked for, which is said on standard error and in the result.`,
		Example: `  spdfctl tokenizer train books/*.txt.gz --vocab-size 8192 -o tok
  spdfctl tokenizer train corpus.jsonl --text-field body --vocab-size 32Ki -o tok`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case out == "":
				return usageErrorf("tokenizer train: -o is missing: the directory to write")
			case vocab < bpe.MinVocab || vocab > bpe.MaxVocab:
				return usageErrorf("tokenizer train: --vocab-size %d is outside %d (the bytes and %s) to %d", vocab, bpe.MinVocab, bpe.EndOfTextToken, bpe.MaxVocab)
			}
			if force {
				if err := checkReplaceable("tokenizer train", out, isTokenizerFile, bpe.Files...); err != nil {
					return err
				}
			}
			var tok *bpe.Tokenizer
			err := formats.AtomicDir(out, force, func(tmp string) (err error) {
				if tok, err = a.trainTokenizer(cmd.Context(), args, field, int(vocab)); err != nil {
					return err
				}
				return tok.Save(tmp)
			})
			if err != nil {
				return withForceHint(err)
			}
			size := tok.VocabSize()
			if size < int(vocab) {
				a.logf("tokenizer train: no pair occurs twice any more: %d tokens instead of %d", size, vocab)
			}
			if a.json {
				return a.printJSON(map[string]any{
					"dir": out, "vocab_size": size, "requested_vocab_size": vocab, "tokenizer_sha256": tok.Hash(),
				})
			}
			_, err = fmt.Fprintf(a.stdout, "%s: %d tokens\n", out, size)
			return err
		},
	}
	f := cmd.Flags()
	f.StringVarP(&out, "out", "o", "", "directory to write")
	countVar(f, &vocab, "vocab-size", 0, "tokens, <|endoftext|> included")
	f.StringVar(&field, "text-field", tokens.DefaultField, "JSON key or CSV column of the text")
	f.BoolVar(&force, "force", false, "replace an existing tokenizer directory")
	return cmd
}

func newTokenizerEncodeCmd(a *app) *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "encode --tokenizer DIR",
		Short: "Standard input to token ids",
		Long: `Encode turns standard input into token ids, of any bytes.

Without --json the whole input is one text, line feeds included, and becomes ids
with blanks between them on one line: decode gives back exactly these bytes.
With --json every line, without its line feed, is a text of its own and becomes
a JSON list on a line of its own.

<|endoftext|> in the input is text like any other.`,
		Example: `  printf 'Hello world' | spdfctl tokenizer encode --tokenizer tok
  spdfctl tokenizer encode --tokenizer tok --json < lines.txt`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			tok, err := loadTokenizer("encode", path)
			if err != nil {
				return err
			}
			encode := encodeText
			if a.json {
				encode = encodeLines
			}
			return filter(cmd, a.stdout, func(r io.Reader, w *bufio.Writer) error { return encode(w, r, tok) })
		},
	}
	cmd.Flags().StringVar(&path, "tokenizer", "", "tokenizer directory or file")
	return cmd
}

func newTokenizerDecodeCmd(a *app) *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "decode --tokenizer DIR",
		Short: "Token ids to standard output",
		Long: `Decode is the inverse of encode. Without --json the ids of the whole input,
between white space, become the bytes they stand for, and nothing is added. With
--json every line is a JSON list of ids and becomes a line of text.`,
		Example: `  echo 15496 995 | spdfctl tokenizer decode --tokenizer gpt2
  spdfctl tokenizer decode --tokenizer tok --json < ids.jsonl`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			tok, err := loadTokenizer("decode", path)
			if err != nil {
				return err
			}
			decode := decodeText
			if a.json {
				decode = decodeLines
			}
			return filter(cmd, a.stdout, func(r io.Reader, w *bufio.Writer) error { return decode(w, r, tok) })
		},
	}
	cmd.Flags().StringVar(&path, "tokenizer", "", "tokenizer directory or file")
	return cmd
}

func loadTokenizer(command, path string) (*bpe.Tokenizer, error) {
	if path == "" {
		return nil, usageErrorf("tokenizer %s: --tokenizer is missing", command)
	}
	return bpe.Load(path)
}

// filterBuffer is the output that a filter holds back: up to here, an error
// leaves standard output empty.
const filterBuffer = 1 << 20

// filter runs f between standard input and stdout. Reading a terminal cannot be
// interrupted, so f is left behind if the command is.
func filter(cmd *cobra.Command, stdout io.Writer, f func(r io.Reader, w *bufio.Writer) error) error {
	ctx := cmd.Context()
	done := make(chan error, 1)
	go func() {
		w := bufio.NewWriterSize(stdout, filterBuffer)
		err := f(&contextReader{ctx, cmd.InOrStdin()}, w)
		if err == nil {
			err = w.Flush()
		}
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("tokenizer: %w", ctx.Err())
	}
}

// contextReader reads until its context ends.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// encodeText writes the ids of r, as one text, on one line.
func encodeText(w *bufio.Writer, r io.Reader, tok *bpe.Tokenizer) error {
	var ids []int32
	var number []byte
	blank := false
	err := tokens.ReadText(r, func(p tokens.Piece) error {
		ids = tok.AppendEncode(ids[:0], p.Text)
		for _, id := range ids {
			if blank {
				w.WriteByte(' ')
			}
			blank = true
			number = strconv.AppendInt(number[:0], int64(id), 10)
			if _, err := w.Write(number); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("tokenizer: standard input: %w", err)
	}
	return w.WriteByte('\n')
}

// encodeLines writes the ids of every line of r as a JSON list.
func encodeLines(w *bufio.Writer, r io.Reader, tok *bpe.Tokenizer) error {
	var ids []int32
	return eachLine(r, func(_ int, line []byte) error {
		ids = tok.AppendEncode(ids[:0], line)
		if ids == nil {
			ids = []int32{} // an empty line is an empty list, not null
		}
		text, err := json.Marshal(ids)
		if err != nil {
			return err
		}
		w.Write(text)
		return w.WriteByte('\n')
	})
}

// decodeText writes the text of the ids in r. It goes by words, not by lines:
// encodeText writes a single line, which may be longer than memory.
func decodeText(w *bufio.Writer, r io.Reader, tok *bpe.Tokenizer) error {
	s := bufio.NewScanner(r)
	s.Split(bufio.ScanWords)
	var text []byte
	for n := 1; s.Scan(); n++ {
		id, err := strconv.ParseInt(s.Text(), 10, 32)
		if err != nil {
			return fmt.Errorf("tokenizer: word %d: %.40q is not a token id", n, s.Bytes())
		}
		if text, err = tok.AppendDecode(text[:0], []int32{int32(id)}); err != nil {
			return fmt.Errorf("tokenizer: word %d: %w", n, err)
		}
		if _, err := w.Write(text); err != nil {
			return err
		}
	}
	if err := s.Err(); err != nil {
		return fmt.Errorf("tokenizer: standard input: %w", err)
	}
	return nil
}

// decodeLines writes the text of every list of ids in r on a line of its own.
func decodeLines(w *bufio.Writer, r io.Reader, tok *bpe.Tokenizer) error {
	var text []byte
	return eachLine(r, func(number int, line []byte) error {
		ids, err := parseIDList(line)
		if err == nil {
			text, err = tok.AppendDecode(text[:0], ids)
		}
		if err != nil {
			return fmt.Errorf("tokenizer: line %d: %w", number, err)
		}
		w.Write(text)
		return w.WriteByte('\n')
	})
}

// parseIDList reads a JSON list of numbers; a null in it is none.
func parseIDList(line []byte) ([]int32, error) {
	var list []*int32
	if err := json.Unmarshal(line, &list); err != nil || list == nil {
		return nil, fmt.Errorf("%.40q is not a JSON list of token ids", line)
	}
	ids := make([]int32, len(list))
	for i, id := range list {
		if id == nil {
			return nil, fmt.Errorf("item %d of the list is null, not a token id", i)
		}
		ids[i] = *id
	}
	return ids, nil
}

// maxLine bounds a line of standard input: 256 MiB.
const maxLine = 256 << 20

// eachLine calls f for every line of r, counted from 1, without its line feed.
func eachLine(r io.Reader, f func(number int, line []byte) error) error {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 64<<10), maxLine)
	s.Split(splitLines)
	number := 0
	for s.Scan() {
		number++
		if err := f(number, s.Bytes()); err != nil {
			return err
		}
	}
	if err := s.Err(); errors.Is(err, bufio.ErrTooLong) {
		return fmt.Errorf("tokenizer: line %d has more than %d bytes, the limit", number+1, maxLine)
	} else if err != nil {
		return fmt.Errorf("tokenizer: standard input: %w", err)
	}
	return nil
}

// splitLines cuts at line feeds only: a carriage return is text.
func splitLines(data []byte, atEOF bool) (advance int, token []byte, err error) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return i + 1, data[:i], nil
	}
	if atEOF && len(data) > 0 {
		return len(data), data, nil
	}
	return 0, nil, nil
}
