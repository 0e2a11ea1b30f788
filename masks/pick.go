package masks

import "math/bits"

// pick keeps the best scores of every group of a pattern other than Block. first
// are the counts of the first digits of all scores, if they are known.
func pick[T score](m *Mask, kept int, p Pattern, scores []T, first *[1 << radixBits]int) {
	sel := new(selector[T])
	switch p.Kind {
	case NofM:
		pickGroups(sel, m, kept/p.unit(m.Target()), p.B, scores)
	case BalancedRows:
		for i := range m.Out {
			sel.keepLine(m.Row(i), scores[i*m.In:(i+1)*m.In], share(kept, m.Out, i))
		}
	case BalancedColumns:
		pickColumns(sel, m, kept, scores)
	default:
		if kept > 0 {
			cut, _, surplus := sel.threshold(scores, kept, first)
			fillAtLeast(m, scores, cut)
			for e := len(scores) - 1; surplus > 0; e-- {
				if scores[e] == cut {
					m.Put(e/m.In, e%m.In, false)
					surplus--
				}
			}
		}
	}
}

// fillAtLeast keeps the scores from cut on.
func fillAtLeast[T score](m *Mask, scores []T, cut T) {
	for i := range m.Out {
		setAtLeast(m.Row(i), scores[i*m.In:(i+1)*m.In], cut)
	}
}

// columnsAtOnce is how many columns are gathered together: a cache line of
// 32-bit scores.
const columnsAtOnce = 16

// pickColumns keeps the best scores of every column.
func pickColumns[T score](sel *selector[T], m *Mask, kept int, scores []T) {
	cuts, ties := make([]T, m.In), make([]int, m.In) // ties: how many equal ones stay
	lines := make([]T, columnsAtOnce*m.Out)
	for first := 0; first < m.In; first += columnsAtOnce {
		n := min(columnsAtOnce, m.In-first)
		for i := range m.Out {
			for j, v := range scores[i*m.In+first:][:n] {
				lines[j*m.Out+i] = v
			}
		}
		for j := range n {
			cuts[first+j] = ^T(0)
			if k := share(kept, m.In, first+j); k > 0 {
				cuts[first+j], ties[first+j], _ = sel.threshold(lines[j*m.Out:(j+1)*m.Out], k, nil)
			}
		}
	}
	for i := range m.Out {
		row := m.Row(i)
		for j, v := range scores[i*m.In : (i+1)*m.In] {
			_, below := bits.Sub64(uint64(v), uint64(cuts[j]), 0)
			if v == cuts[j] {
				if ties[j] > 0 {
					ties[j]--
				} else {
					below = 1
				}
			}
			row[j>>3] |= byte(below^1) << (j & 7)
		}
	}
}

// wordGroup is the largest M of which the groups of N:M are looked at in one
// word.
const wordGroup = 64

// pickGroups keeps the n best of every size scores of a row.
func pickGroups[T score](sel *selector[T], m *Mask, n, size int, scores []T) {
	if size == 4 && m.In%8 == 0 {
		for p := range m.Bits {
			s := (*[8]T)(scores[8*p:])
			m.Bits[p] = bestOfFour(s[0], s[1], s[2], s[3], uint64(n)) | bestOfFour(s[4], s[5], s[6], s[7], uint64(n))<<4
		}
		return
	}
	group := make([]T, size)
	line := make([]byte, (size+7)/8)
	for i := range m.Out {
		row := m.Row(i)
		for g := 0; g < m.In; g += size {
			copy(group, scores[i*m.In+g:])
			if size <= wordGroup {
				orBits(row, g, bestOf(group, n))
				continue
			}
			sel.keepLine(line, group, n)
			for b, v := range line {
				orBits(row, g+8*b, uint64(v))
			}
		}
	}
}

// bestOfFour returns a bit for each of the n best of four scores: those of which
// fewer than n others are better, of equal ones the earlier.
func bestOfFour[T score](a, b, c, d T, n uint64) byte {
	_, ab := bits.Sub64(uint64(a), uint64(b), 0) // 1 if b is better than a
	_, ac := bits.Sub64(uint64(a), uint64(c), 0)
	_, ad := bits.Sub64(uint64(a), uint64(d), 0)
	_, bc := bits.Sub64(uint64(b), uint64(c), 0)
	_, bd := bits.Sub64(uint64(b), uint64(d), 0)
	_, cd := bits.Sub64(uint64(c), uint64(d), 0)
	_, ka := bits.Sub64(ab+ac+ad, n, 0)
	_, kb := bits.Sub64(1-ab+bc+bd, n, 0)
	_, kc := bits.Sub64(2-ac-bc+cd, n, 0)
	_, kd := bits.Sub64(3-ad-bd-cd, n, 0)
	return byte(ka | kb<<1 | kc<<2 | kd<<3)
}

// bestOf returns a bit for each of the n best of at most wordGroup scores, of
// equal ones the earlier. It overwrites the scores.
func bestOf[T score](scores []T, n int) uint64 {
	all := ^uint64(0) >> (wordGroup - len(scores))
	chosen := uint64(0)
	if 2*n <= len(scores) {
		for range n {
			best := T(0)
			for _, v := range scores {
				best = max(best, v)
			}
			one := equalTo(scores, best) &^ chosen
			one &= -one
			scores[bits.TrailingZeros64(one)] = 0
			chosen |= one
		}
		return chosen
	}
	for range len(scores) - n {
		worst := ^T(0)
		for _, v := range scores {
			worst = min(worst, v)
		}
		at := bits.Len64(equalTo(scores, worst)&^chosen) - 1
		scores[at] = ^T(0)
		chosen |= 1 << at
	}
	return all &^ chosen
}

// equalTo returns a bit for each score that is v.
func equalTo[T score](scores []T, v T) uint64 {
	set := uint64(0)
	for k, s := range scores {
		_, same := bits.Sub64(uint64(s^v), 1, 0)
		set |= same << (k & 63)
	}
	return set
}

// orBits sets the bits of v in row, from bit at on.
func orBits(row []byte, at int, v uint64) {
	for b := at >> 3; v != 0; b++ {
		row[b] |= byte(v << (at & 7))
		v >>= 8 - at&7
		at = 0
	}
}
