package masks

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
)

// DropCount returns how many of kept weights an update drops: the part of them
// that fraction says, cut off.
//
// Source: google-research/rigl, sparse_optimizers.py, n_prune.
func DropCount(kept int, fraction float64) int {
	return min(max(int(fraction*float64(kept)), 0), kept)
}

// magnitude orders numbers by their size, -0 as +0; NaN is larger than all, so
// that no pruning hides one.
func magnitude(v float32) uint32 { return math.Float32bits(v) &^ (1 << 31) }

// MagnitudeUpdate returns the mask that keeps the keep weights of m of the
// largest magnitude, of equal ones that with the lower index: one step of
// gradual magnitude pruning. weights are the kept weights of m in row-major
// order. It returns an error if there are not as many as m keeps, or keep is
// more than that.
func MagnitudeUpdate(m *Mask, weights []float32, keep int) (*Mask, error) {
	kept := m.Kept()
	if len(weights) != kept {
		return nil, fmt.Errorf("masks: %q: %d weights, the mask keeps %d", m.Key(), len(weights), kept)
	}
	if keep < 0 || keep > kept {
		return nil, fmt.Errorf("masks: %q: %d weights to keep of %d", m.Key(), keep, kept)
	}
	scores := make([]uint32, kept)
	for i, w := range weights {
		scores[i] = magnitude(w)
	}
	stays := make([]bool, kept)
	choose(scores, keep, func(i int) { stays[i] = true })
	next := New(m.Name, m.Part, m.Out, m.In)
	k := 0
	eachKept(m, func(i, j int) {
		if stays[k] {
			next.Put(i, j, true)
		}
		k++
	})
	return next, nil
}

// SETUpdate returns the mask after one step of Sparse Evolutionary Training: of
// the weights that m keeps the drop smallest in magnitude go, then as many that
// are not there come, chosen at random, as make keep in all. A weight may go and
// come back; it then has not moved. weights are as for MagnitudeUpdate.
//
// The choice depends on seed, the name and part of m, and step. The draws are
// those of RandomMask with a key of their own (see docs/mask-format.md).
//
// Source: Mocanu et al., Nature Communications 9, 2018, algorithm 1;
// cerebras.pytorch, sparse/set.py.
func SETUpdate(m *Mask, weights []float32, drop, keep int, seed uint64, step int) (*Mask, error) {
	next, err := dropSmallest(m, weights, drop, keep)
	if err != nil {
		return nil, err
	}
	key := growKey(seed, m.Name, m.Part, step)
	scores := make([]uint64, 0, m.Total()-next.Kept())
	eachPrunedPlace(next, func(i, j int) {
		scores = append(scores, ^splitMix(key+uint64(i*m.In+j+1)*splitMixGamma))
	})
	grow(next, scores, keep)
	return next, nil
}

// RigLUpdate returns the mask after one step of RigL: of the weights that m keeps
// the drop smallest in magnitude go, then as many that are not there come, those
// of the largest gradient in magnitude, as make keep in all; of equal ones the
// lower index. A weight may go and come back; it then has not moved. weights
// are as for MagnitudeUpdate; grad is the gradient of every weight, pruned ones
// too, where p says.
//
// Source: Evci et al., "Rigging the Lottery", ICML 2020, algorithm 1;
// google-research/rigl, sparse_optimizers.py.
func RigLUpdate(m *Mask, weights, grad []float32, p Placement, drop, keep int) (*Mask, error) {
	if err := p.check(m.Target()); err != nil {
		return nil, err
	}
	if len(grad) != p.Elements {
		return nil, fmt.Errorf("masks: %q: %d gradients, want %d", m.Key(), len(grad), p.Elements)
	}
	next, err := dropSmallest(m, weights, drop, keep)
	if err != nil {
		return nil, err
	}
	scores := make([]uint32, 0, m.Total()-next.Kept())
	eachPrunedPlace(next, func(i, j int) {
		scores = append(scores, magnitude(grad[p.Offset+i*p.RowStride+j*p.ColStride]))
	})
	grow(next, scores, keep)
	return next, nil
}

// dropSmallest returns m without its drop smallest weights, or without more if
// only keep are to stay.
func dropSmallest(m *Mask, weights []float32, drop, keep int) (*Mask, error) {
	kept := m.Kept()
	if drop < 0 || drop > kept || keep < 0 || keep > m.Total() {
		return nil, fmt.Errorf("masks: %q: %d to drop and %d to keep of %d kept, %d in all", m.Key(), drop, keep, kept, m.Total())
	}
	return MagnitudeUpdate(m, weights, min(kept-drop, keep))
}

// grow adds to m the places of the best scores, which are those of its pruned
// places in row-major order, until it keeps keep.
func grow[T score](m *Mask, scores []T, keep int) {
	comes := make([]bool, len(scores))
	choose(scores, keep-m.Kept(), func(i int) { comes[i] = true })
	k := 0
	old := m.Bits
	m.Bits = append([]byte(nil), old...)
	eachPrunedPlace(&Mask{Out: m.Out, In: m.In, Bits: old}, func(i, j int) {
		if comes[k] {
			m.Put(i, j, true)
		}
		k++
	})
}

// growKey is the key of the draws of SETUpdate.
func growKey(seed uint64, name, part string, step int) uint64 {
	msg := keyMessage(seed, name, part)
	msg = appendField(msg, "set")
	msg = appendField(msg, string(binary.LittleEndian.AppendUint64(nil, uint64(step))))
	sum := sha256.Sum256(msg)
	return binary.LittleEndian.Uint64(sum[:8])
}

// Carry writes to dst, which are the kept values of to in row-major order, those
// of src, the kept values of from: weights or moments after a mask has moved.
// What from prunes becomes +0. It panics if the shapes differ or a slice is not
// as long as its mask keeps.
func Carry(dst, src []float32, to, from *Mask) {
	if to.Out != from.Out || to.In != from.In {
		panic("masks: carry between two shapes")
	}
	d, s := 0, 0
	for b, v := range to.Bits {
		w := from.Bits[b]
		for both := v | w; both != 0; both &= both - 1 {
			bit := byte(1) << bits.TrailingZeros8(both)
			value := float32(0)
			if w&bit != 0 {
				value = src[s]
				s++
			}
			if v&bit != 0 {
				dst[d] = value
				d++
			}
		}
	}
	if d != len(dst) || s != len(src) {
		panic("masks: carry: values and masks differ in length")
	}
}

// eachKept calls f for every kept place in row-major order.
func eachKept(m *Mask, f func(i, j int)) {
	for i := range m.Out {
		for b, v := range m.Row(i) {
			for ; v != 0; v &= v - 1 {
				f(i, 8*b+bits.TrailingZeros8(v))
			}
		}
	}
}

// eachPrunedPlace calls f for every pruned place in row-major order.
func eachPrunedPlace(m *Mask, f func(i, j int)) {
	for i := range m.Out {
		for b, v := range m.Row(i) {
			for v = ^v; v != 0; v &= v - 1 {
				if j := 8*b + bits.TrailingZeros8(v); j < m.In {
					f(i, j)
				}
			}
		}
	}
}
