package kernels

import "math"

// BF16Kernels are the innermost loops of products whose factors are rounded to
// bf16, the upper half of a float32, and whose sums are float32. Two numbers
// that follow each other in the sum share a 32-bit word, the first in the lower
// half; a word is kept as the float32 of the same bits.
//
// Rounding is to the nearest, ties to even. A NaN stays one and becomes quiet,
// and a denormal becomes a zero of its sign.
type BF16Kernels struct {
	// Tile is Set.Tile with two products a word:
	//
	//	c[i*ldc+j] (+)= sum over p < kc of a1*b1 + a0*b0, a1 and a0 the halves of a[p*MR+i], b1 and b0 of b[p*NR+j]
	//
	// A sum or a product below 2^-126 may count as 0.
	Tile   func(c []float32, ldc int, a, b []float32, kc int, add bool, next []float32)
	MR, NR int

	// PairRows rounds and packs two rows at a time:
	//
	//	dst[i*ldd+j] = word(src[2*i*lds+j], src[(2*i+1)*lds+j]), 2*i < rows, j < cols
	//
	// The last of an odd number of rows is paired with zeros.
	PairRows func(dst []float32, ldd int, src []float32, lds int, rows, cols int)
	// PairColumns rounds, packs two columns at a time and transposes:
	//
	//	dst[j*ldd+i] = word(src[i*lds+2*j], src[i*lds+2*j+1]), i < rows, 2*j < cols
	//
	// The last of an odd number of columns is paired with zeros.
	PairColumns func(dst []float32, ldd int, src []float32, lds int, rows, cols int)

	// DotLoop runs n trips of DotLoopAdds independent multiply-adds on registers:
	// the most that one core can do.
	DotLoop     func(n int)
	DotLoopAdds int
}

// refBF16 is the reference, with the same bits on every machine.
var refBF16 = BF16Kernels{
	Tile:        tileBF16Ref,
	MR:          tileRowsRef,
	NR:          tileColsRef,
	PairRows:    pairRowsRef,
	PairColumns: pairColumnsRef,
	DotLoop:     fmaLoopRef,
	DotLoopAdds: 8,
}

// roundBF16 returns the bf16 nearest to v in the lower half of a word.
func roundBF16(v float32) uint32 {
	b := math.Float32bits(v)
	switch {
	case v != v:
		return b>>16 | 0x40
	case b&0x7f800000 == 0:
		return b >> 16 & 0x8000
	}
	return (b + 0x7fff + b>>16&1) >> 16
}

// word packs two numbers.
func word(first, second float32) float32 {
	return math.Float32frombits(roundBF16(first) | roundBF16(second)<<16)
}

// halves unpacks them.
func halves(word float32) (first, second float32) {
	b := math.Float32bits(word)
	return math.Float32frombits(b << 16), math.Float32frombits(b & 0xffff0000)
}

func pairRowsRef(dst []float32, ldd int, src []float32, lds int, rows, cols int) {
	for i := 0; i < rows; i += 2 {
		x, d := src[i*lds:][:cols], dst[i/2*ldd:][:cols]
		if i+1 == rows {
			for j, v := range x {
				d[j] = word(v, 0)
			}
			return
		}
		y := src[(i+1)*lds:][:cols]
		for j, v := range x {
			d[j] = word(v, y[j])
		}
	}
}

func pairColumnsRef(dst []float32, ldd int, src []float32, lds int, rows, cols int) {
	for i := range rows {
		x := src[i*lds:][:cols]
		for j := 0; j+1 < cols; j += 2 {
			dst[j/2*ldd+i] = word(x[j], x[j+1])
		}
		if cols%2 == 1 {
			dst[cols/2*ldd+i] = word(x[cols-1], 0)
		}
	}
}

// tileBF16Ref adds the second product of a pair before the first, as
// VDPBF16PS does. A product of two bf16 numbers has 16 bits: it is exact.
func tileBF16Ref(c []float32, ldc int, a, b []float32, kc int, add bool, _ []float32) {
	var sum [tileRowsRef][tileColsRef]float32
	for p := range kc {
		var b0, b1 [tileColsRef]float32
		for j, w := range b[p*tileColsRef:][:tileColsRef] {
			b0[j], b1[j] = halves(w)
		}
		for i, w := range a[p*tileRowsRef:][:tileRowsRef] {
			a0, a1 := halves(w)
			row := &sum[i]
			for j := range row {
				row[j] += float32(a1 * b1[j])
				row[j] += float32(a0 * b0[j])
			}
		}
	}
	for i := range sum {
		row := c[i*ldc:][:tileColsRef]
		for j, s := range sum[i] {
			if add {
				s += row[j]
			}
			row[j] = s
		}
	}
}
