package kernels

import "math"

// AttentionSlots is AttentionDecode for keys and values that lie apart: those of
// token j are row slots[j] of k and v (rows, C), so that several continuations
// of one text share its rows. dst and q are (C); the bits are AttentionDecode's.
//
// It runs on the thread that calls it: a batch calls it for many texts at once.
// It panics if a slice is too short, slots is empty or a slot is not a row.
func AttentionSlots(dst, q, k, v []float32, slots []int32, nh, hs int) {
	c, t := nh*hs, len(slots)
	must(t > 0 && nh >= 0 && hs >= 0, "kernels: AttentionSlots: size out of range")
	must(len(dst) >= c && len(q) >= c, "kernels: AttentionSlots: dst or q is shorter than c")
	if c == 0 {
		return
	}
	rows := min(len(k), len(v)) / c
	for _, s := range slots {
		must(s >= 0 && int(s) < rows, "kernels: AttentionSlots: slot is not a row of k and v")
	}
	set := current
	scale := float32(1 / math.Sqrt(float64(hs)))
	scores := borrow(nh * t)
	defer scores.giveBack()
	for j, s := range slots {
		row := k[int(s)*c:][:c]
		for h := range nh {
			scores.data[h*t+j] = set.Dot(q[h*hs:][:hs], row[h*hs:][:hs])
		}
	}
	sums := borrow(nh)
	defer sums.giveBack()
	for h := range nh {
		p := scores.data[h*t:][:t]
		set.Scale(p, scale)
		sums.data[h] = set.ExpSum(p, p, set.Max(p))
	}
	clear(dst[:c])
	for j, s := range slots {
		row := v[int(s)*c:][:c]
		for h := range nh {
			set.Axpy(dst[h*hs:][:hs], row[h*hs:][:hs], scores.data[h*t+j])
		}
	}
	for h := range nh {
		set.Scale(dst[h*hs:][:hs], 1/sums.data[h])
	}
}
