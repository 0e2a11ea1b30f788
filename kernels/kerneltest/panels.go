package kerneltest

import (
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/spdfctl/spdfctl/kernels"
)

// Pattern is a random sparse tile as the panel kernels see it.
type Pattern struct {
	Rows, In int
	Code     []uint16
	Places   [][2]int // row and column of each value
	used     []bool   // by column
	kept     []bool   // by row
}

// pairUnit is what a column is multiplied by in the code.
const pairUnit = kernels.PanelTokens * 4 / 8

// NewPattern returns a tile of random columns. Rows are paired in a random
// order, the last of an odd number alone; row 1 of more than two keeps nothing.
func NewPattern(rng *rand.Rand, rows, in int, density float64) *Pattern {
	p := &Pattern{Rows: rows, In: in, used: make([]bool, in), kept: make([]bool, rows)}
	columns := make([][]int, rows)
	var order []int
	for _, r := range rng.Perm(rows) {
		for j := range in {
			if (r != 1 || rows < 3) && rng.Float64() < density {
				columns[r] = append(columns[r], j)
			}
		}
		if len(columns[r]) > 0 {
			order = append(order, r)
		}
	}
	for len(order) > 0 {
		a := order[0]
		if len(order) == 1 {
			p.Pair(a, a, nil, nil, nil, columns[a])
			break
		}
		b := order[1]
		if len(columns[b]) > len(columns[a]) {
			a, b = b, a
		}
		var shared, ownA, ownB []int
		in := map[int]bool{}
		for _, j := range columns[b] {
			in[j] = true
		}
		for _, j := range columns[a] {
			if in[j] {
				shared = append(shared, j)
				delete(in, j)
			} else {
				ownA = append(ownA, j)
			}
		}
		for _, j := range columns[b] {
			if in[j] {
				ownB = append(ownB, j)
			}
		}
		p.Pair(a, b, shared, ownA[:len(ownB)], ownB, ownA[len(ownB):])
		order = order[2:]
	}
	return p
}

// Pair appends the code of a pair of rows.
func (p *Pattern) Pair(a, b int, shared, ownA, ownB, left []int) {
	p.Code = append(p.Code, uint16(a), uint16(b), uint16(len(shared)), uint16(len(ownA)), uint16(len(left)))
	keep := func(r, j int) {
		p.Places = append(p.Places, [2]int{r, j})
		p.used[j], p.kept[r] = true, true
	}
	column := func(j int) { p.Code = append(p.Code, uint16(j*pairUnit)) }
	for _, j := range shared {
		column(j)
		keep(a, j)
		keep(b, j)
	}
	for i, j := range ownA {
		column(j)
		column(ownB[i])
		keep(a, j)
		keep(b, ownB[i])
	}
	for _, j := range left {
		column(j)
		keep(a, j)
	}
}

// each runs f on patterns of several shapes and densities.
func eachPattern(seed uint64, short bool, f func(rng *rand.Rand, p *Pattern, offset int) error) error {
	rng := newRand(seed)
	inputs := []int{1, 2, 3, 4, 5, 8, 17, 40, 96, 130}
	if short {
		inputs = []int{1, 3, 8, 40}
	}
	for rows := 1; rows <= 9; rows++ {
		for _, in := range inputs {
			for _, density := range []float64{1, 0.5, 0.25, 0.01} {
				offset := rng.IntN(16)
				if err := f(rng, NewPattern(rng, rows, in, density), offset); err != nil {
					return fmt.Errorf("%d rows of %d, density %g, offset %d: %w", rows, in, density, offset, err)
				}
			}
		}
	}
	return nil
}

// poison writes NaN to the panels of P tokens that no kept place names.
func poison(x []float32, used []bool, P int) {
	for j, used := range used {
		if !used {
			fillNaN(x[j*P : (j+1)*P])
		}
	}
}

// eachPanel is eachPattern for every width of a panel.
func eachPanel(set *kernels.Set, seed uint64, short bool, f func(rng *rand.Rand, p *Pattern, offset int, of kernels.PanelKernels, P int) error) error {
	return eachPattern(seed, short, func(rng *rand.Rand, p *Pattern, offset int) error {
		for i, P := range kernels.PanelWidths {
			if err := f(rng, p, offset, set.Panels[i], P); err != nil {
				return fmt.Errorf("panels of %d: %w", P, err)
			}
		}
		return nil
	})
}

func checkPanelSpMM(set *kernels.Set, short bool) error {
	return eachPanel(set, 15, short, func(rng *rand.Rand, p *Pattern, offset int, of kernels.PanelKernels, P int) error {
		normal := func(s []float32) { fill(rng, s) }
		dst := newGuarded("dst", p.Rows*P, offset, normal)
		x := newGuarded("x", p.In*P, (offset+3)%16, func(s []float32) { fill(rng, s); poison(s, p.used, P) })
		w := newGuarded("w", len(p.Places), (offset+5)%16, normal)
		of.SpMM(dst.s, x.s, p.Code, w.s, w.s)
		want, mass := make([]float64, p.Rows*P), make([]float64, p.Rows*P)
		for i, v := range dst.old() {
			want[i], mass[i] = float64(v), math.Abs(float64(v))
		}
		for k, at := range p.Places {
			for t := range P {
				v := float64(w.s[k]) * float64(x.s[at[1]*P+t])
				want[at[0]*P+t] += v
				mass[at[0]*P+t] += math.Abs(v)
			}
		}
		for i, got := range dst.s {
			if err := agree(got, want[i], mass[i], p.In+2); err != nil {
				return fmt.Errorf("row %d, token %d: %w", i/P, i%P, err)
			}
		}
		return first(dst.intact(), x.unchanged(), w.unchanged())
	})
}

func checkPanelSDDMM(set *kernels.Set, short bool) error {
	return eachPanel(set, 16, short, func(rng *rand.Rand, p *Pattern, offset int, of kernels.PanelKernels, P int) error {
		dw := newGuarded("dw", len(p.Places), offset, func(s []float32) { fill(rng, s) })
		dy := newGuarded("dy", p.Rows*P, (offset+3)%16, func(s []float32) { fill(rng, s); poison(s, p.kept, P) })
		x := newGuarded("x", p.In*P, (offset+5)%16, func(s []float32) { fill(rng, s); poison(s, p.used, P) })
		of.SDDMM(dw.s, dy.s, x.s, p.Code, x.s, dy.s)
		for k, got := range dw.s {
			old := float64(dw.old()[k])
			i, j := p.Places[k][0], p.Places[k][1]
			want, mass := dot64(dy.s[i*P:(i+1)*P], x.s[j*P:(j+1)*P])
			if err := agree(got, want+old, mass+math.Abs(old), P+2); err != nil {
				return fmt.Errorf("row %d, column %d: %w", i, j, err)
			}
		}
		return first(dw.intact(), dy.unchanged(), x.unchanged())
	})
}

// checkFewSpMM takes one token and two.
func checkFewSpMM(set *kernels.Set, short bool) error {
	return eachPattern(17, short, func(rng *rand.Rand, p *Pattern, offset int) error {
		normal := func(s []float32) { fill(rng, s) }
		for tokens := 1; tokens <= 2; tokens++ {
			dst, ldd := strided("dst", rng, tokens, p.Rows, offset)
			x, ldx := strided("x", rng, tokens, p.In, offset%5)
			w := newGuarded("w", len(p.Places), (offset+5)%16, normal)
			for t := range tokens {
				poison(x.s[t*ldx:], p.used, 1)
			}
			copy(x.before, x.all)
			set.FewSpMM(dst.s, ldd, x.s, ldx, p.In, tokens, p.Code, w.s)
			for t := range tokens {
				want, mass := make([]float64, p.Rows), make([]float64, p.Rows)
				for i, v := range dst.old()[t*ldd:][:p.Rows] {
					want[i], mass[i] = float64(v), math.Abs(float64(v))
				}
				for k, at := range p.Places {
					v := float64(w.s[k]) * float64(x.s[t*ldx+at[1]])
					want[at[0]] += v
					mass[at[0]] += math.Abs(v)
				}
				for i := range want {
					if err := agree(dst.s[t*ldd+i], want[i], mass[i], p.In+2); err != nil {
						return fmt.Errorf("token %d of %d, row %d: %w", t, tokens, i, err)
					}
				}
			}
			if err := first(gapsIntact(dst, ldd, p.Rows), x.unchanged(), w.unchanged()); err != nil {
				return fmt.Errorf("%d tokens: %w", tokens, err)
			}
		}
		return nil
	})
}

// checkBiasPanels compares with the sums over the tokens of a panel.
func checkBiasPanels(set *kernels.Set, short bool) error {
	rng := newRand(24)
	for _, tokens := range []int{0, 1, 17, 64, 128, 129, 300} {
		for _, n := range []int{0, 1, 5, 70} {
			x := newGuarded("x", kernels.PanelLen(tokens, n), n%16, func(s []float32) { fill(rng, s) })
			dbias := random(rng, n)
			feature := make([]int, len(x.s)) // of every element
			for t0 := 0; t0 < tokens; t0 += kernels.PanelTokens {
				one := kernels.PanelLen(min(kernels.PanelTokens, tokens-t0), 1)
				for i := range one * n {
					feature[t0*n+i] = i / one
				}
			}
			want, mass := to64(dbias), make([]float64, n)
			for j := range n {
				mass[j] = math.Abs(want[j])
			}
			for i, v := range x.s {
				want[feature[i]] += float64(v)
				mass[feature[i]] += math.Abs(float64(v))
			}
			kernels.BiasBackwardPanels(dbias, x.s, tokens, n)
			for j, got := range dbias {
				if err := agree(got, want[j], mass[j], tokens+2*kernels.PanelTokens); err != nil {
					return fmt.Errorf("BiasBackwardPanels of %d × %d: feature %d: %w", tokens, n, j, err)
				}
			}
			if err := first(x.unchanged(), x.intact()); err != nil {
				return fmt.Errorf("BiasBackwardPanels of %d × %d: %w", tokens, n, err)
			}
		}
	}
	return nil
}
