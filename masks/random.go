package masks

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
)

// RandomGenerator names the algorithm of RandomMask and its version. It is
// part of the mask file and hashed into every key, so that a change of the
// algorithm needs a new name.
const RandomGenerator = "spdf-splitmix64-1"

// The constants of SplitMix64.
//
// Source: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number
// Generators", OOPSLA 2014; mixer by Stafford, variant 13.
const (
	splitMixGamma = 0x9e3779b97f4a7c15
	splitMixMul1  = 0xbf58476d1ce4e5b9
	splitMixMul2  = 0x94d049bb133111eb
)

// Multiples of splitMixGamma modulo 2^64.
const (
	gamma2 = 2 * splitMixGamma % (1 << 64)
	gamma3 = 3 * splitMixGamma % (1 << 64)
	gamma4 = 4 * splitMixGamma % (1 << 64)
	gamma5 = 5 * splitMixGamma % (1 << 64)
	gamma6 = 6 * splitMixGamma % (1 << 64)
	gamma7 = 7 * splitMixGamma % (1 << 64)
	gamma8 = 8 * splitMixGamma % (1 << 64)
)

// Random returns the static random uniform mask of every target: each keeps a
// uniformly random subset of exactly s.Kept(out*in) of its weights.
//
// A mask depends on s, seed and its own target and on nothing else: the same
// on any machine, for any number of threads, in any order of targets and
// beside any others. Masks of one seed are nested: the weights kept at a
// higher sparsity are among those kept at a lower one.
func Random(targets []Target, s Sparsity, seed uint64) (*Set, error) {
	list := make([]*Mask, len(targets))
	for i, kept := range Uniform(targets, s) {
		m, err := RandomMask(targets[i], kept, seed)
		if err != nil {
			return nil, err
		}
		list[i] = m
	}
	return NewSet(list, RandomRecipe(s, seed), 0)
}

// RandomRecipe returns the recipe of Random.
func RandomRecipe(s Sparsity, seed uint64) Recipe {
	return Recipe{
		Method:       "random",
		Distribution: "uniform",
		Pattern:      "unstructured",
		Scope:        "layer",
		Sparsity:     s.String(),
		Generator:    RandomGenerator,
		Seed:         seed,
	}
}

// RandomMask returns a mask that keeps a uniformly random subset of exactly
// kept weights of t.
//
// Weight e = i*in + j draws the e-th output of a SplitMix64 generator whose
// seed is derived from RandomGenerator, seed, t.Name and t.Part; the weights
// with the kept smallest draws stay. No two draws of one matrix are equal,
// because SplitMix64 is a bijection of its counter. It uses GOMAXPROCS
// goroutines. It returns an error if t is invalid or kept is outside 0 to
// out*in.
func RandomMask(t Target, kept int, seed uint64) (*Mask, error) {
	if err := t.Check(); err != nil {
		return nil, err
	}
	if kept < 0 || kept > t.Total() {
		return nil, fmt.Errorf("masks: %q: %d weights to keep of %d", t.Key(), kept, t.Total())
	}
	m := New(t.Name, t.Part, t.Out, t.In)
	keepSmallest(m, streamKey(seed, t.Name, t.Part), kept, firstSigmas)
	return m, nil
}

// streamKey returns the seed of the generator of one matrix: the first eight
// bytes, little-endian, of the SHA-256 of RandomGenerator, seed (eight bytes,
// little-endian), name and part, each after its length as eight bytes
// little-endian. The lengths keep ("ab", "c") apart from ("a", "bc").
func streamKey(seed uint64, name, part string) uint64 {
	sum := sha256.Sum256(keyMessage(seed, name, part))
	return binary.LittleEndian.Uint64(sum[:8])
}

// keyMessage is what streamKey hashes.
func keyMessage(seed uint64, name, part string) []byte {
	msg := appendField(nil, RandomGenerator)
	msg = appendField(msg, string(binary.LittleEndian.AppendUint64(nil, seed)))
	return appendField(appendField(msg, name), part)
}

func appendField(msg []byte, s string) []byte {
	msg = binary.LittleEndian.AppendUint64(msg, uint64(len(s)))
	return append(msg, s...)
}

// splitMix is the output function of SplitMix64: output e of the generator
// seeded with key is splitMix(key + (e+1)*splitMixGamma).
func splitMix(z uint64) uint64 {
	z = (z ^ z>>30) * splitMixMul1
	z = (z ^ z>>27) * splitMixMul2
	return z ^ z>>31
}

// firstSigmas is the half width of the first window in standard deviations of
// the number of draws under the threshold. It is missed twice in 10^9
// matrices; then the window grows.
const firstSigmas = 6

// smallTotal is the number of weights up to which all draws are sorted.
const smallTotal = 1 << 10

// blockBytes is the mask that a goroutine fills before it takes the next
// block: 2^18 draws, far more than taking one costs.
const blockBytes = 1 << 15

// candidate is a weight whose draw falls into the window.
type candidate struct {
	draw uint64
	byte int  // of Mask.Bits
	bit  byte // value in that byte
}

// keepSmallest sets the bits of m, which are all zero, at the kept smallest
// draws of the stream key.
//
// Sorting all draws is the definition, and too much for a large matrix. The
// kept-th smallest of n draws lies near kept/n * 2^64, so one pass keeps all
// draws under a window around that, drops all above it, and gathers the few
// inside, whose sorting settles the count exactly. If the window was missed,
// the pass is repeated with a wider one, at last with one of all draws, so the
// result never depends on the window.
func keepSmallest(m *Mask, key uint64, kept int, sigmas float64) {
	n := m.Total()
	if kept == 0 {
		return
	}
	for ; ; sigmas = 8 * max(sigmas, 1) {
		lo, width := window(n, kept, sigmas)
		under, inside := pass(m, key, lo, width)
		rest := kept - under
		if rest < 0 || rest > len(inside) {
			continue // pass overwrites every byte
		}
		slices.SortFunc(inside, func(a, b candidate) int { return cmp.Compare(a.draw, b.draw) })
		for _, c := range inside[:rest] {
			m.Bits[c.byte] |= c.bit
		}
		return
	}
}

// window returns the draws lo to lo+width, among which the kept-th smallest of
// n is expected.
func window(n, kept int, sigmas float64) (lo, width uint64) {
	density := float64(kept) / float64(n)
	half := sigmas * math.Sqrt(density*(1-density)/float64(n))
	low, high := math.Ldexp(density-half, 64), math.Ldexp(density+half, 64)
	if n <= smallTotal || low <= 0 && high >= math.MaxUint64 {
		return 0, math.MaxUint64
	}
	if low > 0 {
		lo = uint64(low)
	}
	hi := uint64(math.MaxUint64)
	if high < math.MaxUint64 {
		hi = uint64(high)
	}
	return lo, hi - lo
}

// pass overwrites m with the draws under lo and returns their number and the
// draws lo to lo+width, in any order.
func pass(m *Mask, key, lo, width uint64) (under int, inside []candidate) {
	blocks := (len(m.Bits) + blockBytes - 1) / blockBytes
	var (
		next atomic.Int64
		mu   sync.Mutex
		wg   sync.WaitGroup
	)
	for range min(runtime.GOMAXPROCS(0), blocks) {
		wg.Go(func() {
			var (
				count int
				found []candidate
			)
			for {
				b := int(next.Add(1)) - 1
				if b >= blocks {
					break
				}
				first := b * blockBytes
				last := min(first+blockBytes, len(m.Bits))
				found = fill(m, first, last, key, lo, width, found)
				count += popcount(m.Bits[first:last])
			}
			mu.Lock()
			defer mu.Unlock()
			under += count
			inside = append(inside, found...)
		})
	}
	wg.Wait()
	return under, inside
}

// fill writes the bytes first to last of m, each bit 1 where the draw is under
// lo, and appends the draws lo to lo+width to found.
func fill(m *Mask, first, last int, key, lo, width uint64, found []candidate) []candidate {
	stride := m.Stride()
	for first < last {
		row, col := first/stride, first%stride
		end := min(last, (row+1)*stride)
		// The state of the generator before the weight (row, 8*col).
		state := key + uint64(row*m.In+8*col)*splitMixGamma
		full := first + min(end-first, m.In/8-col) // the bytes of 8 columns
		for p := first; p < full; p++ {
			v, near := fillByte(state, lo, width)
			m.Bits[p] = v
			if near {
				found = gather(found, p, 8, state, lo, width)
			}
			state += gamma8
		}
		if full < end {
			columns := m.In % 8
			v, _ := fillByte(state, lo, width)
			m.Bits[full] = v &^ m.padding()
			found = gather(found, full, columns, state, lo, width)
		}
		first = end
	}
	return found
}

// fillByte makes the next eight draws, returns a bit for each that is under
// lo, and reports whether any is lo to lo+width. It is written out because a
// loop takes half as long again.
func fillByte(state, lo, width uint64) (v byte, near bool) {
	d0, b0 := bits.Sub64(splitMix(state+splitMixGamma), lo, 0)
	d1, b1 := bits.Sub64(splitMix(state+gamma2), lo, 0)
	d2, b2 := bits.Sub64(splitMix(state+gamma3), lo, 0)
	d3, b3 := bits.Sub64(splitMix(state+gamma4), lo, 0)
	d4, b4 := bits.Sub64(splitMix(state+gamma5), lo, 0)
	d5, b5 := bits.Sub64(splitMix(state+gamma6), lo, 0)
	d6, b6 := bits.Sub64(splitMix(state+gamma7), lo, 0)
	d7, b7 := bits.Sub64(splitMix(state+gamma8), lo, 0)
	v = byte(b0 | b1<<1 | b2<<2 | b3<<3 | b4<<4 | b5<<5 | b6<<6 | b7<<7)
	return v, min(d0, d1, d2, d3, d4, d5, d6, d7) <= width
}

// gather appends those of the next columns draws, which belong to byte p, that
// are lo to lo+width.
func gather(found []candidate, p, columns int, state, lo, width uint64) []candidate {
	for bit := range columns {
		state += splitMixGamma
		if draw := splitMix(state); draw-lo <= width {
			found = append(found, candidate{draw, p, 1 << bit})
		}
	}
	return found
}
