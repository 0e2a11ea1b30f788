package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spdfctl/spdfctl/formats/bpe"
	"github.com/spdfctl/spdfctl/formats/tokens"
	"github.com/spdfctl/spdfctl/train"
	"github.com/spdfctl/spdfctl/train/data"
)

// idSpace is what the ids of a run mean.
type idSpace struct {
	tok *bpe.Tokenizer // nil: not at hand
	tokens.Vocab
}

// idSpaceOf returns the tokenizer of cfg: that which is named, or lies beside the
// first source. Without one, .bin files have the vocabulary of vocab_size or the
// one that their kind is written with.
func idSpaceOf(cfg pretrainConfig) (idSpace, error) {
	path := cfg.Data[0].Path
	if isFile(path) || strings.HasSuffix(path, tokens.BinExtension) && !isDir(path) {
		path = filepath.Dir(path)
	}
	if cfg.Tokenizer != "" {
		path = cfg.Tokenizer
	}
	tok, err := bpe.Load(path)
	if err == nil {
		eot, err := endOfText(tok, path)
		return idSpace{tok, tokens.Vocab{Size: tok.VocabSize(), EOT: eot, Hash: tok.Hash()}}, err
	}
	if cfg.Tokenizer != "" || !errors.Is(err, fs.ErrNotExist) {
		return idSpace{}, err
	}
	var x idSpace
	for _, p := range cfg.Data {
		files, val, binErr := tokens.BinFiles(p.Path)
		if binErr != nil {
			return x, binErr
		}
		files = append(files, val...)
		if len(files) == 0 {
			return x, err
		}
		v, err := tokens.BinVocab(files[0])
		if err != nil {
			return x, err
		}
		if x.Size != 0 && v != x.Vocab {
			return x, fmt.Errorf("pretrain: data: %s is written with a vocabulary of %d, %s with one of %d", p.Path, v.Size, cfg.Data[0].Path, x.Size)
		}
		x.Vocab = v
	}
	if cfg.VocabSize > 0 {
		x.Size = cfg.VocabSize
	}
	if int(x.EOT) >= x.Size {
		x.EOT = -1
	}
	return x, nil
}

// String says whose ids they are.
func (x idSpace) String() string {
	if x.tok != nil {
		return fmt.Sprintf("tokenizer %.12s of %d tokens", x.Hash, x.Size)
	}
	return fmt.Sprintf("no tokenizer, a vocabulary of %d is taken for granted; --tokenizer names one", x.Size)
}

// sources are the open shards of a run.
type sources struct {
	train []*data.Windows
	names []string
	blend *data.Blend
	valid []train.Validation
	open  []io.Closer
}

// Close lets go of the shards.
func (s *sources) Close() error {
	var errs []error
	for _, c := range s.open {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// openSources opens what cfg trains and validates on.
func openSources(cfg pretrainConfig, ids idSpace) (s *sources, err error) {
	s = new(sources)
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	var sets []*data.Windows
	valid := mix{}
	validate := func(h half, weight string) error {
		w, err := s.windows(h, ids, cfg.SeqLen, cfg.Seed)
		sets, valid = append(sets, w), append(valid, mixPart{h.name, weight})
		return err
	}
	for k, p := range cfg.Data {
		train, val, err := halvesOf(p.Path)
		if err != nil {
			return s, err
		}
		w, err := s.windows(train, ids, cfg.SeqLen, data.Seed(cfg.Seed, k))
		if err != nil {
			return s, err
		}
		s.train = append(s.train, w)
		s.names = append(s.names, filepath.ToSlash(p.Path))
		if val.name != "" && len(cfg.ValData) == 0 {
			if err := validate(val, p.Weight); err != nil {
				return s, err
			}
		}
	}
	for _, p := range cfg.ValData {
		h, val, err := halvesOf(p.Path)
		if err != nil {
			return s, err
		}
		if val.name != "" {
			h = val
		}
		h.name = p.Path
		if err := validate(h, p.Weight); err != nil {
			return s, err
		}
	}
	shares, err := cfg.Data.shares(s.train)
	if err != nil {
		return s, fmt.Errorf("pretrain: data: %w", err)
	}
	if s.blend, err = data.NewBlend(s.train, shares); err != nil {
		return s, err
	}
	if shares, err = valid.shares(sets); err != nil {
		return s, fmt.Errorf("pretrain: val_data: %w", err)
	}
	for i, w := range sets {
		s.valid = append(s.valid, train.Validation{Name: filepath.ToSlash(valid[i].Path), Weight: float64(shares[i]), Set: w})
	}
	return s, nil
}

// shares returns the proportions of sources: by their weights or, without, by
// their windows, so that all come to the end of an epoch together.
func (m mix) shares(parts []*data.Windows) ([]uint64, error) {
	weights := make([]string, len(parts))
	for i, w := range parts {
		if weights[i] = m[i].Weight; weights[i] == "" {
			weights[i] = fmt.Sprint(w.Len())
		}
	}
	return data.Shares(weights)
}

// half is what a source trains or validates on: a directory of shards, or files.
type half struct {
	name  string // empty: there is none
	files []string
}

// halvesOf returns what the path of a source holds: the halves that "data prepare"
// made, the directory itself, or .bin files.
func halvesOf(path string) (train, val half, err error) {
	files, valFiles, err := tokens.BinFiles(path)
	switch {
	case err != nil:
		return train, val, err
	case len(valFiles) > 0 && len(files) == 0: // named to validate on
		return half{path, valFiles}, val, nil
	case len(valFiles) > 0:
		return half{path, files}, half{path, valFiles}, nil
	case len(files) > 0:
		return half{path, files}, val, nil
	}
	train.name = path
	if dir := filepath.Join(path, tokens.TrainDir); isDir(dir) {
		train.name = dir
	}
	if dir := filepath.Join(path, tokens.ValDir); isDir(dir) {
		val.name = dir
	}
	return train, val, nil
}

// windows opens one half, whose ids must be of x.
func (s *sources) windows(h half, x idSpace, seqLen int, seed uint64) (*data.Windows, error) {
	var shards *tokens.Shards
	var err error
	if h.files != nil {
		shards, err = tokens.OpenBin(h.files, x.Vocab)
	} else {
		shards, err = tokens.Open(h.name)
	}
	if err != nil {
		return nil, err
	}
	s.open = append(s.open, shards)
	if got := shards.TokenizerHash(); got != x.Hash {
		return nil, fmt.Errorf("tokens: %s: encoded with tokenizer %.12s, the model's is %.12s", h.name, got, x.Hash)
	}
	w, err := data.NewWindows(shards, seqLen, seed)
	if err != nil {
		return nil, fmt.Errorf("%w (in %s)", err, h.name)
	}
	return w, nil
}

// sourceUse is what a run takes of a source.
type sourceUse struct {
	Name      string  `json:"name"`
	Windows   int     `json:"windows"`   // in the source
	Sequences int     `json:"sequences"` // that the run reads
	Tokens    int64   `json:"tokens"`
	Epochs    float64 `json:"epochs"`
}

// use returns what a run of that many sequences of seqLen tokens takes of every
// source.
func (s *sources) use(sequences, seqLen int) []sourceUse {
	list := make([]sourceUse, len(s.train))
	for k, n := range s.blend.Counts(sequences) {
		windows := s.train[k].Len()
		list[k] = sourceUse{s.names[k], windows, n, int64(n) * int64(seqLen), float64(n) / float64(windows)}
	}
	return list
}

// printUse adds the sources of a run to a table.
func printUse(w *tabwriter.Writer, uses []sourceUse) {
	for _, u := range uses {
		fmt.Fprintf(w, "source\t%s\t%d tokens, %.3g epochs of %d windows\n", u.Name, u.Tokens, u.Epochs, u.Windows)
	}
}
