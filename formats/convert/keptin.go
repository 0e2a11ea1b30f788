package convert

import (
	"github.com/spdfctl/spdfctl/formats/stored"
	"github.com/spdfctl/spdfctl/masks"
)

// keptIn returns what marks keep of a tensor in the order in which it is stored:
// a row is its last dimension, and what no mask is of is kept.
func keptIn(shape []int, marks []mark) *masks.Mask {
	cols := shape[len(shape)-1]
	m := masks.New("", "", stored.RowMajor(shape).Elements()/cols, cols)
	for i := range m.Out {
		row := m.Row(i)
		for b := range row {
			row[b] = 0xff
		}
		row[len(row)-1] >>= (8 - cols%8) % 8
	}
	for _, k := range marks {
		k.pruneIn(m)
	}
	return m
}

// pruneIn prunes in m, which is all of a stored tensor, what the mask does.
func (k mark) pruneIn(m *masks.Mask) {
	mask, v := k.mask, k.view
	row, col := v.Offset/m.In, v.Offset%m.In
	switch {
	case v.Strides[1] == 1 && v.Strides[0] == m.In && col+mask.In <= m.In:
	case v.Strides[0] == 1 && v.Strides[1] == m.In && col+mask.Out <= m.In:
		mask = mask.Transposed() // as a Conv1D stores it
	default:
		for i := range mask.Out {
			for j := range mask.In {
				if e := v.Offset + i*v.Strides[0] + j*v.Strides[1]; !mask.Keep(i, j) {
					m.Put(e/m.In, e%m.In, false)
				}
			}
		}
		return
	}
	for i := range mask.Out {
		pruneBits(m.Row(row+i), col, mask.Row(i), mask.In)
	}
}

// pruneBits clears those of the n bits of dst from bit at on that are clear in
// src.
func pruneBits(dst []byte, at int, src []byte, n int) {
	dst, shift := dst[at/8:], at%8
	for b, v := range src {
		pruned := ^v
		if rest := n - 8*b; rest < 8 {
			pruned &= 1<<rest - 1
		}
		dst[b] &^= pruned << shift
		if over := pruned >> (8 - shift); over != 0 {
			dst[b+1] &^= over
		}
	}
}
