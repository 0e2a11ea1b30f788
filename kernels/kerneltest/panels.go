package kerneltest

import (
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/spdfctl/spdfctl/kernels"
)

// P is short for the tokens of a panel.
const P = kernels.PanelTokens

// pattern is a random sparse matrix as the panel kernels see it: row r keeps
// the columns idx[lo[r]:hi[r]]. Between the rows lie places that belong to
// other slabs: touching one shows.
type pattern struct {
	rows, in int
	lo, hi   []int32
	idx      []uint16
	inside   []bool // by place: belongs to a row
	used     []bool // by column
}

// densities of the suite; the last row of a pattern is always empty.
var densities = []float64{1, 0.5, 0.25, 0.01}

func newPattern(rng *rand.Rand, rows, in int, density float64) pattern {
	p := pattern{rows: rows, in: in, used: make([]bool, in)}
	gap := func() {
		for range rng.IntN(3) {
			p.idx = append(p.idx, uint16(rng.IntN(in)))
			p.inside = append(p.inside, false)
		}
	}
	for r := range rows {
		gap()
		p.lo = append(p.lo, int32(len(p.idx)))
		for j := range in {
			if r != rows-1 && rng.Float64() < density {
				p.idx = append(p.idx, uint16(j))
				p.inside = append(p.inside, true)
				p.used[j] = true
			}
		}
		p.hi = append(p.hi, int32(len(p.idx)))
	}
	gap()
	return p
}

// each runs f on patterns of several shapes and densities.
func eachPattern(seed uint64, short bool, f func(rng *rand.Rand, p pattern, offset int) error) error {
	rng := newRand(seed)
	inputs := []int{1, 2, 3, 4, 5, 8, 17, 40, 96, 130}
	if short {
		inputs = []int{1, 3, 8, 40}
	}
	for rows := 1; rows <= 9; rows++ {
		for _, in := range inputs {
			for _, density := range densities {
				offset := rng.IntN(16)
				if err := f(rng, newPattern(rng, rows, in, density), offset); err != nil {
					return fmt.Errorf("%d rows of %d, density %g, offset %d: %w", rows, in, density, offset, err)
				}
			}
		}
	}
	return nil
}

// poison writes NaN to the features that no row keeps.
func (p pattern) poison(x []float32) {
	for j, used := range p.used {
		if !used {
			for t := range P {
				x[j*P+t] = float32(math.NaN())
			}
		}
	}
}

func checkPanelSpMM(set *kernels.Set, short bool) error {
	return eachPattern(15, short, func(rng *rand.Rand, p pattern, offset int) error {
		normal := func(s []float32) { fill(rng, s) }
		dst := newGuarded("dst", p.rows*P, offset, normal)
		x := newGuarded("x", p.in*P, (offset+3)%16, func(s []float32) { fill(rng, s); p.poison(s) })
		w := newGuarded("w", len(p.idx), (offset+5)%16, func(s []float32) {
			for k := range s {
				s[k] = float32(math.NaN()) // a place outside the rows
				if p.inside[k] {
					s[k] = float32(rng.NormFloat64())
				}
			}
		})
		set.PanelSpMM(dst.s, x.s, p.lo, p.hi, p.idx, w.s)
		for i, got := range dst.s {
			r, t := i/P, i%P
			want := float64(dst.old()[i])
			mass := math.Abs(want)
			lo, hi := p.lo[r], p.hi[r]
			for k := lo; k < hi; k++ {
				v := float64(w.s[k]) * float64(x.s[int(p.idx[k])*P+t])
				want += v
				mass += math.Abs(v)
			}
			if err := agree(got, want, mass, int(hi-lo)+2); err != nil {
				return fmt.Errorf("row %d, token %d: %w", r, t, err)
			}
		}
		return first(dst.intact(), x.unchanged(), w.unchanged())
	})
}

func checkPanelSDDMM(set *kernels.Set, short bool) error {
	return eachPattern(16, short, func(rng *rand.Rand, p pattern, offset int) error {
		normal := func(s []float32) { fill(rng, s) }
		dw := newGuarded("dw", len(p.idx), offset, normal)
		dy := newGuarded("dy", p.rows*P, (offset+3)%16, func(s []float32) {
			fill(rng, s)
			for t := range P { // the last row keeps nothing
				s[(p.rows-1)*P+t] = float32(math.NaN())
			}
		})
		x := newGuarded("x", p.in*P, (offset+5)%16, func(s []float32) { fill(rng, s); p.poison(s) })
		set.PanelSDDMM(dw.s, dy.s, x.s, p.lo, p.hi, p.idx)
		row := 0
		for k, got := range dw.s {
			for int(p.hi[row]) <= k && row < p.rows-1 {
				row++
			}
			old := float64(dw.old()[k])
			if !p.inside[k] {
				if float64(got) != old {
					return fmt.Errorf("place %d belongs to no row and changed from %g to %g", k, old, got)
				}
				continue
			}
			j := int(p.idx[k])
			want, mass := dot64(dy.s[row*P:(row+1)*P], x.s[j*P:(j+1)*P])
			if err := agree(got, want+old, mass+math.Abs(old), P+2); err != nil {
				return fmt.Errorf("row %d, column %d: %w", row, j, err)
			}
		}
		return first(dw.intact(), dy.unchanged(), x.unchanged())
	})
}
