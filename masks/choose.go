package masks

// score is a number by which weights compete: the larger stays.
type score interface{ uint32 | uint64 }

// radixBits is the digit by which choose narrows the threshold down.
const radixBits = 16

// choose calls take for the indices of the k largest scores, in order; of equal
// ones the first are taken. It panics if k is outside 0 to len(scores).
func choose[T score](scores []T, k int, take func(i int)) {
	if k < 0 || k > len(scores) {
		panic("masks: more to choose than there are")
	}
	if k == 0 {
		return
	}
	cut, equal := threshold(scores, k)
	for i, s := range scores {
		if s > cut {
			take(i)
		} else if s == cut && equal > 0 {
			equal--
			take(i)
		}
	}
}

// threshold returns the k-th largest score and how many of those equal to it are
// among the k largest.
func threshold[T score](scores []T, k int) (cut T, equal int) {
	width := 32
	if uint64(^T(0)) > 1<<32 {
		width = 64
	}
	equal = k
	counts := make([]int, 1<<radixBits)
	for shift := width - radixBits; shift >= 0; shift -= radixBits {
		clear(counts)
		high := uint(shift + radixBits)
		for _, s := range scores {
			if high == uint(width) || s>>high == cut>>high {
				counts[s>>shift&(1<<radixBits-1)]++
			}
		}
		digit := len(counts) - 1
		for ; counts[digit] < equal; digit-- {
			equal -= counts[digit]
		}
		cut |= T(digit) << shift
	}
	return cut, equal
}
