package masks

import (
	"fmt"
	"math/big"
	"slices"
)

// ErdosRenyi shares density 1-s between layers of the given shapes: layer l has
// the density
//
//	min(1, eps * sum(d) / product(d))
//
// over the dimensions d of its shape, with the eps for which all together keep
// (1-s) of their weights. Layers that would exceed density 1 become dense, and
// eps is solved again for the others. With the two dimensions (out, in) this is
// ER, with those of a convolution's kernel too it is ERK; for a matrix they are the
// same. The result does not depend on the order of the shapes.
//
// It returns an error if a shape has a dimension below 1.
//
// Source: Evci et al., "Rigging the Lottery", ICML 2020, section 3;
// google-research/rigl, sparse_utils.py, get_mask_random and the loop of
// get_sparsities_erdos_renyi.
func ErdosRenyi(shapes [][]int, s Sparsity) ([]float64, error) {
	weights, err := erdosRenyi(shapes, s)
	if err != nil {
		return nil, err
	}
	densities := make([]float64, len(shapes))
	for i, w := range weights {
		densities[i], _ = w.Quo(w, new(big.Rat).SetInt64(product(shapes[i]))).Float64()
	}
	return densities, nil
}

func product(shape []int) int64 {
	n := int64(1)
	for _, d := range shape {
		n *= int64(d)
	}
	return n
}

// erdosRenyi returns how many weights each layer keeps, before rounding.
func erdosRenyi(shapes [][]int, s Sparsity) ([]*big.Rat, error) {
	sums := make([]int64, len(shapes))
	for i, shape := range shapes {
		for _, d := range shape {
			if d < 1 {
				return nil, fmt.Errorf("masks: shape %v has the dimension %d", shape, d)
			}
			sums[i] += int64(d)
		}
	}
	density := big.NewRat(1, 1)
	if s.rat != nil {
		density.Sub(density, s.rat)
	}
	dense := make([]bool, len(shapes))
	for {
		// What the free layers keep: density of all, less what is dense.
		want, free := new(big.Rat), int64(0)
		for i, shape := range shapes {
			n := new(big.Rat).SetInt64(product(shape))
			want.Add(want, new(big.Rat).Mul(density, n))
			if dense[i] {
				want.Sub(want, n)
			} else {
				free += sums[i]
			}
		}
		if free == 0 {
			break
		}
		eps := want.Quo(want, new(big.Rat).SetInt64(free))
		// The largest sum/product over 1/eps leaves, and its equals with it.
		var top *big.Rat
		for i, shape := range shapes {
			raw := big.NewRat(sums[i], product(shape))
			if !dense[i] && (top == nil || raw.Cmp(top) > 0) {
				top = raw
			}
		}
		if new(big.Rat).Mul(top, eps).Cmp(big.NewRat(1, 1)) <= 0 {
			kept := make([]*big.Rat, len(shapes))
			for i, shape := range shapes {
				if dense[i] {
					kept[i] = new(big.Rat).SetInt64(product(shape))
				} else {
					kept[i] = new(big.Rat).Mul(eps, new(big.Rat).SetInt64(sums[i]))
				}
			}
			return kept, nil
		}
		for i, shape := range shapes {
			if big.NewRat(sums[i], product(shape)).Cmp(top) == 0 {
				dense[i] = true
			}
		}
	}
	kept := make([]*big.Rat, len(shapes))
	for i, shape := range shapes {
		kept[i] = new(big.Rat).SetInt64(product(shape))
	}
	return kept, nil
}

// Erdos returns the number of weights that each target keeps under ErdosRenyi
// with the shapes (out, in): each its share cut off, and the weights that are
// then missing from s.Kept of all go, one each, to the targets with the largest
// remainders, of equal ones in the order of CompareNames of their keys. The sum
// is exact.
func Erdos(targets []Target, s Sparsity) ([]int, error) {
	shapes, total := make([][]int, len(targets)), 0
	for i, t := range targets {
		shapes[i] = []int{t.Out, t.In}
		total += t.Total()
	}
	shares, err := erdosRenyi(shapes, s)
	if err != nil {
		return nil, err
	}
	kept, order := make([]int, len(targets)), make([]int, len(targets))
	missing := s.Kept(total)
	for i, share := range shares {
		whole := new(big.Int).Quo(share.Num(), share.Denom())
		kept[i], order[i] = int(whole.Int64()), i
		missing -= kept[i]
		share.Sub(share, new(big.Rat).SetInt(whole))
	}
	slices.SortFunc(order, func(a, b int) int {
		if c := shares[b].Cmp(shares[a]); c != 0 {
			return c
		}
		return CompareNames(targets[a].Key(), targets[b].Key())
	})
	for _, i := range order {
		if missing > 0 && kept[i] < targets[i].Total() {
			kept[i]++
			missing--
		}
	}
	return kept, nil
}
