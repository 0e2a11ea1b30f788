package masks

import (
	"fmt"
	"slices"
	"sync"
)

// globalCounts returns how many weights each target keeps when all compete with
// each other: those of the largest scores, of equal ones those of the target that
// comes first by CompareNames of the keys, then by index. Two passes over the
// scores per 32 bits find the threshold, a last one counts.
func globalCounts(targets []Target, o Options) ([]int, error) {
	units := 0
	for _, t := range targets {
		if err := o.Pattern.Fits(t); err != nil {
			return nil, err
		}
		units += t.Total() / o.Pattern.unit(t)
	}
	keep := o.Sparsity.Kept(units)
	counts := make([]int, len(targets))
	if keep == 0 {
		return counts, nil
	}
	g := &global{targets: targets, options: o, keep: keep}
	wide, err := g.anyWide()
	if err != nil {
		return nil, err
	}
	var above, equal []int
	var ties int
	if wide {
		above, equal, ties, err = globalThreshold[uint64](g, 64, func(s Scores) []uint64 { return s.wide() })
	} else {
		above, equal, ties, err = globalThreshold[uint32](g, 32, func(s Scores) []uint32 { return s.Narrow })
	}
	if err != nil {
		return nil, err
	}
	order := make([]int, len(targets))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return CompareNames(targets[a].Key(), targets[b].Key()) })
	for _, i := range order {
		take := min(ties, equal[i])
		ties -= take
		counts[i] = (above[i] + take) * o.Pattern.unit(targets[i])
	}
	return counts, nil
}

// global is a competition between all targets.
type global struct {
	targets []Target
	options Options
	keep    int
}

// scores returns those of one target: of its weights, or of its blocks.
func (g *global) scores(i int) (Scores, error) {
	t, p := g.targets[i], g.options.Pattern
	if g.options.Method == "random" {
		return Scores{Wide: randomScores(t, p, g.options.Seed)}, nil
	}
	s, err := g.options.Weights(t)
	if err != nil {
		return s, err
	}
	if s.len() != t.Total() {
		return s, fmt.Errorf("masks: %q: %d scores of %d weights", t.Key(), s.len(), t.Total())
	}
	if p.Kind == Block {
		s = Scores{Wide: s.blocks(t, p)}
	}
	return s, nil
}

// anyWide reports whether a target has scores of 64 bits, without looking at all
// of them where the method says it.
func (g *global) anyWide() (bool, error) {
	if g.options.Method == "random" || g.options.Pattern.Kind == Block {
		return true, nil
	}
	var mu sync.Mutex
	wide := false
	err := overTargets(len(g.targets), false, nil, func(i int) error {
		s, err := g.scores(i)
		mu.Lock()
		wide = wide || s.Wide != nil
		mu.Unlock()
		return err
	})
	return wide, err
}

// globalThreshold finds the g.keep-th largest score and returns, for every
// target, how many are above and equal to it, and how many equal ones stay.
func globalThreshold[T score](g *global, width int, of func(Scores) []T) (above, equal []int, ties int, err error) {
	var cut T
	ties = g.keep
	for shift := width - radixBits; shift >= 0; shift -= radixBits {
		var mu sync.Mutex
		counts := make([]int, 1<<radixBits)
		err := overTargets(len(g.targets), false, nil, func(i int) error {
			s, err := g.scores(i)
			if err != nil {
				return err
			}
			own := make([]int, 1<<radixBits)
			countDigits(own, of(s), cut, shift, width)
			mu.Lock()
			for d, n := range own {
				counts[d] += n
			}
			mu.Unlock()
			return nil
		})
		if err != nil {
			return nil, nil, 0, err
		}
		digit := len(counts) - 1
		for ; counts[digit] < ties; digit-- {
			ties -= counts[digit]
		}
		cut |= T(digit) << shift
	}
	above, equal = make([]int, len(g.targets)), make([]int, len(g.targets))
	err = overTargets(len(g.targets), false, nil, func(i int) error {
		s, err := g.scores(i)
		if err != nil {
			return err
		}
		for _, v := range of(s) {
			if v > cut {
				above[i]++
			} else if v == cut {
				equal[i]++
			}
		}
		return nil
	})
	return above, equal, ties, err
}
