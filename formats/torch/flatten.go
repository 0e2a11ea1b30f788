package torch

import (
	"fmt"
	"math/big"
	"strconv"
	"unicode/utf8"

	"github.com/spdfctl/spdfctl/formats/stored"
)

const (
	// maxDepth bounds the nesting of containers; a list can hold itself.
	maxDepth = 64
	// maxVisited bounds the values that flattening looks at: shared containers
	// can make exponentially many of a short pickle.
	maxVisited = 1 << 21
	// maxTensors is the limit of formats/safetensors.
	maxTensors = 1 << 17
	maxName    = 4096     // bytes of a flattened name
	maxNames   = 64 << 20 // bytes of all of them: many can share a long beginning
)

// Leaf is a value of a checkpoint that is no tensor.
type Leaf struct {
	Name  string // flattened, as of tensors
	Type  string // as Python calls it
	Value any    // nil, bool, int64, float64 or string; nil for everything else
	Text  string // the value as Python would write it, cut short
}

// Refusal is a tensor that cannot be read.
type Refusal struct {
	Name   string
	Reason string // completes "tensor X ...": "is sparse"
}

// flattener turns an object into named tensors.
type flattener struct {
	tensors  []stored.Tensor
	leaves   []Leaf
	refusals []Refusal
	seen     map[string]bool
	visited  int
	named    int // bytes of names

	aliases map[string][]string // names by what they view
	order   []string            // keys of aliases, first come first
}

// flatten walks an object.
func flatten(object any) (*flattener, error) {
	f := &flattener{seen: make(map[string]bool), aliases: make(map[string][]string)}
	return f, f.walk("", object, 0)
}

func (f *flattener) walk(name string, v any, depth int) error {
	if f.visited++; f.visited > maxVisited {
		return unsupported("object has more than %d values, or holds itself", maxVisited)
	}
	if depth > maxDepth {
		return unsupported("%q: containers are nested more than %d deep", shorten(name), maxDepth)
	}
	if len(name) > maxName {
		return unsupported("name has %d bytes, limit %d", len(name), maxName)
	}
	switch v := v.(type) {
	case *dict:
		for _, e := range v.entries {
			if err := f.walk(join(name, keyText(e.key), depth), e.value, depth+1); err != nil {
				return err
			}
		}
		return nil
	case *list:
		return f.walkItems(name, v.items, depth)
	case tuple:
		return f.walkItems(name, v, depth)
	}
	if f.named += len(name); f.named > maxNames {
		return unsupported("names have more than %d bytes in all", maxNames)
	}
	switch v := v.(type) {
	case *tensor:
		return f.add(name, v)
	case *refused:
		f.refusals = append(f.refusals, Refusal{name, v.reason})
		return nil
	}
	leaf := Leaf{Name: name, Type: typeName(v), Text: repr(v)}
	switch v := v.(type) {
	case bool, int64, float64, string:
		leaf.Value = v
	}
	f.leaves = append(f.leaves, leaf)
	return nil
}

func (f *flattener) walkItems(name string, items []any, depth int) error {
	for i, item := range items {
		if err := f.walk(join(name, strconv.Itoa(i), depth), item, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// join appends a key to the name of its container.
func join(name, key string, depth int) string {
	if depth == 0 {
		return key
	}
	return name + "." + key
}

// keyText is the part of a name that a key makes.
func keyText(key any) string {
	switch key := key.(type) {
	case string:
		return key
	case *big.Int:
		return key.String()
	}
	return repr(key)
}

func (f *flattener) add(name string, t *tensor) error {
	switch {
	case t.storage == nil:
		f.refusals = append(f.refusals, Refusal{name, "has no storage"})
		return nil
	case t.elem.dtype == "":
		f.refusals = append(f.refusals, Refusal{name, "is " + t.elem.name + ", which is none of the element types here"})
		return nil
	case !utf8.ValidString(name):
		return malformed("tensor %q: name is not UTF-8", shorten(name))
	case f.seen[name]:
		return malformed("two tensors flatten to the name %q", shorten(name))
	case len(f.tensors) == maxTensors:
		return unsupported("more than %d tensors", maxTensors)
	}
	f.seen[name] = true
	s, err := t.stored(name)
	if err != nil {
		return err
	}
	f.tensors = append(f.tensors, s)
	if s.Bytes > 0 {
		key := fmt.Sprintf("%p %s %v", t.storage, t.elem.name, t.view)
		if f.aliases[key] == nil {
			f.order = append(f.order, key)
		}
		f.aliases[key] = append(f.aliases[key], name)
	}
	return nil
}

// shared lists the names of tensors that are the same elements of the same
// storage, in the order of the file.
func (f *flattener) shared() [][]string {
	var groups [][]string
	for _, key := range f.order {
		if names := f.aliases[key]; len(names) > 1 {
			groups = append(groups, names)
		}
	}
	return groups
}
