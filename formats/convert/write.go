package convert

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/gguf"
	"github.com/spdfctl/spdfctl/formats/llmc"
	"github.com/spdfctl/spdfctl/formats/npz"
	"github.com/spdfctl/spdfctl/formats/stored"
	"github.com/spdfctl/spdfctl/formats/torch"
)

// Write carries the plan out: it writes the file path, or, if that is to be a
// directory (see Plan.Directory), the weights in it and beside them what
// transformers expects. Nothing is left on an error. An existing file is refused
// unless force is set; to an existing directory the files are added, and force
// replaces weights that are in it. progress, if not nil, is called with the
// number of bytes written so far.
func (p *Plan) Write(ctx context.Context, path string, force bool, progress func(done int64)) error {
	err := p.write(&watch{ctx: ctx, progress: progress}, path, force)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("convert: %s: %w", path, ctx.Err())
	case errors.Is(err, fs.ErrExist) || strings.HasPrefix(err.Error(), "convert: "):
		return err
	}
	return fmt.Errorf("convert: %w", err)
}

func (p *Plan) write(w *watch, path string, force bool) error {
	if p.Directory(path) {
		fill := func(tmp string) error {
			if err := p.writeDir(w, tmp); err != nil {
				return err
			}
			return p.writeBesides(tmp)
		}
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			return fillDir(path, force, fill)
		}
		return formats.AtomicDir(path, false, fill)
	}
	return formats.WriteAtomic(path, force, func(to io.Writer) error {
		if err := p.writeTo(w, to); err != nil {
			return err
		}
		return p.Source.Unchanged()
	})
}

// fillDir adds files to a directory that exists: fill makes them in a temporary
// one inside it, from which they are moved. Weights that are there are replaced
// only if force is set; other files that are there stay.
func fillDir(dir string, force bool, fill func(tmp string) error) error {
	tmp, err := os.MkdirTemp(dir, ".convert-*")
	if err != nil {
		return fmt.Errorf("convert: %w", err)
	}
	defer os.RemoveAll(tmp)
	if err := fill(tmp); err != nil {
		return err
	}
	files, err := os.ReadDir(tmp)
	if err != nil {
		return fmt.Errorf("convert: %w", err)
	}
	exists := func(parent, name string) bool {
		_, err := os.Lstat(filepath.Join(parent, name))
		return err == nil
	}
	for _, pair := range [][2]string{{modelFile, indexFile}, {indexFile, modelFile}} {
		if exists(tmp, pair[0]) && exists(dir, pair[1]) {
			return fmt.Errorf("convert: %s: would hold both %s and %s", dir, pair[1], pair[0])
		}
	}
	var move []string
	for _, f := range files {
		switch {
		case !exists(dir, f.Name()):
		case slices.Contains(besides, f.Name()):
			continue
		case !force:
			return &fs.PathError{Op: "write", Path: filepath.Join(dir, f.Name()), Err: fs.ErrExist}
		}
		move = append(move, f.Name())
	}
	// The index last: until then the shards are no checkpoint.
	slices.SortFunc(move, func(a, b string) int { return strings.Compare(filepath.Ext(b), filepath.Ext(a)) })
	for _, name := range move {
		if err := os.Rename(filepath.Join(tmp, name), filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("convert: %w", err)
		}
	}
	return nil
}

// Names of the weights in a directory, as transformers has them.
const (
	modelFile = "model.safetensors"
	indexFile = "model.safetensors.index.json"
)

// Directory reports whether path is to be a directory: because it ends in a
// separator or exists as one, or because shards go into it.
func (p *Plan) Directory(path string) bool {
	if strings.HasSuffix(path, "/") || strings.HasSuffix(path, string(filepath.Separator)) || p.Options.ShardSize > 0 {
		return true
	}
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// fileName is the name of the weights in a directory.
func (p *Plan) fileName() string {
	switch p.Options.To {
	case TorchZip:
		if p.nested {
			return "ckpt.pt"
		}
		return "pytorch_model.bin"
	case Npz:
		return "model.npz"
	case GGUF:
		return "model.gguf"
	case LLMC:
		return "model.bin"
	}
	return modelFile
}

func (p *Plan) writeDir(w *watch, dir string) error {
	if p.Options.ShardSize > 0 {
		return p.writeShards(w, dir)
	}
	return formats.WriteAtomic(filepath.Join(dir, p.fileName()), false, func(to io.Writer) error {
		if err := p.writeTo(w, to); err != nil {
			return err
		}
		return p.Source.Unchanged()
	})
}

// watch counts the bytes that are written, and stops when the context is done.
type watch struct {
	ctx      context.Context
	progress func(int64)
	done     int64
}

func (w *watch) add(n int64) error {
	w.done += n
	if w.progress != nil {
		w.progress(w.done)
	}
	return w.ctx.Err()
}

// watched returns a tensor that reports to w while it is written.
func watched(t stored.Tensor, w *watch) stored.Tensor {
	write := t.WriteTo
	t.WriteTo = func(to io.Writer) error {
		if r, ok := to.(io.ReaderFrom); ok {
			to = &watchFrom{watchWriter{to, w}, r}
		} else {
			to = &watchWriter{to, w}
		}
		return write(to)
	}
	t.Range = nil
	return t
}

type watchWriter struct {
	to io.Writer
	w  *watch
}

func (w *watchWriter) Write(b []byte) (int, error) {
	n, err := w.to.Write(b)
	if err == nil {
		err = w.w.add(int64(n))
	}
	return n, err
}

type watchFrom struct {
	watchWriter
	r io.ReaderFrom
}

func (w *watchFrom) ReadFrom(r io.Reader) (int64, error) {
	n, err := w.r.ReadFrom(r)
	if err == nil {
		err = w.w.add(n)
	}
	return n, err
}

// writeTo writes one file.
func (p *Plan) writeTo(w *watch, to io.Writer) error {
	var tensors []stored.Tensor
	for _, o := range p.Outputs {
		for _, t := range p.packed(o) {
			tensors = append(tensors, watched(t, w))
		}
	}
	switch p.Options.To {
	case SafeTensors:
		metadata, err := p.textMetadata(p.Outputs, true)
		if err != nil {
			return err
		}
		return writeSafeTensors(to, tensors, metadata)
	case TorchZip:
		return p.writeTorch(to, tensors)
	case Npz:
		return p.writeNpz(to, tensors)
	case GGUF:
		return p.writeGGUF(to, tensors)
	}
	c, err := p.llmcConfig()
	if err != nil {
		return err
	}
	return llmc.Write(to, c, tensors)
}

// unprefixed reports whether to carry that names had no prefix: not where they
// still have none.
func (p *Plan) unprefixed() bool {
	if p.Layout == "hf" || p.Layout == "" {
		return false
	}
	return p.Source.unprefixed || p.model != nil && p.model.layout == gpt2HF && !p.model.prefixed
}

// carriedConfig returns the configuration that the source file holds, or the
// true size of a vocabulary that is padded, where the format to be written has
// no place for it. In the layout hf that is what config.json is for.
func (p *Plan) carriedConfig() *Config {
	padded := p.model != nil && p.vocab > p.target.V
	if !p.Source.ownConfig && !padded || p.nested || p.Options.To == GGUF || p.Options.To == LLMC || p.Layout == "hf" {
		return nil
	}
	c := p.Source.Config
	if padded {
		c.VocabSize = p.target.V
	}
	return &c
}

func (p *Plan) narrowed() map[string]formats.DType {
	var list map[string]formats.DType
	for _, o := range p.Outputs {
		if o.narrow != "" {
			if list == nil {
				list = make(map[string]formats.DType)
			}
			list[o.Name] = o.narrow
		}
	}
	return list
}

// sideRecord returns what a format other than safetensors is to carry.
func (p *Plan) sideRecord(types map[string]sideType) ([]byte, error) {
	s := side{Types: types, Narrow: p.narrowed(), Unprefixed: p.unprefixed(), Config: p.carriedConfig()}
	for _, o := range p.Outputs {
		if len(o.Aliases) > 0 && p.Options.To != TorchZip {
			if s.Aliases == nil {
				s.Aliases = make(map[string][]string)
			}
			s.Aliases[o.Name] = o.Aliases
		}
	}
	if p.Source.textKnown {
		s.Metadata, s.Plain = p.Source.text, p.Source.text == nil
		s.Empty = !s.Plain && len(s.Metadata) == 0
	}
	s.Made = p.Options.To == GGUF && (p.Source.made || !p.originalEntries())
	if p.originalEntries() && p.Options.To != GGUF {
		var err error
		if s.GGUF, err = toJSON(p.Source.entries); err != nil {
			return nil, fmt.Errorf("convert: metadata of GGUF: %w", err)
		}
	}
	return s.encode()
}

// asBytes gives tensors that a format cannot express another description of the
// same bytes, and returns the descriptions that they have in truth.
func asBytes(tensors []stored.Tensor, fits func(formats.Info) bool, instead func(formats.Info, int64) formats.Info) map[string]sideType {
	var types map[string]sideType
	for i, t := range tensors {
		if fits(t.Info) {
			continue
		}
		if types == nil {
			types = make(map[string]sideType)
		}
		types[t.Name] = sideType{t.DType, t.Shape}
		tensors[i].Info = instead(t.Info, t.Bytes)
	}
	return types
}

func (p *Plan) writeTorch(to io.Writer, tensors []stored.Tensor) error {
	types := asBytes(tensors, torch.Writable, func(info formats.Info, n int64) formats.Info {
		return formats.Info{Name: info.Name, DType: formats.U8, Shape: []int{int(n)}}
	})
	record, err := p.sideRecord(types)
	if err != nil {
		return err
	}
	o := torch.WriteOptions{Side: record, Aliases: make(map[string][]string)}
	for _, out := range p.Outputs {
		if len(out.Aliases) > 0 {
			o.Aliases[out.Name] = out.Aliases
		}
	}
	if p.nested {
		o.Under = "model"
		if o.Fields, err = p.nanoGPTFields(); err != nil {
			return err
		}
	}
	return torch.Write(to, tensors, o)
}

func (p *Plan) writeNpz(to io.Writer, tensors []stored.Tensor) error {
	types := asBytes(tensors, func(info formats.Info) bool { native, _ := npz.Writable(info.DType); return native },
		func(info formats.Info, n int64) formats.Info {
			if _, raw := npz.Writable(info.DType); raw {
				return info // keeps its shape
			}
			return formats.Info{Name: info.Name, DType: formats.U8, Shape: []int{int(n)}}
		})
	// NumPy has no tied arrays: they are written twice.
	var all []stored.Tensor
	for i, t := range tensors {
		all = append(all, t)
		for _, name := range p.Outputs[i].Aliases {
			if was, ok := types[t.Name]; ok {
				types[name] = was
			}
			t.Name = name
			all = append(all, t)
		}
	}
	record, err := p.sideRecord(types)
	if err != nil {
		return err
	}
	if len(record) > npz.MaxSide {
		return fmt.Errorf("convert: what .npz cannot express takes %d bytes, limit %d: %w", len(record), npz.MaxSide, ErrUnsupported)
	}
	return npz.WriteZip(to, all, record)
}

func (p *Plan) writeGGUF(to io.Writer, tensors []stored.Tensor) error {
	types := asBytes(tensors, func(info formats.Info) bool { return gguf.Writable(info) == nil || len(info.Name) > 63 },
		func(info formats.Info, n int64) formats.Info {
			return formats.Info{Name: info.Name, DType: formats.I8, Shape: []int{int(n)}}
		})
	record, err := p.sideRecord(types)
	if err != nil {
		return err
	}
	entries := p.ggufEntries()
	if record != nil {
		entries = append(entries, gguf.Entry{Key: sideKey, Type: gguf.String, Value: string(record)})
	}
	return gguf.Write(to, entries, tensors)
}

// originalEntries reports whether the source has metadata of a GGUF file that a
// conversion did not make, or made in this very layout.
func (p *Plan) originalEntries() bool {
	return p.Source.entries != nil && !p.leaveEntries && (!p.Source.made || p.Options.To == GGUF && p.Source.Format == GGUF && p.Layout != "hf")
}

// ggufEntries returns the metadata of a GGUF file: those that the source had, or
// what is known of the model.
func (p *Plan) ggufEntries() []gguf.Entry {
	if p.originalEntries() {
		return slices.Clone(p.Source.entries)
	}
	arch := unknownArch
	c := p.Source.Config
	if p.model != nil {
		arch = p.model.family.arch
		d := p.target
		c.NLayer, c.NEmbd, c.NInner, c.VocabSize = d.L, d.C, d.I, p.vocab
		if d.T > 0 {
			c.NCtx = d.T
		}
	}
	entries := []gguf.Entry{{Key: "general.architecture", Type: gguf.String, Value: arch}}
	number := func(key string, n int) {
		if n > 0 {
			entries = append(entries, gguf.Entry{Key: arch + "." + key, Type: gguf.Uint32, Value: uint64(n)})
		}
	}
	float := func(key string, v float64) {
		if v > 0 {
			entries = append(entries, gguf.Entry{Key: arch + "." + key, Type: gguf.Float32, Value: float64(float32(v))})
		}
	}
	number("block_count", c.NLayer)
	number("context_length", c.NCtx)
	number("embedding_length", c.NEmbd)
	number("feed_forward_length", c.NInner)
	number("attention.head_count", c.NHead)
	if arch == "gpt2" {
		float("attention.layer_norm_epsilon", c.NormEps)
		if p.tokenizer != nil {
			entries = append(entries, tokenizerEntries(p.tokenizer, p.vocab)...)
		}
		return entries
	}
	number("attention.head_count_kv", c.NKVHead)
	float("attention.layer_norm_rms_epsilon", c.NormEps)
	float("rope.freq_base", c.RopeTheta)
	if c.NHead > 0 && p.target.Q > 0 {
		number("rope.dimension_count", p.target.Q/c.NHead)
	}
	number("vocab_size", c.VocabSize)
	return entries
}

// llmcConfig returns the header of a file of llm.c.
func (p *Plan) llmcConfig() (llmc.Config, error) {
	if p.model == nil || p.Layout != "llmc" {
		return llmc.Config{}, errors.New("convert: llm.c has a format for GPT-2 only, in its own layout")
	}
	heads := p.Source.Config.NHead
	if heads == 0 {
		return llmc.Config{}, errors.New("convert: llm.c needs the number of heads; a config.json beside the weights or --heads gives it")
	}
	d := p.target
	if d.I != 4*d.C {
		return llmc.Config{}, fmt.Errorf("convert: llm.c has 4 times as many channels inside the MLP as outside, here it is %d and %d", d.I, d.C)
	}
	return llmc.Config{NCtx: d.T, VocabSize: d.V, NLayer: d.L, NHead: heads, NEmbd: d.C, PaddedVocab: p.vocab, DType: p.Outputs[0].DType}, nil
}
