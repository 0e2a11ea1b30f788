package convert

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/stored"
	"github.com/spdfctl/spdfctl/masks"
)

// Sparse checkpoints hold, in place of a matrix X of shape (R, C) as it is stored,
//
//	X.shape        I64 (2)            R, C
//	X.compressed   dtype (kept)       the kept elements, row by row
//	X.bitmask      U8 (R, ceil(C/8))  bit j%8 of byte j/8 is 1 where column j is kept
//	X.row_offsets  I64 (R)            where the elements of each row begin
//
// which is the format sparse-bitmask of compressed-tensors. What is kept comes
// from a mask, not from the values: -0 and zeros that are kept stay, and what a
// mask prunes must be +0, so expanding gives the same bytes.
//
// Source: vllm-project/compressed-tensors, compressors/sparse_compressors/
// sparse_bitmask.py, release 0.9.

// The ends of the names of a packed matrix.
const (
	shapeEnd   = "shape"
	packedEnd  = "compressed"
	bitmaskEnd = "bitmask"
	offsetsEnd = "row_offsets"
)

// planSparse finds, for every output that masks are of, which elements are kept.
// Tensors whose names end in that of a masked one, after a dot, and that have its
// shape, are its moments: they are packed by the same masks.
func (p *Plan) planSparse() error {
	if !p.Options.Sparse {
		return nil
	}
	if p.Masks == nil {
		return fmt.Errorf("convert: a sparse checkpoint needs masks")
	}
	var tensors, weights []stored.Tensor
	for _, o := range p.Outputs {
		t := o.tensor
		t.Info = o.Info
		tensors = append(tensors, t)
		if !isMoment(o.Name) {
			weights = append(weights, t)
		}
	}
	view := &Plan{Options: p.Options, Source: &Checkpoint{Path: p.Source.Path, Tensors: tensors, Config: p.Source.Config}}
	var k *keeps
	var err error
	if view.model, err = recognise(view.Source, weights, p.Options.Arch); err != nil {
		view.model = nil
		k, err = view.marksByName(p.Masks)
	} else {
		k, _, err = view.marksBySlot(p.Masks)
	}
	if err != nil {
		return fmt.Errorf("convert: %w", err)
	}
	p.kept = make(map[string]packing)
	for i, o := range p.Outputs {
		marks := k.marks[o.Name]
		for j := 0; marks == nil && j < len(p.Outputs); j++ {
			w := &p.Outputs[j]
			if isMoment(o.Name) && strings.HasSuffix(o.Name, "."+strip(w.Name)) && slices.Equal(o.Shape, w.Shape) {
				marks = k.marks[w.Name]
			}
		}
		if marks == nil || len(o.Shape) != 2 {
			if marks != nil {
				return fmt.Errorf("convert: tensor %q is %s, only matrices are packed: %w", o.Name, o.Info, ErrUnsupported)
			}
			continue
		}
		if b := o.DType.Bits(); b == 0 || b%8 != 0 {
			return fmt.Errorf("convert: tensor %q: elements of %s are no whole bytes: %w", o.Name, o.DType, ErrUnsupported)
		}
		n := o.Shape[0] * o.Shape[1]
		for _, m := range marks {
			n -= m.mask.Total() - m.mask.Kept()
		}
		p.kept[o.Name] = packing{keeps: k, tensor: tensors[i], marks: marks, kept: n}
	}
	return nil
}

// isMoment reports whether a name is that of a state of an optimizer.
func isMoment(name string) bool {
	first, _, _ := strings.Cut(name, ".")
	return slices.Contains([]string{"m", "v", "exp_avg", "exp_avg_sq", "momentum_buffer"}, first) || slices.Contains(trainerKeys, first)
}

// marksByName places masks on tensors of their names and shapes.
func (p *Plan) marksByName(set *masks.Set) (*keeps, error) {
	if err := p.checkPlain(set); err != nil {
		return nil, err
	}
	k := &keeps{plan: p, marks: make(map[string][]mark)}
	for _, m := range set.Masks {
		t, _ := p.tensorOf(m.Name)
		if err := k.add(t, m, stored.RowMajor(t.Shape)); err != nil {
			return nil, err
		}
	}
	return k, nil
}

// packing is how a matrix is written without what masks prune.
type packing struct {
	keeps  *keeps
	tensor stored.Tensor
	marks  []mark
	kept   int
}

// keep returns one byte for each element, 1 where it is kept.
func (q packing) keep() []byte {
	k := &keeps{marks: map[string][]mark{q.tensor.Name: q.marks}}
	return k.of(q.tensor)
}

// packed returns the tensors that an output is written as: itself, or the four
// of a sparse matrix.
func (p *Plan) packed(o Output) []stored.Tensor {
	q, ok := p.kept[o.Name]
	if !ok {
		return []stored.Tensor{o.tensor}
	}
	rows, cols := o.Shape[0], o.Shape[1]
	size := o.DType.Bits() / 8
	computed := func(end string, d formats.DType, shape []int, write func(w io.Writer) error) stored.Tensor {
		n := int64(d.Bits() / 8)
		for _, dim := range shape {
			n *= int64(dim)
		}
		return stored.Tensor{Info: formats.Info{Name: o.Name + "." + end, DType: d, Shape: shape}, Bytes: n, Offset: -1, WriteTo: write}
	}
	numbers := func(w io.Writer, list []int) error {
		b := make([]byte, 0, 8*len(list))
		for _, v := range list {
			b = binary.LittleEndian.AppendUint64(b, uint64(v))
		}
		_, err := w.Write(b)
		return err
	}
	return []stored.Tensor{
		computed(bitmaskEnd, formats.U8, []int{rows, (cols + 7) / 8}, func(w io.Writer) error {
			keep, line := q.keep(), make([]byte, (cols+7)/8)
			for i := range rows {
				clear(line)
				for j, v := range keep[i*cols : (i+1)*cols] {
					line[j/8] |= v << (j % 8)
				}
				if _, err := w.Write(line); err != nil {
					return err
				}
			}
			return nil
		}),
		computed(packedEnd, o.DType, []int{q.kept}, func(w io.Writer) error {
			s := &packer{w: w, name: o.Name, keep: q.keep(), size: size, cols: cols}
			if err := o.tensor.Emit(s); err != nil {
				return err
			}
			return s.flush()
		}),
		computed(offsetsEnd, formats.I64, []int{rows}, func(w io.Writer) error {
			keep, offsets, n := q.keep(), make([]int, rows), 0
			for i := range rows {
				offsets[i] = n
				for _, v := range keep[i*cols : (i+1)*cols] {
					n += int(v)
				}
			}
			return numbers(w, offsets)
		}),
		computed(shapeEnd, formats.I64, []int{2}, func(w io.Writer) error { return numbers(w, o.Shape) }),
	}
}

// packedBytes returns how many bytes an output takes as it is written.
func (p *Plan) packedBytes(o Output) int64 {
	if _, ok := p.kept[o.Name]; !ok {
		return o.Bytes
	}
	n := int64(0)
	for _, t := range p.packed(o) {
		n += t.Bytes
	}
	return n
}

// StoredBytes is the sum of the bytes of all tensors as they are written.
func (p *Plan) StoredBytes() int64 {
	n := int64(0)
	for _, o := range p.Outputs {
		n += p.packedBytes(o)
	}
	return n
}

// packer lets through the kept elements of what is written to it. A pruned one
// that is not zero, every bit, is an error.
type packer struct {
	w          io.Writer
	name       string
	keep       []byte
	size, cols int
	element    int
	rest, out  []byte
}

func (s *packer) Write(b []byte) (int, error) {
	n := len(b)
	if len(s.rest) > 0 {
		s.rest = append(s.rest, b...)
		b, s.rest = s.rest, nil
	}
	for ; len(b) >= s.size; b = b[s.size:] {
		e := b[:s.size]
		if s.keep[s.element] != 0 {
			s.out = append(s.out, e...)
		} else if !isZero(e) {
			return 0, fmt.Errorf("tensor %q: element (%d, %d) is pruned and not +0; \"mask apply\" makes it so", s.name, s.element/s.cols, s.element%s.cols)
		}
		s.element++
		if len(s.out) >= 1<<20 {
			if err := s.flush(); err != nil {
				return 0, err
			}
		}
	}
	s.rest = append([]byte(nil), b...)
	return n, nil
}

// isZero reports whether all bytes of an element are zero.
func isZero(e []byte) bool {
	if len(e) == 4 {
		return binary.LittleEndian.Uint32(e) == 0
	}
	for _, v := range e {
		if v != 0 {
			return false
		}
	}
	return true
}

func (s *packer) flush() error {
	_, err := s.w.Write(s.out)
	s.out = s.out[:0]
	return err
}

// sparsityConfig is what config.json says of a packed checkpoint, under
// quantization_config, where transformers and vLLM look for it.
//
// Source: vllm-project/compressed-tensors, config/base.py and base.py; vLLM,
// compressed_tensors.py.
func (p *Plan) sparsityConfig() map[string]any {
	pruned, total := 0, 0
	var targets []string
	for _, o := range p.Outputs {
		if q, ok := p.kept[o.Name]; ok && !isMoment(o.Name) {
			targets = append(targets, strings.TrimSuffix(o.Name, ".weight"))
			pruned += o.Shape[0]*o.Shape[1] - q.kept
		}
		n := 1
		for _, d := range o.Shape {
			n *= d
		}
		total += n
	}
	structure := "unstructured"
	if pattern, err := masks.ParsePattern(p.Masks.Recipe.Pattern); err == nil && pattern.Kind == masks.NofM {
		structure = pattern.String()
	}
	return map[string]any{
		"quant_method": "compressed-tensors", "format": "dense", "quantization_status": "compressed", "config_groups": map[string]any{},
		"ignore": []string{}, "kv_cache_scheme": nil, "version": "0.9.0",
		"sparsity_config": map[string]any{
			"format": "sparse-bitmask", "global_sparsity": math.Round(float64(pruned)/float64(total)*1e4) / 1e4, "sparsity_structure": structure,
			"targets": targets, "ignore": []string{}, "registry_requires_subclass": false,
		},
	}
}

// adaptSparsity puts the sparsity into a config.json, or takes that of the source
// out of it if the result is dense.
func (p *Plan) adaptSparsity(all map[string]json.RawMessage) error {
	delete(all, "sparsity_config")
	var quantization map[string]json.RawMessage
	if raw, ok := all["quantization_config"]; ok && json.Unmarshal(raw, &quantization) == nil && quantization["sparsity_config"] != nil {
		delete(all, "quantization_config")
	}
	if !p.Options.Sparse {
		return nil
	}
	text, err := json.Marshal(p.sparsityConfig())
	if err != nil {
		return err
	}
	all["quantization_config"] = text
	return nil
}
