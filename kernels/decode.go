package kernels

import "math"

// AttentionDecode is the attention of one new token: q (C) is its query, k and
// v (t, C) are the cached keys and values, its own included; dst is (C).
//
//	dst = softmax(q·kᵀ / sqrt(hs)) v  for each head
//
// with C = nh*hs. It panics if a slice is too short or t is not positive.
func AttentionDecode(dst, q, k, v []float32, t, nh, hs int) {
	c := nh * hs
	must(t > 0 && nh >= 0 && hs >= 0, "kernels: AttentionDecode: size out of range")
	must(len(dst) >= c && len(q) >= c, "kernels: AttentionDecode: dst or q is shorter than c")
	must(len(k) >= t*c && len(v) >= t*c, "kernels: AttentionDecode: k or v does not hold t × c")
	if c == 0 {
		return
	}
	set := current
	scale := float32(1 / math.Sqrt(float64(hs)))
	Parallel(nh, func(n int) {
		scores := borrow(t)
		at := n * hs
		for j := range t {
			scores.data[j] = set.Dot(q[at:at+hs], k[j*c+at:][:hs])
		}
		set.Scale(scores.data, scale)
		sum := set.ExpSum(scores.data, scores.data, set.Max(scores.data))
		out := dst[at : at+hs]
		clear(out)
		for j, p := range scores.data {
			set.Axpy(out, v[j*c+at:][:hs], p)
		}
		set.Scale(out, 1/sum)
		scores.giveBack()
	})
}
