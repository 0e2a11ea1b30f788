package masks

import "math/bits"

// fewDraws is the number of draws up to which the smallest are found by
// insertion.
const fewDraws = 64

// keepSmallestOfGroups sets the bits of m, which are all zero, at the n smallest
// draws of every size weights of a row, drawn from the stream key. No two draws
// are equal, and none is kept longer than its group is looked at.
func keepSmallestOfGroups(m *Mask, n, size int, key uint64) {
	state := key
	if size == 4 && m.In%8 == 0 {
		for p := range m.Bits {
			m.Bits[p] = smallestOfFour(state, uint64(n)) | smallestOfFour(state+gamma4, uint64(n))<<4
			state += gamma8
		}
		return
	}
	draws := make([]uint64, size)
	for i := range m.Out {
		row := m.Row(i)
		keep := func(j int) { row[j>>3] |= 1 << (j & 7) }
		for g := 0; g < m.In; g += size {
			for k := range draws {
				state += splitMixGamma
				draws[k] = splitMix(state)
			}
			if size <= fewDraws {
				smallest(draws, n, func(k int) { keep(g + k) })
				continue
			}
			for k, v := range draws {
				draws[k] = ^v
			}
			choose(draws, n, func(k int) { keep(g + k) })
		}
	}
}

// smallestOfFour makes the next four draws and returns a bit for each of the n
// smallest: those of which fewer than n others are smaller.
func smallestOfFour(state, n uint64) byte {
	a, b := splitMix(state+splitMixGamma), splitMix(state+gamma2)
	c, d := splitMix(state+gamma3), splitMix(state+gamma4)
	_, ab := bits.Sub64(a, b, 0) // 1 if a < b
	_, ac := bits.Sub64(a, c, 0)
	_, ad := bits.Sub64(a, d, 0)
	_, bc := bits.Sub64(b, c, 0)
	_, bd := bits.Sub64(b, d, 0)
	_, cd := bits.Sub64(c, d, 0)
	_, ka := bits.Sub64(3-ab-ac-ad, n, 0)
	_, kb := bits.Sub64(2+ab-bc-bd, n, 0)
	_, kc := bits.Sub64(1+ac+bc-cd, n, 0)
	_, kd := bits.Sub64(ad+bd+cd, n, 0)
	return byte(ka | kb<<1 | kc<<2 | kd<<3)
}

// smallest calls take for the indices of the n smallest of at most fewDraws
// numbers, of which no two are equal.
func smallest(draws []uint64, n int, take func(k int)) {
	if n == 0 {
		return
	}
	var best [fewDraws]uint8 // by the size of their draws
	found := 0
	for k, v := range draws {
		at := found
		if found == n {
			if at--; v > draws[best[at]] {
				continue
			}
		} else {
			found++
		}
		for ; at > 0 && v < draws[best[at-1]]; at-- {
			best[at] = best[at-1]
		}
		best[at] = uint8(k)
	}
	for _, k := range best[:found] {
		take(int(k))
	}
}
