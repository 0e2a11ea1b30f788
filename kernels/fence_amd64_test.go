//go:build linux && amd64 && !noasm

package kernels_test

import (
	"math"
	"math/rand/v2"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/spdfctl/spdfctl/kernels"
)

// These tests compare every field of the assembly sets with the reference set,
// with slices that end, or begin, at a page that may not be touched: a stray
// read or write of a single byte is a fault, not a wrong number.

// unitRoundoff is the unit roundoff of float32.
const unitRoundoff = 1.0 / (1 << 24)

// fence hands out slices between two forbidden pages.
type fence struct {
	data []byte // the pages that may be used
}

func newFence(t *testing.T, size int) *fence {
	t.Helper()
	page := unix.Getpagesize()
	size = (size + page - 1) / page * page
	all, err := unix.Mmap(-1, 0, size+2*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	for _, edge := range [][]byte{all[:page], all[page+size:]} {
		if err := unix.Mprotect(edge, unix.PROT_NONE); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if err := unix.Munmap(all); err != nil {
			t.Error(err)
		}
	})
	return &fence{all[page : page+size]}
}

// side says which end of the memory a slice touches.
type side bool

const (
	atEnd   side = false
	atStart side = true
)

func sides(f func(s side)) { f(atEnd); f(atStart) }

// fenced returns n elements at one side of the fence.
func fenced[T any](f *fence, s side, n int) []T {
	var zero T
	size := n * int(unsafe.Sizeof(zero))
	if size > len(f.data) {
		panic("fence is too small")
	}
	p := unsafe.Pointer(&f.data[0])
	if s == atEnd {
		p = unsafe.Add(p, len(f.data)-size)
	}
	return unsafe.Slice((*T)(p), n)
}

// filled returns n fenced normal deviates.
func filled(f *fence, s side, n int, rng *rand.Rand) []float32 {
	x := fenced[float32](f, s, n)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	return x
}

// eachSIMD runs f for every set but the reference.
func eachSIMD(t *testing.T, f func(t *testing.T, set, ref *kernels.Set)) {
	sets := kernels.Sets()
	if len(sets) < 2 {
		t.Log("this CPU has no AVX2: only the reference is there to test")
	}
	for _, set := range sets[1:] {
		t.Run("set="+set.Name, func(t *testing.T) { f(t, set, sets[0]) })
	}
}

// near fails unless got is within k roundings of want, mass being the sum of
// the absolute terms; NaN and infinities must agree.
func near(t *testing.T, where string, got, want, mass float64, k int) {
	t.Helper()
	if !isNear(got, want, mass, k) {
		t.Fatalf("%s: got %.9g, want %.9g: difference %.3g, bound %.3g", where, got, want, math.Abs(got-want), bound(mass, k))
	}
}

// isNear is what near demands, for tests of so many numbers that naming each
// would take most of the time.
func isNear(got, want, mass float64, k int) bool {
	return math.IsNaN(want) && math.IsNaN(got) || got == want || math.Abs(got-want) <= bound(mass, k)
}

func bound(mass float64, k int) float64 { return float64(k) * (unitRoundoff*mass + 0x1p-149) }
