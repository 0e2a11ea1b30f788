package masks

import (
	"math/bits"
	"slices"
)

// score is a number by which weights compete: the larger stays.
type score interface{ uint32 | uint64 }

const (
	// radixBits is the digit by which the threshold of a long list is narrowed
	// down, rowBits that of a list of up to shortList scores, whose counts are
	// looked through more quickly.
	radixBits = 16
	rowBits   = 11
	shortList = 1 << 16
	// fewScores is the number of scores up to which they are sorted.
	fewScores = 1 << 7
)

// selector finds the largest of many scores. Its memory serves one list after
// the other.
type selector[T score] struct {
	counts [1 << radixBits]int
	few    []T
}

// threshold returns the k-th largest score, k being at least 1, and how many of
// those equal to it are among the k largest and how many are not. first, unless
// it is nil, counts the digits of radixBits that the scores begin with.
func (s *selector[T]) threshold(scores []T, k int, first *[1 << radixBits]int) (cut T, equal, surplus int) {
	if len(scores) <= fewScores {
		s.few = append(s.few[:0], scores...)
		slices.Sort(s.few)
		at := len(scores) - k
		cut = s.few[at]
		for equal = 1; at+equal < len(scores) && s.few[at+equal] == cut; equal++ {
		}
		for ; surplus < at && s.few[at-1-surplus] == cut; surplus++ {
		}
		return cut, equal, surplus
	}
	step := radixBits
	if len(scores) <= shortList {
		step = rowBits
	}
	width := 32
	if uint64(^T(0)) > 1<<32 {
		width = 64
	}
	equal = k
	gathered := true // scores are those that agree with cut so far
	for high := width; ; {
		shift := max(high-step, 0)
		counts := s.counts[:1<<(high-shift)]
		clear(counts)
		switch {
		case high == width && step == radixBits && first != nil:
			s.counts = *first
		case gathered:
			countDigits(&s.counts, scores, shift, len(counts)-1)
		default:
			countDigitsOf(&s.counts, scores, cut, shift, high)
		}
		digit := len(counts) - 1
		for ; counts[digit] < equal; digit-- {
			equal -= counts[digit]
		}
		cut |= T(digit) << shift
		if shift == 0 {
			return cut, equal, counts[digit] - equal
		}
		// Those in doubt are taken out, unless they are so many that it would
		// cost more memory than it saves time.
		if n := counts[digit]; gathered && n <= len(scores)/4 {
			s.few = slices.Grow(s.few[:0], n)
			list := s.few[:n]
			n = 0
			for _, v := range scores {
				if v>>shift == cut>>shift {
					list[n] = v
					n++
				}
			}
			scores = list
		} else {
			gathered = false
		}
		high = shift
	}
}

// countDigits counts the digits above shift, up to most, of all scores.
func countDigits[T score](counts *[1 << radixBits]int, scores []T, shift, most int) {
	for _, v := range scores {
		counts[uint16(uint64(v)>>(shift&63))&uint16(most)]++
	}
}

// countDigitsOf counts the digits from shift to high of the scores that agree
// with cut from high on.
func countDigitsOf[T score](counts *[1 << radixBits]int, scores []T, cut T, shift, high int) {
	most := 1<<(high-shift) - 1
	for _, v := range scores {
		if v>>high == cut>>high {
			counts[uint16(uint64(v)>>(shift&63))&uint16(most)]++
		}
	}
}

// choose calls take for the indices of the k largest scores, in order; of equal
// ones the first are taken. It panics if k is outside 0 to len(scores).
func choose[T score](scores []T, k int, take func(i int)) {
	if k < 0 || k > len(scores) {
		panic("masks: more to choose than there are")
	}
	if k == 0 {
		return
	}
	cut, equal, _ := new(selector[T]).threshold(scores, k, nil)
	for i, s := range scores {
		if s > cut {
			take(i)
		} else if s == cut && equal > 0 {
			equal--
			take(i)
		}
	}
}

// keepLine sets the bits of the k largest scores in dst: that of scores[i] is bit
// i%8 of byte i/8, and the bits after the last are cleared.
func (s *selector[T]) keepLine(dst []byte, scores []T, k int) {
	if k == 0 {
		clear(dst)
		return
	}
	cut, _, surplus := s.threshold(scores, k, nil)
	setAtLeast(dst, scores, cut)
	// Of equal scores the first stay.
	for i := len(scores) - 1; surplus > 0; i-- {
		if scores[i] == cut {
			dst[i>>3] &^= 1 << (i & 7)
			surplus--
		}
	}
}

// setAtLeast writes a bit for every score, 1 where it is cut or more, and zero
// bits after the last. It has no branches: which weights stay cannot be foreseen.
func setAtLeast[T score](dst []byte, scores []T, cut T) {
	c := uint64(cut)
	for len(scores) >= 8 {
		r := (*[8]T)(scores)
		_, b0 := bits.Sub64(uint64(r[0]), c, 0)
		_, b1 := bits.Sub64(uint64(r[1]), c, 0)
		_, b2 := bits.Sub64(uint64(r[2]), c, 0)
		_, b3 := bits.Sub64(uint64(r[3]), c, 0)
		_, b4 := bits.Sub64(uint64(r[4]), c, 0)
		_, b5 := bits.Sub64(uint64(r[5]), c, 0)
		_, b6 := bits.Sub64(uint64(r[6]), c, 0)
		_, b7 := bits.Sub64(uint64(r[7]), c, 0)
		dst[0] = ^byte(b0 | b1<<1 | b2<<2 | b3<<3 | b4<<4 | b5<<5 | b6<<6 | b7<<7)
		scores, dst = scores[8:], dst[1:]
	}
	if len(scores) > 0 {
		var v byte
		for bit, s := range scores {
			if s >= cut {
				v |= 1 << bit
			}
		}
		dst[0] = v
	}
}
