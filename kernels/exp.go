package kernels

import "math"

// expRef returns exp(x) with a relative error below 2^-31, which rounds to
// float32 within 0.51 ulp. It is our own because math.Exp has assembly with
// other last bits on some machines.
//
// x = k*ln2 + r with |r| <= ln2/2, and exp(r) is its Taylor polynomial of
// degree 8: the remainder r^9/9! is below 2.1e-10.
func expRef(x float64) float64 {
	const (
		log2e = 1.44269504088896340735992468100189214
		ln2   = 0.693147180559945309417232121458176568
		magic = 3 << 51 // adding it rounds to an integer in the low bits
	)
	if x > 709 {
		return math.Inf(1)
	}
	if x < -708 {
		return 0
	}
	t := float64(x*log2e) + magic
	k := t - magic
	r := x - float64(k*ln2)
	r2 := float64(r * r)
	r4 := float64(r2 * r2)
	p01 := 1 + r
	p23 := 1.0/2 + float64(r*(1.0/6))
	p45 := 1.0/24 + float64(r*(1.0/120))
	p67 := 1.0/720 + float64(r*(1.0/5040))
	p03 := p01 + float64(r2*p23)
	p47 := p45 + float64(r2*p67)
	p := p03 + float64(r4*(p47+float64(r4*(1.0/40320))))
	// The low bits of t hold k in two's complement.
	return p * math.Float64frombits((math.Float64bits(t)+1023)<<52)
}

// logRef returns log(x) with an absolute error below 2^-40 (plus one rounding of
// the result), our own for the same reason as expRef.
//
// x = m * 2^k with m in [sqrt(1/2), sqrt(2)); with s = (m-1)/(m+1),
// log(m) = 2*(s + s³/3 + s⁵/5 + …), |s| < 0.172: the term s¹⁷/17 is below 1e-14.
func logRef(x float64) float64 {
	switch {
	case x == 0:
		return math.Inf(-1)
	case !(x > 0) || x > math.MaxFloat64:
		return math.Log(x) // NaN or +Inf
	}
	m, k := math.Frexp(x)
	if m < math.Sqrt2/2 {
		m *= 2
		k--
	}
	s := (m - 1) / (m + 1)
	s2 := float64(s * s)
	p := 1.0 / 15
	for _, c := range [...]float64{1.0 / 13, 1.0 / 11, 1.0 / 9, 1.0 / 7, 1.0 / 5, 1.0 / 3, 1} {
		p = c + float64(s2*p)
	}
	return float64(float64(k)*math.Ln2) + float64(2*s*p)
}
