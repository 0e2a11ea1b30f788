package convert

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/stored"
	"github.com/spdfctl/spdfctl/masks"
)

// Scores reads the sizes of the weights of a target: what masks.Options.Weights
// wants. Only the part of the tensor that the matrix spans is read, in pieces
// that stay in the cache while they are turned round.
func (ms *Matrices) Scores(t masks.Target, old masks.Scores) (masks.Scores, error) {
	p, ok := ms.places[t.Key()]
	if !ok {
		return masks.Scores{}, fmt.Errorf("convert: matrix %q is not in the checkpoint", t.Key())
	}
	if p.view.Elements() != t.Total() {
		return masks.Scores{}, fmt.Errorf("convert: matrix %q is (%d, %d), the checkpoint has %d elements", t.Key(), t.Out, t.In, p.view.Elements())
	}
	tensor, elements := p.tensor, 1
	for _, d := range tensor.Shape {
		elements *= d
	}
	first, end, err := p.view.Span(elements)
	if err != nil {
		return masks.Scores{}, fmt.Errorf("convert: matrix %q: %w", t.Key(), err)
	}
	d := tensor.DType
	switch d {
	case formats.F64, formats.F32, formats.F16, formats.BF16:
	default:
		if err := castable(tensor.Name, d, formats.F32); err != nil {
			return masks.Scores{}, err
		}
		from := tensor
		tensor.DType, tensor.Bytes, tensor.Range = formats.F32, int64(elements)*4, nil
		tensor.WriteTo = func(w io.Writer) error { return from.Emit(newCaster(w, from.DType, formats.F32)) }
		d = formats.F32
	}
	size := d.Bits() / 8
	if tensor.Range == nil {
		// It cannot be read from the middle on: the span at once, then.
		whole := make([]byte, (end-first)*size)
		if err := tensor.Fill(whole, int64(first*size)); err != nil {
			return masks.Scores{}, fmt.Errorf("convert: %w", err)
		}
		tensor.Range = func(w io.Writer, off, n int64) error {
			_, err := w.Write(whole[off-int64(first*size):][:n])
			return err
		}
	}
	s := masks.Scores{}
	if d == formats.F64 {
		s.Wide = resize(old.Wide, t.Total())
		err = (&gatherer[uint64]{tensor: tensor}).gather(s.Wide, p.view)
	} else {
		s.Narrow = resize(old.Narrow, t.Total())
		err = (&gatherer[uint32]{tensor: tensor}).gather(s.Narrow, p.view)
	}
	if err != nil {
		return masks.Scores{}, fmt.Errorf("convert: %w", err)
	}
	return s, nil
}

// resize returns n elements, in the memory of list if there are as many.
func resize[T any](list []T, n int) []T {
	if cap(list) < n {
		return make([]T, n)
	}
	return list[:n]
}

const (
	// straightBytes is how much of a tensor is read at a time where the order is
	// that of the matrix.
	straightBytes = 256 << 10
	// Where lines of the tensor are columns of the matrix, bandLines pieces of
	// bandRun elements are read together and turned round while they are in a
	// second-level cache of 1 MB, bandTile rows at a time: every row then gets 256
	// bytes. Pieces lie bandGap bytes more apart than they are long, since lines
	// that are a power of two apart would evict each other.
	bandLines = 64
	bandRun   = 2048
	bandTile  = 16
	bandGap   = 64
)

// gatherer reads the sizes of the elements of a tensor: of type F64 for uint64;
// F32, BF16 or F16 for uint32.
type gatherer[T uint32 | uint64] struct {
	tensor stored.Tensor
	raw    []byte // of one read, if elements are to be widened
	band   []byte
}

// read fills dst with the elements from from on, as little-endian numbers of the
// size of T.
func (g *gatherer[T]) read(dst []byte, from int) error {
	size := g.tensor.DType.Bits() / 8
	if size == sizeOf[T]() {
		return g.tensor.Fill(dst, int64(from*size))
	}
	n := len(dst) / 4
	g.raw = resize(g.raw, 2*n)
	if err := g.tensor.Fill(g.raw, int64(from*size)); err != nil {
		return err
	}
	if g.tensor.DType == formats.BF16 {
		for i := range n {
			binary.LittleEndian.PutUint32(dst[4*i:4*i+4], uint32(binary.LittleEndian.Uint16(g.raw[2*i:2*i+2]))<<16)
		}
		return nil
	}
	var values [256]float32
	for i := 0; i < n; i += len(values) {
		part := values[:min(len(values), n-i)]
		formats.DecodeF16(part, g.raw[2*i:2*(i+len(part))])
		for k, v := range part {
			binary.LittleEndian.PutUint32(dst[4*(i+k):4*(i+k)+4], math.Float32bits(v))
		}
	}
	return nil
}

// sizeOf returns the bytes of T.
func sizeOf[T uint32 | uint64]() int {
	if uint64(^T(0)) > 1<<32 {
		return 8
	}
	return 4
}

// magnitude returns the number that p begins with, without its sign.
func magnitude[T uint32 | uint64](p []byte) T {
	if sizeOf[T]() == 8 {
		return T(binary.LittleEndian.Uint64(p) &^ (1 << 63))
	}
	return T(binary.LittleEndian.Uint32(p) &^ (1 << 31))
}

// gather writes the elements of a view to dst, row by row.
func (g *gatherer[T]) gather(dst []T, v stored.View) error {
	if len(v.Dims) > 2 {
		step := len(dst) / v.Dims[0]
		for i := range v.Dims[0] {
			if err := g.gather(dst[i*step:(i+1)*step], index(v, i)); err != nil {
				return err
			}
		}
		return nil
	}
	rows, cols := v.Dims[0], v.Dims[1]
	if v.Strides[1] == 1 || cols == 1 {
		if v.Strides[0] == cols {
			rows, cols = 1, len(dst)
		}
		for i := range rows {
			if err := g.straight(dst[i*cols:(i+1)*cols], v.Offset+i*v.Strides[0]); err != nil {
				return err
			}
		}
		return nil
	}
	run := max(1, bandRun/max(v.Strides[0], 1))
	for i := 0; i < rows; i += run {
		n := min(run, rows-i)
		part := stored.View{Dims: []int{n, cols}, Strides: v.Strides, Offset: v.Offset + i*v.Strides[0]}
		if err := g.turned(dst[i*cols:(i+n)*cols], part); err != nil {
			return err
		}
	}
	return nil
}

// straight reads consecutive elements.
func (g *gatherer[T]) straight(dst []T, from int) error {
	size := sizeOf[T]()
	for len(dst) > 0 {
		n := min(len(dst), straightBytes/size)
		g.band = resize(g.band, n*size)
		if err := g.read(g.band, from); err != nil {
			return err
		}
		for i := range dst[:n] {
			dst[i] = magnitude[T](g.band[size*i : size*(i+1)])
		}
		dst, from = dst[n:], from+n
	}
	return nil
}

// turned reads a matrix whose columns are in lines of the tensor, some at a time.
func (g *gatherer[T]) turned(dst []T, v stored.View) error {
	rows, cols := v.Dims[0], v.Dims[1]
	length := ((rows-1)*v.Strides[0] + 1) * sizeOf[T]()
	gap := length + bandGap
	g.band = resize(g.band, bandLines*gap)
	for j := 0; j < cols; j += bandLines {
		n := min(bandLines, cols-j)
		for k := range n {
			if err := g.read(g.band[k*gap:k*gap+length], v.Offset+(j+k)*v.Strides[1]); err != nil {
				return err
			}
		}
		for i := 0; i < rows; i += bandTile {
			m := min(bandTile, rows-i)
			src := g.band[i*v.Strides[0]*sizeOf[T]():]
			if to, ok := any(dst).([]uint32); ok && v.Strides[0] == 1 && m == bandTile && n == bandLines {
				turn(to[i*cols+j:], cols, src, gap)
				continue
			}
			for a := range m {
				row := dst[(i+a)*cols+j:][:n]
				at := a * v.Strides[0] * sizeOf[T]()
				for k := range row {
					row[k] = magnitude[T](src[k*gap+at:])
				}
			}
		}
	}
	return nil
}

// turn writes bandTile elements of each of bandLines lines, which are gap bytes
// apart, as bandTile rows of cols elements.
func turn(dst []uint32, cols int, src []byte, gap int) {
	const pair = 0x7fffffff_7fffffff
	var tile [bandTile][bandLines]uint32
	for k := 0; k < bandLines; k += 4 {
		p0, p1 := (*[4 * bandTile]byte)(src[k*gap:]), (*[4 * bandTile]byte)(src[(k+1)*gap:])
		p2, p3 := (*[4 * bandTile]byte)(src[(k+2)*gap:]), (*[4 * bandTile]byte)(src[(k+3)*gap:])
		for a := 0; a < bandTile; a += 2 {
			v0, v1 := binary.LittleEndian.Uint64(p0[4*a:])&pair, binary.LittleEndian.Uint64(p1[4*a:])&pair
			v2, v3 := binary.LittleEndian.Uint64(p2[4*a:])&pair, binary.LittleEndian.Uint64(p3[4*a:])&pair
			even, odd := (*[4]uint32)(tile[a][k:]), (*[4]uint32)(tile[a+1][k:])
			even[0], even[1], even[2], even[3] = uint32(v0), uint32(v1), uint32(v2), uint32(v3)
			odd[0], odd[1], odd[2], odd[3] = uint32(v0>>32), uint32(v1>>32), uint32(v2>>32), uint32(v3>>32)
		}
	}
	for a := range bandTile {
		copy(dst[a*cols:], tile[a][:])
	}
}
