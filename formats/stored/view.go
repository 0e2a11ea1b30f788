package stored

import "errors"

// View is a strided array: element (i0, i1, ...) of an array of shape Dims is
// element Offset + i0*Strides[0] + i1*Strides[1] + ... of what it views. Strides
// count elements and are not negative.
type View struct {
	Dims    []int
	Strides []int
	Offset  int
}

// RowMajor returns the view of a contiguous array of that shape.
func RowMajor(dims []int) View {
	strides := make([]int, len(dims))
	step := 1
	for i := len(dims) - 1; i >= 0; i-- {
		strides[i] = step
		step *= max(dims[i], 1)
	}
	return View{Dims: dims, Strides: strides}
}

// Elements returns the number of elements, the product of Dims.
func (v View) Elements() int {
	n := 1
	for _, d := range v.Dims {
		n *= d
	}
	return n
}

// errView is what Span reports.
var errView = errors.New("dimensions, strides and offset leave the range of the storage")

// Span returns the first element that the view touches and the one after the
// last, or 0, 0 if it has no elements. It returns an error if a dimension, a
// stride or the offset is negative, or if an element lies past limit.
func (v View) Span(limit int) (first, end int, err error) {
	if len(v.Dims) != len(v.Strides) || v.Offset < 0 {
		return 0, 0, errView
	}
	empty := false
	for i, d := range v.Dims {
		if d < 0 || v.Strides[i] < 0 {
			return 0, 0, errView
		}
		empty = empty || d == 0
	}
	if empty {
		return 0, 0, nil
	}
	last := v.Offset
	if last >= limit {
		return 0, 0, errView
	}
	for i, d := range v.Dims {
		// Neither product nor sum can overflow: both stay below limit.
		if d > 1 && v.Strides[i] > 0 {
			if v.Strides[i] > (limit-1-last)/(d-1) {
				return 0, 0, errView
			}
			last += (d - 1) * v.Strides[i]
		}
	}
	return v.Offset, last + 1, nil
}

// Contiguous reports whether the elements, in row-major order, are consecutive.
func (v View) Contiguous() bool {
	step := 1
	for i := len(v.Dims) - 1; i >= 0; i-- {
		if v.Dims[i] == 0 {
			return true
		}
		if v.Dims[i] > 1 && v.Strides[i] != step {
			return false
		}
		step *= v.Dims[i]
	}
	return true
}
