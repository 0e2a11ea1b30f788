package torch

import (
	"bytes"
	"errors"
	"io"
	"strings"

	"github.com/spdfctl/spdfctl/formats/stored"
)

// archive is a checkpoint in a zip file.
type archive struct {
	file      *stored.File
	root      string
	members   map[string]stored.Member
	bigEndian bool
	storages  map[string]*storage
}

// zipError makes one of our errors of one about a zip file.
func zipError(err error) error {
	if errors.Is(err, stored.ErrUnsupported) {
		return unsupported("%s", strings.TrimSuffix(err.Error(), ": "+stored.ErrUnsupported.Error()))
	}
	return malformed("%w", err)
}

// openArchive finds the parts of a checkpoint in a zip file.
func openArchive(f *stored.File) (*archive, error) {
	z, err := stored.OpenZip(f)
	if err != nil {
		return nil, zipError(err)
	}
	a := &archive{file: f, members: make(map[string]stored.Member, len(z.Members)), storages: make(map[string]*storage)}
	var roots []string
	for _, m := range z.Members {
		a.members[m.Name] = m
		if root, ok := strings.CutSuffix(m.Name, "/data.pkl"); ok && root != "" && !strings.Contains(root, "/") {
			roots = append(roots, root)
		}
	}
	if len(roots) != 1 {
		return nil, malformed("zip file has %d members <root>/data.pkl, want 1", len(roots))
	}
	a.root = roots[0]
	if _, ok := a.members[a.root+"/constants.pkl"]; ok {
		return nil, unsupported("is a TorchScript archive; torch.save(module.state_dict(), ...) writes what can be read")
	}
	return a, a.readByteOrder()
}

func (a *archive) readByteOrder() error {
	m, ok := a.members[a.root+"/byteorder"]
	if !ok {
		return nil // PyTorch before 2.1, which knew little-endian only
	}
	text, err := m.Load(64)
	if err != nil {
		return zipError(err)
	}
	switch order := strings.TrimSpace(string(text)); order {
	case "little":
	case "big":
		a.bigEndian = true
	default:
		return malformed("byteorder is %q, want \"little\" or \"big\"", shorten(order))
	}
	return nil
}

// pickleSource returns the pickle that a member is, positions counted from its
// start.
func pickleSource(f *stored.File, m stored.Member) (*byteSource, error) {
	if at, ok := m.Stored(); ok {
		return newByteSource(io.NewSectionReader(f, at, m.Size), 0, m.Size), nil
	}
	data, err := m.Load(maxPickle)
	if err != nil {
		return nil, zipError(err)
	}
	return newByteSource(bytes.NewReader(data), 0, int64(len(data))), nil
}

// resolve returns the storage of a persistent id:
// ("storage", class, key, location, count).
func (a *archive) resolve(id any) (any, error) {
	args, ok := id.(tuple)
	if !ok || len(args) != 5 || !isText(args[0], "storage") {
		return nil, malformed("persistent id is %s, want (\"storage\", class, key, location, count)", repr(id))
	}
	s, err := newStorage(args)
	if err != nil {
		return nil, err
	}
	if old := a.storages[s.key]; old != nil {
		if old.elem != s.elem || old.count != s.count {
			return nil, malformed("storage %q is %d %s here and %d %s before", shorten(s.key), s.count, s.elem.name, old.count, old.elem.name)
		}
		return old, nil
	}
	if err := a.place(s); err != nil {
		return nil, err
	}
	a.storages[s.key] = s
	return s, nil
}

// place says where the bytes of a storage are: in the member <root>/data/<key>,
// all of it.
func (a *archive) place(s *storage) error {
	name := a.root + "/data/" + s.key
	m, ok := a.members[name]
	if !ok {
		return malformed("storage %q: zip file has no member %q", shorten(s.key), shorten(name))
	}
	size, err := s.bytes()
	if err != nil {
		return err
	}
	if size != m.Size {
		return malformed("storage %q has %d elements of %d bytes, member %q has %d bytes", shorten(s.key), s.count, s.elem.size, shorten(name), m.Size)
	}
	s.member = a.file.Path()
	s.array.Read = m.Read
	_, s.array.Direct = m.Stored()
	if a.bigEndian {
		s.array.Swap = s.elem.swap
	}
	if at, ok := m.Stored(); ok {
		s.file, s.offset = a.file, at
	}
	s.placed = true
	return nil
}

// newStorage reads class, key and count of a persistent id.
func newStorage(args tuple) (*storage, error) {
	e, ok := storageElem(args[1])
	if !ok {
		return nil, malformed("storage has the class %s", repr(args[1]))
	}
	key, ok := args[2].(string)
	if !ok {
		return nil, malformed("storage has the key %s", repr(args[2]))
	}
	count, ok := asInt(args[4])
	if !ok || count < 0 {
		return nil, malformed("storage %q has %s elements", shorten(key), repr(args[4]))
	}
	return &storage{key: key, elem: e, count: count}, nil
}

// isText reports whether v is that text, as str or as bytes.
func isText(v any, text string) bool {
	switch v := v.(type) {
	case string:
		return v == text
	case []byte:
		return string(v) == text
	}
	return false
}
