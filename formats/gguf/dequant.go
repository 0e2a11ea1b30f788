package gguf

import (
	"fmt"

	"github.com/spdfctl/spdfctl/formats"
)

// CanDequantize reports whether Dequantize knows a type.
func CanDequantize(d formats.DType) bool { return d == "Q8_0" || d == "Q4_0" }

// Dequantize converts blocks of a type to float32, exactly: each block starts
// with its scale d, an F16, and
//
//	Q8_0: 32 int8 q             dst[i]    = d * q[i]
//	Q4_0: 16 bytes of two q     dst[i]    = d * (low(i) - 8)
//	                            dst[16+i] = d * (high(i) - 8)
//
// It returns an error for other types, and panics unless src holds whole blocks
// and dst as many elements.
func Dequantize(dst []float32, d formats.DType, src []byte) error {
	b, ok := blockByName(d)
	if !ok || !CanDequantize(d) {
		return fmt.Errorf("gguf: %s is not dequantised here: %w", d, ErrUnsupported)
	}
	if len(src)%b.bytes != 0 || len(dst) != len(src)/b.bytes*b.elements {
		panic("gguf: len(dst) does not fit the blocks of src")
	}
	var scale [1]float32
	for ; len(src) > 0; src, dst = src[b.bytes:], dst[b.elements:] {
		formats.DecodeF16(scale[:], src[:2])
		q := src[2:b.bytes]
		if d == "Q8_0" {
			for i, v := range q {
				dst[i] = scale[0] * float32(int8(v))
			}
			continue
		}
		for i, v := range q {
			dst[i] = scale[0] * float32(int(v&15)-8)
			dst[16+i] = scale[0] * float32(int(v>>4)-8)
		}
	}
	return nil
}
