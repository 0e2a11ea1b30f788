package kerneltest

import (
	"fmt"
	"math"
)

// guardBits is a NaN that no arithmetic produces.
const guardBits = 0x7fa5a5a5

// guardWords is the number of guard words before and behind a slice: more
// than the widest vector reaches.
const guardWords = 40

// guarded is a slice s between guard words.
type guarded struct {
	name   string
	all    []float32
	lo     int // s[0] is all[lo]
	s      []float32
	before []float32 // all, as newGuarded left it
}

// newGuarded returns n numbers at an offset within a vector, written by write.
func newGuarded(name string, n, offset int, write func(x []float32)) *guarded {
	g := &guarded{
		name: name,
		all:  make([]float32, guardWords+offset+n+guardWords),
		lo:   guardWords + offset,
	}
	for i := range g.all {
		g.all[i] = math.Float32frombits(guardBits)
	}
	g.s = g.all[g.lo : g.lo+n : g.lo+n]
	write(g.s)
	g.before = append([]float32(nil), g.all...)
	return g
}

// values returns a writer of given values for newGuarded.
func values(v []float32) func(x []float32) {
	return func(x []float32) { copy(x, v) }
}

// old returns the content of s as newGuarded left it.
func (g *guarded) old() []float32 { return g.before[g.lo : g.lo+len(g.s)] }

// intact reports an error if a word outside s changed.
func (g *guarded) intact() error {
	for i, v := range g.all {
		if math.Float32bits(v) != guardBits && (i < g.lo || i >= g.lo+len(g.s)) {
			return fmt.Errorf("%s: wrote outside the slice, at index %d of %d", g.name, i-g.lo, len(g.s))
		}
	}
	return nil
}

// unchanged reports an error if any word changed.
func (g *guarded) unchanged() error {
	if i := sameBits(g.all, g.before); i >= 0 {
		return fmt.Errorf("%s: input changed at index %d of %d", g.name, i-g.lo, len(g.s))
	}
	return nil
}

// first returns the first error of a list.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
