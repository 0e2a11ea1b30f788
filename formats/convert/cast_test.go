package convert_test

import (
	"encoding/binary"
	"io"
	"math"
	"math/big"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/spdfctl/spdfctl/formats"
	"github.com/spdfctl/spdfctl/formats/convert"
	"github.com/spdfctl/spdfctl/formats/gguf"
	"github.com/spdfctl/spdfctl/formats/safetensors"
	"github.com/spdfctl/spdfctl/formats/stored"
)

// castFile casts one tensor and returns its bytes and the loss.
func castFile(t *testing.T, from formats.DType, data []byte, to formats.DType) ([]byte, convert.Loss) {
	t.Helper()
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in.safetensors"), filepath.Join(dir, "out.safetensors")
	tensor := safetensors.Bytes("x", from, []int{len(data) * 8 / from.Bits()}, data)
	if err := safetensors.WriteFile(in, false, []safetensors.Tensor{tensor}, nil); err != nil {
		t.Fatal(err)
	}
	p := run(t, in, out, convert.Options{To: convert.SafeTensors, DType: to})
	losses := p.Losses()
	if len(losses) == 0 {
		losses = append(losses, convert.Loss{})
	}
	return read(t, out)["x"].data, losses[0]
}

// rounded is the slow reference: v rounded to a binary format of p bits of
// precision and that range of exponents, by math/big.
func rounded(v float64, p uint, maxExp, minExp int) float64 {
	if v == 0 || math.IsInf(v, 0) || v != v {
		return v
	}
	_, exp := math.Frexp(v) // v = f * 2^exp, 0.5 <= |f| < 1
	if exp-1 < minExp {     // subnormal: fewer bits
		lost := uint(minExp - (exp - 1))
		if lost > p {
			return math.Copysign(0, v)
		}
		if lost == p { // below the smallest: it, or zero
			smallest := math.Ldexp(1, minExp-int(p)+1)
			if math.Abs(v) > smallest/2 {
				return math.Copysign(smallest, v)
			}
			return math.Copysign(0, v)
		}
		p -= lost
	}
	r, _ := new(big.Float).SetPrec(p).SetMode(big.ToNearestEven).SetFloat64(v).Float64()
	if math.Abs(r) >= math.Ldexp(1, maxExp+1) {
		return math.Copysign(math.Inf(1), v)
	}
	return r
}

var binaryFormats = map[formats.DType]struct {
	p              uint
	maxExp, minExp int
}{formats.F32: {24, 127, -126}, formats.F16: {11, 15, -14}, formats.BF16: {8, 127, -126}}

// decode returns elements as float64.
func decode(d formats.DType, data []byte) []float64 {
	out := make([]float64, len(data)*8/d.Bits())
	switch d {
	case formats.F64:
		for i := range out {
			out[i] = math.Float64frombits(binary.LittleEndian.Uint64(data[8*i:]))
		}
	case formats.F32:
		for i := range out {
			out[i] = float64(math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:])))
		}
	default:
		floats := make([]float32, len(out))
		if d == formats.F16 {
			formats.DecodeF16(floats, data)
		} else {
			formats.DecodeBF16(floats, data)
		}
		for i, v := range floats {
			out[i] = float64(v)
		}
	}
	return out
}

// awkward are values at the borders of the formats, and between them.
func awkward() []float64 {
	random := rand.New(rand.NewPCG(5, 6))
	list := []float64{0, math.Copysign(0, -1), math.Inf(1), math.Inf(-1), math.NaN(), math.MaxFloat64, math.SmallestNonzeroFloat64, 65504, 65519.999, 65520, 65520.001,
		math.MaxFloat32, 3.4028235677973366e38, 3.3895313892515355e38, 3.3961775292304e38, 5.960464477539063e-08, 2.980232238769531e-08, 2.9802322387695316e-08, 8.940696716308595e-08}
	for range 20000 {
		v := math.Float64frombits(random.Uint64())
		list = append(list, v, math.Ldexp(random.Float64(), random.IntN(60)-40))
		// One bit beside the middle of two halves: rounding twice goes wrong.
		h := float64(formatsHalf(uint16(random.Uint32() & 0x7bff)))
		next := float64(formatsHalf(uint16(random.Uint32() & 0x7bff)))
		middle := (h + next) / 2
		list = append(list, middle, math.Nextafter(middle, 0), math.Nextafter(middle, 1e9), -middle)
	}
	return list
}

func formatsHalf(bits uint16) float32 {
	var v [1]float32
	formats.DecodeF16(v[:], binary.LittleEndian.AppendUint16(nil, bits))
	return v[0]
}

// TestCastFromDouble compares with math/big, bit by bit.
func TestCastFromDouble(t *testing.T) {
	values := awkward()
	data := make([]byte, 0, 8*len(values))
	for _, v := range values {
		data = binary.LittleEndian.AppendUint64(data, math.Float64bits(v))
	}
	for to, f := range binaryFormats {
		out, loss := castFile(t, formats.F64, data, to)
		got := decode(to, out)
		var want convert.Loss
		for i, v := range values {
			r := rounded(v, f.p, f.maxExp, f.minExp)
			if got[i] != r && !(got[i] != got[i] && r != r) || math.Signbit(got[i]) != math.Signbit(r) && r == r {
				t.Fatalf("%s: %g (%#x) became %g, want %g", to, v, math.Float64bits(v), got[i], r)
			}
			switch {
			case v != v:
				want.NaNs++
			case r != v:
				want.Rounded++
				if math.IsInf(r, 0) {
					want.Overflowed++
				} else if r == 0 {
					want.Underflowed++
				}
			}
		}
		if loss.NaNs != want.NaNs || loss.Rounded != want.Rounded || loss.Overflowed != want.Overflowed || loss.Underflowed != want.Underflowed || loss.Elements != int64(len(values)) {
			t.Errorf("%s: loss is %+v, want %+v", to, loss, want)
		}
	}
}

// TestCastHalves goes through all codes: up and back they are the same, but that
// NaNs become quiet.
func TestCastHalves(t *testing.T) {
	data := make([]byte, 0, 2<<16)
	for code := range 1 << 16 {
		data = binary.LittleEndian.AppendUint16(data, uint16(code))
	}
	for _, from := range []formats.DType{formats.F16, formats.BF16} {
		for _, through := range []formats.DType{formats.F32, formats.F64} {
			up, loss := castFile(t, from, data, through)
			if loss.Rounded != 0 {
				t.Errorf("%s to %s rounds %d elements", from, through, loss.Rounded)
			}
			back, _ := castFile(t, through, up, from)
			a, b := decode(from, data), decode(from, back)
			for code := range a {
				x, y := binary.LittleEndian.Uint16(data[2*code:]), binary.LittleEndian.Uint16(back[2*code:])
				if x != y && !(a[code] != a[code] && b[code] != b[code]) {
					t.Fatalf("%s through %s: %#04x became %#04x", from, through, x, y)
				}
			}
		}
	}
}

// TestCastEights compares the 8-bit floats with their definitions: OCP's for
// e4m3fn, e5m2 and e8m0, and those of AMD and Graphcore for fnuz.
func TestCastEights(t *testing.T) {
	codes := make([]byte, 256)
	for i := range codes {
		codes[i] = byte(i)
	}
	nan, inf := math.NaN(), math.Inf(1)
	for _, tc := range []struct {
		d    formats.DType
		want map[byte]float64
	}{
		{formats.F8E4M3, map[byte]float64{0: 0, 0x80: math.Copysign(0, -1), 1: math.Ldexp(1, -9), 8: math.Ldexp(1, -6), 0x38: 1, 0x3c: 1.5, 0x7e: 448, 0x7f: nan, 0xff: nan, 0xfe: -448, 0x78: 256}},
		{formats.F8E5M2, map[byte]float64{0: 0, 1: math.Ldexp(1, -16), 0x3c: 1, 0x7b: 57344, 0x7c: inf, 0xfc: -inf, 0x7d: nan, 0xff: nan}},
		{formats.F8E4M3FNUZ, map[byte]float64{0: 0, 0x80: nan, 1: math.Ldexp(1, -10), 0x40: 1, 0x7f: 240, 0xff: -240}},
		{formats.F8E5M2FNUZ, map[byte]float64{0: 0, 0x80: nan, 1: math.Ldexp(1, -17), 0x40: 1, 0x7f: 57344}},
		{formats.F8E8M0, map[byte]float64{0: math.Ldexp(1, -127), 127: 1, 128: 2, 254: math.Ldexp(1, 127), 255: nan}},
	} {
		out, loss := castFile(t, tc.d, codes, formats.F32)
		got := decode(formats.F32, out)
		for code, want := range tc.want {
			if g := got[code]; g != want && !(g != g && want != want) || math.Signbit(g) != math.Signbit(want) && want == want {
				t.Errorf("%s: %#02x is %g, want %g", tc.d, code, g, want)
			}
		}
		if loss.Rounded != 0 {
			t.Errorf("%s: %d elements are rounded in F32", tc.d, loss.Rounded)
		}
	}
}

// TestDequantise: Q8_0 and Q4_0 become F32 on the way out of GGUF; other block
// types are named.
func TestDequantise(t *testing.T) {
	dir := t.TempDir()
	q8 := make([]byte, 34*6)
	for i := range q8 {
		q8[i] = byte(i * 13)
	}
	for i := 0; i < len(q8); i += 34 {
		binary.LittleEndian.PutUint16(q8[i:], 0x2c00+uint16(i)) // scales of about 1/16
	}
	block := func(name string, d formats.DType, data []byte, shape ...int) stored.Tensor {
		tensor := stored.InMemory(formats.Info{Name: name, DType: formats.U8, Shape: []int{len(data)}}, data)
		tensor.DType, tensor.Shape = d, shape
		return tensor
	}
	path := filepath.Join(dir, "x.gguf")
	writeGGUF(t, path, block("w", "Q8_0", q8, 3, 64))
	out := filepath.Join(dir, "x.safetensors")
	run(t, path, out, convert.Options{To: convert.SafeTensors})
	want := make([]float32, 3*64)
	if err := gguf.Dequantize(want, "Q8_0", q8); err != nil {
		t.Fatal(err)
	}
	got := read(t, out)["w"]
	if got.info.String() != "F32 (3, 64)" || string(got.data) != string(encode(formats.F32, want)) {
		t.Errorf("got %s, or other values", got.info)
	}
	// In GGUF it stays what it is.
	again := filepath.Join(dir, "y.gguf")
	run(t, path, again, convert.Options{To: convert.GGUF})
	if got := read(t, again)["w"]; got.info.DType != "Q8_0" || string(got.data) != string(q8) {
		t.Errorf("GGUF to GGUF: got %s", got.info)
	}
	unknown := filepath.Join(dir, "k.gguf")
	writeGGUF(t, unknown, block("w", "Q4_K", make([]byte, 144), 1, 256))
	if _, err := attempt(unknown, filepath.Join(dir, "k.safetensors"), convert.Options{To: convert.SafeTensors}); err == nil {
		t.Error("Q4_K was dequantised")
	}
	if got := read(t, unknown)["w"]; got.info.String() != "Q4_K (1, 256)" || len(got.data) != 144 {
		t.Errorf("Q4_K is read as %s, %d bytes", got.info, len(got.data))
	}
}

func writeGGUF(t *testing.T, path string, tensors ...stored.Tensor) {
	t.Helper()
	if err := formats.WriteAtomic(path, false, func(w io.Writer) error { return gguf.Write(w, nil, tensors) }); err != nil {
		t.Fatal(err)
	}
}
