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
	decodeCalls.parallel(nh, decodeArgs{current, dst, q, k, v, t, hs, c}, (*decodeArgs).head)
}

// decodeArgs are the arguments of AttentionDecode.
type decodeArgs struct {
	set          *Set
	dst, q, k, v []float32
	t, hs, c     int
}

var decodeCalls calls[decodeArgs]

// head computes head n.
func (a *decodeArgs) head(n int) {
	set, hs, at := a.set, a.hs, n*a.hs
	scores := borrow(a.t)
	for j := range scores.data {
		scores.data[j] = set.Dot(a.q[at:at+hs], a.k[j*a.c+at:][:hs])
	}
	set.Scale(scores.data, float32(1/math.Sqrt(float64(hs))))
	sum := set.ExpSum(scores.data, scores.data, set.Max(scores.data))
	out := a.dst[at : at+hs]
	clear(out)
	for j, p := range scores.data {
		set.Axpy(out, a.v[j*a.c+at:][:hs], p)
	}
	set.Scale(out, 1/sum)
	scores.giveBack()
}
