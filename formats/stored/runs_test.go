package stored

import (
	"bytes"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestRuns compares blocks loaded run by run with a copy of the whole array, for
// permuted, spread, repeated and overlapping views and blocks of all sizes.
func TestRuns(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	src := make([]byte, 1<<14)
	for i := range src {
		src[i] = byte(random.Uint32())
	}
	for range 2000 {
		dims := make([]int, 1+random.IntN(4))
		for i := range dims {
			dims[i] = 1 + random.IntN(6)
		}
		v := View{Dims: dims, Strides: make([]int, len(dims)), Offset: random.IntN(9)}
		step := 1
		for _, d := range random.Perm(len(dims)) {
			switch random.IntN(8) {
			case 0: // repeated
			case 1: // overlapping what is inside
				v.Strides[d] = max(1, step-1)
			default:
				step += random.IntN(2) * random.IntN(12)
				v.Strides[d] = step
				step *= dims[d]
			}
		}
		size := []int{1, 2, 4}[random.IntN(3)]
		_, end, err := v.Span(len(src) / size)
		if err != nil {
			continue
		}
		a := Array{Swap: []int{0, size}[random.IntN(2)], Direct: true, Read: func(off, n int64) (io.Reader, error) {
			return bytes.NewReader(src[off : off+n]), nil
		}}
		var got bytes.Buffer
		budget := 8 + random.IntN(600)
		if err := writeRuns(&got, a, v, size, budget); err != nil {
			t.Fatal(err)
		}
		want := make([]byte, v.Elements()*size)
		all := slices.Clone(src[:end*size])
		Reverse(all, a.Swap)
		Copy(want, RowMajor(dims), all, v, size)
		if !bytes.Equal(got.Bytes(), want) {
			t.Fatalf("%+v of %d bytes with %d to load differs", v, size, budget)
		}
	}
	cut := Array{Read: func(_, n int64) (io.Reader, error) { return bytes.NewReader(src[:n/2]), nil }}
	if err := writeRuns(io.Discard, cut, View{Dims: []int{4, 4}, Strides: []int{1, 4}}, 1, 8); err != io.ErrUnexpectedEOF {
		t.Errorf("a cut array: got %v, want %v", err, io.ErrUnexpectedEOF)
	}
}
