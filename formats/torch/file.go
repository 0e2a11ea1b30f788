package torch

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/spdfctl/spdfctl/formats/stored"
)

// Names of the files of a checkpoint directory, as transformers has them.
const (
	modelName = "pytorch_model.bin"
	indexName = "pytorch_model.bin.index.json"
)

// The containers, as File.Container names them.
const (
	Zip    = "zip"
	Stream = "stream"
	Tar    = "tar"
)

// zipMagic starts a zip file.
const zipMagic = "PK\x03\x04"

// Options change what Open accepts.
type Options struct {
	// SkipObjects lists objects of classes outside the allow-list as leaves
	// where otherwise the file is refused. They are not looked into, and
	// nothing is imported or called either way.
	SkipObjects bool
}

// File is an open checkpoint: one file, or the shards of one index. Its tensors
// are read when they are written somewhere; it must stay open until then.
type File struct {
	path      string
	container string
	sources   []*stored.File
	tensors   []stored.Tensor
	leaves    []Leaf
	refusals  []Refusal
	aliases   [][]string
	side      []byte
}

// Open opens a file that torch.save has written, an index with the shards that
// it names, or a directory that holds pytorch_model.bin or that index. It runs
// the pickles and checks every tensor against its storage; the elements are not
// read.
//
// A malformed file is a *FormatError, one that names what is not on the
// allow-list an *UnsafeError, one beyond this package ErrUnsupported.
func Open(path string, o Options) (*File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("torch: %w", err)
	}
	if info.IsDir() {
		if path, err = findIn(path); err != nil {
			return nil, err
		}
	}
	f := &File{path: path}
	if filepath.Ext(path) == ".json" {
		err = f.openIndex(path, o)
	} else {
		err = f.add(path, o)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// findIn returns the checkpoint in a directory.
func findIn(dir string) (string, error) {
	for _, name := range []string{indexName, modelName} {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("torch: %s: holds neither %s nor %s: %w", dir, modelName, indexName, fs.ErrNotExist)
}

// Sniff returns the container that an open file looks like, "" if it is none of
// PyTorch's. Other formats are zip files too.
func Sniff(f *stored.File) string {
	head := make([]byte, 4)
	if f.Size() < 4 || f.ReadFull(head, 0) != nil {
		return ""
	}
	switch {
	case string(head) == zipMagic:
		return Zip
	case sniffStream(f):
		return Stream
	case sniffTar(f):
		return Tar
	}
	return ""
}

// add opens one file and appends its tensors.
func (f *File) add(path string, o Options) error {
	source, err := stored.Open(path)
	if err != nil {
		return fmt.Errorf("torch: %w", err)
	}
	f.sources = append(f.sources, source)
	object, err := f.load(source, o)
	if err != nil {
		return inFile(path, "", err)
	}
	flat, err := flatten(object)
	if err != nil {
		return inFile(path, "", err)
	}
	f.tensors = append(f.tensors, flat.tensors...)
	f.leaves = append(f.leaves, flat.leaves...)
	f.refusals = append(f.refusals, flat.refusals...)
	f.aliases = append(f.aliases, flat.shared()...)
	return nil
}

// load runs the pickle of a file.
func (f *File) load(source *stored.File, o Options) (any, error) {
	switch f.container = Sniff(source); f.container {
	case Zip:
		return f.loadZip(source, o)
	case Stream:
		return loadStream(source, o.SkipObjects)
	case Tar:
		return loadTar(source, o.SkipObjects)
	}
	head := make([]byte, min(4, source.Size()))
	if err := source.ReadFull(head, 0); err != nil {
		return nil, err
	}
	return nil, malformed("is none of PyTorch's containers: %d bytes, the first are [% x]", source.Size(), head)
}

func (f *File) loadZip(source *stored.File, o Options) (any, error) {
	a, err := openArchive(source)
	if err != nil {
		return nil, err
	}
	if m, ok := a.members[a.root+sideSuffix]; ok {
		if f.side, err = m.Load(maxSide); err != nil {
			return nil, zipError(err)
		}
	}
	m := a.members[a.root+"/data.pkl"]
	in, err := pickleSource(source, m)
	if err != nil {
		return nil, err
	}
	object, err := unpickle(in, &loader{skip: o.SkipObjects, resolve: a.resolve})
	if err != nil {
		return nil, inFile(source.Path(), m.Name, err)
	}
	return object, nil
}

// Close closes the files.
func (f *File) Close() error {
	var errs []error
	for _, s := range f.sources {
		errs = append(errs, s.Close())
	}
	f.sources = nil
	return errors.Join(errs...)
}

// Container returns Zip, Stream or Tar; of shards, that of the last one.
func (f *File) Container() string { return f.container }

// Sources returns the open files.
func (f *File) Sources() []*stored.File { return slices.Clone(f.sources) }

// Tensors returns the tensors in the order of the pickle, shard after shard.
func (f *File) Tensors() []stored.Tensor { return slices.Clone(f.tensors) }

// Leaves returns the values that are no tensors.
func (f *File) Leaves() []Leaf { return slices.Clone(f.leaves) }

// Refusals returns the tensors that cannot be read, with the reason.
func (f *File) Refusals() []Refusal { return slices.Clone(f.refusals) }

// Aliases returns groups of names under which the file has the same tensor: the
// same elements of the same storage.
func (f *File) Aliases() [][]string { return slices.Clone(f.aliases) }

// Side returns the side record that Write was given, nil if there is none.
func (f *File) Side() []byte { return f.side }
