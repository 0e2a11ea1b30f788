package convert

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/gguf"
	"github.com/spdfctl/spdfctl/formats/stored"
	"github.com/spdfctl/spdfctl/masks"
)

// Keep is the layout that changes no names and no order.
const Keep = "none"

// Options say what a conversion does.
type Options struct {
	// To is the format to write: SafeTensors, TorchZip, Npz, GGUF or LLMC.
	To string
	// DType is what floats are cast to; empty keeps them.
	DType formats.DType
	// Arch is the architecture, where it cannot be told from the checkpoint.
	Arch string
	// Layout is the layout to write: one of Layouts, Keep, or empty for what
	// the format wants: its own for GGUF and llm.c, hf when it comes from
	// these or from Flax, otherwise Keep.
	Layout string
	// Vocab cuts or pads the embedding to that many rows; 0 leaves it.
	Vocab int
	// Heads and KVHeads are for checkpoints that do not say.
	Heads, KVHeads int
	// ShardSize is the most bytes of data of a shard of safetensors; 0 writes
	// one file.
	ShardSize int64
	// Map are the user's own rules, instead of a layout.
	Map *Map
	// Include and Exclude are patterns of path.Match on the names of tensors;
	// without Include all are included. Excluded ones are listed drops.
	Include, Exclude []string
	// Masks are carried to the new layout.
	Masks *masks.Set
}

// Output is a tensor to be written.
type Output struct {
	formats.Info
	Bytes int64
	// From are the names of the tensors that it is made of.
	From []string
	// Aliases are further names of the same tensor.
	Aliases []string
	// Memory is how many bytes of the source are held while it is written.
	Memory int64

	tensor stored.Tensor
	cast   formats.DType // the type before the cast, empty if there is none
	parts  []piece       // nil: the one tensor of From as it is
	// narrow is the type that the tensor had before it was widened for the
	// format, to be carried.
	narrow formats.DType
	places []place // of the target layout
	layer  int
	row    *row
	silent bool // the cast cannot lose anything, or undoes one
}

// Plan is a conversion that has been worked out but not begun.
type Plan struct {
	Options Options
	Source  *Checkpoint
	Outputs []Output
	Drops   []Drop
	// Notes are for people: what was decided and might surprise.
	Notes []string
	// Bytes is the sum of the outputs, Memory the most that one of them holds.
	Bytes, Memory int64
	// Masks are Options.Masks in the new layout.
	Masks *masks.Set
	// From and Layout are the layouts before and after, "" if not known.
	From, Layout string

	nested bool   // the weights go under the key "model", as nanoGPT has them
	model  *model // nil without a layout
	target dims
	vocab  int // rows of the embedding that are written
	buffer *scratch

	mu     sync.Mutex
	losses map[string]Loss
}

// NewPlan works out a conversion. Nothing of the elements is read, except to
// compare a head with the embedding.
func NewPlan(c *Checkpoint, o Options) (*Plan, error) {
	p := &Plan{Options: o, Source: c, buffer: &scratch{}, losses: make(map[string]Loss)}
	if err := o.check(); err != nil {
		return nil, err
	}
	tensors, err := p.selected()
	if err != nil {
		return nil, err
	}
	if o.Heads > 0 {
		c.Config.NHead = o.Heads
	}
	if o.KVHeads > 0 {
		c.Config.NKVHead = o.KVHeads
	}
	switch layout, err := p.layoutFor(tensors); {
	case err != nil:
		return nil, err
	case o.Map != nil:
		err = p.planMap(tensors)
		if err != nil {
			return nil, err
		}
	case layout == Keep:
		if err := p.planPlain(tensors); err != nil {
			return nil, err
		}
	default:
		if err := p.planLayout(layout); err != nil {
			return nil, err
		}
	}
	for _, l := range c.Leaves {
		p.Drops = append(p.Drops, Drop{l.Name, "is no tensor"})
	}
	slices.SortFunc(p.Outputs, func(a, b Output) int { return masks.CompareNames(a.Name, b.Name) })
	for i := 1; i < len(p.Outputs); i++ {
		if p.Outputs[i].Name == p.Outputs[i-1].Name {
			return nil, fmt.Errorf("convert: two tensors would have the name %q", p.Outputs[i].Name)
		}
	}
	if err := p.finish(); err != nil {
		return nil, err
	}
	return p, p.carryMasks()
}

func (o Options) check() error {
	switch o.To {
	case SafeTensors, TorchZip, Npz, GGUF, LLMC:
	default:
		return fmt.Errorf("convert: %q cannot be written; %s, %s, %s, %s and %s can", o.To, SafeTensors, TorchZip, Npz, GGUF, LLMC)
	}
	if o.DType != "" && !canEncode(o.DType) {
		return fmt.Errorf("convert: %s is not a type to cast to", o.DType)
	}
	if o.ShardSize < 0 || o.ShardSize > 0 && o.To != SafeTensors {
		return fmt.Errorf("convert: only safetensors are written in shards, not %s", o.To)
	}
	if o.Map != nil && o.Layout != "" && o.Layout != Keep {
		return errors.New("convert: rules of the user and a layout exclude each other")
	}
	for _, pattern := range slices.Concat(o.Include, o.Exclude) {
		if _, err := path.Match(pattern, ""); err != nil {
			return fmt.Errorf("convert: pattern %q: %w", pattern, err)
		}
	}
	return nil
}

// selected returns the tensors that Include and Exclude leave. A tensor that
// cannot be read is an error unless they leave it out.
func (p *Plan) selected() ([]stored.Tensor, error) {
	keep := func(name string) bool {
		any := func(patterns []string) bool {
			return slices.ContainsFunc(patterns, func(pattern string) bool { ok, _ := path.Match(pattern, name); return ok })
		}
		return (len(p.Options.Include) == 0 || any(p.Options.Include)) && !any(p.Options.Exclude)
	}
	var list []stored.Tensor
	for _, t := range p.Source.Tensors {
		if keep(t.Name) {
			list = append(list, t)
		} else {
			p.Drops = append(p.Drops, Drop{t.Name, "is excluded"})
		}
	}
	for _, r := range p.Source.Refusals {
		if keep(r.Name) {
			return nil, fmt.Errorf("convert: %s: tensor %q %s; --exclude leaves it out: %w", p.Source.Path, r.Name, r.Reason, ErrUnsupported)
		}
		p.Drops = append(p.Drops, Drop{r.Name, "is excluded, and " + r.Reason})
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("convert: %s: no tensors are left to be written", p.Source.Path)
	}
	return list, nil
}

// layoutFor returns the layout to write, and finds the one that is there.
func (p *Plan) layoutFor(tensors []stored.Tensor) (string, error) {
	o, c := p.Options, p.Source
	layout := o.Layout
	if o.Map != nil || layout == Keep {
		return Keep, nil
	}
	wanted := layout != "" || o.Vocab > 0
	if layout == "" {
		switch {
		case o.To == GGUF && c.Format != GGUF:
			layout = "gguf"
		case o.To == LLMC && c.Format != LLMC:
			layout = "llmc"
		case o.To != GGUF && o.To != LLMC && (c.Format == GGUF || c.Format == LLMC || c.Format == Flax):
			layout = "hf"
		}
	}
	if layout == "" && o.Vocab == 0 && o.Masks == nil && o.To != LLMC {
		return Keep, nil
	}
	m, err := recognise(c, tensors, o.Arch)
	if err != nil {
		if layout == "llmc" || wanted {
			return "", err
		}
		if layout != "" {
			p.Notes = append(p.Notes, fmt.Sprintf("names and order of the weights stay as they are: %s", strings.TrimPrefix(err.Error(), "convert: ")))
		}
		return Keep, nil
	}
	p.model, p.From = m, m.layout.name
	if layout == "" {
		if o.Vocab == 0 && o.To != LLMC {
			return Keep, nil // recognised for its masks
		}
		layout = m.layout.name
	}
	to := m.family.layoutNamed(layout)
	if to == nil || to.readOnly {
		return "", fmt.Errorf("convert: %s has no layout %q to be written, only %s", m.family.arch, layout, writableLayouts(m.family))
	}
	nested := o.To == TorchZip && layout == "nanogpt" // whose weights lie in a dict of the checkpoint
	if to == m.layout && o.Vocab == 0 && m.dims.V == m.rows && o.To != LLMC && o.To != GGUF && !nested {
		return Keep, nil
	}
	return layout, nil
}

func writableLayouts(f *family) string {
	var list []string
	for _, l := range f.layouts {
		if !l.readOnly {
			list = append(list, l.name)
		}
	}
	return strings.Join(list, ", ")
}

// planPlain writes every tensor under its name, tied ones once.
func (p *Plan) planPlain(tensors []stored.Tensor) error {
	if p.model != nil && p.Layout == "" {
		p.Layout = p.From
	}
	same, second := p.aliasesOf(tensors)
	for _, t := range tensors {
		if second[t.Name] {
			continue
		}
		p.Outputs = append(p.Outputs, Output{Info: t.Info, From: []string{t.Name}, Aliases: same[t.Name], tensor: t})
	}
	return nil
}

// aliasesOf returns, of the tensors that are written, the further names of each
// and which are such names.
func (p *Plan) aliasesOf(tensors []stored.Tensor) (same map[string][]string, second map[string]bool) {
	have := make(map[string]bool)
	for _, t := range tensors {
		have[t.Name] = true
	}
	same, second = make(map[string][]string), make(map[string]bool)
	for _, group := range p.Source.Aliases {
		var names []string
		stored := 0
		for _, name := range group {
			// A name that is not stored goes wherever the first one goes.
			if have[name] || !slices.ContainsFunc(p.Source.Tensors, named(name)) {
				names = append(names, name)
			}
			if have[name] {
				stored++
			}
		}
		if stored == 0 || len(names) < 2 {
			continue
		}
		first := slices.IndexFunc(names, func(name string) bool { return have[name] })
		for i, name := range names {
			if i != first {
				same[names[first]] = append(same[names[first]], name)
				second[name] = true
			}
		}
		slices.SortFunc(same[names[first]], masks.CompareNames)
	}
	return same, second
}

func named(name string) func(stored.Tensor) bool {
	return func(t stored.Tensor) bool { return t.Name == name }
}

// planLayout writes the model in another layout.
func (p *Plan) planLayout(name string) error {
	m, o := p.model, p.Options
	to := m.family.layoutNamed(name)
	p.Layout = name
	p.nested = o.To == TorchZip && name == "nanogpt"
	p.Drops = append(p.Drops, m.drops...)
	d := m.dims
	if o.Vocab > 0 {
		d.V = o.Vocab
	}
	p.target, p.vocab = d, d.V
	if to.padVocab > 0 {
		p.vocab = (d.V + to.padVocab - 1) / to.padVocab * to.padVocab
	}
	if p.vocab < m.rows {
		p.Drops = append(p.Drops, Drop{fmt.Sprintf("rows %d to %d of the embedding", p.vocab, m.rows-1), "lie past the vocabulary"})
	}
	if !m.tied && !slices.ContainsFunc(to.rows, func(r row) bool { return r.when == untied }) {
		return fmt.Errorf("convert: %s: the head has weights of its own, the layout %s has none for it", m.family.arch, name)
	}
	if to.heads() && (d.N == 0 || d.Q%(2*d.N) != 0 || d.M == 0 || d.K%(2*d.M) != 0) {
		return fmt.Errorf("convert: %s: %d and %d rows of queries and keys do not divide into halves of %d and %d heads; config.json or --heads and --kv-heads give them",
			m.family.arch, d.Q, d.K, d.N, d.M)
	}
	prefix := to.prefix
	if p.Source.unprefixed && to.name == "hf" || m.layout == to && !m.prefixed {
		prefix = ""
	}
	specs := m.family.specs(to, d, p.vocab)
	for _, s := range specs {
		if s.row.when == untied && m.tied || s.row.when == alias && s.row.of != "" && !m.tied && isHead(s) {
			continue
		}
		full := prefix + s.name
		if s.row.full {
			full = s.name
		}
		if s.row.when == alias {
			of := prefix + at(s.row.of, s.layer)
			i := slices.IndexFunc(p.Outputs, func(out Output) bool { return out.Name == of })
			p.Outputs[i].Aliases = append(p.Outputs[i].Aliases, full)
			continue
		}
		if m.noBiases && isBias(s) && name == "nanogpt" {
			continue
		}
		out, err := p.assemble(full, s)
		if err != nil {
			return fmt.Errorf("convert: %s: %w", m.family.arch, err)
		}
		p.Outputs = append(p.Outputs, out)
	}
	if m.noBiases && name != "nanogpt" {
		p.Notes = append(p.Notes, "the model has no biases; they are written as zeros")
	}
	return nil
}

// isHead reports whether a tensor is the head.
func isHead(s spec) bool { return strings.HasPrefix(s.name, "lm_head.") }

// heads reports whether a tensor of the layout depends on the number of heads.
func (l *layout) heads() bool {
	return slices.ContainsFunc(l.rows, func(r row) bool { return r.heads != 0 })
}

// assemble makes the output for a tensor of the target layout.
func (p *Plan) assemble(name string, s spec) (Output, error) {
	out := Output{Info: formats.Info{Name: name, Shape: s.shape}, parts: []piece{}, places: s.places, layer: s.layer, row: s.row}
	for _, to := range s.places {
		src, ok := p.model.slots[to.slot]
		if !ok {
			if p.model.noBiases && isBias(s) {
				continue
			}
			return out, fmt.Errorf("tensor %q: the checkpoint has nothing for its part %q", name, to.slot)
		}
		t, err := p.plain(src.tensor)
		if err != nil {
			return out, err
		}
		out.DType = t.DType
		out.parts = append(out.parts, between(t, src.place, to))
		if !slices.Contains(out.From, t.Name) {
			out.From = append(out.From, t.Name)
		}
	}
	if out.DType == "" { // biases that are not there
		t, err := p.plain(p.model.slots["wte"].tensor)
		if err != nil {
			return out, err
		}
		out.DType = t.DType
	}
	return out, nil
}

// between returns the piece that carries a slot from where it lies to where it
// shall lie. The embedding may have fewer or more rows there.
func between(t stored.Tensor, src, dst place) piece {
	from, to := src.view, dst.view
	if n := min(from.Dims[0], to.Dims[0]); n != from.Dims[0] || n != to.Dims[0] {
		from, to = cut(from, 0, 0, n), cut(to, 0, 0, n)
	}
	if heads := max(src.heads, dst.heads); heads > 0 && src.heads != dst.heads {
		from, to = byHeads(from, heads, src.heads > 0), byHeads(to, heads, dst.heads > 0)
	}
	return piece{t, from, to}
}

// plain returns a tensor as elements that can be moved one by one: blocks of
// GGUF are dequantised.
func (p *Plan) plain(t stored.Tensor) (stored.Tensor, error) {
	if t.DType.Bits() != 0 {
		return t, nil
	}
	if !gguf.CanDequantize(t.DType) {
		return t, fmt.Errorf("tensor %q: %s is read by name and bytes only, it cannot be dequantised here: %w", t.Name, t.DType, ErrUnsupported)
	}
	return p.casting(t, formats.F32, ""), nil
}

// casting returns a tensor whose elements are cast when it is written. The loss
// is noted under the name, if that is not empty.
func (p *Plan) casting(t stored.Tensor, to formats.DType, note string) stored.Tensor {
	out := t
	out.DType = to
	elements, _ := t.NumElements()
	out.Bytes, out.Offset, out.Range = elements*int64(to.Bits()/8), -1, nil
	out.WriteTo = func(w io.Writer) error {
		c := newCaster(w, t.DType, to)
		if err := t.Emit(c); err != nil {
			return err
		}
		if note != "" {
			loss := c.loss
			loss.Name, loss.From, loss.To = note, t.DType, to
			p.mu.Lock()
			p.losses[note] = loss
			p.mu.Unlock()
		}
		return nil
	}
	return out
}

// finish settles the element types and makes the tensors to be written.
func (p *Plan) finish() error {
	for i := range p.Outputs {
		o := &p.Outputs[i]
		if o.parts != nil {
			if err := p.finishParts(o); err != nil {
				return fmt.Errorf("convert: %w", err)
			}
		}
		o.tensor.Name = o.Name
		to, err := p.typeOf(o)
		if err != nil {
			return err
		}
		if to != o.tensor.DType {
			if err := castable(o.Name, o.tensor.DType, to); err != nil {
				return err
			}
			o.cast = o.tensor.DType
			note := o.Name
			if o.silent {
				note = ""
			}
			o.tensor = p.casting(o.tensor, to, note)
		}
		o.Info, o.Bytes = o.tensor.Info, o.tensor.Bytes
		p.Bytes += o.Bytes
		p.Memory = max(p.Memory, o.Memory)
	}
	if p.Options.To == LLMC {
		return p.oneType()
	}
	return nil
}

// finishParts turns parts into a tensor: the source itself, if it is all of it
// in the same order.
func (p *Plan) finishParts(o *Output) error {
	if len(o.parts) == 1 {
		t := o.parts[0].source
		whole := stored.RowMajor(o.Shape).Elements()
		same := func(v stored.View) bool { return v.Offset == 0 && v.Contiguous() && v.Elements() == whole }
		if same(o.parts[0].from) && same(o.parts[0].to) && int64(whole*t.DType.Bits()/8) == t.Bytes {
			o.tensor = t
			o.tensor.Info = o.Info
			o.parts = nil
			return nil
		}
	}
	a, err := newAssembly(o.Info, o.parts, p.buffer)
	if err != nil {
		return err
	}
	o.tensor, o.Memory = a.tensor(), a.memory()
	return nil
}

// typeOf returns the element type that an output gets.
func (p *Plan) typeOf(o *Output) (formats.DType, error) {
	d := o.tensor.DType
	if !isFloat(d) {
		if d.Bits() == 0 && p.Options.To != GGUF {
			return "", fmt.Errorf("convert: tensor %q: %s is read by name and bytes only, it cannot be dequantised here: %w", o.Name, d, ErrUnsupported)
		}
		return d, nil
	}
	to := p.Options.DType
	// What was widened for a format becomes what it was.
	was := formats.DType("")
	for _, from := range o.From {
		if n, ok := p.Source.narrow[from]; ok && (was == "" || was == n) {
			was = n
		}
	}
	vectors := p.Options.To == GGUF && p.Layout == "gguf" && len(o.Shape) < 2
	switch {
	case vectors:
		// llama.cpp computes with biases and norms in F32.
		if to == "" && d != formats.F32 && canEncode(d) {
			o.narrow, o.silent = d, true
		} else if was != "" && to == "" {
			o.narrow = was
		}
		return formats.F32, nil
	case to != "":
		return to, nil
	case was != "" && p.Options.To == GGUF:
		o.narrow = was
	case was != "" && canEncode(was):
		o.silent = true
		return was, nil
	case d.Bits() == 0 && p.Options.To != GGUF:
		return formats.F32, nil // dequantised
	}
	return d, nil
}

// oneType casts everything to the one type that a file of llm.c has.
func (p *Plan) oneType() error {
	to := p.Options.DType
	if to == "" {
		to = formats.BF16
		for _, o := range p.Outputs {
			if o.DType != formats.BF16 {
				to = formats.F32
			}
		}
	}
	p.Bytes = 0
	for i := range p.Outputs {
		o := &p.Outputs[i]
		if o.DType != to {
			if err := castable(o.Name, o.DType, to); err != nil {
				return err
			}
			o.cast = cmp.Or(o.cast, o.DType)
			o.tensor = p.casting(o.tensor, to, o.Name)
		}
		o.Info, o.Bytes = o.tensor.Info, o.tensor.Bytes
		p.Bytes += o.Bytes
	}
	return nil
}

// Losses lists what casts have changed, after Write, by name.
func (p *Plan) Losses() []Loss {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []Loss
	for _, o := range p.Outputs {
		if l, ok := p.losses[o.Name]; ok {
			list = append(list, l)
		}
	}
	return list
}
