package formats

import (
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
)

// Info describes one stored tensor: its name, element type and shape. Elements
// are row-major and little-endian. A scalar has an empty shape.
type Info struct {
	Name  string
	DType DType
	Shape []int
}

// NumElements returns the product of the shape, 1 for a scalar. It returns an
// error if a dimension is negative or the product of the dimensions, taken from
// the left, leaves the range of int64.
func (i Info) NumElements() (int64, error) {
	n := uint64(1)
	for _, d := range i.Shape {
		if d < 0 {
			return 0, fmt.Errorf("shape %s has a negative dimension", shapeString(i.Shape))
		}
		hi, lo := bits.Mul64(n, uint64(d))
		if hi != 0 || lo > math.MaxInt64 {
			return 0, fmt.Errorf("shape %s has more than %d elements", shapeString(i.Shape), int64(math.MaxInt64))
		}
		n = lo
	}
	return int64(n), nil
}

// NumBytes returns the number of bytes that the elements take, packed. It
// returns an error if the element type is unknown, if the size leaves the range
// of int64, or if the elements of a sub-byte type do not fill whole bytes.
func (i Info) NumBytes() (int64, error) {
	size := i.DType.Bits()
	if size == 0 {
		return 0, fmt.Errorf("dtype %q is unknown", string(i.DType))
	}
	n, err := i.NumElements()
	if err != nil {
		return 0, err
	}
	hi, lo := bits.Mul64(uint64(n), uint64(size))
	if hi != 0 || lo > math.MaxInt64 {
		return 0, fmt.Errorf("%s %s takes more than %d bits", i.DType, shapeString(i.Shape), int64(math.MaxInt64))
	}
	if lo%8 != 0 {
		return 0, fmt.Errorf("%s %s takes %d bits, which is not a whole number of bytes", i.DType, shapeString(i.Shape), lo)
	}
	return int64(lo / 8), nil
}

// String returns element type and shape as errors print them: F32 (768, 2304).
func (i Info) String() string {
	return string(i.DType) + " " + shapeString(i.Shape)
}

func shapeString(shape []int) string {
	var b strings.Builder
	b.WriteByte('(')
	for k, d := range shape {
		if k > 0 {
			b.WriteString(", ")
		}
		b.WriteString(strconv.Itoa(d))
	}
	b.WriteByte(')')
	return b.String()
}
