package masks

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// PatternKind is a structure of the kept weights.
type PatternKind int

// The kinds of Pattern.
const (
	Unstructured    PatternKind = iota
	NofM                        // N of every M weights of a row, one after the other
	Block                       // blocks of R rows and C columns, whole
	BalancedRows                // as many in every row, or one more in the first ones
	BalancedColumns             // the same for columns
)

// Pattern is a structure of the kept weights; A and B are N and M, or R and C.
type Pattern struct {
	Kind PatternKind
	A, B int
}

// maxPatternSize bounds N, M, R and C.
const maxPatternSize = 1 << 12

// ParsePattern reads "unstructured", "N:M" with 0 < N < M, "block:RxC",
// "balanced:row" or "balanced:column".
func ParsePattern(text string) (Pattern, error) {
	switch text {
	case "unstructured":
		return Pattern{}, nil
	case "balanced:row":
		return Pattern{Kind: BalancedRows}, nil
	case "balanced:column":
		return Pattern{Kind: BalancedColumns}, nil
	}
	number := func(s string) int {
		n, err := strconv.Atoi(s)
		if err != nil || strconv.Itoa(n) != s || n < 1 || n > maxPatternSize {
			return 0
		}
		return n
	}
	if rest, ok := strings.CutPrefix(text, "block:"); ok {
		r, c, _ := strings.Cut(rest, "x")
		p := Pattern{Block, number(r), number(c)}
		if p.A == 0 || p.B == 0 {
			return p, fmt.Errorf("masks: pattern %q: want block:RxC with R and C from 1 to %d", clip(text), maxPatternSize)
		}
		return p, nil
	}
	n, m, ok := strings.Cut(text, ":")
	p := Pattern{NofM, number(n), number(m)}
	if !ok || p.A == 0 || p.A >= p.B {
		return p, fmt.Errorf("masks: pattern %q is none of unstructured, N:M with N below M, block:RxC, balanced:row and balanced:column", clip(text))
	}
	return p, nil
}

// String returns the pattern as ParsePattern reads it.
func (p Pattern) String() string {
	switch p.Kind {
	case NofM:
		return fmt.Sprintf("%d:%d", p.A, p.B)
	case Block:
		return fmt.Sprintf("block:%dx%d", p.A, p.B)
	case BalancedRows:
		return "balanced:row"
	case BalancedColumns:
		return "balanced:column"
	}
	return "unstructured"
}

// Fits reports what keeps t from having the pattern: columns that do not divide
// into groups of M, or a shape that does not divide into blocks.
func (p Pattern) Fits(t Target) error {
	switch {
	case p.Kind == NofM && t.In%p.B != 0:
		return fmt.Errorf("masks: %q: %d columns do not divide into groups of %d", t.Key(), t.In, p.B)
	case p.Kind == Block && (t.Out%p.A != 0 || t.In%p.B != 0):
		return fmt.Errorf("masks: %q: (%d, %d) does not divide into blocks of (%d, %d)", t.Key(), t.Out, t.In, p.A, p.B)
	}
	return nil
}

// unit is how many weights are kept or pruned together, counted in which the
// number of kept weights is exact: those of a block, or one in every group.
func (p Pattern) unit(t Target) int {
	switch p.Kind {
	case NofM:
		return t.Total() / p.B
	case Block:
		return p.A * p.B
	}
	return 1
}

// Round returns the number of weights nearest to kept that the pattern allows, of
// two the larger one.
func (p Pattern) Round(t Target, kept int) int {
	u := p.unit(t)
	return min((kept+u/2)/u, t.Total()/u) * u
}

// Holds reports where m breaks the pattern, nil if nowhere. A group of N:M may
// keep fewer than N.
func (p Pattern) Holds(m *Mask) error {
	if err := p.Fits(m.Target()); err != nil {
		return err
	}
	switch p.Kind {
	case NofM:
		for i := range m.Out {
			for g := 0; g < m.In; g += p.B {
				n := 0
				for j := g; j < g+p.B; j++ {
					if m.Keep(i, j) {
						n++
					}
				}
				if n > p.A {
					return fmt.Errorf("masks: %q: row %d keeps %d of columns %d to %d, %s allows %d", m.Key(), i, n, g, g+p.B-1, p, p.A)
				}
			}
		}
	case Block:
		for i := range m.Out {
			for j := range m.In {
				if m.Keep(i, j) != m.Keep(i/p.A*p.A, j/p.B*p.B) {
					return fmt.Errorf("masks: %q: the block of (%d, %d) is neither kept nor pruned", m.Key(), i, j)
				}
			}
		}
	case BalancedRows, BalancedColumns:
		counts := m.RowCounts()
		if p.Kind == BalancedColumns {
			counts = m.columnCounts()
		}
		if least, most := slices.Min(counts), slices.Max(counts); most > least+1 {
			return fmt.Errorf("masks: %q: one %s keeps %d weights, another %d", m.Key(), strings.TrimPrefix(p.String(), "balanced:"), least, most)
		}
	}
	return nil
}

// RowCounts returns the number of kept weights of every row.
func (m *Mask) RowCounts() []int {
	counts := make([]int, m.Out)
	for i := range counts {
		counts[i] = popcount(m.Row(i))
	}
	return counts
}

// columnCounts returns the kept weights of every column.
func (m *Mask) columnCounts() []int {
	counts := make([]int, m.In)
	eachKept(m, func(_, j int) { counts[j]++ })
	return counts
}
