package kernels

import "fmt"

// PanelTokens is the most tokens of a panel: the sparse products keep
// activations feature-major in panels, so that one kept weight meets contiguous
// numbers. 128 float32 fill eight 512-bit registers, of which two rows at a time
// leave room for the operands.
const PanelTokens = 128

// PanelWidths are the widths of panels, in tokens. All panels but the last have
// PanelTokens, the last is the narrowest that holds its tokens.
var PanelWidths = [4]int{16, 32, 64, PanelTokens}

// Set is one implementation of the innermost loops. Everything above them
// (blocking, packing, threads, argument checks) is shared by all sets. A set
// that leaves a field nil inherits the function of the set before it.
type Set struct {
	Name string

	// Tile multiplies one packed panel of A by one of B, and adds to C or, unless
	// add, overwrites it:
	//
	//	c[i*ldc+j] (+)= sum over p < kc of a[p*MR+i] * b[p*NR+j], i < MR, j < NR
	//
	// a is (kc, MR), b is (kc, NR), c holds an MR×NR tile with row stride ldc.
	// MR is at most 64, NR at most 256. next is what a following call will read,
	// b itself if nothing: a hint to prefetch it, nothing else.
	Tile   func(c []float32, ldc int, a, b []float32, kc int, add bool, next []float32)
	MR, NR int

	// BF16 multiplies in bf16; nil where the CPU has no instruction for it. It is
	// not inherited: the reference's would be slower than float32.
	BF16 *BF16Kernels

	// FMALoop runs n trips of FMALoopAdds independent multiply-adds on registers:
	// the most that one core can do.
	FMALoop     func(n int)
	FMALoopAdds int

	// Panels are the sparse products on panels, one for each of PanelWidths.
	Panels [len(PanelWidths)]PanelKernels

	// FewSpMM adds a sparse tile times one token or two, row-major, to others:
	//
	//	dst[t*ldd+i] += sum over the kept (i,j) of w[k] * x[t*ldx+j], t < tokens
	//
	// The tile has width columns and the code that PanelKernels describes.
	FewSpMM func(dst []float32, ldd int, x []float32, ldx, width, tokens int, code []uint16, w []float32)

	// Transpose writes dst[j*ldd+i] = src[i*lds+j] for i < rows, j < cols.
	Transpose func(dst []float32, ldd int, src []float32, lds int, rows, cols int)

	// CopyRows writes dst[i*ldd+j] = src[i*lds+j] for i < rows, j < cols. Rows
	// may be short, and dst and src do not overlap.
	CopyRows func(dst []float32, ldd int, src []float32, lds int, rows, cols int)

	// Dot returns the sum of x[i]*y[i].
	Dot func(x, y []float32) float32
	// Axpy adds alpha*x to dst: dst[i] += alpha * x[i].
	Axpy func(dst, x []float32, alpha float32)
	// Add writes dst[i] = a[i] + b[i].
	Add func(dst, a, b []float32)
	// Scale multiplies x by s in place.
	Scale func(x []float32, s float32)
	// SumSquares returns the float64 sum of x[i]*x[i].
	SumSquares func(x []float32) float64
	// Max returns the largest element of x, which is not empty.
	Max func(x []float32) float32
	// ExpSum writes dst[i] = exp(x[i]-shift) and returns the sum of dst.
	ExpSum func(dst, x []float32, shift float32) float32
	// GELU writes the tanh form of GELU: dst[i] = gelu(x[i]).
	GELU func(dst, x []float32)
	// GELUGrad writes dx[i] = dy[i] * gelu'(x[i]).
	GELUGrad func(dx, dy, x []float32)
	// NormRow writes one row of LayerNorm, dst = (x-mean)*rstd*weight + bias,
	// and returns mean and rstd = 1/sqrt(var+eps).
	NormRow func(dst, x, weight, bias []float32, eps float32) (mean, rstd float32)
	// NormRowGrad adds the gradient of one row to dx, dweight and dbias.
	NormRowGrad func(dx, dweight, dbias, dy, x, weight []float32, mean, rstd float32)
	// AdamW updates w, m and v in place from grad.
	AdamW func(w, grad, m, v []float32, p AdamWParams)
}

// PanelKernels are the sparse products of a tile on panels of one width P.
//
// The code of a tile is a list of pairs of rows, each its header a, b, shared,
// own, left and then 64*j for shared columns j of both rows, own times a column
// of a and one of b, and left columns of a. The values are two, of a and of b,
// for a shared or an own step, one for a left column. A single row has b = a and
// left columns only.
type PanelKernels struct {
	// SpMM adds a sparse tile times one panel to another panel:
	//
	//	dst[i*P+t] += sum over the kept (i,j) of w[k] * x[j*P+t]
	//
	// The terms are added one by one in the order of the code, so that the bits
	// do not depend on P. next is what the following call will read: a hint to
	// prefetch it, nothing else.
	SpMM func(dst, x []float32, code []uint16, w, next []float32)

	// SDDMM adds, at the kept places of a tile only, the product of two panels:
	//
	//	dw[k] += sum over t < P of dy[i*P+t] * x[j*P+t]
	//
	// next and after are what coming calls will read, as in SpMM; of after no
	// more may be fetched than next is long.
	SDDMM func(dw, dy, x []float32, code []uint16, next, after []float32)
}

// sets lists what this CPU can run, the reference first, the fastest last.
var sets = []*Set{&refSet}

// current is the set in use; see Use.
var current = sets[0]

// Sets lists the kernel sets of this CPU, the Go reference first.
func Sets() []*Set { return sets }

// Current returns the kernel set in use.
func Current() *Set { return current }

// Use selects a kernel set by name. It is called once, before any work, and
// returns an error that lists the sets of this CPU if name is not among them.
func Use(name string) error {
	names := make([]string, len(sets))
	for i, s := range sets {
		if s.Name == name {
			current = s
			return nil
		}
		names[i] = s.Name
	}
	return fmt.Errorf("kernels: set %q is not available on this CPU, which has %q", name, names)
}
