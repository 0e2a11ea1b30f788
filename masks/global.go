package masks

import (
	"errors"
	"fmt"
	"math/bits"
	"runtime"
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
	g := &global{targets: targets, options: o, keep: keep, old: make([]Scores, runtime.GOMAXPROCS(0))}
	var above, equal []int
	var ties int
	var err error
	wide := o.Method == "random" || o.Pattern.Kind == Block
	if !wide {
		above, equal, ties, err = globalThreshold(g, 32, narrowOnly)
		wide = errors.Is(err, errWide)
	}
	if wide {
		above, equal, ties, err = globalThreshold(g, 64, func(s Scores) ([]uint64, error) { return s.wide(), nil })
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

// errWide says that a target has scores of 64 bits, by which all compete then.
var errWide = errors.New("masks: scores of 64 bits among those of 32")

func narrowOnly(s Scores) ([]uint32, error) {
	if s.Wide != nil {
		return nil, errWide
	}
	return s.Narrow, nil
}

// global is a competition between all targets.
type global struct {
	targets []Target
	options Options
	keep    int
	old     []Scores // of each worker
}

// scores returns those of one target: of its weights, or of its blocks.
func (g *global) scores(worker, i int) (Scores, error) {
	t, p := g.targets[i], g.options.Pattern
	if g.options.Method == "random" {
		return Scores{Wide: randomScores(t, p, g.options.Seed)}, nil
	}
	s, err := g.options.Weights(t, g.old[worker])
	if err != nil {
		return s, err
	}
	g.old[worker] = s
	if s.len() != t.Total() {
		return s, fmt.Errorf("masks: %q: %d scores of %d weights", t.Key(), s.len(), t.Total())
	}
	if p.Kind == Block {
		s = Scores{Wide: s.blocks(t, p)}
	}
	return s, nil
}

// each calls f with the scores of every target.
func each[T score](g *global, of func(Scores) ([]T, error), f func(i int, scores []T)) error {
	return overTargets(len(g.targets), len(g.old), nil, func(worker, i int) error {
		s, err := g.scores(worker, i)
		if err != nil {
			return err
		}
		scores, err := of(s)
		if err != nil {
			return err
		}
		f(i, scores)
		return nil
	})
}

// globalThreshold finds the g.keep-th largest score and returns, for every
// target, how many are above and equal to it, and how many equal ones stay.
func globalThreshold[T score](g *global, width int, of func(Scores) ([]T, error)) (above, equal []int, ties int, err error) {
	var cut T
	ties = g.keep
	for high := width; high > 0; high -= radixBits {
		shift := high - radixBits
		var mu sync.Mutex
		counts := make([]int, 1<<radixBits)
		err := each(g, of, func(_ int, scores []T) {
			own := new([1 << radixBits]int)
			if high == width {
				countDigits(own, scores, shift, len(own)-1)
			} else {
				countDigitsOf(own, scores, cut, shift, high)
			}
			mu.Lock()
			defer mu.Unlock()
			for d, n := range own {
				counts[d] += n
			}
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
	err = each(g, of, func(i int, scores []T) {
		least := 0
		for _, v := range scores {
			_, below := bits.Sub64(uint64(v), uint64(cut), 0)
			least += int(below ^ 1)
			if v == cut {
				equal[i]++
			}
		}
		above[i] = least - equal[i]
	})
	return above, equal, ties, err
}
