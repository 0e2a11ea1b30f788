package convert

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/flax"
	"github.com/spdfctl/spdfctl/formats/gguf"
	"github.com/spdfctl/spdfctl/formats/llmc"
	"github.com/spdfctl/spdfctl/formats/npz"
	"github.com/spdfctl/spdfctl/formats/stored"
	"github.com/spdfctl/spdfctl/formats/torch"
)

// The formats, as Checkpoint.Format names them.
const (
	SafeTensors = "safetensors"
	TorchZip    = "torch-zip"
	TorchLegacy = "torch-legacy"
	TorchTar    = "torch-tar"
	Npy         = "npy"
	Npz         = "npz"
	GGUF        = "gguf"
	LLMC        = "llmc"
	Flax        = "flax"
)

// ErrUnsupported is wrapped by errors about checkpoints that are, or may be, well
// formed but cannot be read or converted here.
var ErrUnsupported = errors.New("not supported")

// Checkpoint is an open checkpoint. Its tensors are read when they are written
// somewhere; it must stay open until then.
type Checkpoint struct {
	Path    string
	Format  string
	Tensors []stored.Tensor
	// Metadata are the texts that the file holds beside tensors; nil if it has
	// no place for them.
	Metadata map[string]string
	// Aliases are groups of names that are one tensor. A group may have names
	// that are not in Tensors: those are stored only once.
	Aliases [][]string
	// Leaves are values that are no tensors.
	Leaves []Leaf
	// Refusals are tensors that cannot be read.
	Refusals []Refusal
	// Packed are the tensors that the file holds without zeros, in the order of
	// Tensors.
	Packed []*Packed
	// Config is what is known of the model's shape.
	Config Config

	// text are the metadata that a safetensors file had, and textKnown says that
	// there was one: this file, or one that this was made of.
	text      map[string]string
	textKnown bool
	// entries are the metadata of a GGUF file, or of one that this was made of.
	entries []gguf.Entry
	made    bool // entries were made by a conversion, of what was known
	// narrow gives the element type that a tensor had before it was widened
	// for the format that it is in.
	narrow map[string]formats.DType
	// unprefixed says that the model's names had no prefix.
	unprefixed bool
	// stated is what config.json says of the sparsity of packed matrices.
	stated sparsityHomes
	// ownConfig says that Config comes from the file itself.
	ownConfig bool

	sources []*stored.File
	closers []func() error
}

// Leaf is a value of a checkpoint that is no tensor.
type Leaf struct {
	Name, Type, Text string
	value            any
}

// Refusal is a tensor that cannot be read; Reason completes "tensor X ...".
type Refusal struct{ Name, Reason string }

// OpenOptions change what Open accepts.
type OpenOptions struct {
	// SkipObjects is torch.Options.SkipObjects.
	SkipObjects bool
}

// Open opens a checkpoint, of whatever format it is. A directory stands for the
// checkpoint that it holds; if it holds several, safetensors come first, then
// PyTorch's, then the others. A config.json beside the weights is read too.
func Open(path string, o OpenOptions) (*Checkpoint, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("convert: %w", err)
	}
	dir := filepath.Dir(path)
	if info.IsDir() {
		dir = path
		if path, err = findIn(path); err != nil {
			return nil, err
		}
	}
	c := &Checkpoint{Path: path}
	if err := c.open(path, o); err != nil {
		c.Close()
		return nil, err
	}
	if err := c.readConfig(dir); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// names are the files that a directory is searched for, in this order.
var names = []string{
	"model.safetensors.index.json", "model.safetensors", "pytorch_model.bin.index.json", "pytorch_model.bin",
	"flax_model.msgpack", "ckpt.pt",
}

func findIn(dir string) (string, error) {
	for _, name := range names {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	if found, err := filepath.Glob(filepath.Join(escapeGlob(dir), "*.gguf")); err == nil && len(found) == 1 {
		return found[0], nil
	}
	return "", fmt.Errorf("convert: %s: holds none of %s, and not one .gguf file: %w", dir, strings.Join(names, ", "), fs.ErrNotExist)
}

func escapeGlob(dir string) string {
	return strings.NewReplacer(`*`, `\*`, `?`, `\?`, `[`, `\[`, `\`, `\\`).Replace(dir)
}

// open finds out the format and opens the file with its package.
func (c *Checkpoint) open(path string, o OpenOptions) error {
	if strings.HasSuffix(path, ".json") {
		if strings.HasSuffix(path, ".bin.index.json") {
			return c.openTorch(path, o)
		}
		return c.openSafeTensors(path)
	}
	kind, err := sniff(path)
	if err != nil {
		return err
	}
	switch kind {
	case Npz:
		return c.openNpz(path)
	case TorchZip:
		return c.openTorch(path, o)
	case GGUF:
		return c.openGGUF(path)
	case LLMC:
		return c.openLLMC(path)
	case Flax:
		return c.openFlax(path)
	}
	return c.openSafeTensors(path)
}

// sniff tells a format by the content of a file. What is nothing known may be
// safetensors, whose reader says best what is wrong.
func sniff(path string) (string, error) {
	f, err := stored.Open(path)
	if err != nil {
		return "", fmt.Errorf("convert: %w", err)
	}
	defer f.Close()
	switch ext := strings.ToLower(filepath.Ext(path)); {
	case isHDF5(f):
		return "", fmt.Errorf("convert: %s: is an HDF5 file (%s), which is not read here: %w", path, hdf5Export, ErrUnsupported)
	case gguf.Sniff(f):
		return GGUF, nil
	case llmc.Sniff(f):
		return LLMC, nil
	case ext == ".npz" || ext == ".npy" || npz.Sniff(f):
		return Npz, nil
	case ext == ".safetensors":
		return SafeTensors, nil
	case torch.Sniff(f) != "":
		return TorchZip, nil
	case ext == ".msgpack" || flax.Sniff(f):
		return Flax, nil
	case ext == ".pt" || ext == ".pth" || ext == ".bin" || ext == ".ckpt":
		return TorchZip, nil
	}
	return SafeTensors, nil
}

// hdf5Export says what to do with a file that cannot be read.
const hdf5Export = `export it first: in Python, "import torch, cerebras.pytorch as cstorch; torch.save(cstorch.load('model.mdl'), 'model.pt')", or h5py and numpy.savez`

// isHDF5 looks for the signature at the offsets where it may be.
func isHDF5(f *stored.File) bool {
	const signature = "\x89HDF\r\n\x1a\n"
	head := make([]byte, len(signature))
	for _, at := range []int64{0, 512, 1024, 2048} {
		if f.Size() >= at+int64(len(head)) && f.ReadFull(head, at) == nil && string(head) == signature {
			return true
		}
	}
	return false
}

// Close closes the files.
func (c *Checkpoint) Close() error {
	var errs []error
	for _, close := range c.closers {
		errs = append(errs, close())
	}
	c.closers = nil
	return errors.Join(errs...)
}

// Unchanged returns an error if a file has been changed since it was opened.
func (c *Checkpoint) Unchanged() error {
	for _, s := range c.sources {
		if err := s.Check(); err != nil {
			return fmt.Errorf("convert: %s: %w", s.Path(), err)
		}
	}
	return nil
}

// own makes the checkpoint close what it was opened from.
func (c *Checkpoint) own(close func() error, sources []*stored.File) {
	c.closers = append(c.closers, close)
	c.sources = append(c.sources, sources...)
}

func (c *Checkpoint) openTorch(path string, o OpenOptions) error {
	f, err := torch.Open(path, torch.Options{SkipObjects: o.SkipObjects})
	if err != nil {
		return err
	}
	c.own(f.Close, f.Sources())
	c.Format = map[string]string{torch.Zip: TorchZip, torch.Stream: TorchLegacy, torch.Tar: TorchTar}[f.Container()]
	c.Tensors = f.Tensors()
	c.Aliases = f.Aliases()
	for _, l := range f.Leaves() {
		c.Leaves = append(c.Leaves, Leaf{l.Name, l.Type, l.Text, l.Value})
	}
	for _, r := range f.Refusals() {
		c.Refusals = append(c.Refusals, Refusal(r))
	}
	return c.applySide(f.Side())
}

func (c *Checkpoint) openNpz(path string) error {
	f, err := npz.Open(path)
	if err != nil {
		return err
	}
	c.own(f.Close, f.Sources())
	c.Format = Npy
	if f.Zip() {
		c.Format = Npz
	}
	c.Tensors = f.Tensors()
	for _, r := range f.Refusals() {
		c.Refusals = append(c.Refusals, Refusal{r.Name, "is refused: " + r.Reason})
	}
	if err := c.applySide(f.Side()); err != nil {
		return err
	}
	kept := c.Tensors[:0]
	for _, t := range c.Tensors {
		if f.Raw(t.Name) && (t.DType == formats.U16 || t.DType == formats.U8) {
			// The side record has not said what the bytes are.
			c.Refusals = append(c.Refusals, Refusal{t.Name, "has elements without a type (NumPy's V1 or V2)"})
			continue
		}
		kept = append(kept, t)
	}
	c.Tensors = kept
	return nil
}

func (c *Checkpoint) openGGUF(path string) error {
	f, err := gguf.Open(path)
	if err != nil {
		return err
	}
	c.own(f.Close, f.Sources())
	c.Format = GGUF
	c.Tensors = f.Tensors()
	var side []byte
	c.Metadata = make(map[string]string)
	for _, e := range f.Metadata() {
		if e.Key == sideKey {
			text, _ := e.Value.(string)
			side = []byte(text)
			continue
		}
		c.entries = append(c.entries, e)
		c.Metadata[e.Key] = entryText(e.Value)
	}
	return c.applySide(side)
}

// entryText writes a value of metadata for people, arrays cut short.
func entryText(v any) string {
	l, ok := v.(gguf.List)
	if !ok {
		return fmt.Sprint(v)
	}
	const few = 8
	if len(l.Items) > few {
		return fmt.Sprintf("%v... (%d of type %s)", l.Items[:few], len(l.Items), l.Type)
	}
	return fmt.Sprint(l.Items)
}

func (c *Checkpoint) openLLMC(path string) error {
	f, err := llmc.Open(path)
	if err != nil {
		return err
	}
	c.own(f.Close, f.Sources())
	c.Format = LLMC
	c.Tensors = f.Tensors()
	h := f.Config
	c.Config = Config{Arch: "gpt2", NLayer: h.NLayer, NHead: h.NHead, NEmbd: h.NEmbd, NCtx: h.NCtx, VocabSize: h.VocabSize, NormEps: 1e-5}
	c.ownConfig = true
	return nil
}

func (c *Checkpoint) openFlax(path string) error {
	f, err := flax.Open(path)
	if err != nil {
		return err
	}
	c.own(f.Close, f.Sources())
	c.Format = Flax
	c.Tensors = f.Tensors()
	for _, l := range f.Leaves() {
		c.Leaves = append(c.Leaves, Leaf{Name: l.Name, Text: l.Text})
	}
	return nil
}
