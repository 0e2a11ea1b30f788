package masks

import (
	"fmt"
	"math"
)

// Scores are the numbers by which the weights of a matrix compete, row-major
// (out, in); the largest stay. Exactly one of the slices is set: Narrow are the
// bits of non-negative 32-bit floats, Wide those of 64-bit floats or any other
// numbers.
type Scores struct {
	Narrow []uint32
	Wide   []uint64

	counts *[1 << radixBits]int // how many scores begin with a digit; nil: not counted yet
}

// len returns the number of scores.
func (s Scores) len() int { return len(s.Narrow) + len(s.Wide) }

// wide returns the scores as 64 bits each, in the same order.
func (s Scores) wide() []uint64 {
	if s.Narrow == nil {
		return s.Wide
	}
	list := make([]uint64, len(s.Narrow))
	for i, v := range s.Narrow {
		list[i] = math.Float64bits(float64(math.Float32frombits(v)))
	}
	return list
}

// blocks returns the score of every block: the sum of its weights, in row-major
// order.
func (s Scores) blocks(t Target, p Pattern) []uint64 {
	cols := t.In / p.B
	sums := make([]float64, t.Total()/(p.A*p.B))
	for i := range t.Out {
		for c := range cols {
			at := i*t.In + c*p.B
			sum := sums[i/p.A*cols+c]
			if s.Narrow != nil {
				for _, v := range s.Narrow[at : at+p.B] {
					sum += float64(math.Float32frombits(v))
				}
			} else {
				for _, v := range s.Wide[at : at+p.B] {
					sum += math.Float64frombits(v)
				}
			}
			sums[i/p.A*cols+c] = sum
		}
	}
	list := make([]uint64, len(sums))
	for i, v := range sums {
		list[i] = math.Float64bits(v) &^ (1 << 63)
	}
	return list
}

// Magnitude returns the mask that keeps kept weights of t, those of the largest
// scores among the weights that the pattern lets compete: a whole matrix, a
// group of N:M, the sums of blocks, a row or a column. Of equal scores that with the
// lower index stays. With rows weights compete within their row, which keeps
// as many as the others, or one more in the first rows. kept is a number that
// Pattern.Round returns.
func Magnitude(t Target, kept int, p Pattern, rows bool, s Scores) (*Mask, error) {
	m, err := newPatterned(t, kept, p)
	if err != nil {
		return nil, err
	}
	if s.len() != t.Total() {
		return nil, fmt.Errorf("masks: %q: %d scores of %d weights", t.Key(), s.len(), t.Total())
	}
	switch {
	case p.Kind == Block:
		pickBlocks(m, kept, p, s.blocks(t, p))
	case s.Narrow != nil:
		pick(m, kept, split(p, rows), s.Narrow, s.counts)
	default:
		pick(m, kept, split(p, rows), s.Wide, s.counts)
	}
	return m, nil
}

// split returns the pattern that makes the weights of a row compete among
// themselves, if they are to.
func split(p Pattern, rows bool) Pattern {
	if rows && p.Kind == Unstructured {
		return Pattern{Kind: BalancedRows}
	}
	return p
}

// newPatterned returns an empty mask of t, after making sure that kept weights
// in that pattern are possible.
func newPatterned(t Target, kept int, p Pattern) (*Mask, error) {
	if err := t.Check(); err != nil {
		return nil, err
	}
	if err := p.Fits(t); err != nil {
		return nil, err
	}
	if kept < 0 || kept > t.Total() || kept%p.unit(t) != 0 {
		return nil, fmt.Errorf("masks: %q: %d weights to keep of %d, in steps of %d for %s", t.Key(), kept, t.Total(), p.unit(t), p)
	}
	return New(t.Name, t.Part, t.Out, t.In), nil
}

// RandomPattern is RandomMask for a pattern: the scores of Magnitude are the
// draws, the smallest staying, and a block has the draw of its number, counted
// row by row.
func RandomPattern(t Target, kept int, p Pattern, rows bool, seed uint64) (*Mask, error) {
	if split(p, rows).Kind == Unstructured {
		return RandomMask(t, kept, seed)
	}
	m, err := newPatterned(t, kept, p)
	if err != nil {
		return nil, err
	}
	switch p.Kind {
	case NofM:
		keepSmallestOfGroups(m, kept/p.unit(t), p.B, streamKey(seed, t.Name, t.Part))
	case Block:
		pickBlocks(m, kept, p, randomScores(t, p, seed))
	default:
		pick(m, kept, split(p, rows), randomScores(t, p, seed), nil)
	}
	return m, nil
}

// randomScores returns the draws of the weights or blocks of t, turned round.
func randomScores(t Target, p Pattern, seed uint64) []uint64 {
	key := streamKey(seed, t.Name, t.Part)
	n := t.Total()
	if p.Kind == Block {
		n /= p.unit(t)
	}
	draws := make([]uint64, n)
	state := key
	for e := range draws {
		state += splitMixGamma
		draws[e] = ^splitMix(state)
	}
	return draws
}

// share returns how many of kept weights line i of n lines keeps.
func share(kept, n, i int) int {
	if i < kept%n {
		return kept/n + 1
	}
	return kept / n
}

// pickBlocks keeps the best blocks.
func pickBlocks(m *Mask, kept int, p Pattern, scores []uint64) {
	cols := m.In / p.B
	choose(scores, kept/(p.A*p.B), func(k int) { putBlock(m, p, k/cols, k%cols) })
}

// putBlock keeps block (r, c).
func putBlock(m *Mask, p Pattern, r, c int) {
	for i := range p.A {
		for j := range p.B {
			m.Put(r*p.A+i, c*p.B+j, true)
		}
	}
}

// FromZeros returns the mask that keeps the weights of t whose score is not
// zero; -0 counts as zero. A block is kept if any of its weights is not zero.
// It returns an error if the zeros do not have the pattern.
func FromZeros(t Target, p Pattern, s Scores) (*Mask, error) {
	m, err := newPatterned(t, 0, p)
	if err != nil {
		return nil, err
	}
	if s.len() != t.Total() {
		return nil, fmt.Errorf("masks: %q: %d scores of %d weights", t.Key(), s.len(), t.Total())
	}
	if s.Narrow != nil {
		fillAtLeast(m, s.Narrow, 1)
	} else {
		fillAtLeast(m, s.Wide, 1)
	}
	if p.Kind == Block {
		blocks := New(t.Name, t.Part, t.Out, t.In)
		eachKept(m, func(i, j int) {
			if !blocks.Keep(i, j) {
				putBlock(blocks, p, i/p.A, j/p.B)
			}
		})
		m = blocks
	}
	return m, p.Holds(m)
}

// Checkerboard returns the mask that spreads kept weights over t as evenly as a
// pattern allows. A line of n places that keeps k of them keeps place j where
//
//	floor((j+1)*k/n) > floor(j*k/n)
//
// and line i is turned to the right by i*(ceil(n/k)-1) places. The lines are the
// rows; the columns for balanced:column; the groups of each row for N:M; the
// rows of blocks for block:RxC. Row i of n rows keeps floor((i+1)*kept/n) -
// floor(i*kept/n), with a balanced pattern as many as Magnitude says.
//
// Source: cerebras.pytorch, sparse/init.py, checkerboard, whose counts are not
// exact.
func Checkerboard(t Target, kept int, p Pattern, rows bool) (*Mask, error) {
	m, err := newPatterned(t, kept, p)
	if err != nil {
		return nil, err
	}
	p = split(p, rows)
	even := func(i, n, kept int) int { return (i+1)*kept/n - i*kept/n }
	switch p.Kind {
	case NofM:
		n := kept / (m.Total() / p.B)
		for i := range m.Out {
			for g := 0; g < m.In; g += p.B {
				spread(i, p.B, n, func(j int) { m.Put(i, g+j, true) })
			}
		}
	case Block:
		nr, nc := t.Out/p.A, t.In/p.B
		for r := range nr {
			spread(r, nc, even(r, nr, kept/(p.A*p.B)), func(c int) { putBlock(m, p, r, c) })
		}
	case BalancedRows:
		for i := range m.Out {
			spread(i, m.In, share(kept, m.Out, i), func(j int) { m.Put(i, j, true) })
		}
	case BalancedColumns:
		for j := range m.In {
			spread(j, m.Out, share(kept, m.In, j), func(i int) { m.Put(i, j, true) })
		}
	default:
		for i := range m.Out {
			spread(i, m.In, even(i, m.Out, kept), func(j int) { m.Put(i, j, true) })
		}
	}
	return m, nil
}

// spread calls take for the k places of line i of n places.
func spread(i, n, k int, take func(j int)) {
	if k == 0 {
		return
	}
	turn := i * ((n+k-1)/k - 1) % n
	for q := range k {
		// The j with floor((j+1)*k/n) = q+1 > floor(j*k/n) is ceil((q+1)*n/k)-1.
		take((((q+1)*n+k-1)/k - 1 + turn) % n)
	}
}
