package convert

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"runtime"
	"sync"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/gguf"
)

// Loss counts what a cast has changed, over the elements of one tensor.
type Loss struct {
	Name     string        `json:"name"`
	From     formats.DType `json:"from"`
	To       formats.DType `json:"to"`
	Elements int64         `json:"elements"`
	// Rounded counts finite elements whose value has changed, Overflowed those
	// of them that became infinite, Underflowed those that became zero. NaNs
	// counts NaNs, which stay NaNs.
	Rounded     int64 `json:"rounded"`
	Overflowed  int64 `json:"overflowed"`
	Underflowed int64 `json:"underflowed"`
	NaNs        int64 `json:"nans"`
	// MaxAbs is the largest error of an element that stayed finite, MaxRel the
	// largest error divided by the value.
	MaxAbs float64 `json:"max_abs"`
	MaxRel float64 `json:"max_rel"`
}

func (l *Loss) add(o Loss) {
	l.Elements += o.Elements
	l.Rounded += o.Rounded
	l.Overflowed += o.Overflowed
	l.Underflowed += o.Underflowed
	l.NaNs += o.NaNs
	l.MaxAbs = max(l.MaxAbs, o.MaxAbs)
	l.MaxRel = max(l.MaxRel, o.MaxRel)
}

// isFloat reports whether a type is a float that can be cast, to another.
func isFloat(d formats.DType) bool { return decoders[d] != nil || gguf.CanDequantize(d) }

// canEncode reports whether a type can be the target of a cast.
func canEncode(d formats.DType) bool { return encoders[d] != nil }

// castable returns an error unless elements of one type can be cast to another.
func castable(name string, from, to formats.DType) error {
	if !isFloat(from) || !canEncode(to) {
		return fmt.Errorf("convert: tensor %q: %s cannot be cast to %s: %w", name, from, to, ErrUnsupported)
	}
	return nil
}

// decoders turn elements into float64, exactly; all types but those of GGUF.
var decoders = map[formats.DType]func(dst []float64, src []byte){
	formats.F64: func(dst []float64, src []byte) {
		for i := range dst {
			dst[i] = math.Float64frombits(binary.LittleEndian.Uint64(src[8*i:]))
		}
	},
	formats.F32: func(dst []float64, src []byte) {
		for i := range dst {
			dst[i] = float64(math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:])))
		}
	},
	formats.F16:        through32(formats.DecodeF16, 2),
	formats.BF16:       through32(formats.DecodeBF16, 2),
	formats.F8E4M3:     small(8, 3, 7, infNone),
	formats.F8E5M2:     small(8, 2, 15, infIEEE),
	formats.F8E4M3FNUZ: small(8, 3, 8, infUnsigned),
	formats.F8E5M2FNUZ: small(8, 2, 16, infUnsigned),
	formats.F8E8M0: func(dst []float64, src []byte) {
		for i := range dst {
			if dst[i] = math.Ldexp(1, int(src[i])-127); src[i] == 0xff {
				dst[i] = math.NaN()
			}
		}
	},
}

func through32(decode func([]float32, []byte), size int) func([]float64, []byte) {
	return func(dst []float64, src []byte) {
		var buffer [512]float32
		for len(dst) > 0 {
			n := min(len(dst), len(buffer))
			decode(buffer[:n], src[:n*size])
			for i, v := range buffer[:n] {
				dst[i] = float64(v)
			}
			dst, src = dst[n:], src[n*size:]
		}
	}
}

// How a small float marks infinities and NaNs.
const (
	infIEEE     = iota // the highest exponent, as in IEEE 754
	infNone            // no infinities; NaN is all ones, of either sign
	infUnsigned        // no infinities, no -0: the code of -0 is the only NaN
)

// small returns a decoder of 8-bit floats with that many bits of mantissa and
// that bias.
func small(bits, mantissa, bias, specials int) func([]float64, []byte) {
	var table [256]float64
	for code := range table {
		sign := 1.0
		if code>>(bits-1) != 0 {
			sign = -1
		}
		exponent := code >> mantissa & (1<<(bits-1-mantissa) - 1)
		fraction := code & (1<<mantissa - 1)
		v := math.Ldexp(float64(fraction+1<<mantissa), exponent-bias-mantissa)
		if exponent == 0 {
			v = math.Ldexp(float64(fraction), 1-bias-mantissa)
		}
		top := exponent == 1<<(bits-1-mantissa)-1
		switch {
		case specials == infIEEE && top && fraction == 0:
			v = math.Inf(1)
		case specials == infIEEE && top, specials == infNone && top && fraction == 1<<mantissa-1, specials == infUnsigned && code == 1<<(bits-1):
			v = math.NaN()
		}
		table[code] = math.Copysign(v, sign)
	}
	return func(dst []float64, src []byte) {
		for i := range dst {
			dst[i] = table[src[i]]
		}
	}
}

// encoders round float64 to a type, to nearest, ties to even.
var encoders = map[formats.DType]func(dst []byte, src []float64){
	formats.F64: func(dst []byte, src []float64) {
		for i, v := range src {
			binary.LittleEndian.PutUint64(dst[8*i:], math.Float64bits(v))
		}
	},
	formats.F32: func(dst []byte, src []float64) {
		for i, v := range src {
			binary.LittleEndian.PutUint32(dst[4*i:], math.Float32bits(float32(v)))
		}
	},
	formats.F16:  by32(func(dst []byte, src []float32) { formats.EncodeF16(dst, src) }, 2),
	formats.BF16: by32(formats.EncodeBF16, 2),
}

// by32 rounds to float32 to odd, and then to the type: as if in one step.
func by32(encode func([]byte, []float32), size int) func([]byte, []float64) {
	return func(dst []byte, src []float64) {
		var buffer [512]float32
		for len(src) > 0 {
			n := min(len(src), len(buffer))
			for i, v := range src[:n] {
				buffer[i] = roundToOdd(v)
			}
			encode(dst[:n*size], buffer[:n])
			dst, src = dst[n*size:], src[n:]
		}
	}
}

// roundToOdd rounds to float32 so that a second rounding, to fewer bits, gives
// what one rounding would: what is not exact becomes the neighbour whose last
// bit is 1.
//
// Source: Boldo and Melquiond, "Emulation of a FMA and correctly rounded sums:
// proved algorithms using rounding to odd", 2008.
func roundToOdd(v float64) float32 {
	f := float32(v)
	back := float64(f)
	if back == v || v != v {
		return f
	}
	b := math.Float32bits(f)
	if math.Abs(back) > math.Abs(v) {
		b-- // towards zero
	}
	return math.Float32frombits(b | 1)
}

// castBlock is how many elements one worker casts at a time: a multiple of
// every block of GGUF.
const castBlock = 16 << 10

// caster is a writer that casts what is written to it and passes it on.
type caster struct {
	w        io.Writer
	from, to formats.DType
	fromSize int // bytes of a unit
	unit     int // elements of a unit: 1, or a block of GGUF
	toSize   int // bytes of an element

	rest []byte // less than a unit
	out  []byte
	loss Loss
}

func newCaster(w io.Writer, from, to formats.DType) *caster {
	c := &caster{w: w, from: from, to: to, unit: 1, fromSize: from.Bits() / 8, toSize: to.Bits() / 8}
	if c.fromSize == 0 {
		c.unit, c.fromSize, _ = gguf.BlockSize(from)
	}
	return c
}

// Write casts the whole units that there are.
func (c *caster) Write(p []byte) (int, error) {
	n := len(p)
	if len(c.rest) > 0 {
		need := min(c.fromSize-len(c.rest), len(p))
		c.rest = append(c.rest, p[:need]...)
		p = p[need:]
		if len(c.rest) < c.fromSize {
			return n, nil
		}
		if err := c.units(c.rest); err != nil {
			return 0, err
		}
		c.rest = c.rest[:0]
	}
	whole := len(p) / c.fromSize * c.fromSize
	if err := c.units(p[:whole]); err != nil {
		return 0, err
	}
	c.rest = append(c.rest, p[whole:]...)
	return n, nil
}

// units casts whole units, a part for each worker.
func (c *caster) units(src []byte) error {
	if len(src) == 0 {
		return nil
	}
	elements := len(src) / c.fromSize * c.unit
	size := elements * c.toSize
	if cap(c.out) < size {
		c.out = make([]byte, size)
	}
	out := c.out[:size]
	parts := (elements + castBlock - 1) / castBlock
	losses := make([]Loss, parts)
	each(parts, func(k int) {
		begin, end := k*castBlock, min((k+1)*castBlock, elements)
		in := src[begin/c.unit*c.fromSize : end/c.unit*c.fromSize]
		losses[k] = cast(out[begin*c.toSize:end*c.toSize], c.to, in, c.from, end-begin)
	})
	for _, l := range losses {
		c.loss.add(l)
	}
	_, err := c.w.Write(out)
	return err
}

// each runs f for 0 to n-1 on as many workers as there are processors.
func each(n int, f func(k int)) {
	workers := min(n, runtime.GOMAXPROCS(0))
	if workers < 2 {
		for k := range n {
			f(k)
		}
		return
	}
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for k := w; k < n; k += workers {
				f(k)
			}
		})
	}
	wg.Wait()
}

// workspace is the memory that one worker casts in.
type workspace struct {
	wide, wideBack     [castBlock]float64
	narrow, narrowBack [castBlock]float32
}

var workspaces = sync.Pool{New: func() any { return new(workspace) }}

// cast converts n elements, at most castBlock, and counts what is lost.
func cast(dst []byte, to formats.DType, src []byte, from formats.DType, n int) Loss {
	w := workspaces.Get().(*workspace)
	defer workspaces.Put(w)
	loss := Loss{Elements: int64(n)}
	if codecs32[from].decode != nil && codecs32[to].encode != nil || gguf.CanDequantize(from) && codecs32[to].encode != nil {
		// float32 holds every value of these types: twice as fast.
		values, back := w.narrow[:n], w.narrowBack[:n]
		if c := codecs32[from]; c.decode != nil {
			c.decode(values, src)
		} else if err := gguf.Dequantize(values, from, src); err != nil {
			panic("convert: cast of a type that castable refuses")
		}
		codecs32[to].encode(dst, values)
		codecs32[to].decode(back, dst)
		for i, v := range values {
			if b := back[i]; v != b {
				loss.element(float64(v), float64(b))
			}
		}
		return loss
	}
	values, back := w.wide[:n], w.wideBack[:n]
	if decode := decoders[from]; decode != nil {
		decode(values, src)
	} else {
		if err := gguf.Dequantize(w.narrow[:n], from, src); err != nil {
			panic("convert: cast of a type that castable refuses")
		}
		for i, v := range w.narrow[:n] {
			values[i] = float64(v)
		}
	}
	encoders[to](dst, values)
	decoders[to](back, dst)
	for i, v := range values {
		if b := back[i]; v != b {
			loss.element(v, b)
		}
	}
	return loss
}

// element counts an element that has become another, or that is a NaN.
func (l *Loss) element(v, b float64) {
	if v != v {
		l.NaNs++
		return
	}
	l.Rounded++
	if math.IsInf(b, 0) {
		l.Overflowed++
		return
	}
	if b == 0 {
		l.Underflowed++
	}
	diff := math.Abs(v - b)
	l.MaxAbs = max(l.MaxAbs, diff)
	l.MaxRel = max(l.MaxRel, diff/math.Abs(v))
}

// codecs32 are the types whose values float32 holds, and the roundings from it.
var codecs32 = map[formats.DType]struct {
	decode func(dst []float32, src []byte)
	encode func(dst []byte, src []float32)
}{
	formats.F32: {
		func(dst []float32, src []byte) {
			for i := range dst {
				dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
			}
		},
		func(dst []byte, src []float32) {
			for i, v := range src {
				binary.LittleEndian.PutUint32(dst[4*i:], math.Float32bits(v))
			}
		},
	},
	formats.F16:  {formats.DecodeF16, func(dst []byte, src []float32) { formats.EncodeF16(dst, src) }},
	formats.BF16: {formats.DecodeBF16, formats.EncodeBF16},
}
