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
		if cpu.X86.HasAVX512BF16 {
			setAVX512.BF16 = &bf16AVX512
		}
		register(setAVX512)
	}
}

// setAVX2 works on 256-bit registers.
var setAVX2 = Set{
	Name:        "avx2",
	Tile:        tileAVX2,
	MR:          6,
	NR:          16,
	FMALoop:     fmaLoopAVX2,
	FMALoopAdds: 12 * 8,
	Panels: [len(PanelWidths)]PanelKernels{
		{panelSpMM16AVX2, panelSDDMM16AVX2}, {panelSpMM32AVX2, panelSDDMM32AVX2},
		{panelSpMM64AVX2, panelSDDMM64AVX2}, {panelSpMM128AVX2, panelSDDMM128AVX2},
	},
	FewSpMM:     fewSpMMAVX2,
	Transpose:   transposeAVX2,
	CopyRows:    copyRowsAVX2,
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
	FMALoop:     fmaLoopAVX512,
	FMALoopAdds: 12 * 16,
	Panels: [len(PanelWidths)]PanelKernels{
		{panelSpMM16AVX512, panelSDDMM16AVX512}, {panelSpMM32AVX512, panelSDDMM32AVX512},
		{panelSpMM64AVX512, panelSDDMM64AVX512}, {panelSpMM128AVX512, panelSDDMM128AVX512},
	},
	FewSpMM:     fewSpMMAVX512,
	Transpose:   transposeAVX512,
	CopyRows:    copyRowsAVX512,
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

// bf16AVX512 needs AVX512_BF16 besides.
var bf16AVX512 = BF16Kernels{
	Tile:        tileBF16AVX512,
	MR:          14,
	NR:          32,
	PairRows:    pairRowsAVX512,
	PairColumns: pairColumnsAVX512,
	DotLoop:     dotLoopAVX512,
	DotLoopAdds: 24 * 32,
}

// register appends a set for this CPU and makes it the default. The init
// functions of the *_amd64.go files call it, slowest set first.
func register(s Set) {
	s.inherit(sets[len(sets)-1])
	sets = append(sets, &s)
	current = &s
}

// inherit fills the empty fields of s from base.
func (s *Set) inherit(base *Set) {
	if s.Tile == nil {
		s.Tile, s.MR, s.NR = base.Tile, base.MR, base.NR
	}
	if s.FMALoop == nil {
		s.FMALoop, s.FMALoopAdds = base.FMALoop, base.FMALoopAdds
	}
	for i, from := range base.Panels {
		p := &s.Panels[i]
		if p.SpMM == nil {
			p.SpMM = from.SpMM
		}
		if p.SDDMM == nil {
			p.SDDMM = from.SDDMM
		}
	}
	if s.FewSpMM == nil {
		s.FewSpMM = base.FewSpMM
	}
	if s.Transpose == nil {
		s.Transpose = base.Transpose
	}
	if s.CopyRows == nil {
		s.CopyRows = base.CopyRows
	}
	if s.Dot == nil {
		s.Dot = base.Dot
	}
	if s.Axpy == nil {
		s.Axpy = base.Axpy
	}
	if s.Add == nil {
		s.Add = base.Add
	}
	if s.Scale == nil {
		s.Scale = base.Scale
	}
	if s.SumSquares == nil {
		s.SumSquares = base.SumSquares
	}
	if s.Max == nil {
		s.Max = base.Max
	}
	if s.ExpSum == nil {
		s.ExpSum = base.ExpSum
	}
	if s.GELU == nil {
		s.GELU = base.GELU
	}
	if s.GELUGrad == nil {
		s.GELUGrad = base.GELUGrad
	}
	if s.NormRow == nil {
		s.NormRow = base.NormRow
	}
	if s.NormRowGrad == nil {
		s.NormRowGrad = base.NormRowGrad
	}
	if s.AdamW == nil {
		s.AdamW = base.AdamW
	}
}
