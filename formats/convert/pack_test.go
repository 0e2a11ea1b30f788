package convert

import (
	"bytes"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/spdfctl/spdfctl/masks"
)

// Packing and expanding do not depend on how the bytes are cut on the way or on
// the number of threads, and are the reference's: one element after the other.
func TestPackChunks(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	rng := rand.New(rand.NewPCG(1, 2))
	for _, shape := range [][2]int{{1, 1}, {3, 64}, {5, 200}, {40, 7}, {2, 1000}, {700, 512}} {
		for _, size := range []int{1, 2, 4, 8} {
			m := masks.New("w", "", shape[0], shape[1])
			dense := make([]byte, m.Total()*size)
			var packed []byte
			for e := range m.Total() {
				// Empty rows, full ones and others.
				if e/m.In%3 == 0 && e/m.In%2 == 1 || e/m.In%3 != 0 && rng.IntN(4) > 0 {
					continue
				}
				m.Put(e/m.In, e%m.In, true)
				for k := range size {
					dense[e*size+k] = byte(rng.Uint32())
				}
				packed = append(packed, dense[e*size:(e+1)*size]...)
			}
			rows := newPackedRows(m, size)
			for _, chunk := range []int{1, 13, 1 << 10, 1 << 20} {
				if chunk < 1<<10 && len(dense) > 1<<14 {
					continue
				}
				for _, threads := range []int{1, 3} {
					runtime.GOMAXPROCS(threads)
					var got, back bytes.Buffer
					p := &packer{w: &got, name: "w", rows: rows}
					inChunks(t, p, dense, chunk)
					if !bytes.Equal(got.Bytes(), packed) {
						t.Fatalf("%v of %d bytes in chunks of %d: packed otherwise", shape, size, chunk)
					}
					x := &expander{w: &back, rows: rows}
					inChunks(t, x, packed, chunk)
					if err := x.finish(); err != nil {
						t.Fatal(err)
					}
					if !bytes.Equal(back.Bytes(), dense) {
						t.Fatalf("%v of %d bytes in chunks of %d: expanded otherwise", shape, size, chunk)
					}
				}
			}
			// Every pruned element counts, to its last bit.
			for e := range m.Total() {
				if m.Keep(e/m.In, e%m.In) || e%(m.Total()/10+1) > 7 && e != m.Total()-1 {
					continue
				}
				dense[(e+1)*size-1] = 0x80
				_, err := (&packer{w: new(bytes.Buffer), name: "w", rows: rows}).Write(dense)
				if err == nil || !strings.Contains(err.Error(), "is pruned and not +0") {
					t.Fatalf("%v of %d bytes: element %d is lost: %v", shape, size, e, err)
				}
				dense[(e+1)*size-1] = 0
			}
		}
	}
}

func inChunks(t *testing.T, w interface{ Write([]byte) (int, error) }, data []byte, chunk int) {
	t.Helper()
	for len(data) > 0 {
		n := min(chunk, len(data))
		if k, err := w.Write(data[:n]); k != n || err != nil {
			t.Fatal(k, err)
		}
		data = data[n:]
	}
}

// What is pruned is found and zeroed however the bytes are cut on the way, and
// from whatever element they begin with; what is given stays as it is.
func TestPrunerChunks(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, shape := range [][2]int{{1, 1}, {3, 64}, {5, 200}, {40, 7}} {
		for _, size := range []int{1, 2, 4, 8} {
			m := masks.New("w", "", shape[0], shape[1])
			data := make([]byte, m.Total()*size)
			want := make([]byte, len(data))
			var awake []int
			for e := range m.Total() {
				keep, one := rng.IntN(3) == 0, data[e*size:(e+1)*size]
				m.Put(e/m.In, e%m.In, keep)
				if rng.IntN(5) > 0 {
					one[rng.IntN(size)] = 1 << rng.IntN(8)
				}
				if keep {
					copy(want[e*size:], one)
				} else if slices.Max(one) > 0 {
					awake = append(awake, e)
				}
			}
			given := bytes.Clone(data)
			for _, first := range []int{0, m.Total() / 3} {
				for _, chunk := range []int{1, 13, 1 << 20} {
					var out bytes.Buffer
					var found []int
					p := &pruner{w: &out, mask: m, size: size, at: first, awake: func(e int) { found = append(found, e) }}
					inChunks(t, p, data[first*size:], chunk)
					if !bytes.Equal(out.Bytes(), want[first*size:]) || !bytes.Equal(data, given) {
						t.Fatalf("%v of %d bytes in chunks of %d from %d: zeroed otherwise", shape, size, chunk, first)
					}
					if i, _ := slices.BinarySearch(awake, first); !slices.Equal(found, awake[i:]) {
						t.Fatalf("%v of %d bytes in chunks of %d from %d: found %v, want %v", shape, size, chunk, first, found, awake[i:])
					}
				}
			}
		}
	}
}
