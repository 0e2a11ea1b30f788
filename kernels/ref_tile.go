package kernels

// The reference's tile. Eight sums, four elements of B and two of A stay
// within the 15 vector registers that the compiler may use on amd64.
const (
	tileRowsRef = 2
	tileColsRef = 4
)

// tileRef takes two steps of k a turn, so that the bounds are tested half as often.
func tileRef(c []float32, ldc int, a, b []float32, kc int, add bool, _ []float32) {
	var c00, c01, c02, c03 float32
	var c10, c11, c12, c13 float32
	a, b = a[:kc*tileRowsRef], b[:kc*tileColsRef]
	for len(a) >= 4 && len(b) >= 8 {
		a0, a1 := a[0], a[1]
		b0, b1, b2, b3 := b[0], b[1], b[2], b[3]
		c00 += float32(a0 * b0)
		c01 += float32(a0 * b1)
		c02 += float32(a0 * b2)
		c03 += float32(a0 * b3)
		c10 += float32(a1 * b0)
		c11 += float32(a1 * b1)
		c12 += float32(a1 * b2)
		c13 += float32(a1 * b3)
		a0, a1 = a[2], a[3]
		b0, b1, b2, b3 = b[4], b[5], b[6], b[7]
		c00 += float32(a0 * b0)
		c01 += float32(a0 * b1)
		c02 += float32(a0 * b2)
		c03 += float32(a0 * b3)
		c10 += float32(a1 * b0)
		c11 += float32(a1 * b1)
		c12 += float32(a1 * b2)
		c13 += float32(a1 * b3)
		a, b = a[4:], b[8:]
	}
	if len(a) >= 2 && len(b) >= 4 {
		a0, a1 := a[0], a[1]
		c00 += float32(a0 * b[0])
		c01 += float32(a0 * b[1])
		c02 += float32(a0 * b[2])
		c03 += float32(a0 * b[3])
		c10 += float32(a1 * b[0])
		c11 += float32(a1 * b[1])
		c12 += float32(a1 * b[2])
		c13 += float32(a1 * b[3])
	}
	top, bottom := c[:4], c[ldc:ldc+4]
	if add {
		c00, c01, c02, c03 = c00+top[0], c01+top[1], c02+top[2], c03+top[3]
		c10, c11, c12, c13 = c10+bottom[0], c11+bottom[1], c12+bottom[2], c13+bottom[3]
	}
	top[0], top[1], top[2], top[3] = c00, c01, c02, c03
	bottom[0], bottom[1], bottom[2], bottom[3] = c10, c11, c12, c13
}

// transposeRef walks eight rows at a time, so that it writes runs of eight.
func transposeRef(dst []float32, ldd int, src []float32, lds int, rows, cols int) {
	i := 0
	for ; i+8 <= rows; i += 8 {
		r0, r1 := src[(i+0)*lds:][:cols], src[(i+1)*lds:][:cols]
		r2, r3 := src[(i+2)*lds:][:cols], src[(i+3)*lds:][:cols]
		r4, r5 := src[(i+4)*lds:][:cols], src[(i+5)*lds:][:cols]
		r6, r7 := src[(i+6)*lds:][:cols], src[(i+7)*lds:][:cols]
		for j := range r0 {
			d := (*[8]float32)(dst[j*ldd+i:])
			d[0], d[1], d[2], d[3] = r0[j], r1[j], r2[j], r3[j]
			d[4], d[5], d[6], d[7] = r4[j], r5[j], r6[j], r7[j]
		}
	}
	for ; i < rows; i++ {
		for j, v := range src[i*lds:][:cols] {
			dst[j*ldd+i] = v
		}
	}
}

func copyRowsRef(dst []float32, ldd int, src []float32, lds int, rows, cols int) {
	for i := range rows {
		copy(dst[i*ldd:][:cols], src[i*lds:])
	}
}

// fmaLoopRef keeps eight sums going, as tileRef does.
func fmaLoopRef(n int) {
	var c0, c1, c2, c3, c4, c5, c6, c7 float32
	a, b := float32(n), float32(0)
	for range n {
		c0 += float32(a * b)
		c1 += float32(a * b)
		c2 += float32(a * b)
		c3 += float32(a * b)
		c4 += float32(a * b)
		c5 += float32(a * b)
		c6 += float32(a * b)
		c7 += float32(a * b)
		b = -b
	}
	// The compiler drops sums that nobody reads.
	must(c0+c1+c2+c3+c4+c5+c6+c7 == 0, "kernels: FMALoop: 0 * n is not 0")
}
