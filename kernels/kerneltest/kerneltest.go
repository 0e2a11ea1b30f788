// Package kerneltest is the conformance suite of the kernel sets: the same
// checks run in go test and in "spdfctl kernels check".
//
// A check takes one set and returns an error that names the function, the case
// and both numbers. It calls the set's own fields, or, for the functions built
// on the table, selects the set with kernels.Use and restores what was in use.
//
// Every expected value is computed in float64 by a plain loop in this package.
// A result may differ from it by what the analysis of float32 sums allows,
//
//	|got - want| <= k * 2^-24 * (sum of the absolute terms)
//
// with k the number of roundings on the longest path; exp and GELU declare
// their own error as constants. Slices stand between guard words that are
// signalling NaN patterns: a stray write changes one, a stray read shows as NaN.
package kerneltest

import (
	"fmt"
	"iter"

	"github.com/spdfctl/spdfctl/kernels"
)

// Check is one group of cases.
type Check struct {
	Name string
	// Run returns the first deviation of the set; short asks for fewer cases.
	Run func(set *kernels.Set, short bool) error
}

// Checks lists the suite, the functions of the table first.
func Checks() []Check {
	return []Check{
		{"dot", checkDot},
		{"axpy", checkAxpy},
		{"add", checkAdd},
		{"scale", checkScale},
		{"clear", withSet(checkClear)},
		{"sum_squares", checkSumSquares},
		{"max", checkMax},
		{"exp_sum", checkExpSum},
		{"gelu", checkGELU},
		{"gelu_grad", checkGELUGrad},
		{"norm_row", checkNormRow},
		{"norm_row_grad", checkNormRowGrad},
		{"adamw", checkAdamW},
		{"transpose", checkTranspose},
		{"copy_rows", checkCopyRows},
		{"tile", checkTile},
		{"panel_spmm", checkPanelSpMM},
		{"panel_sddmm", checkPanelSDDMM},
		{"few_spmm", checkFewSpMM},
		{"gemm", withSet(checkGemm)},
		{"gemm_large", withSet(checkGemmLarge)},
		{"gemm_special", withSet(checkGemmSpecial)},
		{"bf16_pack", checkBF16Pack},
		{"bf16_tile", checkBF16Tile},
		{"bf16_gemm", withSet(checkBF16Gemm)},
		{"epilogue", withSet(checkEpilogue)},
		{"sparse_epilogue", withSet(checkSparseEpilogue)},
		{"bias", withSet(checkBias)},
		{"bias_panels", withSet(checkBiasPanels)},
		{"sparse_structure", withSet(checkSparseStructure)},
		{"sparse_products", withSet(checkSparseProducts)},
		{"sparse_special", withSet(checkSparseSpecial)},
		{"layernorm", withSet(checkLayerNorm)},
		{"embedding", withSet(checkEmbedding)},
		{"attention", withSet(checkAttention)},
		{"attention_decode", withSet(checkAttentionDecode)},
		{"attention_slots", withSet(checkAttentionSlots)},
		{"log_sum_exp", withSet(checkLogSumExp)},
		{"cross_entropy", withSet(checkCrossEntropy)},
		{"gradients", withSet(checkGradients)},
		{"threads", withSet(checkThreads)},
	}
}

// Run runs the whole suite on one set and yields every check with its result.
func Run(set *kernels.Set, short bool) iter.Seq2[Check, error] {
	return func(yield func(Check, error) bool) {
		for _, c := range Checks() {
			err := c.Run(set, short)
			if err != nil {
				err = fmt.Errorf("kerneltest: set %s: %s: %w", set.Name, c.Name, err)
			}
			if !yield(c, err) {
				return
			}
		}
	}
}

// withSet makes a check of exported functions run on a given set.
func withSet(check func(set *kernels.Set, short bool) error) func(*kernels.Set, bool) error {
	return func(set *kernels.Set, short bool) error {
		before := kernels.Current().Name
		if err := kernels.Use(set.Name); err != nil {
			return err
		}
		err := check(set, short)
		if back := kernels.Use(before); err == nil {
			err = back
		}
		return err
	}
}
