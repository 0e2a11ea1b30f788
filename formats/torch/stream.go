package torch

import (
	"io"
	"math/big"

	"github.com/spdfctl/spdfctl/formats/stored"
)

const (
	// streamProtocol is the version in the second pickle; there is no other.
	streamProtocol = 1001
	// maxStorages bounds the storages of one file.
	maxStorages = 1 << 20
)

// streamMagic is the number in the first pickle.
var streamMagic, _ = new(big.Int).SetString("1950a86a20f9469cfc6c", 16)

// stream is a checkpoint of concatenated pickles.
type stream struct {
	file     *stored.File
	in       *byteSource
	storages map[string]*storage
	views    map[string]*storage
}

// sniffStream reports whether the file starts with the pickled magic number.
func sniffStream(f *stored.File) bool {
	v, err := unpickle(newByteSource(f, 0, min(f.Size(), 64)), &loader{})
	magic, ok := v.(*big.Int)
	return err == nil && ok && magic.Cmp(streamMagic) == 0
}

// loadStream reads the pickles and finds the storages behind them.
func loadStream(f *stored.File, skip bool) (any, error) {
	s := &stream{file: f, in: newByteSource(f, 0, f.Size()), storages: make(map[string]*storage), views: make(map[string]*storage)}
	if err := s.readPreamble(); err != nil {
		return nil, err
	}
	object, err := unpickle(s.in, &loader{skip: skip, resolve: s.resolve})
	if err != nil {
		return nil, err
	}
	return object, s.readStorages()
}

// readPreamble reads the magic number, the version and the description of the
// machine.
func (s *stream) readPreamble() error {
	if _, err := unpickle(s.in, &loader{}); err != nil {
		return err // sniffStream has looked at the number
	}
	version, err := unpickle(s.in, &loader{})
	if err != nil {
		return err
	}
	if version != int64(streamProtocol) {
		return unsupported("stream has the version %s, known is %d", repr(version), streamProtocol)
	}
	machine, err := unpickle(s.in, &loader{})
	if err != nil {
		return err
	}
	d, ok := machine.(*dict)
	if !ok {
		return malformed("description of the machine is a %s, not a dict", typeName(machine))
	}
	if little, ok := d.get("little_endian"); ok && little != true {
		return unsupported("written on a machine with little_endian %s", repr(little))
	}
	return nil
}

// resolve returns the storage of a persistent id:
// ("storage", class, key, location, count, view), where view is None or
// (key, offset, count).
func (s *stream) resolve(id any) (any, error) {
	args, ok := id.(tuple)
	if ok && len(args) > 0 && isText(args[0], "module") {
		return nil, unsupported("holds whole modules, which only their Python code can read; torch.save(module.state_dict(), ...) writes what can be read")
	}
	if !ok || len(args) != 6 || !isText(args[0], "storage") {
		return nil, malformed("persistent id is %s, want (\"storage\", class, key, location, count, view)", repr(id))
	}
	root, err := newStorage(args)
	if err != nil {
		return nil, err
	}
	if old := s.storages[root.key]; old != nil {
		if old.elem != root.elem || old.count != root.count {
			return nil, malformed("storage %q is %d %s here and %d %s before", shorten(root.key), root.count, root.elem.name, old.count, old.elem.name)
		}
		root = old
	} else if _, err := root.bytes(); err != nil {
		return nil, err
	}
	s.storages[root.key] = root
	if args[5] == nil {
		return root, nil
	}
	view, ok := args[5].(tuple)
	if !ok || len(view) != 3 {
		return nil, malformed("view of storage %q is %s, want (key, offset, count)", shorten(root.key), repr(args[5]))
	}
	return s.view(root, view)
}

// view returns the part of a storage that counts as a storage of its own.
func (s *stream) view(root *storage, args tuple) (*storage, error) {
	key, ok := args[0].(string)
	offset, ok2 := asInt(args[1])
	count, ok3 := asInt(args[2])
	if !ok || !ok2 || !ok3 {
		return nil, malformed("view of storage %q is %s, want (key, offset, count)", shorten(root.key), repr(args))
	}
	return addView(s.views, root, key, offset, count)
}

// addView notes a part of a storage, or returns the one that has the key.
func addView(views map[string]*storage, root *storage, key string, offset, count int64) (*storage, error) {
	if offset < 0 || count < 0 || offset > root.count || count > root.count-offset {
		return nil, malformed("view %q has %d elements from element %d of storage %q on, which has %d", shorten(key), count, offset, shorten(root.key), root.count)
	}
	v := &storage{key: key, elem: root.elem, count: count, root: root, rootOffset: offset}
	if old := views[key]; old != nil {
		if old.root != root || old.rootOffset != offset || old.count != count {
			return nil, malformed("view %q stands for two parts of storages", shorten(key))
		}
		return old, nil
	}
	views[key] = v
	return v, nil
}

// readStorages reads the list of keys, and where the storage of each lies.
func (s *stream) readStorages() error {
	keys, err := unpickle(s.in, &loader{})
	if err != nil {
		return err
	}
	l, ok := keys.(*list)
	if !ok || len(l.items) > maxStorages {
		return malformed("keys of the storages are %s, want a list of at most %d", repr(keys), maxStorages)
	}
	for _, item := range l.items {
		key, _ := item.(string)
		st := s.storages[key]
		if st == nil || st.placed {
			return malformed("storage %s is in the file, but no tensor has it, or it is there twice", repr(item))
		}
		if err := placeInline(s.file, s.in, st); err != nil {
			return err
		}
	}
	for key, st := range s.storages {
		if !st.placed {
			return malformed("storage %q is not in the file", shorten(key))
		}
	}
	for _, v := range s.views {
		v.follow()
	}
	return nil
}

// placeInline reads the number of elements that precedes a storage and skips
// the elements. Both are little-endian on every machine.
func placeInline(f *stored.File, in *byteSource, s *storage) error {
	count, err := in.uint(8)
	if err != nil {
		return err
	}
	if s.count < 0 { // the tar format tells it only here
		s.count = int64(count)
	}
	size, err := s.bytes()
	if err != nil {
		return err
	}
	if count != uint64(s.count) {
		return malformed("storage %q has %d elements, in the file it has %d", shorten(s.key), s.count, count)
	}
	s.putAt(f, in.pos)
	return in.advance(size)
}

// putAt says that the bytes of the storage are in f, from offset on.
func (s *storage) putAt(f *stored.File, offset int64) {
	s.file, s.offset, s.member, s.placed = f, offset, f.Path(), true
	s.array.Read = func(off, n int64) (io.Reader, error) { return io.NewSectionReader(f, offset+off, n), nil }
	s.array.Direct = true
}

// follow places a view where its root is.
func (s *storage) follow() {
	s.putAt(s.root.file, s.root.offset+s.rootOffset*int64(s.elem.size))
}
