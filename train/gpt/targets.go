package gpt

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spdfctl/spdfctl/masks"
)

// fusedParts are the logical matrices of c_attn in the order of their columns.
var fusedParts = []string{"q", "k", "v"}

// MaskTargets lists the matrices that a mask sparsifies, block after block:
// W_Q, W_K and W_V, which are the parts q, k and v of c_attn, W_D, W_I and W_O.
// Embeddings, positions, LayerNorms, biases and the head stay dense.
//
// Source: Thangarasa et al., "SPDF", UAI 2023, supplement A.1.
func MaskTargets(c Config) []masks.Target {
	width, inner := c.NEmbd, c.Inner()
	list := make([]masks.Target, 0, 6*c.NLayer)
	for i := range c.NLayer {
		h := "h." + strconv.Itoa(i) + "."
		for _, part := range fusedParts {
			list = append(list, masks.Target{Name: h + "attn.c_attn.weight", Part: part, Out: width, In: width})
		}
		list = append(list,
			masks.Target{Name: h + "attn.c_proj.weight", Out: width, In: width},
			masks.Target{Name: h + "mlp.c_fc.weight", Out: inner, In: width},
			masks.Target{Name: h + "mlp.c_proj.weight", Out: width, In: inner})
	}
	return list
}

// StoredTarget returns the shape of the stored tensor that holds the matrix t,
// and where in it the matrix lies. GPT-2 stores Conv1D weights, (in, out), and
// c_attn as the columns of q, k and v side by side, (in, 3*out). It returns an
// error if t is not a matrix of a GPT-2 block.
func StoredTarget(t masks.Target) (shape []int, place masks.Placement, err error) {
	rest, inBlock := strings.CutPrefix(t.Name, "h.")
	layer, module, _ := strings.Cut(rest, ".")
	if n, err := strconv.Atoi(layer); !inBlock || err != nil || strconv.Itoa(n) != layer || n < 0 {
		module = ""
	}
	columns, offset := t.Out, 0
	switch module {
	case "attn.c_attn.weight":
		part := -1
		for i, p := range fusedParts {
			if p == t.Part {
				part = i
			}
		}
		if part < 0 {
			return nil, masks.Placement{}, fmt.Errorf("gpt: mask %q: part is %q, one of %q is wanted", t.Key(), t.Part, fusedParts)
		}
		columns, offset = 3*t.Out, part*t.Out
	case "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight":
		if t.Part != "" {
			return nil, masks.Placement{}, fmt.Errorf("gpt: mask %q: %s has no parts", t.Key(), t.Name)
		}
	default:
		return nil, masks.Placement{}, fmt.Errorf("gpt: mask %q: not a matrix of a GPT-2 block", t.Key())
	}
	return []int{t.In, columns},
		masks.Placement{Offset: offset, RowStride: 1, ColStride: columns, Elements: t.In * columns}, nil
}
