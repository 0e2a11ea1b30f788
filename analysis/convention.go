// Package analysis accounts for the cost of training: FLOPs per layer and in
// total, sparse beside dense, under a named counting convention.
//
// One multiply-add is 2 FLOPs in every convention, and the backward pass costs
// twice the forward pass. All counts are exact integers.
package analysis

import (
	"fmt"
	"math/big"
	"slices"
	"strings"
)

// Convention names a way of counting the FLOPs of a training step. The zero
// value is not valid; SPDF is the default everywhere.
type Convention string

// The conventions. With T tokens in a sequence, width C, H heads, L layers,
// vocabulary V and W kept weights in the matrices of the blocks, the training
// of one sequence costs
//
//	spdf        3 * [2*T*W + 4*L*T*T*C + 3*L*H*T*T + 2*T*V*C]
//	causal      3 * [2*T*W + (4*L*C + 3*L*H)*T*(T+1)/2 + 2*T*V*C]
//	palm        3 * [2*T*W + 4*L*T*T*C + 2*T*V*C]
//	chinchilla  3 * [2*T*W + 4*L*T*T*C + 3*L*H*T*T + 4*T*V*C]
//	6n          3 * [2*T*W + 2*T*V*C]
const (
	// SPDF reproduces the tables of the SPDF paper: all T*T scores, 3 FLOPs
	// each for the softmax, the head dense, no input embedding.
	//
	// Source: found by fitting Thangarasa et al., "SPDF", UAI 2023, supplement,
	// Tables 2 and 3; the paper does not print its formula.
	SPDF Convention = "spdf"

	// Causal is SPDF with only the scores that a causal model needs, a query
	// with the keys at and before it.
	Causal Convention = "causal"

	// PaLM is 6*N + 12*L*H*Q*T per token, Q the size of a head, without the
	// softmax. N counts the weights that are multiplied: the matrices and the
	// tied head. GPT-2's biases, norms and positions, which PaLM does not have
	// and which are under 1 %, are left out.
	//
	// Source: Chowdhery et al., "PaLM", 2022, appendix B.
	PaLM Convention = "palm"

	// Chinchilla counts the input embedding as a product with one-hot rows.
	//
	// Source: Hoffmann et al., "Training Compute-Optimal Large Language Models",
	// 2022, appendix F.
	Chinchilla Convention = "chinchilla"

	// SixN is 6*N per token without any attention scores; N as in PaLM. Kaplan
	// et al., 2020, leave the head out of N, Hoffmann et al. keep it.
	//
	// Source: Hoffmann et al., 2022, section 3.3, C = 6*N*D.
	SixN Convention = "6n"
)

// rules says what a convention counts beside the matrices and the head.
type rules struct {
	scores    bool // query-key products and the weighting of values
	causal    bool // only the scores at and below the diagonal
	softmax   bool // 3 FLOPs for every counted score
	embedding bool // the input embedding as a matrix product
	text      string
}

var conventions = map[Convention]rules{
	SPDF:       {scores: true, softmax: true, text: "attention scores full (T x T), softmax 3 FLOPs a score, head dense, no input embedding"},
	Causal:     {scores: true, softmax: true, causal: true, text: "attention scores causal (T x (T+1)/2), softmax 3 FLOPs a score, head dense, no input embedding"},
	PaLM:       {scores: true, text: "6N + 12LHQT per token: attention scores full (T x T), no softmax, head dense, no input embedding"},
	Chinchilla: {scores: true, softmax: true, embedding: true, text: "attention scores full (T x T), softmax 3 FLOPs a score, head dense, input embedding as a matrix product"},
	SixN:       {text: "6N per token: no attention scores, head dense, no input embedding"},
}

// Conventions lists all conventions, the default first.
func Conventions() []Convention {
	return []Convention{SPDF, Causal, PaLM, Chinchilla, SixN}
}

// ParseConvention returns the convention called name.
func ParseConvention(name string) (Convention, error) {
	if c := Convention(name); slices.Contains(Conventions(), c) {
		return c, nil
	}
	names := make([]string, len(Conventions()))
	for i, c := range Conventions() {
		names[i] = string(c)
	}
	return "", fmt.Errorf("analysis: convention %q is none of %s", name, strings.Join(names, ", "))
}

// Describe says in one line what c counts; it belongs beside every number.
func (c Convention) Describe() string {
	return "one multiply-add = 2 FLOPs, backward = 2 x forward; " + conventions[c].text
}

// pairs returns the number of scores of one head over a sequence.
func (r rules) pairs(seqLen int64) *big.Int {
	t := big.NewInt(seqLen)
	if !r.causal {
		return t.Mul(t, t)
	}
	t.Mul(t, big.NewInt(seqLen+1))
	return t.Rsh(t, 1)
}
