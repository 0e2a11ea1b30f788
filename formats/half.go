package formats

import (
	"encoding/binary"
	"math"
	"sync"

	"github.com/x448/float16"
)

// DecodeF16 converts little-endian IEEE 754 binary16 to float32, exactly:
//
//	dst[i] = float32(src[2i:2i+2])
//
// A signalling NaN becomes quiet, as in hardware; its other payload bits stay.
// It looks each code up, which is several times as fast as computing it.
// It panics if len(src) != 2*len(dst).
func DecodeF16(dst []float32, src []byte) {
	if len(src) != 2*len(dst) {
		panic("formats: len(src) != 2*len(dst)")
	}
	table := f16Table()
	for i := range dst {
		dst[i] = table[binary.LittleEndian.Uint16(src)]
		src = src[2:]
	}
}

// f16Table holds the value of each of the 65536 codes (256 KiB).
var f16Table = sync.OnceValue(func() *[1 << 16]float32 {
	t := new([1 << 16]float32)
	for i := range t {
		t[i] = float16.Frombits(uint16(i)).Float32()
	}
	return t
})

// EncodeF16 converts float32 to little-endian IEEE 754 binary16, rounding to
// nearest, ties to even, and returns how many finite values became infinite
// (magnitude 65520 or more). It panics if len(dst) != 2*len(src).
func EncodeF16(dst []byte, src []float32) (overflowed int) {
	if len(dst) != 2*len(src) {
		panic("formats: len(dst) != 2*len(src)")
	}
	for _, v := range src {
		h := float16.Fromfloat32(v)
		if h.IsInf(0) && !math.IsInf(float64(v), 0) {
			overflowed++
		}
		binary.LittleEndian.PutUint16(dst, h.Bits())
		dst = dst[2:]
	}
	return overflowed
}

// DecodeBF16 converts little-endian bfloat16, the upper half of a float32, to
// float32 with every bit kept. It panics if len(src) != 2*len(dst).
func DecodeBF16(dst []float32, src []byte) {
	if len(src) != 2*len(dst) {
		panic("formats: len(src) != 2*len(dst)")
	}
	for i := range dst {
		dst[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(src)) << 16)
		src = src[2:]
	}
}

// EncodeBF16 converts float32 to little-endian bfloat16, rounding to nearest,
// ties to even; a finite value above the largest bfloat16 becomes infinite, a
// NaN stays a NaN and becomes quiet. It panics if len(dst) != 2*len(src).
func EncodeBF16(dst []byte, src []float32) {
	if len(dst) != 2*len(src) {
		panic("formats: len(dst) != 2*len(src)")
	}
	for _, v := range src {
		binary.LittleEndian.PutUint16(dst, bf16Bits(v))
		dst = dst[2:]
	}
}

// bf16Bits adds just under half a unit in the last kept place, or exactly half
// when the kept part is odd, so that the carry out of the dropped half rounds.
func bf16Bits(v float32) uint16 {
	b := math.Float32bits(v)
	if v != v {
		// The carry could turn a NaN whose payload is all ones into zero, and
		// dropping the low half could turn one into an infinity.
		return uint16(b>>16) | 0x0040
	}
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}
