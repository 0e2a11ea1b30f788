package stored_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/stored"
)

func TestSpan(t *testing.T) {
	const big = int(^uint(0) >> 1)
	for _, tc := range []struct {
		name       string
		v          stored.View
		limit      int
		first, end int
		bad        bool
	}{
		{"scalar", stored.View{}, 1, 0, 1, false},
		{"scalar past the end", stored.View{Offset: 1}, 1, 0, 0, true},
		{"empty wherever it is", stored.View{Dims: []int{0, 3}, Strides: []int{3, 1}, Offset: 99}, 1, 0, 0, false},
		{"transposed", stored.View{Dims: []int{8, 6}, Strides: []int{1, 8}}, 48, 0, 48, false},
		{"one too long", stored.View{Dims: []int{8, 6}, Strides: []int{1, 8}, Offset: 1}, 48, 0, 0, true},
		{"repeated", stored.View{Dims: []int{1 << 40}, Strides: []int{0}, Offset: 3}, 4, 3, 4, false},
		{"negative stride", stored.View{Dims: []int{2}, Strides: []int{-1}, Offset: 1}, 4, 0, 0, true},
		{"negative dimension", stored.View{Dims: []int{-2}, Strides: []int{1}}, 4, 0, 0, true},
		{"negative offset", stored.View{Dims: []int{2}, Strides: []int{1}, Offset: -1}, 4, 0, 0, true},
		{"overflow", stored.View{Dims: []int{big, big}, Strides: []int{big, big}}, big, 0, 0, true},
		{"rank", stored.View{Dims: []int{2}}, 4, 0, 0, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			first, end, err := tc.v.Span(tc.limit)
			if (err != nil) != tc.bad || first != tc.first || end != tc.end {
				t.Errorf("got %d, %d, %v; want %d, %d, bad %v", first, end, err, tc.first, tc.end, tc.bad)
			}
		})
	}
}

// drawView draws a view of few dimensions without repeated elements: an axis
// order, gaps and an offset.
func drawView(t *rapid.T, dims []int, label string) (v stored.View, elements int) {
	v = stored.View{Dims: dims, Strides: make([]int, len(dims)), Offset: rapid.IntRange(0, 3).Draw(t, label+" offset")}
	order := rapid.Permutation([]int{0, 1, 2, 3}[:len(dims)]).Draw(t, label+" order")
	step := 1
	for _, axis := range order {
		step *= rapid.IntRange(1, 2).Draw(t, label+" gap")
		v.Strides[axis] = step
		step *= max(dims[axis], 1)
	}
	return v, v.Offset + step
}

// slowCopy is the reference of Copy: one element at a time.
func slowCopy(dst []byte, to stored.View, src []byte, from stored.View, size int) {
	index := make([]int, len(to.Dims))
	for range to.Elements() {
		d, s := to.Offset, from.Offset
		for i, x := range index {
			d += x * to.Strides[i]
			s += x * from.Strides[i]
		}
		copy(dst[d*size:(d+1)*size], src[s*size:])
		for i := len(index) - 1; i >= 0; i-- {
			if index[i]++; index[i] < to.Dims[i] {
				break
			}
			index[i] = 0
		}
	}
}

func TestCopyAgainstReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dims := rapid.SliceOfN(rapid.SampledFrom([]int{0, 1, 2, 3, 33, 40}), 0, 4).Filter(func(d []int) bool {
			return stored.RowMajor(d).Elements() < 50000
		}).Draw(t, "dims")
		size := rapid.SampledFrom([]int{1, 2, 4, 8, 16}).Draw(t, "size")
		to, n := drawView(t, dims, "to")
		from, m := drawView(t, dims, "from")
		src := make([]byte, m*size)
		random := rand.NewChaCha8([32]byte{byte(m)})
		random.Read(src)
		got, want := make([]byte, n*size), make([]byte, n*size)
		stored.Copy(got, to, src, from, size)
		slowCopy(want, to, src, from, size)
		if !bytes.Equal(got, want) {
			t.Fatal("differs from the reference")
		}
	})
}

func TestStridedAgainstReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dims := rapid.SliceOfN(rapid.SampledFrom([]int{0, 1, 2, 3, 40}), 0, 4).Draw(t, "dims")
		from, m := drawView(t, dims, "from")
		swap := rapid.SampledFrom([]int{0, 4}).Draw(t, "swap")
		src := make([]byte, 4*m)
		for i := range src {
			src[i] = byte(i * 7)
		}
		info := formats.Info{Name: "t", DType: formats.F32, Shape: dims}
		tensor := stored.Strided(info, stored.Array{Swap: swap, Read: func(off, n int64) (io.Reader, error) {
			return bytes.NewReader(src[off : off+n]), nil
		}}, from)
		got, err := tensor.Load()
		if err != nil {
			t.Fatal(err)
		}
		want := make([]byte, 4*from.Elements())
		slowCopy(want, stored.RowMajor(dims), src, from, 4)
		stored.Reverse(want, swap)
		if !bytes.Equal(got, want) {
			t.Fatal("differs from the reference")
		}
	})
}

// TestStridedInBlocks writes more than one block, with rows shorter and longer
// than one.
func TestStridedInBlocks(t *testing.T) {
	for _, dims := range [][]int{{3 << 20, 2}, {2, 3 << 20}, {2, 3, 1 << 20}, {5 << 20}} {
		elements := stored.RowMajor(dims).Elements()
		src := make([]byte, 2*elements)
		for i := range src {
			src[i] = byte(i ^ i>>8 ^ i>>16)
		}
		from := stored.View{Dims: dims, Strides: make([]int, len(dims))}
		step := 2
		for i := range dims {
			from.Strides[i] = step
			step *= dims[i]
		}
		tensor := stored.Strided(formats.Info{Name: "t", DType: formats.U8, Shape: dims}, stored.Array{
			Read: func(off, n int64) (io.Reader, error) { return bytes.NewReader(src[off : off+n]), nil },
		}, from)
		got, err := tensor.Load()
		if err != nil {
			t.Fatal(err)
		}
		want := make([]byte, elements)
		stored.Copy(want, stored.RowMajor(dims), src, from, 1)
		if !bytes.Equal(got, want) {
			t.Errorf("%v: differs from a copy in one piece", dims)
		}
	}
}

func openFile(t *testing.T, data []byte) *stored.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, data, 0o666); err != nil {
		t.Fatal(err)
	}
	f, err := stored.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestInFile(t *testing.T) {
	data := make([]byte, 3<<20)
	for i := range data {
		data[i] = byte(i % 251)
	}
	f := openFile(t, data)
	info := formats.Info{Name: "a", DType: formats.U8, Shape: []int{2 << 20}}
	tensor, err := stored.InFile(f, info, 100)
	if err != nil {
		t.Fatal(err)
	}
	got, err := tensor.Load()
	if err != nil || !bytes.Equal(got, data[100:100+2<<20]) {
		t.Errorf("Load: %d bytes, %v", len(got), err)
	}
	// bytes.Buffer reads from files: the way that the kernel takes.
	var buffer bytes.Buffer
	if err := tensor.Emit(&buffer); err != nil || !bytes.Equal(buffer.Bytes(), got) {
		t.Errorf("Emit: %d bytes, %v", buffer.Len(), err)
	}
	if _, err := stored.InFile(f, info, 2<<20); err == nil {
		t.Error("a tensor past the end of the file was accepted")
	}
	if _, err := stored.InFile(f, info, -1); err == nil {
		t.Error("a negative offset was accepted")
	}

	if err := f.Check(); err != nil {
		t.Errorf("unchanged file: %v", err)
	}
	if err := os.Truncate(f.Path(), 200); err != nil {
		t.Fatal(err)
	}
	if err := f.Check(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("cut file: got %v, want io.ErrUnexpectedEOF", err)
	}
	if _, err := tensor.Load(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("Load of a cut file: got %v, want io.ErrUnexpectedEOF", err)
	}
	buffer.Reset()
	if err := tensor.Emit(&buffer); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("Emit of a cut file: got %v, want io.ErrUnexpectedEOF", err)
	}
}

func TestEmitRange(t *testing.T) {
	data := []byte("0123456789")
	info := formats.Info{Name: "a", DType: formats.U8, Shape: []int{10}}
	inFile, err := stored.InFile(openFile(t, data), info, 0)
	if err != nil {
		t.Fatal(err)
	}
	streamed := stored.InMemory(info, data)
	streamed.Range = nil
	for name, tensor := range map[string]stored.Tensor{"file": inFile, "memory": stored.InMemory(info, data), "stream": streamed} {
		for off := range int64(11) {
			for n := range 11 - off {
				var b bytes.Buffer
				if err := tensor.EmitRange(&b, off, n); err != nil || b.String() != string(data[off:off+n]) {
					t.Errorf("%s: bytes %d to %d are %q, %v", name, off, off+n, b.String(), err)
				}
				part := make([]byte, n)
				if err := tensor.Fill(part, off); err != nil || string(part) != string(data[off:off+n]) {
					t.Errorf("%s: bytes %d to %d filled in are %q, %v", name, off, off+n, part, err)
				}
			}
		}
		for _, bad := range [][2]int64{{-1, 1}, {0, 11}, {11, 0}, {1, -1}} {
			if err := tensor.EmitRange(io.Discard, bad[0], bad[1]); err == nil {
				t.Errorf("%s: %v was accepted", name, bad)
			}
			if err := tensor.Fill(make([]byte, max(bad[1], 0)), bad[0]); err == nil && bad[1] > 0 {
				t.Errorf("%s: %v was filled in", name, bad)
			}
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	if _, err := stored.Open(t.TempDir()); err == nil {
		t.Error("a directory was opened")
	}
	if _, err := stored.Open(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: got %v", err)
	}
}

func TestEmitCounts(t *testing.T) {
	info := formats.Info{Name: "a", DType: formats.U8, Shape: []int{4}}
	for _, tc := range []struct {
		name   string
		writes []int
		ok     bool
	}{{"exact", []int{1, 3}, true}, {"short", []int{3}, false}, {"long", []int{3, 2}, false}} {
		for _, from := range []bool{false, true} {
			tensor := stored.Tensor{Info: info, Bytes: 4, WriteTo: func(w io.Writer) error {
				for _, n := range tc.writes {
					var err error
					if r, ok := w.(io.ReaderFrom); ok && from {
						_, err = r.ReadFrom(&io.LimitedReader{R: bytes.NewReader(make([]byte, n)), N: int64(n)})
					} else {
						_, err = w.Write(make([]byte, n))
					}
					if err != nil {
						return err
					}
				}
				return nil
			}}
			var to bytes.Buffer
			if err := tensor.Emit(&to); (err == nil) != tc.ok {
				t.Errorf("%s, from %v: got %v", tc.name, from, err)
			}
			if to.Len() > 4 {
				t.Errorf("%s, from %v: %d bytes were let through", tc.name, from, to.Len())
			}
		}
	}
}

func TestReverse(t *testing.T) {
	data := []byte{1, 2, 3, 4, 5, 6, 7, 8}
	stored.Reverse(data, 4)
	if want := []byte{4, 3, 2, 1, 8, 7, 6, 5}; !slices.Equal(data, want) {
		t.Errorf("got %v, want %v", data, want)
	}
}

func BenchmarkCopy(b *testing.B) {
	for _, shape := range [][]int{{2048, 2048}, {12288, 3072}} {
		src, dst := make([]byte, 4*shape[0]*shape[1]), make([]byte, 4*shape[0]*shape[1])
		for name, from := range map[string]stored.View{
			"rows":       stored.RowMajor(shape),
			"transposed": {Dims: shape, Strides: []int{1, shape[0]}},
		} {
			b.Run(fmt.Sprintf("%s/%dx%d", name, shape[0], shape[1]), func(b *testing.B) {
				b.SetBytes(int64(len(dst)))
				for b.Loop() {
					stored.Copy(dst, stored.RowMajor(shape), src, from, 4)
				}
			})
		}
	}
}
