package main

import "testing"

// The bytes are those that GNU as 2.40 writes for the same instructions, its
// operands in the opposite order.
func TestEncode(t *testing.T) {
	for _, c := range []struct {
		op        bf16Op
		dst, a, b int
		want      [6]byte
	}{
		{vdpbf16ps, 4, 1, 2, [6]byte{0x62, 0xf2, 0x76, 0x48, 0x52, 0xe2}},
		{vdpbf16ps, 31, 0, 3, [6]byte{0x62, 0x62, 0x7e, 0x48, 0x52, 0xfb}},
		{vdpbf16ps, 9, 30, 17, [6]byte{0x62, 0x32, 0x0e, 0x40, 0x52, 0xc9}},
		{vdpbf16ps, 20, 8, 12, [6]byte{0x62, 0xc2, 0x3e, 0x48, 0x52, 0xe4}},
		{vcvtne2ps2bf16, 29, 31, 30, [6]byte{0x62, 0x02, 0x07, 0x40, 0x72, 0xee}},
		{vcvtne2ps2bf16, 2, 1, 0, [6]byte{0x62, 0xf2, 0x77, 0x48, 0x72, 0xd0}},
	} {
		if got := c.op.encode(c.dst, c.a, c.b); got != c.want {
			t.Errorf("encode(%d, %d, %d) of opcode %#x = % x, want % x", c.dst, c.a, c.b, c.op.opcode, got, c.want)
		}
	}
}
