package torch

import (
	"fmt"
	"io"
	"strings"

	"github.com/spdfctl/spdfctl/formats/stored"
)

// Finding is one thing that Python would do if it loaded a pickle, the same
// things in one pickle counted together.
type Finding struct {
	// Action is "import", "call", "build" (set the state of an object) or
	// "mutate" (add items to an object that is no plain list, dict or set).
	Action string
	Global string // module and name, "posix.system"
	// Args is what a call would be given, as Python would write it, cut short;
	// of calls on the allow-list, those of the first.
	Args    string
	Offset  int64 // of the first opcode, in the pickle
	Count   int
	Allowed bool // on the allow-list
}

// Pickle is what one pickle would do. Findings are in the order of their first
// opcode. Err says where the pickle turned out to be malformed; Python would
// have carried out what stands before.
type Pickle struct {
	Member   string // of the container; "" where the file is the pickle
	Findings []Finding
	Err      error
}

// Safe reports whether the pickle is well formed and names only what is on the
// allow-list.
func (p Pickle) Safe() bool {
	for _, f := range p.Findings {
		if !f.Allowed {
			return false
		}
	}
	return p.Err == nil
}

// maxFindings bounds the findings of a pickle; more are an error.
const maxFindings = 1000

// Scan tells what the pickles in a file would do if Python loaded it: every
// global that they would import, and every call with its arguments. It runs
// them with a machine that imports and calls nothing. A zip file is scanned for
// members that end in .pkl; a file of no known container is taken for a pickle.
//
// An error is about the file; what is wrong with a pickle stands in its Err.
func Scan(path string) ([]Pickle, error) {
	f, err := stored.Open(path)
	if err != nil {
		return nil, fmt.Errorf("torch: %w", err)
	}
	defer f.Close()
	switch Sniff(f) {
	case Zip:
		return scanZip(f)
	case Stream:
		return scanSequence(f, "", 0, f.Size(), 5), nil
	case Tar:
		return scanTar(f), nil
	}
	return scanSequence(f, "", 0, f.Size(), 1<<10), nil
}

// ScanPickle tells what the pickle would do that is r from off to end.
func ScanPickle(r io.ReaderAt, member string, off, end int64) Pickle {
	p, _ := scanOne(newByteSource(io.NewSectionReader(r, off, end-off), 0, end-off), member)
	return p
}

// scanZip scans members that end in .pkl. PyTorch loads <root>/data.pkl only,
// but tools have been told to load others.
func scanZip(f *stored.File) ([]Pickle, error) {
	z, err := stored.OpenZip(f)
	if err != nil {
		return nil, inFile(f.Path(), "", zipError(err))
	}
	var out []Pickle
	for _, m := range z.Members {
		if !strings.HasSuffix(strings.ToLower(m.Name), ".pkl") {
			continue
		}
		in, err := pickleSource(f, m)
		if err != nil {
			out = append(out, Pickle{Member: m.Name, Err: err})
			continue
		}
		p, _ := scanOne(in, m.Name)
		out = append(out, p)
	}
	if len(out) == 0 {
		return nil, inFile(f.Path(), "", malformed("zip file has no member that ends in .pkl"))
	}
	return out, nil
}

// scanTar scans the pickles that lead the members storages and tensors, and the
// member pickle.
func scanTar(f *stored.File) []Pickle {
	t, err := openTar(f)
	if err != nil {
		return []Pickle{{Err: err}}
	}
	out := scanSequence(f, "pickle", t.parts["pickle"][0], t.parts["pickle"][1], 1)
	// Between the pickles of these two lie binary data, which the reader has
	// to follow; a global in them that is no storage or tensor class stops it.
	for _, read := range []struct {
		name string
		run  func() error
	}{{"storages", t.readStorages}, {"tensors", t.readTensors}} {
		p := Pickle{Member: read.name}
		if err := read.run(); err != nil {
			p.Err = inFile(f.Path(), read.name, err)
		}
		out = append(out, p)
	}
	return out
}

// scanSequence scans up to n pickles that follow each other.
func scanSequence(f *stored.File, member string, off, end int64, n int) []Pickle {
	in := newByteSource(f, off, end)
	var out []Pickle
	for i := range n {
		if i > 0 && in.pos == end {
			break
		}
		p, ok := scanOne(in, member)
		if !ok && i > 0 && len(p.Findings) == 0 {
			break // data behind the pickles
		}
		out = append(out, p)
		if !ok {
			break
		}
	}
	return merge(out)
}

// merge drops the pickles of a sequence that do nothing at all, but one.
func merge(list []Pickle) []Pickle {
	var out []Pickle
	for _, p := range list {
		if len(p.Findings) > 0 || p.Err != nil {
			out = append(out, p)
		}
	}
	if len(out) == 0 {
		return list[:1]
	}
	return out
}

// scanOne scans the pickle at the position of in; ok is false if it is malformed.
func scanOne(in *byteSource, member string) (p Pickle, ok bool) {
	t := &tracer{index: make(map[string]int)}
	_, err := unpickle(in, t)
	p = Pickle{Member: member, Findings: t.findings}
	if err == nil && t.more {
		err = unsupported("pickle has more than %d findings", maxFindings)
	}
	if err != nil {
		p.Err = inFile("", member, err)
	}
	return p, err == nil
}

// tracer is the builder that writes down what would happen.
type tracer struct {
	findings []Finding
	index    map[string]int // of findings by their text
	more     bool           // there were more than maxFindings
}

func (t *tracer) note(action, name, args string, at int64, ok bool) {
	key := action + " " + name
	if !ok {
		key += args // every other call that is not allowed is shown
	}
	if i, seen := t.index[key]; seen {
		t.findings[i].Count++
		return
	}
	if len(t.findings) == maxFindings {
		t.more = true
		return
	}
	t.index[key] = len(t.findings)
	t.findings = append(t.findings, Finding{Action: action, Global: shorten(name), Args: args, Offset: at, Count: 1, Allowed: ok})
}

func (t *tracer) global(module, name string, at int64) (any, error) {
	_, ok := lookup(module, name)
	t.note("import", module+"."+name, "", at, ok)
	return &global{module, name}, nil
}

// callable names what is called, and says whether it is on the allow-list.
func callable(v any) (name string, ok bool) {
	switch v := v.(type) {
	case *global:
		h, ok := lookup(v.module, v.name)
		return v.String(), ok && h != nil
	case *object:
		return "the result of " + v.callable, false
	}
	return "a " + typeName(v), false
}

func (t *tracer) call(kind string, fn any, args tuple, at int64) (any, error) {
	name, ok := callable(fn)
	t.note("call", name, shorten(reprItems("(", args, ")", 0)), at, ok)
	if ok {
		// Plain containers must be made, for what is added to them is not a
		// finding.
		g := fn.(*global)
		h, _ := lookup(g.module, g.name)
		if v, err := h(args); err == nil && v != nil {
			switch v.(type) {
			case *dict, *list, *set, tuple, []byte:
				return v, nil
			}
		}
	}
	return &object{callable: name}, nil
}

// known reports whether an object comes from a call on the allow-list.
func known(v any) (name string, ok bool) {
	o, isObject := v.(*object)
	if !isObject {
		return "a " + typeName(v), false
	}
	module, attribute := o.callable, ""
	if i := strings.LastIndexByte(o.callable, '.'); i >= 0 {
		module, attribute = o.callable[:i], o.callable[i+1:]
	}
	_, ok = lookup(module, attribute)
	return o.callable, ok
}

func (t *tracer) build(to, state any, at int64) error {
	name, ok := known(to)
	t.note("build", name, repr(state), at, ok)
	return nil
}

func (t *tracer) mutate(kind string, to any, at int64) error {
	name, ok := known(to)
	t.note("mutate", name, kind, at, ok)
	return nil
}

// persistent ids are looked up by the container, which executes nothing.
func (t *tracer) persistent(any, int64) (any, error) {
	return &object{callable: "torch.Tensor"}, nil
}
