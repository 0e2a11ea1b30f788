package tokens

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"runtime"

	"golang.org/x/sync/errgroup"

	"github.com/spdfctl/spdfctl/formats/bpe"
)

// The names of the two halves of a directory with validation data.
const (
	TrainDir = "train"
	ValDir   = "val"
)

// unitBytes is the text that is encoded at a time.
const unitBytes = 256 << 10

// Job is what Prepare does.
type Job struct {
	Train     []string // files to train on
	Val       []string // files to validate on
	Tokenizer *bpe.Tokenizer
	// ValFraction, if not 0, is the probability that a document of Train is put
	// aside for validation. It excludes Val.
	ValFraction float64
	ShardTokens int    // ids in a shard; 0 means DefaultShardTokens
	Field       string // see Reading
	Threads     int    // goroutines that encode; 0 means all usable cores
	Progress    func(bytes int64)
	DryRun      bool // count, but write nothing
}

// Split is one half of what Prepare made.
type Split struct {
	Name  string // TrainDir or ValDir
	Dir   string // below the directory of the job; "." if there is no other half
	Index Index
}

// ErrEmptySplit marks a split that got no document.
var ErrEmptySplit = errors.New("no documents")

// Prepare encodes documents to shards in dir, and saves the tokenizer there. If
// the job asks for validation data, the shards are in dir/train and dir/val,
// otherwise in dir itself.
//
// Whether a document is put aside depends on the job's ValFraction and on the
// SHA-256 of the document, up to the first cut of a long one, alone: neither
// order nor company matter, and a copy goes where its original went. The files
// written depend on the job without Threads only. On an error they are
// incomplete.
func Prepare(ctx context.Context, dir string, job Job) ([]Split, error) {
	p, err := newPreparation(dir, job)
	if err != nil {
		return nil, err
	}
	if err := p.run(ctx); err != nil {
		return nil, err
	}
	documents := int64(0)
	for _, h := range p.halves {
		documents += h.writer.index.Documents
	}
	splits := make([]Split, len(p.halves))
	for i, h := range p.halves {
		if h.writer.index.Documents == 0 {
			return nil, fmt.Errorf("tokens: %s: %w of %d", h.name, ErrEmptySplit, documents)
		}
		h.writer.AddSources(p.sources[h.name]...)
		index, err := h.writer.Close()
		if err != nil {
			return nil, err
		}
		splits[i] = Split{h.name, h.dir, index}
	}
	if job.DryRun {
		return splits, nil
	}
	return splits, job.Tokenizer.Save(dir)
}

// half collects the documents of one split.
type half struct {
	name, dir string
	writer    *Writer
	bytes     int64 // of the document that has not ended yet
}

// preparation is a running Prepare.
type preparation struct {
	job     Job
	halves  []*half           // one, or two: train and val
	sources map[string][]File // by name of the half
}

func newPreparation(dir string, job Job) (*preparation, error) {
	eot, ok := job.Tokenizer.EndOfText()
	if !ok {
		return nil, fmt.Errorf("tokens: the tokenizer of %d tokens has no %s to put between documents", job.Tokenizer.VocabSize(), bpe.EndOfTextToken)
	}
	if !(job.ValFraction >= 0 && job.ValFraction < 1) {
		return nil, fmt.Errorf("tokens: validation fraction %g is outside [0, 1)", job.ValFraction)
	}
	if job.ValFraction > 0 && len(job.Val) > 0 {
		return nil, fmt.Errorf("tokens: a validation fraction of %g and %d validation files exclude each other", job.ValFraction, len(job.Val))
	}
	if job.ShardTokens == 0 {
		job.ShardTokens = DefaultShardTokens
	}
	if job.Threads <= 0 {
		job.Threads = runtime.GOMAXPROCS(0)
	}
	p := &preparation{job: job, halves: []*half{{name: TrainDir, dir: "."}}, sources: make(map[string][]File)}
	if job.ValFraction > 0 || len(job.Val) > 0 {
		p.halves = []*half{{name: TrainDir, dir: TrainDir}, {name: ValDir, dir: ValDir}}
	}
	vocab := Vocab{Size: job.Tokenizer.VocabSize(), EOT: eot, Hash: job.Tokenizer.Hash()}
	for _, h := range p.halves {
		var err error
		if job.DryRun {
			h.writer, err = NewCounter(vocab, job.ShardTokens)
		} else {
			h.writer, err = Create(filepath.Join(dir, h.dir), vocab, job.ShardTokens)
		}
		if err != nil {
			return nil, err
		}
	}
	return p, nil
}

// unit is text on its way from the reader over an encoder to the writer.
type unit struct {
	text   []byte
	pieces []unitPiece
	ids    []int32
	done   chan struct{} // closed when ids are there
}

// unitPiece is a piece in a unit: where its text and, later, its ids end.
type unitPiece struct {
	textEnd, idEnd int
	half           int // of preparation.halves
	last           bool
}

// run reads, encodes and writes at the same time. Units are encoded by whoever
// is free and written in the order in which they were read.
func (p *preparation) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	work := make(chan *unit)
	order := make(chan *unit, 2*p.job.Threads) // bounds the text in memory
	g.Go(func() error {
		defer close(work)
		defer close(order)
		return p.readAll(ctx, func(u *unit) error {
			u.done = make(chan struct{})
			for _, to := range []chan *unit{order, work} {
				select {
				case to <- u:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			return nil
		})
	})
	for range p.job.Threads {
		g.Go(func() error {
			for u := range work {
				p.encode(u)
				close(u.done)
			}
			return nil
		})
	}
	g.Go(func() error {
		for u := range order {
			select {
			case <-u.done:
			case <-ctx.Done():
				return ctx.Err()
			}
			if err := p.write(u); err != nil {
				return err
			}
		}
		return nil
	})
	return g.Wait()
}

// readAll gathers the pieces of all files in units.
func (p *preparation) readAll(ctx context.Context, send func(*unit) error) error {
	u := new(unit)
	at := 0 // the half of the document that is being read
	read := int64(0)
	gather := func(name string, paths []string, choose func(Piece) int) error {
		base := read
		files, err := ReadDocuments(ctx, paths, Reading{Field: p.job.Field, Progress: func(n int64) {
			read = base + n
			if p.job.Progress != nil {
				p.job.Progress(read)
			}
		}}, func(piece Piece) error {
			if piece.First {
				at = choose(piece)
			}
			u.text = append(u.text, piece.Text...)
			u.pieces = append(u.pieces, unitPiece{textEnd: len(u.text), half: at, last: piece.Last})
			if len(u.text) < unitBytes {
				return nil
			}
			full := u
			u = new(unit)
			return send(full)
		})
		p.sources[name] = files
		return err
	}
	if err := gather(TrainDir, p.job.Train, p.choose); err != nil {
		return err
	}
	if p.job.ValFraction > 0 {
		p.sources[ValDir] = p.sources[TrainDir]
	}
	if len(p.job.Val) > 0 {
		if err := gather(ValDir, p.job.Val, func(Piece) int { return 1 }); err != nil {
			return err
		}
	}
	if len(u.text) == 0 {
		return nil
	}
	return send(u)
}

// choose returns the half of a document of the training files.
func (p *preparation) choose(first Piece) int {
	if p.job.ValFraction == 0 {
		return 0
	}
	sum := sha256.Sum256(first.Text)
	// A number in [0, 1) with the 53 bits that a float64 holds exactly.
	if math.Ldexp(float64(binary.BigEndian.Uint64(sum[:])>>11), -53) < p.job.ValFraction {
		return 1
	}
	return 0
}

// encode fills in the ids of a unit.
func (p *preparation) encode(u *unit) {
	u.ids = make([]int32, 0, len(u.text)/3+8)
	begin := 0
	for i := range u.pieces {
		piece := &u.pieces[i]
		u.ids = p.job.Tokenizer.AppendEncode(u.ids, u.text[begin:piece.textEnd])
		piece.idEnd = len(u.ids)
		begin = piece.textEnd
	}
}

// write hands the ids of a unit to the writers.
func (p *preparation) write(u *unit) error {
	textBegin, idBegin := 0, 0
	for _, piece := range u.pieces {
		h := p.halves[piece.half]
		if err := h.writer.Append(u.ids[idBegin:piece.idEnd]); err != nil {
			return err
		}
		h.bytes += int64(piece.textEnd - textBegin)
		if piece.last {
			if err := h.writer.EndDocument(h.bytes); err != nil {
				return err
			}
			h.bytes = 0
		}
		textBegin, idBegin = piece.textEnd, piece.idEnd
	}
	return nil
}
