package convert

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/stored"
	"github.com/spdfctl/spdfctl/masks"
)

// Whatever the strides, the scores are those of the elements one by one.
func TestScores(t *testing.T) {
	const elements = 1 << 20
	rng := rand.New(rand.NewPCG(1, 2))
	for _, d := range []formats.DType{formats.F32, formats.F64, formats.F16, formats.BF16, formats.F8E4M3} {
		size := d.Bits() / 8
		data := make([]byte, elements*size)
		for i := range data {
			data[i] = byte(rng.Uint32())
		}
		want := make([]float64, elements)
		c := &byteSink{}
		caster := newCaster(c, d, formats.F64)
		if _, err := caster.Write(data); err != nil {
			t.Fatal(err)
		}
		for i := range want {
			want[i] = math.Abs(math.Float64frombits(binary.LittleEndian.Uint64(c.data[8*i:])))
		}
		streamed := stored.InMemory(formats.Info{Name: "w", DType: d, Shape: []int{elements}}, data)
		ranged := streamed
		streamed.Range = nil
		for what, v := range map[string]stored.View{
			"straight":     {Dims: []int{300, 700}, Strides: []int{700, 1}, Offset: 5},
			"long":         {Dims: []int{2, 400000}, Strides: []int{400000, 1}, Offset: 1},
			"rows apart":   {Dims: []int{300, 70}, Strides: []int{800, 1}, Offset: 3},
			"turned":       {Dims: []int{256, 128}, Strides: []int{1, 256}},
			"turned, odd":  {Dims: []int{259, 133}, Strides: []int{1, 259}, Offset: 7},
			"lines apart":  {Dims: []int{90, 200}, Strides: []int{1, 270}, Offset: 90},
			"several runs": {Dims: []int{2*bandRun + 17, 70}, Strides: []int{1, 2*bandRun + 17}},
			"both apart":   {Dims: []int{100, 60}, Strides: []int{3, 700}, Offset: 2},
			"heads":        byHeads(stored.View{Dims: []int{96, 160}, Strides: []int{160, 1}}, 4, true),
			"heads turned": byHeads(stored.View{Dims: []int{96, 160}, Strides: []int{1, 96}}, 4, true),
			"one column":   {Dims: []int{50, 1}, Strides: []int{9, 4}},
		} {
			for name, tensor := range map[string]stored.Tensor{"ranged": ranged, "streamed": streamed} {
				rows := v.Elements() / v.Dims[len(v.Dims)-1]
				target := masks.Target{Name: "w", Out: rows, In: v.Dims[len(v.Dims)-1]}
				ms := &Matrices{places: map[string]matrixPlace{"w": {tensor, v}}}
				// Memory that is too small, and memory with something in it.
				for _, old := range []masks.Scores{{}, {Narrow: slices.Repeat([]uint32{9}, elements), Wide: slices.Repeat([]uint64{9}, elements)}} {
					s, err := ms.Scores(target, old)
					if err != nil {
						t.Fatal(err)
					}
					if err := sameScores(s, want, v); err != nil {
						t.Fatalf("%s, %s, %s: %v", d, what, name, err)
					}
				}
			}
		}
	}
}

// sameScores compares scores with the elements of a view.
func sameScores(s masks.Scores, want []float64, v stored.View) error {
	if n := len(s.Narrow) + len(s.Wide); n != v.Elements() {
		return fmt.Errorf("%d scores of %d elements", n, v.Elements())
	}
	place := make([]int, len(v.Dims))
	for k := range v.Elements() {
		e := v.Offset
		for i, x := range place {
			e += x * v.Strides[i]
		}
		var got float64
		if s.Narrow != nil {
			got = float64(math.Float32frombits(s.Narrow[k]))
		} else {
			got = math.Float64frombits(s.Wide[k])
		}
		if got != want[e] && !(math.IsNaN(got) && math.IsNaN(want[e])) || math.Signbit(got) {
			return fmt.Errorf("score %d is %g, element %d is %g", k, got, e, want[e])
		}
		for i := len(place) - 1; i >= 0; i-- {
			if place[i]++; place[i] < v.Dims[i] {
				break
			}
			place[i] = 0
		}
	}
	return nil
}
