package convert

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spdfctl/spdfctl/formats/stored"
)

// A family is an architecture: its slots, and the layouts that they are stored
// in. Everything in it is data; the functions below read it in both directions.
type family struct {
	arch    string
	layouts []*layout
	// slots gives the dimensions of every slot as letters of dims, the output
	// first: "CC" is (C, C). Names with # are one slot per layer.
	slots map[string]string
}

// A layout names the stored tensors of a model and says which slots each holds.
type layout struct {
	name string
	// prefix stands before every name when the layout is written, except where
	// a row has its own full name.
	prefix string
	rows   []row
	// drops are names of tensors that hold no weights, constants of the
	// architecture, with the reason.
	drops []drop
	// stacked tensors have the layers as their first dimension.
	stacked bool
	// padVocab is what the rows of the embedding are padded to a multiple of.
	padVocab int
	// readOnly layouts are not written.
	readOnly bool
}

// A row is one stored tensor: the slots side by side.
type row struct {
	name  string // # stands for the number of the layer
	kind  kind
	slots string // names, separated by blanks
	// when says when the tensor is there.
	when presence
	// of is the name of the row that this one is an alias of.
	of string
	// heads is the letter of dims that counts the heads whose halves lie
	// interleaved in this tensor, 0 if they do not.
	heads byte
	// full means that the name takes no prefix.
	full bool
}

// A kind is how a slot (out, in) lies in a stored tensor.
type kind int

const (
	linear kind = iota // (out, in); slots on top of each other
	conv1D             // (in, out); slots beside each other
	vector             // (out); slots behind each other
)

// A presence says when a tensor is there.
type presence int

const (
	always   presence = iota
	untied            // only if the head has weights of its own
	alias             // a second name of the row `of`; optional when read
	optional          // if the model has it
)

type drop struct{ name, reason string }

// dims are the sizes of a model, by the letters of the tables.
type dims struct {
	L int // layers
	C int // channels
	V int // vocabulary
	T int // positions
	I int // channels inside the MLP
	Q int // channels of the queries: heads times their size
	K int // channels of the keys and values
	N int // heads
	M int // heads of the keys and values
}

// letter returns the size that a letter stands for.
func (d *dims) letter(c byte) *int {
	switch c {
	case 'L':
		return &d.L
	case 'C':
		return &d.C
	case 'V':
		return &d.V
	case 'T':
		return &d.T
	case 'I':
		return &d.I
	case 'Q':
		return &d.Q
	case 'K':
		return &d.K
	case 'N':
		return &d.N
	case 'M':
		return &d.M
	}
	panic("convert: no such size")
}

// place says where a slot lies in a stored tensor: the view of its elements, in
// its own order (out, in). With heads the rows of each head lie interleaved.
type place struct {
	slot  string
	view  stored.View
	heads int
}

// spec is a stored tensor of a model in a layout.
type spec struct {
	name   string // without prefix
	shape  []int
	places []place
	row    *row
	layer  int
}

// layoutNamed returns a layout of the family.
func (f *family) layoutNamed(name string) *layout {
	for _, l := range f.layouts {
		if l.name == name {
			return l
		}
	}
	return nil
}

// slotDims returns the dimensions of a slot.
func (f *family) slotDims(slot string, d *dims) []int {
	letters := f.slots[slot]
	list := make([]int, len(letters))
	for i := range letters {
		list[i] = *d.letter(letters[i])
	}
	return list
}

// at puts the number of a layer in the place of #.
func at(pattern string, layer int) string {
	return strings.Replace(pattern, "#", strconv.Itoa(layer), 1)
}

// specs lists the tensors of a model in a layout. vocab is how many rows the
// embedding has, at least d.V.
func (f *family) specs(l *layout, d dims, vocab int) []spec {
	var list []spec
	for i := range l.rows {
		r := &l.rows[i]
		switch {
		case l.stacked && strings.Contains(r.slots, "#"):
			list = append(list, f.stack(r, d))
		case strings.Contains(r.name, "#"):
			for layer := range d.L {
				list = append(list, f.spec(r, layer, d, vocab))
			}
		default:
			list = append(list, f.spec(r, 0, d, vocab))
		}
	}
	return list
}

// spec makes the tensor of a row for one layer.
func (f *family) spec(r *row, layer int, d dims, vocab int) spec {
	s := spec{name: at(r.name, layer), row: r, layer: layer}
	if r.when == alias {
		return s
	}
	s.shape, s.places = f.arrange(r, layer, d)
	if r.slots == "wte" || r.slots == "head" {
		s.shape[0] = max(s.shape[0], vocab)
	}
	return s
}

// arrange puts the slots of a row side by side.
func (f *family) arrange(r *row, layer int, d dims) (shape []int, places []place) {
	names := strings.Fields(r.slots)
	out, in := 0, 1
	for _, name := range names {
		dims := f.slotDims(name, &d)
		out += dims[0]
		if len(dims) > 1 {
			in = dims[1]
		}
	}
	before := 0
	for _, name := range names {
		dims := f.slotDims(name, &d)
		p := place{slot: at(name, layer), view: stored.View{Dims: dims}}
		switch r.kind {
		case linear:
			p.view.Strides, p.view.Offset = []int{in, 1}, before*in
		case conv1D:
			p.view.Strides, p.view.Offset = []int{1, out}, before
		case vector:
			p.view.Strides, p.view.Offset = []int{1}, before
		}
		before += dims[0]
		if r.heads != 0 {
			p.heads = *d.letter(r.heads)
		}
		places = append(places, p)
	}
	switch r.kind {
	case linear:
		return []int{out, in}, places
	case conv1D:
		return []int{in, out}, places
	}
	return []int{out}, places
}

// byHeads splits the rows of a view into heads, halves, and rows of a half.
// Interleaved, as rotary positions want it in llama.cpp, row s*(hs/2)+i of a
// head of hs rows, s being 0 or 1, is stored as row 2*i+s.
//
// Source: ggml-org/llama.cpp, convert_hf_to_gguf.py, LlamaModel.permute.
func byHeads(v stored.View, heads int, interleaved bool) stored.View {
	row, size := v.Strides[0], v.Dims[0]/heads
	half, inHalf := size/2*row, row
	if interleaved {
		half, inHalf = row, 2*row
	}
	return stored.View{
		Offset:  v.Offset,
		Dims:    append([]int{heads, 2, size / 2}, v.Dims[1:]...),
		Strides: append([]int{size * row, half, inHalf}, v.Strides[1:]...),
	}
}

// stack makes the tensor that holds a row of all layers.
func (f *family) stack(r *row, d dims) spec {
	s := spec{name: r.name, row: r, layer: -1}
	one, _ := f.arrange(r, 0, d)
	step := 1
	for _, n := range one {
		step *= n
	}
	s.shape = append([]int{d.L}, one...)
	for layer := range d.L {
		_, places := f.arrange(r, layer, d)
		for _, p := range places {
			p.view.Offset += layer * step
			s.places = append(s.places, p)
		}
	}
	return s
}

// wrappers are the names that training code puts before those of a model.
var wrappers = []string{"transformer.", "model.", "module.", "_orig_mod.", "state_dict.", "model_state_dict.", "params.", "_forward_module."}

// strip takes the wrappers off a name.
func strip(name string) string {
	for {
		stripped := false
		for _, w := range wrappers {
			if rest, ok := strings.CutPrefix(name, w); ok {
				name, stripped = rest, true
			}
		}
		if !stripped {
			return name
		}
	}
}

// match finds the row of a stripped name and the layer in it.
func (l *layout) match(name string) (r *row, layer int, ok bool) {
	for i := range l.rows {
		if layer, ok := matches(strip(l.rows[i].name), name); ok {
			return &l.rows[i], layer, true
		}
	}
	return nil, 0, false
}

// dropped returns why a stripped name is no weight of the layout.
func (l *layout) dropped(name string) (reason string, ok bool) {
	for _, d := range l.drops {
		if _, ok := matches(strip(d.name), name); ok {
			return d.reason, true
		}
	}
	return "", false
}

// matches compares a name with a pattern in which # is the number of a layer.
func matches(pattern, name string) (layer int, ok bool) {
	before, after, numbered := strings.Cut(pattern, "#")
	if !numbered {
		return 0, pattern == name
	}
	rest, ok := strings.CutPrefix(name, before)
	if !ok {
		return 0, false
	}
	digits, ok := strings.CutSuffix(rest, after)
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(digits)
	if err != nil || n < 0 || strconv.Itoa(n) != digits {
		return 0, false
	}
	return n, true
}

// maxLayers bounds the number of a layer in a name.
const maxLayers = 1 << 16

// families are the architectures that have tables.
var families = []*family{gpt2, llama, qwen2}

// Layouts lists the layouts of an architecture, or of all of them if arch is "".
func Layouts(arch string) []string {
	var list []string
	seen := make(map[string]bool)
	for _, f := range families {
		for _, l := range f.layouts {
			if (arch == "" || f.arch == arch) && !seen[l.name] {
				seen[l.name] = true
				list = append(list, l.name)
			}
		}
	}
	return list
}

// familyNamed returns the family of an architecture.
func familyNamed(arch string) (*family, error) {
	for _, f := range families {
		if f.arch == arch {
			return f, nil
		}
	}
	known := make([]string, len(families))
	for i, f := range families {
		known[i] = f.arch
	}
	return nil, fmt.Errorf("convert: no layouts are known for the architecture %q, only for %s", arch, strings.Join(known, ", "))
}
