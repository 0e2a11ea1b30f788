package convert

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/stored"
	"github.com/spdfctl/spdfctl/masks"
)

// The layouts in which other tools keep masks.
const (
	// MasksTorch is X_orig beside X_mask, of torch.nn.utils.prune.
	MasksTorch = "torch"
	// MasksCstorch is X beside X_mask, of Cerebras.
	MasksCstorch = "cstorch"
	// MasksNaN is NaN in the place of every pruned weight.
	MasksNaN = "nan"
	// MasksPacked is eight elements to a byte, the first in the most significant
	// bit, row by row without padding between rows: MaskLLM, JaxPruner.
	MasksPacked = "packed"
	// MasksBitmask is compressed-tensors' sparse-bitmask, and MasksBitmask24
	// sparse-24-bitmask.
	MasksBitmask   = "sparse-bitmask"
	MasksBitmask24 = "sparse-24-bitmask"
	// MasksBool is an array of truth values for each matrix.
	MasksBool = "bool"
)

// MaskLayouts lists the layouts of foreign masks.
var MaskLayouts = []string{MasksTorch, MasksCstorch, MasksNaN, MasksPacked, MasksBitmask, MasksBitmask24, MasksBool}

// maskEnd and origEnd are the ends of the names of PyTorch's buffers.
const (
	maskEnd = "_mask"
	origEnd = "_orig"
)

// ReadMasks reads the masks of another tool. layout is one of MaskLayouts, or
// empty if it is to be told by the names; model, if not nil, is a checkpoint that
// gives the names, the shapes and the layout of the weights, without which the
// checkpoint itself does, or a matrix is taken as (out, in). It returns the number
// of parameters of the model too, 0 if only masks are there.
//
// It returns an error for a value of a mask that is neither 0 nor 1, a mask that
// has not the shape of its weight, bits past the last one, a member of a zip file
// whose CRC-32 is wrong, a tensor that cannot be read, and whatever else keeps the
// masks from being what the layout says.
func (c *Checkpoint) ReadMasks(layout string, model *Checkpoint) ([]*masks.Mask, int, error) {
	if layout == "" {
		layout = c.maskLayout()
	}
	read := map[string]func(*Checkpoint) (map[string]stored.Tensor, error){
		MasksTorch: c.besideMasks, MasksCstorch: c.besideMasks, MasksNaN: c.nanMasks, MasksPacked: c.bitMasks, MasksBitmask: c.packedMasks(false), MasksBitmask24: c.packedMasks(true), MasksBool: c.boolMasks,
	}[layout]
	if read == nil {
		return nil, 0, fmt.Errorf("convert: %s: %q is no layout of masks, only %s are", c.Path, layout, strings.Join(MaskLayouts, ", "))
	}
	if err := c.checkWhole(); err != nil {
		return nil, 0, fmt.Errorf("convert: %s: %w", c.Path, err)
	}
	found, err := read(model)
	if err != nil {
		return nil, 0, fmt.Errorf("convert: %s: masks as %s: %w", c.Path, layout, err)
	}
	if len(found) == 0 {
		return nil, 0, fmt.Errorf("convert: %s: holds no masks as %s", c.Path, layout)
	}
	// A checkpoint whose masked tensors hold what is kept: where the matrices lie
	// in them is found as in any other.
	like := model
	if like == nil {
		like = c
	}
	view := &Checkpoint{Path: c.Path, Config: like.Config}
	used := make(map[string]bool)
	for _, t := range withoutMoments(like.Tensors) {
		base, isMask := strings.CutSuffix(t.Name, maskEnd)
		if _, ok := found[base]; ok && isMask {
			continue
		}
		base = strings.TrimSuffix(t.Name, origEnd)
		if k, ok := found[base]; ok && !used[base] {
			if !slices.Equal(k.Shape, t.Shape) {
				return nil, 0, fmt.Errorf("convert: %s: mask of %q is %v, the weight is %s", c.Path, base, k.Shape, t.Info)
			}
			t, used[base] = k, true
		}
		view.Tensors = append(view.Tensors, t)
	}
	for name, t := range found {
		if !used[name] {
			if model != nil {
				return nil, 0, fmt.Errorf("convert: %s: mask of %q: the model has no such tensor", c.Path, name)
			}
			view.Tensors = append(view.Tensors, t)
		}
	}
	slices.SortFunc(view.Tensors, func(a, b stored.Tensor) int { return masks.CompareNames(a.Name, b.Name) })
	ms, err := view.Matrices("")
	if err != nil {
		return nil, 0, err
	}
	var list []*masks.Mask
	reached := make(map[string]bool)
	for _, t := range ms.Targets {
		p := ms.places[t.Key()]
		if _, ok := found[p.tensor.Name]; !ok {
			continue
		}
		keep, err := p.tensor.Load()
		if err != nil {
			return nil, 0, err
		}
		flat := make([]byte, t.Total())
		gather(flat, p.view, func(e int) byte { return keep[e] })
		list = append(list, maskFrom(t.Name, t.Part, flat, stored.RowMajor([]int{t.Out, t.In})))
		reached[p.tensor.Name] = true
	}
	for name, t := range found {
		if !reached[name] {
			return nil, 0, fmt.Errorf("convert: %s: mask of %q, %v, is of no matrix that masks are of", c.Path, name, t.Shape)
		}
	}
	if layout == MasksBitmask || layout == MasksBitmask24 {
		if err := c.checkStated(list, ms.Parameters); err != nil {
			return nil, 0, fmt.Errorf("convert: %s: %w", c.Path, err)
		}
	}
	parameters := ms.Parameters
	if model == nil && (layout == MasksBool || layout == MasksPacked) {
		parameters = 0
	}
	return list, parameters, nil
}

// maskLayout tells the layout by the names and types.
func (c *Checkpoint) maskLayout() string {
	if len(c.Packed) > 0 {
		if slices.ContainsFunc(c.Packed, func(p *Packed) bool { return p.offsets != nil }) {
			return MasksBitmask
		}
		return MasksBitmask24
	}
	bools := true
	for _, t := range c.Tensors {
		if base, ok := strings.CutSuffix(t.Name, maskEnd); ok {
			if slices.ContainsFunc(c.Tensors, named(base+origEnd)) {
				return MasksTorch
			}
			return MasksCstorch
		}
		bools = bools && t.DType == formats.BOOL
	}
	switch {
	case bools:
		return MasksBool
	case !slices.ContainsFunc(c.Tensors, func(t stored.Tensor) bool { return t.DType != formats.U8 }):
		return MasksPacked
	}
	return MasksNaN
}

// checkWhole makes sure that no tensor is left out, and that zip files are as they
// were written: a mask has no other sign of a flipped bit.
func (c *Checkpoint) checkWhole() error {
	for _, r := range c.Refusals {
		return fmt.Errorf("tensor %q %s: %w", r.Name, r.Reason, ErrUnsupported)
	}
	if c.Format != Npz && c.Format != TorchZip {
		return nil
	}
	for _, f := range c.sources {
		z, err := stored.OpenZip(f)
		if err != nil {
			return err
		}
		if err := z.CheckSums(); err != nil {
			return err
		}
	}
	return nil
}

// keepTensor is a tensor of one byte for each element, 1 where it is kept.
func keepTensor(name string, shape []int, keep []byte) stored.Tensor {
	return stored.InMemory(formats.Info{Name: name, DType: formats.U8, Shape: shape}, keep)
}

// besideMasks reads X_mask, with X_orig or X beside it.
func (c *Checkpoint) besideMasks(*Checkpoint) (map[string]stored.Tensor, error) {
	byName := make(map[string]stored.Tensor, len(c.Tensors))
	for _, t := range c.Tensors {
		byName[t.Name] = t
	}
	found := make(map[string]stored.Tensor)
	for _, t := range c.Tensors {
		if base, ok := strings.CutSuffix(t.Name, origEnd); ok {
			if _, ok := byName[base+maskEnd]; !ok {
				return nil, fmt.Errorf("tensor %q: there is no %q", t.Name, base+maskEnd)
			}
		}
		base, ok := strings.CutSuffix(t.Name, maskEnd)
		if !ok {
			continue
		}
		weight, ok := byName[base+origEnd]
		if !ok {
			weight, ok = byName[base]
		}
		matrix := len(t.Shape) == 2
		switch {
		case !ok && !matrix:
			continue // such as a causal mask
		case !ok:
			return nil, fmt.Errorf("tensor %q: there is neither %q nor %q", t.Name, base, base+origEnd)
		case !slices.Equal(weight.Shape, t.Shape):
			return nil, fmt.Errorf("tensor %q is %s, the weight %s", t.Name, t.Info, weight.Info)
		}
		keep, err := zeroOrOne(t)
		if err != nil {
			return nil, err
		}
		if matrix {
			found[base] = keepTensor(base, t.Shape, keep)
		} else if slices.Contains(keep, 0) {
			return nil, fmt.Errorf("tensor %q is %s: only matrices have masks here: %w", t.Name, t.Info, ErrUnsupported)
		}
	}
	return found, nil
}

// zeroOrOne returns a byte for each element of a tensor that holds zeros and ones.
func zeroOrOne(t stored.Tensor) ([]byte, error) {
	size := t.DType.Bits() / 8
	var one []byte
	switch t.DType {
	case formats.BOOL, formats.U8, formats.I8:
		one = []byte{1}
	case formats.I16, formats.U16, formats.I32, formats.U32, formats.I64, formats.U64:
		one = make([]byte, size)
		one[0] = 1
	case formats.F16:
		one = []byte{0x00, 0x3c}
	case formats.BF16:
		one = []byte{0x80, 0x3f}
	case formats.F32:
		one = binary.LittleEndian.AppendUint32(nil, math.Float32bits(1))
	case formats.F64:
		one = binary.LittleEndian.AppendUint64(nil, math.Float64bits(1))
	default:
		return nil, fmt.Errorf("tensor %q: a mask of %s", t.Name, t.DType)
	}
	data, err := t.Load()
	if err != nil {
		return nil, err
	}
	keep, zero := make([]byte, len(data)/size), make([]byte, size)
	for i := range keep {
		switch e := data[i*size : (i+1)*size]; {
		case bytes.Equal(e, one):
			keep[i] = 1
		case !bytes.Equal(e, zero):
			return nil, fmt.Errorf("tensor %q: element %d is neither 0 nor 1", t.Name, i)
		}
	}
	return keep, nil
}

// nanMasks reads weights in which what is pruned is NaN.
func (c *Checkpoint) nanMasks(*Checkpoint) (map[string]stored.Tensor, error) {
	found := make(map[string]stored.Tensor)
	for _, t := range c.Tensors {
		if !isFloat(t.DType) || len(t.Shape) != 2 || castable(t.Name, t.DType, formats.F64) != nil {
			continue
		}
		b := &byteSink{}
		if err := t.Emit(newCaster(b, t.DType, formats.F64)); err != nil {
			return nil, err
		}
		keep, pruned := ones(len(b.data)/8), false
		for i := range keep {
			if v := math.Float64frombits(binary.LittleEndian.Uint64(b.data[8*i:])); math.IsNaN(v) {
				keep[i], pruned = 0, true
			} else if math.IsInf(v, 0) {
				return nil, fmt.Errorf("tensor %q: element %d is %g: these are no weights", t.Name, i, v)
			}
		}
		if pruned {
			found[t.Name] = keepTensor(t.Name, t.Shape, keep)
		}
	}
	return found, nil
}

// bitMasks reads arrays of bytes whose bits are the elements.
func (c *Checkpoint) bitMasks(model *Checkpoint) (map[string]stored.Tensor, error) {
	if model == nil {
		return nil, fmt.Errorf("the shapes are not in the file: a model has to give them")
	}
	found := make(map[string]stored.Tensor)
	for _, t := range c.Tensors {
		name := strings.TrimSuffix(t.Name, maskEnd)
		i := slices.IndexFunc(model.Tensors, func(w stored.Tensor) bool { return strip(w.Name) == strip(name) })
		if i < 0 {
			return nil, fmt.Errorf("array %q: the model has no such tensor", t.Name)
		}
		w := model.Tensors[i]
		n, _ := w.NumElements()
		if t.DType != formats.U8 || t.Bytes != (n+7)/8 {
			return nil, fmt.Errorf("array %q is %s, %d elements need U8 of %d bytes", t.Name, t.Info, n, (n+7)/8)
		}
		data, err := t.Load()
		if err != nil {
			return nil, err
		}
		keep := make([]byte, n)
		for i := range keep {
			keep[i] = data[i/8] >> (7 - i%8) & 1
		}
		if n%8 != 0 && data[len(data)-1]<<(n%8) != 0 {
			return nil, fmt.Errorf("array %q has a bit set past element %d", t.Name, n-1)
		}
		found[w.Name] = keepTensor(w.Name, w.Shape, keep)
	}
	return found, nil
}

// packedMasks returns what reads the bitmasks of packed matrices, all of 2:4 if
// only24.
func (c *Checkpoint) packedMasks(only24 bool) func(*Checkpoint) (map[string]stored.Tensor, error) {
	return func(*Checkpoint) (map[string]stored.Tensor, error) {
		found := make(map[string]stored.Tensor)
		for _, p := range c.Packed {
			if isMoment(p.Name) {
				continue // has the mask of its weight
			}
			if only24 && p.offsets != nil {
				return nil, fmt.Errorf("tensor %q has row_offsets: it is %s", p.Name, MasksBitmask)
			}
			mask, err := p.Bitmask()
			if err != nil {
				return nil, err
			}
			keep, stride := make([]byte, p.Rows*p.Cols), (p.Cols+7)/8
			for i := range p.Rows {
				for j := range p.Cols {
					keep[i*p.Cols+j] = mask[i*stride+j/8] >> (j % 8) & 1
				}
			}
			found[p.Name] = keepTensor(p.Name, []int{p.Rows, p.Cols}, keep)
		}
		return found, nil
	}
}

// boolMasks reads arrays of truth values.
func (c *Checkpoint) boolMasks(*Checkpoint) (map[string]stored.Tensor, error) {
	found := make(map[string]stored.Tensor)
	for _, t := range c.Tensors {
		if t.DType != formats.BOOL || len(t.Shape) != 2 {
			return nil, fmt.Errorf("array %q is %s, want BOOL and two dimensions", t.Name, t.Info)
		}
		keep, err := zeroOrOne(t)
		if err != nil {
			return nil, err
		}
		name := strings.TrimSuffix(t.Name, maskEnd)
		found[name] = keepTensor(name, t.Shape, keep)
	}
	return found, nil
}

// ForeignMasks returns the tensors that another tool keeps the masks of set in.
// The checkpoint gives names and layout, and for torch, cstorch and nan the
// weights; for compressed-tensors' layouts there is Options.Sparse.
func (c *Checkpoint) ForeignMasks(layout string, set *masks.Set) ([]stored.Tensor, error) {
	k, err := c.marksOf(set, "")
	if err != nil {
		return nil, fmt.Errorf("convert: %w", err)
	}
	var list []stored.Tensor
	for _, t := range c.Tensors {
		if k.marks[t.Name] == nil {
			if layout != MasksPacked && layout != MasksBool {
				list = append(list, t)
			}
			continue
		}
		keep := k.of(t)
		mask := stored.InMemory(formats.Info{Name: t.Name + maskEnd, DType: formats.BOOL, Shape: t.Shape}, keep)
		switch layout {
		case MasksTorch:
			t.Name += origEnd
			list = append(list, t, mask)
		case MasksCstorch:
			list = append(list, t, mask)
		case MasksBool:
			mask.Name = t.Name
			list = append(list, mask)
		case MasksPacked:
			data := make([]byte, (len(keep)+7)/8)
			for i, v := range keep {
				data[i/8] |= v << (7 - i%8)
			}
			list = append(list, stored.InMemory(formats.Info{Name: t.Name, DType: formats.U8, Shape: []int{len(data)}}, data))
		case MasksNaN:
			marked, err := withNaN(t, keep)
			if err != nil {
				return nil, err
			}
			list = append(list, marked)
		default:
			return nil, fmt.Errorf("convert: masks are not written as %q", layout)
		}
	}
	return list, nil
}

// withNaN returns a tensor in which what is not kept is NaN.
func withNaN(t stored.Tensor, keep []byte) (stored.Tensor, error) {
	nan := map[formats.DType][]byte{
		formats.F64: binary.LittleEndian.AppendUint64(nil, 0x7ff8<<48), formats.F32: binary.LittleEndian.AppendUint32(nil, 0x7fc0<<16),
		formats.BF16: {0xc0, 0x7f}, formats.F16: {0x00, 0x7e},
	}[t.DType]
	if nan == nil {
		return t, fmt.Errorf("convert: tensor %q: %s has no NaN to mark what is pruned: %w", t.Name, t.DType, ErrUnsupported)
	}
	from := t
	t.Offset, t.Range = -1, nil
	t.WriteTo = func(w io.Writer) error {
		data, err := from.Load()
		if err != nil {
			return err
		}
		for i, v := range keep {
			if v == 0 {
				copy(data[i*len(nan):], nan)
			}
		}
		_, err = w.Write(data)
		return err
	}
	return t, nil
}
