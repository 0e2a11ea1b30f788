package masks

import "math/bits"

// keepSmallestOfGroups sets the bits of m, which are all zero, at the n smallest
// draws of every size weights of a row, drawn from the stream key. Their scores
// are the draws turned round. No two draws are equal, and none is kept longer
// than its group is looked at.
func keepSmallestOfGroups(m *Mask, n, size int, key uint64) {
	state := key
	if size == 4 && m.In%8 == 0 {
		for p := range m.Bits {
			m.Bits[p] = smallestOfFour(state, uint64(n)) | smallestOfFour(state+gamma4, uint64(n))<<4
			state += gamma8
		}
		return
	}
	if size == 8 {
		for p := range m.Bits {
			m.Bits[p] = smallestOfEight(state, n)
			state += gamma8
		}
		return
	}
	sel := new(selector[uint64])
	scores := make([]uint64, size)
	line := make([]byte, (size+7)/8)
	for i := range m.Out {
		row := m.Row(i)
		for g := 0; g < m.In; g += size {
			for k := range scores {
				state += splitMixGamma
				scores[k] = ^splitMix(state)
			}
			if size <= wordGroup {
				orBits(row, g, bestOf(scores, n))
				continue
			}
			sel.keepLine(line, scores, n)
			for b, v := range line {
				orBits(row, g+8*b, uint64(v))
			}
		}
	}
}

// smallestOfFour makes the next four draws and returns a bit for each of the n
// smallest.
func smallestOfFour(state, n uint64) byte {
	return bestOfFour(^splitMix(state+splitMixGamma), ^splitMix(state+gamma2), ^splitMix(state+gamma3), ^splitMix(state+gamma4), n)
}

// smallestOfEight is smallestOfFour for the next eight draws: of them, or of those
// that stay away if they are fewer, one after the other is found.
func smallestOfEight(state uint64, n int) byte {
	flip := uint64(0)
	if n > 4 {
		n, flip = 8-n, ^flip
	}
	d0, d1 := splitMix(state+splitMixGamma)^flip, splitMix(state+gamma2)^flip
	d2, d3 := splitMix(state+gamma3)^flip, splitMix(state+gamma4)^flip
	d4, d5 := splitMix(state+gamma5)^flip, splitMix(state+gamma6)^flip
	d6, d7 := splitMix(state+gamma7)^flip, splitMix(state+gamma8)^flip
	set := uint64(0)
	for range n {
		m := min(min(min(d0, d1), min(d2, d3)), min(min(d4, d5), min(d6, d7)))
		_, s0 := bits.Sub64(d0^m, 1, 0) // 1 if it is the smallest
		_, s1 := bits.Sub64(d1^m, 1, 0)
		_, s2 := bits.Sub64(d2^m, 1, 0)
		_, s3 := bits.Sub64(d3^m, 1, 0)
		_, s4 := bits.Sub64(d4^m, 1, 0)
		_, s5 := bits.Sub64(d5^m, 1, 0)
		_, s6 := bits.Sub64(d6^m, 1, 0)
		_, s7 := bits.Sub64(d7^m, 1, 0)
		set |= s0 | s1<<1 | s2<<2 | s3<<3 | s4<<4 | s5<<5 | s6<<6 | s7<<7
		d0, d1, d2, d3 = d0|-s0, d1|-s1, d2|-s2, d3|-s3
		d4, d5, d6, d7 = d4|-s4, d5|-s5, d6|-s6, d7|-s7
	}
	return byte(set ^ flip)
}
