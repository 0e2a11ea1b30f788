package convert

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/bits"
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
// mask prunes must be +0, so expanding gives the same bytes. Of a moment of X, such
// as exp_avg.X, there is only exp_avg.X.compressed: the rest is that of X.
//
// With Options.Sparse24 it is sparse-24-bitmask: 2 of every 4 columns are kept, X.compressed
// is (R, C/2), and there is no X.row_offsets.
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
	var tensors []stored.Tensor
	for _, o := range p.Outputs {
		t := o.tensor
		t.Info = o.Info
		tensors = append(tensors, t)
	}
	view := &Checkpoint{Path: p.Source.Path, Tensors: tensors, Config: p.Source.Config}
	k, err := view.marksOf(p.Masks, p.Options.Arch)
	if err != nil {
		return fmt.Errorf("convert: %w", err)
	}
	moments := k.addMoments(tensors)
	p.kept = make(map[string]packing)
	for _, o := range p.Outputs {
		marks := k.marks[o.Name]
		if marks == nil {
			continue
		}
		if len(o.Shape) != 2 {
			return fmt.Errorf("convert: tensor %q is %s, only matrices are packed: %w", o.Name, o.Info, ErrUnsupported)
		}
		if b := o.DType.Bits(); b == 0 || b%8 != 0 {
			return fmt.Errorf("convert: tensor %q: elements of %s are no whole bytes: %w", o.Name, o.DType, ErrUnsupported)
		}
		n := o.Shape[0] * o.Shape[1]
		for _, m := range marks {
			n -= m.mask.Total() - m.mask.Kept()
		}
		if p.Options.Sparse24 {
			if err := check24(keptIn(o.Shape, marks)); err != nil {
				return fmt.Errorf("convert: tensor %q, stored as (%d, %d): %w", o.Name, o.Shape[0], o.Shape[1], err)
			}
		}
		p.kept[o.Name] = packing{shape: o.Shape, marks: marks, kept: n, moment: moments[o.Name]}
	}
	return nil
}

// check24 returns an error if a group of 4 elements of a row does not keep 2.
func check24(m *masks.Mask) error {
	if m.In%4 != 0 {
		return fmt.Errorf("%d columns are no multiple of 4: not 2:4", m.In)
	}
	for i := range m.Out {
		for b, v := range m.Row(i) {
			for g, four := range []byte{v & 0x0f, v >> 4} {
				if at := 8*b + 4*g; at < m.In && bits.OnesCount8(four) != 2 {
					return fmt.Errorf("row %d keeps %d of the 4 elements from column %d on, sparse-24-bitmask wants 2", i, bits.OnesCount8(four), at)
				}
			}
		}
	}
	return nil
}

// momentOf returns that of names which a state of an optimizer is of, "" if name
// is no such state: the longest in which it ends, after a dot.
func momentOf(name string, names []string) string {
	owner := ""
	if !isMoment(name) {
		return owner
	}
	for _, w := range names {
		if strings.HasSuffix(name, "."+strip(w)) && len(strip(w)) > len(strip(owner)) {
			owner = w
		}
	}
	return owner
}

// isMoment reports whether a name is that of a state of an optimizer.
func isMoment(name string) bool {
	first, _, _ := strings.Cut(name, ".")
	return slices.Contains([]string{"m", "v", "exp_avg", "exp_avg_sq", "momentum_buffer"}, first) || slices.Contains(trainerKeys, first)
}

// withoutMoments returns the tensors that are no state of an optimizer.
func withoutMoments(tensors []stored.Tensor) []stored.Tensor {
	return slices.DeleteFunc(slices.Clone(tensors), func(t stored.Tensor) bool { return isMoment(t.Name) })
}

// marksByName places masks on tensors of their names and shapes.
func (p *Plan) marksByName(set *masks.Set) (*keeps, error) {
	if err := p.checkPlain(set); err != nil {
		return nil, err
	}
	k := &keeps{plan: p, marks: make(map[string][]mark)}
	for _, m := range set.Masks {
		t, _ := p.tensorOf(m.Name)
		if err := k.add(t, mark{mask: m, view: stored.RowMajor(t.Shape), whole: m}); err != nil {
			return nil, err
		}
	}
	return k, nil
}

// packing is how a matrix is written without what masks prune.
type packing struct {
	shape []int
	marks []mark
	kept  int
	// moment says that the bitmask is that of the weight.
	moment bool
}

// packed returns the tensors that an output is written as: itself, or those of a
// sparse matrix.
func (p *Plan) packed(o Output) []stored.Tensor {
	q, ok := p.kept[o.Name]
	if !ok {
		return []stored.Tensor{o.tensor}
	}
	rows, cols := o.Shape[0], o.Shape[1]
	joint := packedJoint(o.Name)
	computed := func(end string, d formats.DType, shape []int, write func(w io.Writer) error) stored.Tensor {
		n := int64(d.Bits() / 8)
		for _, dim := range shape {
			n *= int64(dim)
		}
		return stored.Tensor{Info: formats.Info{Name: o.Name + joint + end, DType: d, Shape: shape}, Bytes: n, Offset: -1, WriteTo: write}
	}
	numbers := func(w io.Writer, list []int) error {
		b := make([]byte, 0, 8*len(list))
		for _, v := range list {
			b = binary.LittleEndian.AppendUint64(b, uint64(v))
		}
		_, err := w.Write(b)
		return err
	}
	compressed := computed(packedEnd, o.DType, []int{q.kept}, func(w io.Writer) error {
		return o.tensor.Emit(&packer{w: w, name: o.Name, rows: newPackedRows(keptIn(q.shape, q.marks), o.DType.Bits()/8)})
	})
	if q.moment {
		return []stored.Tensor{compressed}
	}
	parts := []stored.Tensor{
		computed(bitmaskEnd, formats.U8, []int{rows, (cols + 7) / 8}, func(w io.Writer) error {
			_, err := w.Write(keptIn(q.shape, q.marks).Bits)
			return err
		}),
		computed(shapeEnd, formats.I64, []int{2}, func(w io.Writer) error { return numbers(w, o.Shape) }),
	}
	if p.Options.Sparse24 {
		compressed.Shape = []int{rows, cols / 2}
		return append(parts, compressed)
	}
	return append(parts, compressed, computed(offsetsEnd, formats.I64, []int{rows}, func(w io.Writer) error {
		offsets, n := keptIn(q.shape, q.marks).RowCounts(), 0
		for i, kept := range offsets {
			offsets[i] = n
			n += kept
		}
		return numbers(w, offsets)
	}))
}

// packedJoint stands between the name of a matrix and what its parts are called:
// a dot, but a dot after another name than X.weight says that the matrix is its
// weight.
func packedJoint(name string) string {
	if isWeight(name) || isMoment(name) {
		return "."
	}
	return "_"
}

func isWeight(name string) bool { return name == "weight" || strings.HasSuffix(name, ".weight") }

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
	format, structure := MasksBitmask, "unstructured"
	if p.Options.Sparse24 {
		format = MasksBitmask24
	}
	if pattern, err := masks.ParsePattern(p.Masks.Recipe.Pattern); err == nil && pattern.Kind == masks.NofM {
		structure = pattern.String()
	}
	return map[string]any{
		"quant_method": "compressed-tensors", "format": "dense", "quantization_status": "compressed", "config_groups": map[string]any{},
		"ignore": []string{}, "kv_cache_scheme": nil, "version": "0.9.0",
		"sparsity_config": map[string]any{
			"format": format, "global_sparsity": math.Round(float64(pruned)/float64(total)*1e4) / 1e4, "sparsity_structure": structure,
			"targets": targets, "ignore": []string{}, "registry_requires_subclass": false,
		},
	}
}

// adaptSparsity puts the sparsity into a config.json, or takes that of the source
// out of it if the result is dense.
func (p *Plan) adaptSparsity(all map[string]json.RawMessage) error {
	delete(all, "sparsity_config")
	for _, home := range []string{"quantization_config", "compression_config"} {
		var config map[string]json.RawMessage
		if raw, ok := all[home]; ok && json.Unmarshal(raw, &config) == nil && config["sparsity_config"] != nil {
			delete(all, home)
		}
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
