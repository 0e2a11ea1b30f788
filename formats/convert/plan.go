package convert

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/bpe"
	"github.com/spdfctl/spdfctl/formats/npz"
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
	// Sparse writes only the elements that Masks keep; see Packed.
	Sparse bool
	// Sparse24 makes that sparse-24-bitmask: of every 4 elements of a stored row
	// 2 are kept.
	Sparse24 bool
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
	// tokenizer goes into a GGUF file, or comes out of one; nil for none.
	tokenizer *bpe.Tokenizer
	// leaveEntries leaves out the metadata of GGUF, for which .npz is too small.
	leaveEntries bool

	// kept are the outputs that are written packed, by name.
	kept map[string]packing

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
	if err := p.weighEntries(); err != nil {
		return nil, err
	}
	p.planTokenizer()
	if err := p.carryMasks(); err != nil {
		return nil, err
	}
	return p, p.planSparse()
}

// weighEntries leaves out metadata of GGUF that the comment of a zip file cannot
// hold: a tokenizer.
func (p *Plan) weighEntries() error {
	if p.Options.To != Npz || !p.originalEntries() {
		return nil
	}
	text, err := encodeEntries(p.Source.entries)
	if err != nil {
		return fmt.Errorf("convert: metadata of GGUF: %w", err)
	}
	if len(text) > npz.MaxSide/2 {
		p.leaveEntries = true
		p.Notes = append(p.Notes, fmt.Sprintf("the metadata of GGUF take %d bytes, too many for .npz: they are left out", len(text)))
	}
	return nil
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
	if o.Sparse && (o.To != SafeTensors || o.Masks == nil) {
		return fmt.Errorf("convert: only safetensors are written sparse, and by masks")
	}
	if o.Sparse24 && !o.Sparse {
		return errors.New("convert: sparse-24-bitmask is for what is written sparse")
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
	known := tensors
	if o.Sparse { // moments are packed as the weights are, wherever these lie
		known = withoutMoments(tensors)
	}
	m, err := recognise(c, known, o.Arch)
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
