package kernels

import (
	"fmt"
	"slices"
)

// Precision is the type to which the factors of a dense product are rounded
// while it is packed. Operands in memory and sums are float32 in either case.
type Precision int

// The precisions. F32 rounds nothing.
const (
	F32 Precision = iota
	BF16
)

// precisionNames are the words for the precisions.
var precisionNames = []string{"f32", "bf16"}

// String returns f32 or bf16.
func (p Precision) String() string { return precisionNames[p] }

// MarshalText returns what String does.
func (p Precision) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText is the inverse. It returns an error for any other text.
func (p *Precision) UnmarshalText(text []byte) error {
	i := slices.Index(precisionNames, string(text))
	if i < 0 {
		return fmt.Errorf("kernels: precision %q is neither f32 nor bf16", text)
	}
	*p = Precision(i)
	return nil
}

// Available returns an error if the set in use cannot multiply in this
// precision. It names the CPU feature that is missing.
func (p Precision) Available() error {
	if p == F32 || current.BF16 != nil {
		return nil
	}
	if !slices.Contains(CPUFeatures(), "avx512_bf16") {
		return fmt.Errorf("kernels: precision bf16: set %q needs avx512_bf16, which this CPU lacks; set \"go\" does without it, slowly", current.Name)
	}
	return fmt.Errorf("kernels: precision bf16: set %q has no bf16 products, unlike sets \"go\" and \"avx512\"", current.Name)
}

// GemmNN is the product of that name with factors rounded to p. Up to four rows
// are multiplied unrounded: the weights that they wait for are float32 anyway.
// It panics if p is not available.
func (p Precision) GemmNN(dst []float32, ldd int, a []float32, lda int, b []float32, ldb int, m, n, k int, accumulate bool) {
	p.gemmNN(dst, ldd, a, lda, b, ldb, m, n, k, accumulate, Epilogue{})
}

// GemmNNThen is GemmNN, which overwrites dst, followed by then.
func (p Precision) GemmNNThen(dst []float32, ldd int, a []float32, lda int, b []float32, ldb int, m, n, k int, then Epilogue) {
	p.gemmNN(dst, ldd, a, lda, b, ldb, m, n, k, false, then)
}

func (p Precision) gemmNN(dst []float32, ldd int, a []float32, lda int, b []float32, ldb int, m, n, k int, accumulate bool, then Epilogue) {
	must(holds(a, lda, m, k), "kernels: GemmNN: a does not hold m × k")
	must(holds(b, ldb, k, n), "kernels: GemmNN: b does not hold k × n")
	must(holds(dst, ldd, m, n), "kernels: GemmNN: dst does not hold m × n")
	then.check(ldd, m, n)
	gemm(current, p, dst, ldd, matrix{a, lda, false}, matrix{b, ldb, true}, m, n, k, accumulate, then)
}

// GemmNT is the product of that name with factors rounded to p. The rest is as
// for GemmNN.
func (p Precision) GemmNT(dst []float32, ldd int, a []float32, lda int, b []float32, ldb int, m, n, k int, accumulate bool) {
	p.gemmNT(dst, ldd, a, lda, b, ldb, m, n, k, accumulate, Epilogue{})
}

// GemmNTThen is GemmNT, which overwrites dst, followed by then.
func (p Precision) GemmNTThen(dst []float32, ldd int, a []float32, lda int, b []float32, ldb int, m, n, k int, then Epilogue) {
	p.gemmNT(dst, ldd, a, lda, b, ldb, m, n, k, false, then)
}

func (p Precision) gemmNT(dst []float32, ldd int, a []float32, lda int, b []float32, ldb int, m, n, k int, accumulate bool, then Epilogue) {
	must(holds(a, lda, m, k), "kernels: GemmNT: a does not hold m × k")
	must(holds(b, ldb, n, k), "kernels: GemmNT: b does not hold n × k")
	must(holds(dst, ldd, m, n), "kernels: GemmNT: dst does not hold m × n")
	then.check(ldd, m, n)
	gemm(current, p, dst, ldd, matrix{a, lda, false}, matrix{b, ldb, false}, m, n, k, accumulate, then)
}

// GemmTN is the product of that name with factors rounded to p. The rest is as
// for GemmNN.
func (p Precision) GemmTN(dst []float32, ldd int, a []float32, lda int, b []float32, ldb int, m, n, k int, accumulate bool) {
	must(holds(a, lda, k, m), "kernels: GemmTN: a does not hold k × m")
	must(holds(b, ldb, k, n), "kernels: GemmTN: b does not hold k × n")
	must(holds(dst, ldd, m, n), "kernels: GemmTN: dst does not hold m × n")
	gemm(current, p, dst, ldd, matrix{a, lda, true}, matrix{b, ldb, true}, m, n, k, accumulate, Epilogue{})
}
