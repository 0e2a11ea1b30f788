package kerneltest

import (
	"encoding/binary"
	"fmt"
	"math"
	"testing"

	"github.com/spdfctl/spdfctl/kernels"
)

// The fuzz targets run every set of this CPU, the reference among them, on the
// same numbers, which may be any bit pattern.

// floats reads little-endian float32s; at most limit of them.
func floats(data []byte, limit int) []float32 {
	x := make([]float32, min(len(data)/4, limit))
	for i := range x {
		x[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
	}
	return x
}

func seed(f *testing.F) {
	f.Add([]byte{}, byte(0))
	for _, n := range []int{1, 3, 16, 37, 130} {
		var data []byte
		for i := range n {
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(float32(i)-8.5))
		}
		f.Add(data, byte(n))
	}
	var data []byte
	for _, v := range specials {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
	}
	f.Add(data, byte(5))
}

// each fails the test if check does on any set.
func each(t *testing.T, check func(set *kernels.Set) error) {
	t.Helper()
	for _, set := range kernels.Sets() {
		if err := check(set); err != nil {
			t.Errorf("set %s: %v", set.Name, err)
		}
	}
}

func FuzzDot(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, data []byte, offset byte) {
		all := floats(data, 400)
		n := len(all) / 2
		x := newGuarded("x", n, int(offset%16), values(all[:n]))
		y := newGuarded("y", n, int(offset/16), values(all[n:2*n]))
		want, mass := dot64(x.s, y.s)
		each(t, func(set *kernels.Set) error {
			got := set.Dot(x.s, y.s)
			return first(agreeOrOverflow(got, want, mass, n+1), x.unchanged(), y.unchanged())
		})
	})
}

// agreeOrOverflow is agree, but lets a sum with infinite terms be NaN or
// infinite: a partial sum of finite terms may overflow to the other infinity.
func agreeOrOverflow(got float32, want, mass float64, k int) error {
	if math.IsInf(mass, 1) && !math.IsNaN(want) {
		if math.IsNaN(float64(got)) || math.IsInf(float64(got), 0) {
			return nil
		}
		return fmt.Errorf("got %g, want %g", got, want)
	}
	return agree(got, want, mass, k)
}

func FuzzAxpy(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, data []byte, offset byte) {
		all := floats(data, 401)
		if len(all) == 0 {
			return
		}
		alpha, all := all[0], all[1:]
		n := len(all) / 2
		each(t, func(set *kernels.Set) error {
			dst := newGuarded("dst", n, int(offset%16), values(all[:n]))
			x := newGuarded("x", n, int(offset/16), values(all[n:2*n]))
			set.Axpy(dst.s, x.s, alpha)
			for i, old := range dst.old() {
				p := float64(alpha) * float64(x.s[i])
				if err := agree(dst.s[i], float64(old)+p, math.Abs(p)+math.Abs(float64(old)), 2); err != nil {
					return fmt.Errorf("%g + %g*%g: %w", old, alpha, x.s[i], err)
				}
			}
			return first(dst.intact(), x.unchanged())
		})
	})
}

func FuzzExpSum(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, data []byte, offset byte) {
		x := floats(data, 200)
		shift := float32(0)
		if len(x) > 1 {
			shift, x = x[0], x[1:]
		}
		each(t, func(set *kernels.Set) error { return expSumCase(set, x, int(offset%16), shift) })
	})
}

func FuzzGELU(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, data []byte, offset byte) {
		x := floats(data, 200)
		for i, v := range x { // the limits have their own check
			if !(math.Abs(float64(v)) < 1e3) {
				x[i] = 1
			}
		}
		each(t, func(set *kernels.Set) error {
			dst := newGuarded("dst", len(x), int(offset%16), func(s []float32) { clear(s) })
			in := newGuarded("x", len(x), int(offset/16), values(x))
			set.GELU(dst.s, in.s)
			for i, v := range x {
				if err := agree(dst.s[i], gelu64(float64(v)), math.Abs(float64(v)), geluUlps); err != nil {
					return fmt.Errorf("gelu(%g): %w", v, err)
				}
			}
			return first(dst.intact(), in.unchanged())
		})
	})
}

// FuzzSparse reads a mask from the data and compares the sparse products with
// sums in float64.
func FuzzSparse(f *testing.F) {
	f.Add([]byte{}, byte(1), byte(1), byte(1))
	f.Add([]byte{0xff, 0x0f, 0x80, 0x01}, byte(3), byte(11), byte(5))
	f.Add([]byte{0x55, 0xaa, 0x00, 0x10, 0xff, 0xff}, byte(2), byte(130), byte(65))
	f.Fuzz(func(t *testing.T, data []byte, out, in, tokens byte) {
		m := &mask{out: int(out), in: int(in)}
		stride := (m.in + 7) / 8
		m.bits = make([]byte, m.out*stride)
		copy(m.bits, data)
		for i := range m.out {
			for j := range m.in {
				if m.bits[i*stride+j/8]>>(j%8)&1 == 1 {
					m.kept = append(m.kept, [2]int{i, j})
				}
			}
		}
		s, err := m.structure()
		if err != nil {
			t.Fatal(err)
		}
		each(t, withSetError(func() error { return sparseCase(newRand(1), m, s, int(tokens)%100, 1) }))
	})
}

func withSetError(f func() error) func(*kernels.Set) error {
	check := withSet(func(*kernels.Set, bool) error { return f() })
	return func(set *kernels.Set) error { return check(set, true) }
}
