package masks

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/big"
	"path"
	"runtime"
	"sync"
	"sync/atomic"
)

// Options say which weights of a model are to exist, in the words of the command
// line. The zero value of a text is its default.
type Options struct {
	Method       string // "random", "magnitude", "from-zeros", "checkerboard"
	Distribution string // "uniform", "er", "erk"
	Scope        string // "layer", "row", "global"
	Compat       string // "" or "cstorch"
	Pattern      Pattern
	Sparsity     Sparsity // of every matrix; N:M says it itself
	Given        bool     // Sparsity was asked for
	Groups       []Group
	Seed         uint64

	// Weights returns the sizes of the weights of a matrix, for the methods
	// that look at them. It may write them into the memory of old, which is
	// empty or what it returned for another matrix that has been dealt with. It
	// is called from several goroutines, and for a global scope more than once.
	Weights func(t Target, old Scores) (Scores, error)
	// Done, if not nil, is called after every matrix; its error ends the work.
	Done func() error
}

// Group is what some matrices are asked for instead of Options.Sparsity: those
// whose name or key its glob matches, the first of several groups counting.
type Group struct {
	Match    string // as path.Match has it
	Sparsity Sparsity
	Dense    bool // no mask at all
}

// Matches reports whether glob, as path.Match has it, matches the name or the key
// of t. It returns an error if the glob is malformed.
func (t Target) Matches(glob string) (bool, error) {
	byName, err := path.Match(glob, t.Name)
	if err != nil {
		return false, fmt.Errorf("masks: glob %q: %w", glob, err)
	}
	byKey, _ := path.Match(glob, t.Key())
	return byName || byKey, nil
}

func (o Options) withDefaults() Options {
	o.Method = cmp.Or(o.Method, "random")
	o.Distribution = cmp.Or(o.Distribution, "uniform")
	o.Scope = cmp.Or(o.Scope, "layer")
	return o
}

// Check reports which options do not go together.
func (o Options) Check() error {
	o = o.withDefaults()
	bad := func(format string, args ...any) error { return fmt.Errorf("masks: "+format, args...) }
	switch o.Method {
	case "random", "magnitude", "from-zeros", "checkerboard":
	default:
		return bad("method %q is none of random, magnitude, from-zeros and checkerboard", o.Method)
	}
	switch o.Distribution {
	case "uniform", "er", "erk":
	default:
		return bad("distribution %q is none of uniform, er and erk", o.Distribution)
	}
	switch o.Scope {
	case "layer", "row", "global":
	default:
		return bad("scope %q is none of layer, row and global", o.Scope)
	}
	if o.Compat != "" && o.Compat != "cstorch" {
		return bad("compat %q is not known, only cstorch", o.Compat)
	}
	plain := o.Pattern.Kind == Unstructured
	switch {
	case o.Method == "from-zeros" && (o.Given || len(o.Groups) > 0 || o.Distribution != "uniform" || o.Scope != "layer"):
		return bad("from-zeros keeps what is not zero: no sparsity, distribution, scope or groups go with it")
	case o.Scope == "row" && !plain:
		return bad("scope row goes with the unstructured pattern only, not %s", o.Pattern)
	case o.Scope == "global" && (o.Distribution != "uniform" || len(o.Groups) > 0):
		return bad("with scope global all weights compete: no distribution or groups go with it")
	case o.Scope == "global" && !plain && o.Pattern.Kind != Block:
		return bad("scope global goes with the pattern unstructured or block:RxC, not %s", o.Pattern)
	case o.Scope == "global" && o.Method == "checkerboard":
		return bad("a checkerboard is of one matrix: scope global does not go with it")
	case o.Compat != "" && (o.Distribution != "uniform" || !plain || o.Scope != "layer" || len(o.Groups) > 0 || o.Method == "from-zeros"):
		return bad("compat cstorch goes with the distribution uniform, the scope layer and no pattern or groups")
	case o.Pattern.Kind == NofM && o.Given && o.Distribution == "uniform" && o.Sparsity.Pruned(o.Pattern.B*maxPatternSize) != (o.Pattern.B-o.Pattern.A)*maxPatternSize:
		return bad("pattern %s prunes %s, the sparsity asked for is %s", o.Pattern, o.Pattern.Sparsity(), o.Sparsity)
	case !o.Given && o.Method != "from-zeros" && (o.Pattern.Kind != NofM || o.Distribution != "uniform"):
		return bad("no sparsity is asked for")
	}
	return nil
}

// Sparsity returns what N:M prunes, (M-N)/M.
func (p Pattern) Sparsity() Sparsity {
	return Sparsity{rat: big.NewRat(int64(p.B-p.A), int64(p.B)), text: fmt.Sprintf("%d/%d", p.B-p.A, p.B)}
}

// Counts returns the targets that get a mask and the number of weights that each
// keeps, for every method but from-zeros and every scope but global. With er and
// erk the counts are rounded to what the pattern allows.
func Counts(targets []Target, o Options) ([]Target, []int, error) {
	o = o.withDefaults()
	if o.Pattern.Kind == NofM && !o.Given {
		o.Sparsity = o.Pattern.Sparsity()
	}
	var (
		list, rest []Target
		kept       []int
		shared     []int // indices in kept of rest
	)
	used := make([]bool, len(o.Groups))
	for _, t := range targets {
		if err := o.Pattern.Fits(t); err != nil {
			return nil, nil, err
		}
		found := -1
		for i, g := range o.Groups {
			ok, err := t.Matches(g.Match)
			if err != nil {
				return nil, nil, err
			}
			if ok && found < 0 {
				found = i
			}
			used[i] = used[i] || ok
		}
		switch {
		case found >= 0 && o.Groups[found].Dense:
			continue
		case found >= 0:
			kept = append(kept, o.uniform(t, o.Groups[found].Sparsity))
		default:
			shared = append(shared, len(kept))
			rest = append(rest, t)
			kept = append(kept, 0)
		}
		list = append(list, t)
	}
	for i, g := range o.Groups {
		if !used[i] {
			return nil, nil, fmt.Errorf("masks: group %q matches none of %d matrices", g.Match, len(targets))
		}
	}
	if len(list) == 0 {
		return nil, nil, fmt.Errorf("masks: all %d matrices are to stay dense", len(targets))
	}
	if o.Compat == "cstorch" {
		counts, err := UniformCstorch(list, o.Sparsity)
		return list, counts, err
	}
	counts := make([]int, len(rest))
	if o.Distribution == "uniform" {
		for i, t := range rest {
			counts[i] = o.uniform(t, o.Sparsity)
		}
	} else if len(rest) > 0 {
		var err error
		if counts, err = Erdos(rest, o.Sparsity); err != nil {
			return nil, nil, err
		}
		for i, t := range rest {
			counts[i] = o.Pattern.Round(t, counts[i])
		}
	}
	for i, at := range shared {
		kept[at] = counts[i]
	}
	return list, kept, nil
}

// uniform returns what a matrix of sparsity s keeps: exactly that part of its
// weights, its blocks, its groups or each of its rows.
func (o Options) uniform(t Target, s Sparsity) int {
	if o.Scope == "row" {
		return t.Out * s.Kept(t.In)
	}
	u := o.Pattern.unit(t)
	return u * s.Kept(t.Total()/u)
}

// Create makes the masks of the targets. The result depends on the options and,
// for magnitude and from-zeros, the weights: not on the order of the targets, the
// number of threads or the machine. It holds the scores of as many matrices as
// there are threads.
func Create(targets []Target, o Options) (*Set, error) {
	o = o.withDefaults()
	if err := o.Check(); err != nil {
		return nil, err
	}
	recipe := Recipe{Method: o.Method, Distribution: o.Distribution, Pattern: o.Pattern.String(), Scope: o.Scope, Compat: o.Compat}
	if o.Given {
		recipe.Sparsity = o.Sparsity.String()
	} else if o.Method != "from-zeros" {
		o.Sparsity, o.Given = o.Pattern.Sparsity(), true
		recipe.Sparsity = o.Sparsity.String()
	}
	switch o.Method {
	case "random":
		recipe.Generator, recipe.Seed = RandomGenerator, o.Seed
	case "from-zeros":
		recipe.Distribution = ""
	}
	var kept []int
	var err error
	switch {
	case o.Method == "from-zeros":
		kept = make([]int, len(targets))
	case o.Scope == "global":
		kept, err = globalCounts(targets, o)
	default:
		targets, kept, err = Counts(targets, o)
	}
	if err != nil {
		return nil, err
	}
	list := make([]*Mask, len(targets))
	sums := make([][sha256.Size]byte, len(targets))
	looks := o.Method == "magnitude" || o.Method == "from-zeros"
	old := make([]Scores, runtime.GOMAXPROCS(0))
	counts := make([]*[1 << radixBits]int, len(old))
	one := func(worker, i int) error {
		t := targets[i]
		var err error
		switch o.Method {
		case "random":
			list[i], err = RandomPattern(t, kept[i], o.Pattern, o.Scope == "row", o.Seed)
		case "checkerboard":
			list[i], err = Checkerboard(t, kept[i], o.Pattern, o.Scope == "row")
		default:
			var s Scores
			if s, err = o.Weights(t, old[worker]); err != nil {
				return err
			}
			old[worker] = s
			if counts[worker] == nil {
				counts[worker] = new([1 << radixBits]int)
			}
			sums[i] = s.digest(counts[worker])
			s.counts = counts[worker]
			if o.Method == "magnitude" {
				list[i], err = Magnitude(t, kept[i], o.Pattern, o.Scope == "row", s)
			} else {
				list[i], err = FromZeros(t, o.Pattern, s)
			}
		}
		return err
	}
	workers := len(old)
	if o.Method == "random" && o.Pattern.Kind == Unstructured && o.Scope != "row" {
		workers = 1 // RandomMask has its own
	}
	if err := overTargets(len(targets), workers, o.Done, one); err != nil {
		return nil, err
	}
	set, err := NewSet(list, recipe, 0)
	if err != nil {
		return nil, err
	}
	if looks {
		byKey := make(map[string][sha256.Size]byte)
		for i, t := range targets {
			byKey[t.Key()] = sums[i]
		}
		set.Recipe.Parent = parentDigest(set, byKey)
	}
	return set, nil
}

// digest returns the SHA-256 of the scores, little-endian. On the way it counts
// their first digits into counts: they pass through the cache once for both.
func (s Scores) digest(counts *[1 << radixBits]int) [sha256.Size]byte {
	clear(counts[:])
	h := sha256.New()
	var buffer [1 << 13]byte
	for rest := s.Narrow; len(rest) > 0; {
		n := min(len(rest), len(buffer)/4)
		for i, v := range rest[:n] {
			binary.LittleEndian.PutUint32(buffer[4*i:4*i+4], v)
			counts[uint16(v>>(32-radixBits))]++
		}
		h.Write(buffer[:4*n])
		rest = rest[n:]
	}
	for rest := s.Wide; len(rest) > 0; {
		n := min(len(rest), len(buffer)/8)
		for i, v := range rest[:n] {
			binary.LittleEndian.PutUint64(buffer[8*i:8*i+8], v)
			counts[uint16(v>>(64-radixBits))]++
		}
		h.Write(buffer[:8*n])
		rest = rest[n:]
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// parentDigest is the SHA-256 of the digests of all matrices, each after its
// key, in the order of the set.
func parentDigest(s *Set, sums map[string][sha256.Size]byte) string {
	var msg []byte
	for _, m := range s.Masks {
		sum := sums[m.Key()]
		msg = appendField(appendField(msg, m.Key()), string(sum[:]))
	}
	all := sha256.Sum256(msg)
	return hex.EncodeToString(all[:])
}

// overTargets calls one for 0 to n-1, one after the other or as many at a time as
// there are workers, of whom each has a number, and done after each. It returns
// the first error by index.
func overTargets(n, workers int, done func() error, one func(worker, i int) error) error {
	workers = min(workers, n)
	var (
		next atomic.Int64
		stop atomic.Bool
		mu   sync.Mutex
		wg   sync.WaitGroup
	)
	errs := make([]error, n)
	for worker := range workers {
		wg.Go(func() {
			for !stop.Load() {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				err := one(worker, i)
				mu.Lock()
				if err == nil && done != nil {
					err = done()
				}
				if errs[i] = err; err != nil {
					stop.Store(true)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// Make makes one mask of a set again, from its recipe and the number of weights
// that it keeps. It returns an error if weights decided what is kept, or the
// recipe is of another generator or pattern than are known.
func (r Recipe) Make(t Target, kept int) (*Mask, error) {
	p, err := ParsePattern(r.Pattern)
	if err != nil {
		return nil, err
	}
	if r.Scope != "layer" && r.Scope != "row" && r.Scope != "global" {
		return nil, fmt.Errorf("masks: scope %.40q is none of layer, row and global", r.Scope)
	}
	switch {
	case r.Method == "random" && r.Generator == RandomGenerator:
		return RandomPattern(t, kept, p, r.Scope == "row", r.Seed)
	case r.Method == "checkerboard":
		return Checkerboard(t, kept, p, r.Scope == "row")
	}
	return nil, fmt.Errorf("masks: a mask of method %.40q and generator %.40q cannot be made from its recipe", r.Method, r.Generator)
}
