package torch

import (
	"fmt"
	"math/big"
	"strconv"
	"strings"
)

// What the machine builds is one of these, as an any:
//
//	nil, bool, int64, *big.Int, float64, string, []byte
//	tuple, *list, *dict, *set
//	*global    a name that Python would import
//	*object    what a call outside the allow-list would give
//	*storage, *tensor, *refused
type (
	tuple []any
	list  struct{ items []any }
	set   struct{ items []any }
)

// dict keeps the order of insertion, as Python does.
type dict struct {
	entries []entry
	index   map[any]int // of the entries whose key can be compared
}

type entry struct{ key, value any }

// put sets an item: the last value of a key wins, in the place of the first.
func (d *dict) put(key, value any) error {
	switch k := key.(type) {
	case bool:
		key = int64(0) // True == 1 in Python
		if k {
			key = int64(1)
		}
	case nil, string, int64, float64:
	case *list, *dict, *set:
		return malformed("key of a dict is a %s", typeName(key))
	default:
		d.entries = append(d.entries, entry{key, value})
		return nil
	}
	if i, ok := d.index[key]; ok {
		d.entries[i].value = value
		return nil
	}
	if d.index == nil {
		d.index = make(map[any]int)
	}
	d.index[key] = len(d.entries)
	d.entries = append(d.entries, entry{key, value})
	return nil
}

// get returns the value of a key.
func (d *dict) get(key string) (any, bool) {
	i, ok := d.index[key]
	if !ok {
		return nil, false
	}
	return d.entries[i].value, true
}

// global is a name in a module. Nothing is imported.
type global struct{ module, name string }

func (g *global) String() string { return g.module + "." + g.name }

// object stands for what a call would return that was not carried out.
type object struct{ callable string }

// refused stands for a tensor that this package cannot read.
type refused struct{ reason string }

// typeName is what Python would call the type of a value.
func typeName(v any) string {
	switch v := v.(type) {
	case nil:
		return "NoneType"
	case bool:
		return "bool"
	case int64, *big.Int:
		return "int"
	case float64:
		return "float"
	case string:
		return "str"
	case []byte:
		return "bytes"
	case tuple:
		return "tuple"
	case *list:
		return "list"
	case *dict:
		return "dict"
	case *set:
		return "set"
	case *global:
		return v.String()
	case *object:
		return v.callable
	case *storage:
		return "storage"
	case *tensor, *refused:
		return "tensor"
	}
	return fmt.Sprintf("%T", v)
}

const (
	maxReprDepth = 3
	maxReprItems = 6
)

// repr writes a value the way Python would, cut short.
func repr(v any) string { return shorten(reprDepth(v, 0)) }

func reprDepth(v any, depth int) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case bool:
		if v {
			return "True"
		}
		return "False"
	case int64:
		return strconv.FormatInt(v, 10)
	case *big.Int:
		if v.BitLen() <= 256 {
			return v.String()
		}
		return fmt.Sprintf("<int of %d bits>", v.BitLen())
	case float64:
		text := strconv.FormatFloat(v, 'g', -1, 64)
		if !strings.ContainsAny(text, ".eIN") {
			text += ".0" // or it would be a whole number
		}
		return text
	case string:
		return quote(shorten(v))
	case []byte:
		return "b" + quote(shorten(string(v)))
	case tuple:
		return reprItems("(", v, ")", depth)
	case *list:
		return reprItems("[", v.items, "]", depth)
	case *set:
		return reprItems("{", v.items, "}", depth)
	case *dict:
		items := make([]any, 0, min(len(v.entries), maxReprItems+1))
		for _, e := range v.entries[:cap(items)] {
			items = append(items, e)
		}
		return reprItems("{", items, "}", depth)
	case entry:
		return reprDepth(v.key, depth+1) + ": " + reprDepth(v.value, depth+1)
	case *tensor:
		return "<tensor " + v.describe() + ">"
	}
	return "<" + typeName(v) + ">"
}

// quote prefers single quotes, as Python does.
func quote(s string) string {
	if strings.ContainsAny(s, `'\`) {
		return strconv.Quote(s)
	}
	return "'" + s + "'"
}

func reprItems(open string, items []any, end string, depth int) string {
	if depth >= maxReprDepth {
		return open + "..." + end
	}
	var parts []string
	for i, v := range items {
		if i == maxReprItems {
			parts = append(parts, "...")
			break
		}
		parts = append(parts, reprDepth(v, depth+1))
	}
	return open + strings.Join(parts, ", ") + end
}
