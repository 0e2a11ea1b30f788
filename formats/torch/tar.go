package torch

import (
	"archive/tar"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/spdfctl/spdfctl/formats/stored"
)

// maxTarMembers bounds the members that are looked at: a checkpoint has three.
const maxTarMembers = 64

// tarball is a checkpoint of PyTorch before 0.1.10.
type tarball struct {
	file    *stored.File
	parts   map[string][2]int64 // begin and end of the members
	objects map[string]any      // storages and tensors by their id
	views   map[string]*storage
}

// sniffTar reports whether the file is a tar file with the three members.
func sniffTar(f *stored.File) bool {
	t, err := openTar(f)
	return err == nil && len(t.parts) == 3
}

// openTar finds the members storages, tensors and pickle.
func openTar(f *stored.File) (*tarball, error) {
	t := &tarball{file: f, parts: make(map[string][2]int64), objects: make(map[string]any), views: make(map[string]*storage)}
	section := io.NewSectionReader(f, 0, f.Size())
	r := tar.NewReader(section)
	for range maxTarMembers {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return t, nil
		}
		if err != nil {
			return nil, malformed("tar: %w", err)
		}
		name := strings.TrimPrefix(h.Name, "./")
		switch name {
		case "storages", "tensors", "pickle":
		default:
			continue
		}
		if _, ok := t.parts[name]; ok {
			return nil, malformed("tar: member %q occurs twice", name)
		}
		// The header of a sparse member gives the size of what it stands for.
		if h.Typeflag != tar.TypeReg || sparseTar(h) {
			return nil, malformed("tar: member %q is not a plain file", name)
		}
		begin, err := section.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, err
		}
		if h.Size < 0 || h.Size > f.Size()-begin {
			return nil, malformed("tar: member %q has %d bytes from byte %d on, the file has %d", name, h.Size, begin, f.Size())
		}
		t.parts[name] = [2]int64{begin, begin + h.Size}
	}
	return t, nil
}

func sparseTar(h *tar.Header) bool {
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}

// source returns a member to read from, positions counted in the file.
func (t *tarball) source(name string) *byteSource {
	return newByteSource(t.file, t.parts[name][0], t.parts[name][1])
}

// loadTar reads the storages, the tensors and the object that refers to them.
func loadTar(f *stored.File, skip bool) (any, error) {
	t, err := openTar(f)
	if err != nil {
		return nil, err
	}
	if len(t.parts) != 3 {
		return nil, malformed("tar: %d of the members storages, tensors and pickle are there", len(t.parts))
	}
	if err := t.readStorages(); err != nil {
		return nil, inFile(f.Path(), "storages", err)
	}
	if err := t.readTensors(); err != nil {
		return nil, inFile(f.Path(), "tensors", err)
	}
	object, err := unpickle(t.source("pickle"), &loader{skip: skip, resolve: t.resolve})
	if err != nil {
		return nil, inFile(f.Path(), "pickle", err)
	}
	return object, nil
}

// count reads the pickled number that leads a member.
func (t *tarball) count(in *byteSource) (int64, error) {
	v, err := unpickle(in, &loader{})
	if err != nil {
		return 0, err
	}
	n, ok := asInt(v)
	if !ok || n < 0 || n > maxStorages {
		return 0, malformed("count is %s, want 0 to %d", repr(v), maxStorages)
	}
	return n, nil
}

// triple reads a pickled tuple of three.
func triple(in *byteSource) (tuple, error) {
	v, err := unpickle(in, &loader{})
	if err != nil {
		return nil, err
	}
	args, ok := v.(tuple)
	if !ok || len(args) != 3 {
		return nil, malformed("entry is %s, want a tuple of 3", repr(v))
	}
	return args, nil
}

// readStorages reads (key, location, class), the number of elements and the
// elements of each storage, then the list of views
// (key, key of the storage, offset, count).
func (t *tarball) readStorages() error {
	in := t.source("storages")
	n, err := t.count(in)
	if err != nil {
		return err
	}
	for range n {
		args, err := triple(in)
		if err != nil {
			return err
		}
		e, ok := storageElem(args[2])
		if !ok {
			return malformed("storage has the class %s", repr(args[2]))
		}
		s := &storage{key: idKey(args[0]), elem: e, count: -1}
		if err := placeInline(t.file, in, s); err != nil {
			return err
		}
		if err := t.add(args[0], s); err != nil {
			return err
		}
	}
	v, err := unpickle(in, &loader{})
	if err != nil {
		return err
	}
	l, ok := v.(*list)
	if !ok {
		return malformed("views are a %s, not a list", typeName(v))
	}
	for _, item := range l.items {
		args, ok := item.(tuple)
		if !ok || len(args) != 4 {
			return malformed("view is %s, want a tuple of 4", repr(item))
		}
		root, ok := t.objects[idKey(args[1])].(*storage)
		offset, ok2 := asInt(args[2])
		count, ok3 := asInt(args[3])
		if !ok || !ok2 || !ok3 {
			return malformed("view is %s", repr(item))
		}
		v, err := addView(t.views, root, idKey(args[0]), offset, count)
		if err != nil {
			return err
		}
		v.follow()
		if err := t.add(args[0], v); err != nil {
			return err
		}
	}
	return nil
}

// readTensors reads, of each tensor, (key, key of the storage, class), the rank
// as 4 bytes and 4 to skip, sizes, strides and offset, 8 bytes each.
func (t *tarball) readTensors() error {
	in := t.source("tensors")
	n, err := t.count(in)
	if err != nil {
		return err
	}
	for range n {
		args, err := triple(in)
		if err != nil {
			return err
		}
		s, ok := t.objects[idKey(args[1])].(*storage)
		if !ok {
			return malformed("tensor has the storage %s, which is not in the file", repr(args[1]))
		}
		rank, err := in.uint(8)
		if err != nil {
			return err
		}
		if rank &= math.MaxUint32; rank > maxRank {
			return malformed("tensor has %d dimensions, at most %d are possible", rank, maxRank)
		}
		var numbers [2]tuple
		for i := range numbers {
			for range rank {
				v, err := in.uint(8)
				if err != nil {
					return err
				}
				numbers[i] = append(numbers[i], int64(v))
			}
		}
		offset, err := in.uint(8)
		if err != nil {
			return err
		}
		made, err := newTensor(s, s.elem, int64(offset), numbers[0], numbers[1])
		if err != nil {
			return err
		}
		if err := t.add(args[0], made); err != nil {
			return err
		}
	}
	return nil
}

func (t *tarball) add(id, object any) error {
	key := idKey(id)
	if _, ok := t.objects[key]; ok {
		return malformed("id %s stands for two objects", key)
	}
	t.objects[key] = object
	return nil
}

// idKey makes one text of an id, which is a number here and its text there.
func idKey(id any) string {
	switch id := id.(type) {
	case int64:
		return strconv.FormatInt(id, 10)
	case string:
		return id
	}
	return repr(id)
}

// resolve returns the tensor or storage of a persistent id.
func (t *tarball) resolve(id any) (any, error) {
	if _, ok := id.(tuple); ok {
		return nil, unsupported("holds whole modules, which only their Python code can read")
	}
	v, ok := t.objects[idKey(id)]
	if !ok {
		return nil, malformed("persistent id %s is not in the file", repr(id))
	}
	return v, nil
}
