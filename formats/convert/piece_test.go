package convert

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/stored"
)

// slowly is the reference of an assembly: one element at a time.
func slowly(a *assembly) []byte {
	out := make([]byte, stored.RowMajor(a.info.Shape).Elements()*a.size)
	for _, p := range a.pieces {
		src, err := p.source.Load()
		if err != nil {
			panic(err)
		}
		index := make([]int, len(p.to.Dims))
		for range p.to.Elements() {
			d, s := p.to.Offset, p.from.Offset
			for i, x := range index {
				d += x * p.to.Strides[i]
				s += x * p.from.Strides[i]
			}
			copy(out[d*a.size:(d+1)*a.size], src[s*a.size:])
			for i := len(index) - 1; i >= 0; i-- {
				if index[i]++; index[i] < p.to.Dims[i] {
					break
				}
				index[i] = 0
			}
		}
	}
	return out
}

// drawPieces draws a tensor and its parts in one of the ways that layouts make
// them: side by side, on top of each other, turned, interleaved, stacked,
// padded.
func drawPieces(t *rapid.T, d formats.DType) (formats.Info, []piece) {
	size := d.Bits() / 8
	source := func(name string, elements int) stored.Tensor {
		data := make([]byte, elements*size)
		for i := range data {
			data[i] = byte(i*7 + len(name)*31 + int(name[0]))
		}
		return stored.InMemory(formats.Info{Name: name, DType: d, Shape: []int{elements}}, data)
	}
	n := rapid.IntRange(1, 3).Draw(t, "parts")
	out, in := rapid.IntRange(1, 9).Draw(t, "out"), rapid.IntRange(1, 9).Draw(t, "in")
	layers := rapid.IntRange(1, 3).Draw(t, "layers")
	pad := rapid.IntRange(0, 3).Draw(t, "pad")
	beside := rapid.Bool().Draw(t, "side by side")
	heads := 0
	if rapid.Bool().Draw(t, "interleaved") {
		heads = rapid.IntRange(1, 2).Draw(t, "heads")
		out = 2 * heads * rapid.IntRange(1, 3).Draw(t, "half")
	}
	var shape []int
	step := 0 // elements of a layer
	if beside {
		shape, step = []int{layers, in, n*out + pad}, in*(n*out+pad)
	} else {
		shape, step = []int{layers, n*out + pad, in}, in*(n*out+pad)
	}
	if layers == 1 {
		shape = shape[1:]
	}
	var pieces []piece
	for l := range layers {
		for k := range n {
			from := stored.RowMajor([]int{out, in})
			if rapid.Bool().Draw(t, "turned") {
				from.Strides = []int{1, out}
			}
			gap := rapid.IntRange(0, 2).Draw(t, "gap")
			from.Offset = gap
			to := stored.View{Dims: []int{out, in}, Strides: []int{in, 1}, Offset: l*step + k*out*in}
			if beside {
				to.Strides, to.Offset = []int{1, n*out + pad}, l*step+k*out
			}
			if heads > 0 {
				from, to = byHeads(from, heads, false), byHeads(to, heads, true)
			}
			pieces = append(pieces, piece{source(string(rune('a'+3*l+k)), out*in+gap), from, to})
		}
	}
	return formats.Info{Name: "t", DType: d, Shape: shape}, pieces
}

func TestAssemblyAgainstReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := rapid.SampledFrom([]formats.DType{formats.U8, formats.F16, formats.F32, formats.F64}).Draw(t, "dtype")
		info, pieces := drawPieces(t, d)
		a, err := newAssembly(info, pieces, &scratch{})
		if err != nil {
			t.Fatal(err)
		}
		// Blocks of a few rows or a few elements, one to three rows a worker.
		a.block = rapid.IntRange(1, 300).Draw(t, "block")
		a.share = rapid.IntRange(1, 100).Draw(t, "share")
		a.rows = rapid.IntRange(1, 3).Draw(t, "rows")
		a.shortest = rapid.SampledFrom([]int{1, shortestRun}).Draw(t, "shortest")
		var got bytes.Buffer
		if err := a.tensor().Emit(&got); err != nil {
			t.Fatal(err)
		}
		if want := slowly(a); !bytes.Equal(got.Bytes(), want) {
			t.Fatalf("got % x\nwant % x", got.Bytes(), want)
		}
		held := int64(0)
		for _, p := range pieces {
			held += p.source.Bytes
		}
		if m := a.memory(); m > held {
			t.Fatalf("%d bytes are held, the sources have %d", m, held)
		}
	})
}

func TestAssemblyErrors(t *testing.T) {
	source := stored.InMemory(formats.Info{Name: "s", DType: formats.U8, Shape: []int{4}}, make([]byte, 4))
	info := formats.Info{Name: "t", DType: formats.U8, Shape: []int{4}}
	whole := stored.RowMajor([]int{4})
	for name, tc := range map[string]struct {
		info  formats.Info
		piece piece
	}{
		"another type":     {formats.Info{Name: "t", DType: formats.I8, Shape: []int{4}}, piece{source, whole, whole}},
		"no whole bytes":   {formats.Info{Name: "t", DType: formats.F4, Shape: []int{4}}, piece{source, whole, whole}},
		"another shape":    {info, piece{source, whole, stored.RowMajor([]int{2, 2})}},
		"past the source":  {info, piece{source, stored.View{Dims: []int{4}, Strides: []int{1}, Offset: 1}, whole}},
		"past the output":  {info, piece{source, whole, stored.View{Dims: []int{4}, Strides: []int{2}}}},
		"a block of GGUF":  {formats.Info{Name: "t", DType: "Q8_0", Shape: []int{4}}, piece{source, whole, whole}},
		"negative strides": {info, piece{source, whole, stored.View{Dims: []int{4}, Strides: []int{-1}, Offset: 3}}},
	} {
		if _, err := newAssembly(tc.info, []piece{tc.piece}, &scratch{}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
