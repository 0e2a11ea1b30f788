//go:build amd64 && !noasm

package kernels

func fewSpMMAVX2(dst []float32, ldd int, x []float32, ldx, width, tokens int, code []uint16, w []float32) {
	if tokens == 1 {
		fewSpMM1AVX2(dst, ldd, x, ldx, width, code, w)
	} else {
		fewSpMM2AVX2(dst, ldd, x, ldx, width, code, w)
	}
}

// fewSpMMAVX512 looks the columns up in registers where they fit. Wider tiles
// have so few values in a row that most of a vector would be empty.
func fewSpMMAVX512(dst []float32, ldd int, x []float32, ldx, width, tokens int, code []uint16, w []float32) {
	switch {
	case width > 64:
		fewSpMMAVX2(dst, ldd, x, ldx, width, tokens, code, w)
	case tokens == 1:
		fewSpMM1AVX512(dst, ldd, x, ldx, width, code, w)
	default:
		fewSpMM2AVX512(dst, ldd, x, ldx, width, code, w)
	}
}
