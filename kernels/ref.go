package kernels

import "math"

// refSet is the reference: plain Go, the same bits on every machine. The other
// sets are measured against it, and inherit what they do not replace.
var refSet = Set{
	Name:        "go",
	Tile:        tileRef,
	MR:          tileRowsRef,
	NR:          tileColsRef,
	BF16:        &refBF16,
	FMALoop:     fmaLoopRef,
	FMALoopAdds: 8,
	Panels: [len(PanelWidths)]PanelKernels{
		panelKernelsRef(PanelWidths[0]), panelKernelsRef(PanelWidths[1]),
		panelKernelsRef(PanelWidths[2]), panelKernelsRef(PanelWidths[3]),
	},
	FewSpMM:     fewSpMMRef,
	Transpose:   transposeRef,
	CopyRows:    copyRowsRef,
	Dot:         dotRef,
	Axpy:        axpyRef,
	Add:         addRef,
	Scale:       scaleRef,
	SumSquares:  sumSquaresRef,
	Max:         maxRef,
	ExpSum:      expSumRef,
	GELU:        geluRef,
	GELUGrad:    geluGradRef,
	NormRow:     normRowRef,
	NormRowGrad: normRowGradRef,
	AdamW:       adamWRef,
}

// dotRef sums in eight chains, x[i]*y[i] going to chain i%8, and adds the
// chains pairwise: the chains are independent, so the adders stay busy.
func dotRef(x, y []float32) float32 {
	y = y[:len(x)]
	var s0, s1, s2, s3, s4, s5, s6, s7 float32
	for len(x) >= 8 && len(y) >= 8 {
		s0 += float32(x[0] * y[0])
		s1 += float32(x[1] * y[1])
		s2 += float32(x[2] * y[2])
		s3 += float32(x[3] * y[3])
		s4 += float32(x[4] * y[4])
		s5 += float32(x[5] * y[5])
		s6 += float32(x[6] * y[6])
		s7 += float32(x[7] * y[7])
		x, y = x[8:], y[8:]
	}
	for i, v := range x {
		s0 += float32(v * y[i])
	}
	return ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7))
}

func axpyRef(dst, x []float32, alpha float32) {
	dst = dst[:len(x)]
	for len(x) >= 4 && len(dst) >= 4 {
		dst[0] += float32(alpha * x[0])
		dst[1] += float32(alpha * x[1])
		dst[2] += float32(alpha * x[2])
		dst[3] += float32(alpha * x[3])
		x, dst = x[4:], dst[4:]
	}
	for i, v := range x {
		dst[i] += float32(alpha * v)
	}
}

func addRef(dst, a, b []float32) {
	a, b = a[:len(dst)], b[:len(dst)]
	for i := range dst {
		dst[i] = a[i] + b[i]
	}
}

func scaleRef(x []float32, s float32) {
	for i := range x {
		x[i] *= s
	}
}

func sumSquaresRef(x []float32) float64 {
	var s0, s1, s2, s3 float64
	for len(x) >= 4 {
		a, b, c, d := float64(x[0]), float64(x[1]), float64(x[2]), float64(x[3])
		s0 += float64(a * a)
		s1 += float64(b * b)
		s2 += float64(c * c)
		s3 += float64(d * d)
		x = x[4:]
	}
	for _, v := range x {
		s0 += float64(float64(v) * float64(v))
	}
	return (s0 + s1) + (s2 + s3)
}

// maxRef ignores NaN unless x[0] is one; the exponential after it does not.
func maxRef(x []float32) float32 {
	m := x[0]
	for _, v := range x[1:] {
		if v > m {
			m = v
		}
	}
	return m
}

func expSumRef(dst, x []float32, shift float32) float32 {
	dst = dst[:len(x)]
	var s float64
	for i, v := range x {
		e := float32(expRef(float64(v - shift)))
		dst[i] = e
		s += float64(e)
	}
	return float32(s)
}

// Coefficients of the tanh form of GELU: u = sqrt(2/pi) * (x + 0.044715 x³).
const (
	geluScale = 0.7978845608028653558798921198687637 // sqrt(2/pi)
	geluCubic = 0.044715
)

// geluRef uses 0.5*(1+tanh(u)) = 1/(1+exp(-2u)), which loses no digits in the
// negative tail, where 1+tanh(u) would cancel.
func geluRef(dst, x []float32) {
	dst = dst[:len(x)]
	for i, v := range x {
		z := float64(v)
		u2 := 2 * geluScale * (z + float64(geluCubic*z*z*z))
		dst[i] = float32(z / (1 + expRef(-u2)))
	}
}

// geluGradRef differentiates x*s with s = 1/(1+exp(-2u)):
// gelu'(x) = s + x*s*(1-s)*2u'.
func geluGradRef(dx, dy, x []float32) {
	dx, dy = dx[:len(x)], dy[:len(x)]
	for i, v := range x {
		z := float64(v)
		zz := float64(z * z)
		u2 := 2 * geluScale * z * (1 + float64(geluCubic*zz))
		du2 := 2 * geluScale * (1 + float64(3*geluCubic*zz))
		s := 1 / (1 + expRef(-u2))
		g := s + float64(z*s*(1-s)*du2)
		dx[i] = float32(float64(dy[i]) * g)
	}
}

// normRowRef sums in float64, the variance in a second pass.
func normRowRef(dst, x, weight, bias []float32, eps float32) (mean, rstd float32) {
	n := len(x)
	dst, weight, bias = dst[:n], weight[:n], bias[:n]
	var s float64
	for _, v := range x {
		s += float64(v)
	}
	mu := s / float64(n)
	var q float64
	for _, v := range x {
		d := float64(v) - mu
		q += float64(d * d)
	}
	mean = float32(mu)
	rstd = float32(1 / math.Sqrt(q/float64(n)+float64(eps)))
	for i, v := range x {
		dst[i] = float32(float32((v-mean)*rstd)*weight[i]) + bias[i]
	}
	return mean, rstd
}

func normRowGradRef(dx, dweight, dbias, dy, x, weight []float32, mean, rstd float32) {
	n := len(x)
	dx, dy, weight = dx[:n], dy[:n], weight[:n]
	dweight, dbias = dweight[:n], dbias[:n]
	var s, q float64
	for i, v := range x {
		xhat := (v - mean) * rstd
		g := float32(dy[i] * weight[i])
		s += float64(g)
		q += float64(float64(g) * float64(xhat))
	}
	a, b := float32(s/float64(n)), float32(q/float64(n))
	for i, v := range x {
		xhat := (v - mean) * rstd
		g := float32(dy[i] * weight[i])
		dx[i] += float32((g - a - float32(xhat*b)) * rstd)
		dweight[i] += float32(dy[i] * xhat)
		dbias[i] += dy[i]
	}
}
