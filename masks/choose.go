package masks

import "slices"

// score is a number by which weights compete: the larger stays.
type score interface{ uint32 | uint64 }

// radixBits is the digit by which the threshold is narrowed down.
const radixBits = 16

// fewScores is the number of scores up to which sorting them is faster than
// clearing the counts of all digits.
const fewScores = 1 << 14

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

// threshold returns the k-th largest score, k being at least 1, and how many of
// those equal to it are among the k largest.
func threshold[T score](scores []T, k int) (cut T, equal int) {
	if len(scores) <= fewScores {
		sorted := slices.Clone(scores)
		slices.Sort(sorted)
		at := len(sorted) - k
		cut = sorted[at]
		for equal = 1; at+equal < len(sorted) && sorted[at+equal] == cut; equal++ {
		}
		return cut, equal
	}
	width := 32
	if uint64(^T(0)) > 1<<32 {
		width = 64
	}
	equal = k
	counts := make([]int, 1<<radixBits)
	for shift := width - radixBits; shift >= 0; shift -= radixBits {
		clear(counts)
		countDigits(counts, scores, cut, shift, width)
		digit := len(counts) - 1
		for ; counts[digit] < equal; digit-- {
			equal -= counts[digit]
		}
		cut |= T(digit) << shift
	}
	return cut, equal
}

// countDigits counts the digits above shift of the scores that agree with cut in
// the digits before.
func countDigits[T score](counts []int, scores []T, cut T, shift, width int) {
	const mask = 1<<radixBits - 1
	if high := shift + radixBits; high < width {
		for _, s := range scores {
			if s>>high == cut>>high {
				counts[s>>shift&mask]++
			}
		}
		return
	}
	for _, s := range scores {
		counts[s>>shift&mask]++
	}
}
