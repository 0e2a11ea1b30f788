//go:build amd64 && !noasm

package kernels

import "golang.org/x/sys/cpu"

// init registers the sets that this CPU and its operating system can run. The
// cpu package reports an extension only if the system saves its registers.
func init() {
	if cpu.X86.HasAVX2 && cpu.X86.HasFMA {
		register(setAVX2)
	}
	if cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512DQ && cpu.X86.HasAVX512VL &&
		cpu.X86.HasAVX2 && cpu.X86.HasFMA && cpu.X86.HasBMI2 {
		register(setAVX512)
	}
}

// setAVX2 works on 256-bit registers.
var setAVX2 = Set{
	Name:        "avx2",
	Tile:        tileAVX2,
	MR:          6,
	NR:          16,
	PanelSpMM:   panelSpMMAVX2,
	PanelSDDMM:  panelSDDMMAVX2,
	Transpose:   transposeAVX2,
	Dot:         dotAVX2,
	Axpy:        axpyAVX2,
	Add:         addAVX2,
	Scale:       scaleAVX2,
	SumSquares:  sumSquaresAVX2,
	Max:         maxAVX2,
	ExpSum:      expSumAVX2,
	GELU:        geluAVX2,
	GELUGrad:    geluGradAVX2,
	NormRow:     normRowAVX2,
	NormRowGrad: normRowGradAVX2,
	AdamW: func(w, grad, m, v []float32, p AdamWParams) {
		decay, beta2, rest1, rest2, step, root, eps := p.float32s()
		adamWAVX2(w, grad, m, v, decay, beta2, rest1, rest2, step, root, eps)
	},
}

// setAVX512 works on 512-bit registers.
var setAVX512 = Set{
	Name:        "avx512",
	Tile:        tileAVX512,
	MR:          14,
	NR:          32,
	PanelSpMM:   panelSpMMAVX512,
	PanelSDDMM:  panelSDDMMAVX512,
	Transpose:   transposeAVX512,
	Dot:         dotAVX512,
	Axpy:        axpyAVX512,
	Add:         addAVX512,
	Scale:       scaleAVX512,
	SumSquares:  sumSquaresAVX512,
	Max:         maxAVX512,
	ExpSum:      expSumAVX512,
	GELU:        geluAVX512,
	GELUGrad:    geluGradAVX512,
	NormRow:     normRowAVX512,
	NormRowGrad: normRowGradAVX512,
	AdamW: func(w, grad, m, v []float32, p AdamWParams) {
		decay, beta2, rest1, rest2, step, root, eps := p.float32s()
		adamWAVX512(w, grad, m, v, decay, beta2, rest1, rest2, step, root, eps)
	},
}
