package convert

import (
	"slices"

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
	if len(v.Dims) == 2 && v.Strides[0] == 1 && v.Strides[1] == m.In && col+mask.Out <= m.In {
		mask = mask.Transposed() // as a Conv1D stores it
		for j := range mask.Out {
			pruneBits(m.Row(row+j), col, mask.Row(j), mask.In)
		}
		return
	}
	step := v.Strides[len(v.Strides)-1]
	for i := range mask.Out {
		e := k.rowAt(i)
		if step == 1 && e%m.In+mask.In <= m.In {
			pruneBits(m.Row(e/m.In), e%m.In, mask.Row(i), mask.In)
			continue
		}
		for j := range mask.In {
			if !mask.Keep(i, j) {
				m.Put((e+j*step)/m.In, (e+j*step)%m.In, false)
			}
		}
	}
}

// rowAt returns the element of the tensor that row i of the mask begins with.
func (k mark) rowAt(i int) int {
	e := k.view.Offset
	for d := len(k.view.Dims) - 2; d >= 0; d-- {
		e += i % k.view.Dims[d] * k.view.Strides[d]
		i /= k.view.Dims[d]
	}
	return e
}

// finder returns a function that says which row and column of the mask an
// element of the tensor is; ok is false if it is outside.
func (k mark) finder() func(e int) (row, col int, ok bool) {
	v := k.view
	order := make([]int, len(v.Dims)) // widest stride first
	for d := range order {
		order[d] = d
	}
	slices.SortFunc(order, func(a, b int) int { return v.Strides[b] - v.Strides[a] })
	index, last := make([]int, len(v.Dims)), len(v.Dims)-1
	return func(e int) (row, col int, ok bool) {
		rest := e - v.Offset
		for _, d := range order {
			if index[d] = rest / v.Strides[d]; rest < 0 || index[d] >= v.Dims[d] {
				return 0, 0, false
			}
			rest %= v.Strides[d]
		}
		for d, i := range index[:last] {
			row = row*v.Dims[d] + i
		}
		return k.first + row, index[last], rest == 0
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
