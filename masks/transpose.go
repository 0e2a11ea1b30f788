package masks

// Transposed returns the mask of the transposed matrix, under the same name:
// weight (j, i) of it is kept where weight (i, j) of m is.
func (m *Mask) Transposed() *Mask {
	t := New(m.Name, m.Part, m.In, m.Out)
	stride, down := m.Stride(), t.Stride()
	for i := 0; i < m.Out; i += 8 {
		rows := min(8, m.Out-i)
		for b := range stride {
			var square uint64 // byte k is row i+k
			for k := range rows {
				square |= uint64(m.Bits[(i+k)*stride+b]) << (8 * k)
			}
			if square == 0 {
				continue
			}
			square = transpose8(square)
			for k := range min(8, m.In-8*b) {
				t.Bits[(8*b+k)*down+i/8] = byte(square >> (8 * k))
			}
		}
	}
	return t
}

// transpose8 exchanges bits 8*r+c and 8*c+r, in squares of 1, 2 and 4 bits.
//
// Source: Warren, Hacker's Delight, section 7-3.
func transpose8(x uint64) uint64 {
	for _, s := range [...]struct {
		shift uint
		mask  uint64
	}{{7, 0x00aa00aa00aa00aa}, {14, 0x0000cccc0000cccc}, {28, 0x00000000f0f0f0f0}} {
		swap := (x ^ x>>s.shift) & s.mask
		x ^= swap ^ swap<<s.shift
	}
	return x
}
