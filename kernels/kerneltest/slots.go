package kerneltest

import (
	"fmt"
	"math"

	"github.com/spdfctl/spdfctl/kernels"
)

// checkAttentionSlots demands the bits of AttentionDecode, wherever the keys and
// values lie.
func checkAttentionSlots(_ *kernels.Set, _ bool) error {
	rng := newRand(29)
	for _, s := range [][3]int{{1, 1, 1}, {5, 3, 8}, {64, 2, 16}, {300, 2, 33}} {
		t, nh, hs := s[0], s[1], s[2]
		c := nh * hs
		q, k, v := random(rng, c), random(rng, t*c), random(rng, t*c)
		want := make([]float32, c)
		kernels.AttentionDecode(want, q, k, v, t, nh, hs)
		slots := make([]int32, t)
		far, fav := random(rng, 2*t*c), random(rng, 2*t*c)
		for j, at := range rng.Perm(2 * t)[:t] {
			slots[j] = int32(at)
			copy(far[at*c:][:c], k[j*c:])
			copy(fav[at*c:][:c], v[j*c:])
		}
		dst := newGuarded("dst", c, 3, func(x []float32) { fill(rng, x) })
		kernels.AttentionSlots(dst.s, q, far, fav, slots, nh, hs)
		for n := range c {
			if math.Float32bits(dst.s[n]) != math.Float32bits(want[n]) {
				return fmt.Errorf("t=%d nh=%d hs=%d: channel %d is %g, of AttentionDecode %g", t, nh, hs, n, dst.s[n], want[n])
			}
		}
		if err := dst.intact(); err != nil {
			return err
		}
	}
	return nil
}

// checkLogSumExp demands what CrossEntropy computes, before it is rounded.
func checkLogSumExp(_ *kernels.Set, _ bool) error {
	rng := newRand(30)
	for _, v := range []int{1, 2, 17, 4096, 9001} {
		x := random(rng, v)
		loss := make([]float32, 1)
		kernels.CrossEntropy(loss, x, []int32{int32(v / 2)}, 1, v)
		if got := float32(kernels.LogSumExp(x) - float64(x[v/2])); math.Abs(float64(got-loss[0])) > 1e-6*max(1, float64(loss[0])) {
			return fmt.Errorf("v=%d: log of the sum less the logit is %g, the loss is %g", v, got, loss[0])
		}
	}
	return nil
}
