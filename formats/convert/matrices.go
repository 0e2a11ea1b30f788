package convert

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spdfctl/spdfctl/formats/stored"
	"github.com/spdfctl/spdfctl/masks"
)

// Matrices are the matrices of a checkpoint that a mask can be of, in whatever
// layout they are stored.
type Matrices struct {
	// Targets are the matrices of the blocks, under the names that masks have in
	// the layout hf; of a checkpoint of no known architecture all matrices whose
	// names have nothing of embeddings, norms and heads in them.
	Targets []masks.Target
	// Parameters counts the elements of all tensors, tied ones once.
	Parameters int

	places map[string]matrixPlace // by the key of the target
}

// matrixPlace says where a matrix lies. view has the rows in their true order
// and may have more than two dimensions.
type matrixPlace struct {
	tensor stored.Tensor
	view   stored.View
}

// notSparsified are parts of names of tensors that stay dense.
//
// Source: cerebras.pytorch, sparse/configure.py, default_sparse_param_filter; wte,
// wpe, token_embd and output are the names of GPT-2 and GGUF.
var notSparsified = []string{"embed", "norm", "lm_head", "wte", "wpe", "position", "ln_", "output.weight"}

// Matrices finds the matrices of the checkpoint. arch may name the architecture.
func (c *Checkpoint) Matrices(arch string) (*Matrices, error) {
	ms := &Matrices{places: make(map[string]matrixPlace)}
	add := func(t masks.Target, tensor stored.Tensor, v stored.View) error {
		if err := t.Check(); err != nil {
			return err
		}
		if _, ok := ms.places[t.Key()]; ok {
			return fmt.Errorf("convert: %s: two tensors are the matrix %q", c.Path, t.Key())
		}
		ms.Targets = append(ms.Targets, t)
		ms.places[t.Key()] = matrixPlace{tensor, v}
		return nil
	}
	second := make(map[string]bool)
	for _, group := range c.Aliases {
		for _, name := range group[1:] {
			second[name] = true
		}
	}
	tensors := withoutMoments(c.Tensors)
	m, err := recognise(c, tensors, arch)
	if err != nil && arch != "" {
		return nil, err
	}
	for _, t := range tensors {
		n, _ := t.NumElements()
		if second[t.Name] {
			continue
		}
		ms.Parameters += int(n)
		name := strings.ToLower(t.Name)
		if m != nil || len(t.Shape) != 2 || slices.ContainsFunc(notSparsified, func(part string) bool { return strings.Contains(name, part) }) {
			continue
		}
		if err := add(masks.Target{Name: strip(t.Name), Out: t.Shape[0], In: t.Shape[1]}, t, stored.RowMajor(t.Shape)); err != nil {
			return nil, err
		}
	}
	if m == nil {
		return ms.checked(c)
	}
	ms.Parameters = m.parameters()
	for _, s := range m.family.maskedSlots(m.family.layouts[0], m.dims) {
		src, ok := m.slots[s.slot]
		if !ok || !strings.Contains(s.slot, ".") { // wte, wpe, head
			continue
		}
		v := src.place.view
		t := masks.Target{Name: s.name, Part: s.part, Out: v.Dims[0], In: v.Dims[1]}
		if src.place.heads > 0 {
			v = byHeads(v, src.place.heads, true)
		}
		if err := add(t, src.tensor, v); err != nil {
			return nil, err
		}
	}
	return ms.checked(c)
}

func (ms *Matrices) checked(c *Checkpoint) (*Matrices, error) {
	if len(ms.Targets) == 0 {
		return nil, fmt.Errorf("convert: %s: holds no matrix that a mask could be of", c.Path)
	}
	slices.SortFunc(ms.Targets, func(a, b masks.Target) int { return masks.CompareNames(a.Key(), b.Key()) })
	return ms, nil
}

// parameters counts the elements of all slots.
func (m *model) parameters() int {
	n := 0
	for _, s := range m.slots {
		n += s.place.view.Elements()
	}
	return n
}

// byteSink collects what is written. It is no io.ReaderFrom, so that files are
// read into it without a lock.
type byteSink struct{ data []byte }

func (b *byteSink) Write(p []byte) (int, error) {
	b.data = append(b.data, p...)
	return len(p), nil
}

// tile is the side of the squares in which a transposed matrix is read.
const tile = 32

// gather writes to dst, row by row, what at gives for the elements of a view.
func gather[T any](dst []T, v stored.View, at func(e int) T) {
	if len(v.Dims) > 2 {
		step := len(dst) / v.Dims[0]
		for i := range v.Dims[0] {
			gather(dst[i*step:(i+1)*step], stored.View{Dims: v.Dims[1:], Strides: v.Strides[1:], Offset: v.Offset + i*v.Strides[0]}, at)
		}
		return
	}
	rows, cols := v.Dims[0], v.Dims[1]
	for i0 := 0; i0 < rows; i0 += tile {
		for j0 := 0; j0 < cols; j0 += tile {
			for i := i0; i < min(i0+tile, rows); i++ {
				e := v.Offset + i*v.Strides[0] + j0*v.Strides[1]
				row := dst[i*cols+j0 : i*cols+min(j0+tile, cols)]
				for j := range row {
					row[j] = at(e)
					e += v.Strides[1]
				}
			}
		}
	}
}

// CerebrasName returns the name that Cerebras gives to a matrix of GPT-2, or "" if
// t is none.
func CerebrasName(t masks.Target) string {
	for i := range gpt2HF.rows {
		r := &gpt2HF.rows[i]
		layer, ok := matches(r.name, t.Name)
		if !ok {
			continue
		}
		for _, slot := range strings.Fields(r.slots) {
			if part := slot[strings.LastIndexByte(slot, '.')+1:]; t.Part != "" && part != t.Part {
				continue
			}
			for k := range gpt2Cerebras.rows {
				if gpt2Cerebras.rows[k].slots == slot {
					return at(gpt2Cerebras.rows[k].name, layer)
				}
			}
		}
	}
	return ""
}
