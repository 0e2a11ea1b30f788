package convert

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/gguf"
	"github.com/spdfctl/spdfctl/formats/stored"
)

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
	if d.N > 0 && m.family == gpt2 && d.C%d.N != 0 {
		return fmt.Errorf("convert: gpt2: %d channels do not divide into %d heads", d.C, d.N)
	}
	if d.N == 0 && to.name == "gguf" && o.To == GGUF && !p.originalEntries() {
		p.Notes = append(p.Notes, "the number of heads is not known, and the file will lack it: llama.cpp needs it; config.json or --heads gives it")
	}
	const tanh = "gelu_new"
	if a := p.Source.Config.Activation; m.family == gpt2 && a != "" && a != tanh && (o.To == GGUF || o.To == LLMC) {
		p.Notes = append(p.Notes, fmt.Sprintf("config.json says that the activation is %q; programs that read %s compute %q", a, o.To, tanh))
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
