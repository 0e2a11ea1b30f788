package formats_test

import (
	"encoding/binary"
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/spdfctl/spdfctl/formats"
)

// half decodes a code of a binary format by its definition, in float64, where
// every step is exact. NaN codes are excluded.
func half(code uint16, mantissaBits int) float64 {
	bias := 1<<(14-mantissaBits) - 1
	sign := 1 - 2*float64(code>>15)
	exponent := int(code&0x7fff) >> mantissaBits
	mantissa := float64(int(code) & (1<<mantissaBits - 1))
	switch {
	case exponent == 2*bias+1:
		return math.Inf(int(sign))
	case exponent == 0:
		return math.Copysign(math.Ldexp(mantissa, 1-bias-mantissaBits), sign)
	}
	return sign * math.Ldexp(mantissa+math.Ldexp(1, mantissaBits), exponent-bias-mantissaBits)
}

func isNaNCode(code uint16, mantissaBits int) bool {
	return code&0x7fff > 0x7fff>>mantissaBits<<mantissaBits
}

var halves = []struct {
	name         string
	mantissaBits int
	decode       func(dst []float32, src []byte)
	encode       func(dst []byte, src []float32)
}{
	{"F16", 10, formats.DecodeF16, func(dst []byte, src []float32) { formats.EncodeF16(dst, src) }},
	{"BF16", 7, formats.DecodeBF16, formats.EncodeBF16},
}

func TestHalfEveryCode(t *testing.T) {
	for _, h := range halves {
		t.Run(h.name, func(t *testing.T) {
			codes := make([]byte, 2<<16)
			for i := range 1 << 16 {
				binary.LittleEndian.PutUint16(codes[2*i:], uint16(i))
			}
			values := make([]float32, 1<<16)
			h.decode(values, codes)
			back := make([]byte, 2<<16)
			h.encode(back, values)
			for i, v := range values {
				code := uint16(i)
				again := binary.LittleEndian.Uint16(back[2*i:])
				if isNaNCode(code, h.mantissaBits) {
					quiet := code | 1<<(h.mantissaBits-1)
					if v == v || again != quiet {
						t.Fatalf("code %#04x: got %v and back %#04x, want NaN and %#04x", code, v, again, quiet)
					}
					continue
				}
				want := half(code, h.mantissaBits)
				if float64(v) != want || math.Signbit(float64(v)) != math.Signbit(want) {
					t.Fatalf("code %#04x: got %v, want %v", code, v, want)
				}
				if again != code {
					t.Fatalf("code %#04x: back %#04x", code, again)
				}
			}
		})
	}
}

// Between two neighbouring codes lie exactly three cases: below, at and above
// the middle. The middle of two F16 or BF16 neighbours is a float32.
func TestHalfRounding(t *testing.T) {
	for _, h := range halves {
		t.Run(h.name, func(t *testing.T) {
			inf := uint16(0x7fff >> h.mantissaBits << h.mantissaBits)
			for code := range inf {
				low, high := half(code, h.mantissaBits), half(code+1, h.mantissaBits)
				if code+1 == inf {
					high = low + (low - half(code-1, h.mantissaBits)) // where the next code would be
				}
				middle := float32((low + high) / 2)
				even := code + code&1
				for _, sign := range []uint16{0, 0x8000} {
					factor := 1 - 2*float32(sign>>15)
					in := []float32{
						factor * math.Nextafter32(middle, 0), factor * middle, factor * math.Nextafter32(middle, math.MaxFloat32),
					}
					want := []uint16{sign | code, sign | even, sign | code + 1}
					out := make([]byte, 6)
					h.encode(out, in)
					for i := range in {
						if got := binary.LittleEndian.Uint16(out[2*i:]); got != want[i] {
							t.Fatalf("%x: got %#04x, want %#04x", in[i], got, want[i])
						}
					}
				}
			}
		})
	}
}

func TestEncodeBF16KeepsNaN(t *testing.T) {
	for _, bits := range []uint32{0x7f800001, 0x7fffffff, 0xff800001, 0xffffffff, 0x7f80ffff} {
		var out [2]byte
		formats.EncodeBF16(out[:], []float32{math.Float32frombits(bits)})
		if got := binary.LittleEndian.Uint16(out[:]); !isNaNCode(got, 7) || got>>15 != uint16(bits>>31) {
			t.Errorf("%#08x: got %#04x, want a NaN of the same sign", bits, got)
		}
	}
}

func TestEncodeF16CountsOverflow(t *testing.T) {
	in := []float32{65504, 65519, 65520, -65520, math.MaxFloat32, float32(math.Inf(1)), float32(math.NaN())}
	if got, want := formats.EncodeF16(make([]byte, 2*len(in)), in), 3; got != want {
		t.Errorf("got %d overflowed, want %d", got, want)
	}
}

// A value that is rounded is never further from the result than half the
// distance of the result's neighbours.
func TestHalfNearest(t *testing.T) {
	for _, h := range halves {
		t.Run(h.name, rapid.MakeCheck(func(t *rapid.T) {
			v := rapid.Float32Range(-65504, 65504).Draw(t, "v")
			out := make([]byte, 2)
			h.encode(out, []float32{v})
			code := binary.LittleEndian.Uint16(out)
			got := math.Abs(half(code, h.mantissaBits) - float64(v))
			for _, neighbour := range []uint16{code - 1, code + 1} {
				if isNaNCode(neighbour, h.mantissaBits) {
					continue
				}
				if other := math.Abs(half(neighbour, h.mantissaBits) - float64(v)); other < got {
					t.Fatalf("%v: code %#04x is %g away, %#04x only %g", v, code, got, neighbour, other)
				}
			}
		}))
	}
}

func TestHalfPanicsOnLengths(t *testing.T) {
	calls := map[string]func(){
		"DecodeF16":  func() { formats.DecodeF16(make([]float32, 2), make([]byte, 5)) },
		"DecodeBF16": func() { formats.DecodeBF16(make([]float32, 2), make([]byte, 3)) },
		"EncodeF16":  func() { formats.EncodeF16(make([]byte, 3), make([]float32, 2)) },
		"EncodeBF16": func() { formats.EncodeBF16(make([]byte, 5), make([]float32, 2)) },
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if _, ok := recover().(string); !ok {
					t.Error("got no panic with a string")
				}
			}()
			call()
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	const n = 1 << 18
	src := make([]byte, 2*n)
	for i := range n {
		binary.LittleEndian.PutUint16(src[2*i:], uint16(i*40503))
	}
	dst := make([]float32, n)
	for _, h := range halves {
		b.Run(h.name, func(b *testing.B) {
			b.SetBytes(2 * n)
			for b.Loop() {
				h.decode(dst, src)
			}
		})
	}
}
