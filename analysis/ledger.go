package analysis

import (
	"fmt"
	"math"
	"math/big"
	"strings"

	"github.com/spdfctl/spdfctl/masks"
	"github.com/spdfctl/spdfctl/train/gpt"
)

// Kinds of a Layer, in the order in which a block computes them.
const (
	KindEmbedding = "embedding"
	KindQuery     = "attn.q"
	KindKey       = "attn.k"
	KindValue     = "attn.v"
	KindScores    = "scores"
	KindSoftmax   = "softmax"
	KindProj      = "attn.proj"
	KindRouter    = "router"
	KindGate      = "mlp.gate"
	KindFC        = "mlp.fc"
	KindOut       = "mlp.proj"
	KindHead      = "head"
)

// Kinds lists the kinds of layers in the order of the computation.
func Kinds() []string {
	return []string{KindEmbedding, KindQuery, KindKey, KindValue, KindScores, KindSoftmax, KindProj, KindRouter, KindGate, KindFC, KindOut, KindHead}
}

// Layer is one row of the ledger: what one operation of the model costs in the
// training of one sequence. The counts are FLOPs.
type Layer struct {
	// Name is the key of the weight matrix, as in a mask file, or a name of the
	// same form for an operation without weights: "h.0.attn.scores".
	Name     string  `json:"name"`
	Kind     string  `json:"kind"`
	Sparsity float64 `json:"sparsity"` // pruned / total of the matrix

	// MACsPerToken counts the multiply-adds of the forward pass. The softmax
	// has FLOPs but none of these.
	MACsPerToken int64 `json:"macs_per_token"`

	Forward        *big.Int `json:"forward"`
	BackwardInput  *big.Int `json:"backward_input"`  // gradients of activations
	BackwardWeight *big.Int `json:"backward_weight"` // gradients of weights
	Total          *big.Int `json:"total"`

	// Optimizer is what one AdamW update of the kept weights costs: once per
	// step, not per sequence, and in no convention's total.
	Optimizer *big.Int `json:"optimizer"`

	kept int64 // weights that exist
}

// AdamWFLOPs are the operations of one AdamW update of one weight as kernels
// does it, a root or a quotient counted as one: 3 for the first moment, 4 for
// the second, 3 for the denominator, 4 for the weight.
const AdamWFLOPs = 14

// weights fills in the row of a product with a weight matrix of which kept
// weights exist and macs meet a token.
func weights(name, kind string, kept, total, macs, seqLen int64) Layer {
	forward := new(big.Int).Mul(big.NewInt(2*seqLen), big.NewInt(macs))
	return Layer{
		Name: name, Kind: kind,
		Sparsity:       float64(total-kept) / float64(total),
		MACsPerToken:   macs,
		Forward:        forward,
		BackwardInput:  forward,
		BackwardWeight: forward,
		Total:          times(forward, 3),
		Optimizer:      times(big.NewInt(kept), AdamWFLOPs),
		kept:           kept,
	}
}

// activations fills in the row of an operation on activations alone, both
// operands of which need a gradient.
func activations(name, kind string, macsPerToken int64, forward *big.Int) Layer {
	return Layer{
		Name: name, Kind: kind,
		MACsPerToken:   macsPerToken,
		Forward:        forward,
		BackwardInput:  times(forward, 2),
		BackwardWeight: new(big.Int),
		Total:          times(forward, 3),
		Optimizer:      new(big.Int),
	}
}

func times(x *big.Int, n int64) *big.Int { return new(big.Int).Mul(x, big.NewInt(n)) }

// Kept says how many weights of a matrix exist. A nil Kept is dense.
type Kept func(masks.Target) int

// UniformKept prunes every matrix to the same sparsity.
func UniformKept(s masks.Sparsity) Kept {
	return func(t masks.Target) int { return t.Total() - s.Pruned(t.Total()) }
}

// fractionKept prunes every matrix to a sparsity that a schedule computed, to
// the nearest weight.
func fractionKept(sparsity float64) Kept {
	return func(t masks.Target) int { return t.Total() - int(math.Round(sparsity*float64(t.Total()))) }
}

// MaskKept is Shape.MaskKept of a GPT-2.
func MaskKept(c gpt.Config, set *masks.Set) (Kept, error) { return ShapeOf(c).MaskKept(set) }

// MaskKept takes the counts of set; a matrix without a mask is dense. It
// returns an error if a mask fits no matrix of s; those of single experts do not.
func (s Shape) MaskKept(set *masks.Set) (Kept, error) {
	targets := make(map[string]masks.Target)
	for _, m := range s.matrices() {
		targets[m.Key()] = m.Target
	}
	kept := make(map[string]int, len(set.Masks))
	for _, m := range set.Masks {
		t, ok := targets[m.Key()]
		if !ok {
			return nil, fmt.Errorf("analysis: mask %q: the model of %d layers has no such matrix", m.Key(), s.NLayer)
		}
		if m.Out != t.Out || m.In != t.In {
			return nil, fmt.Errorf("analysis: mask %q is (%d, %d), the matrix is (%d, %d)", m.Key(), m.Out, m.In, t.Out, t.In)
		}
		kept[m.Key()] = m.Kept()
	}
	return func(t masks.Target) int {
		if n, ok := kept[t.Key()]; ok {
			return n
		}
		return t.Total()
	}, nil
}

// kindOf returns the kind of a matrix of a block.
func kindOf(t masks.Target) string {
	switch {
	case t.Part == "q":
		return KindQuery
	case t.Part == "k":
		return KindKey
	case t.Part == "v":
		return KindValue
	case strings.HasSuffix(t.Name, ".attn.c_proj.weight"):
		return KindProj
	case strings.HasSuffix(t.Name, ".mlp.c_fc.weight"):
		return KindFC
	}
	return KindOut
}

// Ledger is Shape.Ledger of a GPT-2.
func Ledger(c gpt.Config, convention Convention, seqLen int, kept Kept) ([]Layer, error) {
	return ShapeOf(c).Ledger(convention, seqLen, kept)
}

// Ledger returns the rows of the training of one sequence of seqLen tokens, in
// the order of the computation. With experts, a row stands for all experts of
// a block, and the tokens are taken to be shared evenly between them. It
// returns an error if s is not valid or has fewer than seqLen positions.
func (s Shape) Ledger(convention Convention, seqLen int, kept Kept) ([]Layer, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	r, ok := conventions[convention]
	if !ok {
		return nil, fmt.Errorf("analysis: unknown convention %q", convention)
	}
	if seqLen < 1 || seqLen > s.NCtx {
		return nil, fmt.Errorf("analysis: sequence of %d tokens, the model has positions for 1 to %d", seqLen, s.NCtx)
	}
	t, table := int64(seqLen), int64(s.VocabSize)*int64(s.NEmbd)
	pairs := r.pairs(t)

	var rows []Layer
	if r.embedding {
		row := weights(s.embeddingName(), KindEmbedding, table, table, table, t)
		if s.TiedHead {
			row.Optimizer, row.kept = new(big.Int), 0 // the head has them
		}
		rows = append(rows, row)
	}
	for _, m := range s.matrices() {
		each := int64(m.Total())
		if kept != nil {
			each = int64(kept(m.Target))
		}
		if m.kind == KindProj {
			block := strings.TrimSuffix(strings.TrimSuffix(m.Name, "c_proj.weight"), "o_proj.weight")
			block = strings.TrimSuffix(block, "dense.weight")
			if r.scores {
				// Query times key and score times value: two products of all heads per pair.
				width := int64(s.NHead) * int64(s.HeadSize)
				perToken := times(pairs, 2*width)
				perToken.Quo(perToken, big.NewInt(t))
				rows = append(rows, activations(block+"scores", KindScores, perToken.Int64(), times(pairs, 4*width)))
				if r.softmax {
					rows = append(rows, activations(block+"softmax", KindSoftmax, 0, times(pairs, 3*int64(s.NHead))))
				}
			}
		}
		if m.kind == KindGate && s.Experts > 0 {
			n := int64(s.Experts) * int64(s.NEmbd)
			name := strings.TrimSuffix(m.Name, "experts.w1.weight") + "gate.weight"
			rows = append(rows, weights(name, KindRouter, n, n, n, t))
		}
		rows = append(rows, weights(m.Key(), m.kind, each*int64(m.experts), m.total(), each*int64(m.active), t))
	}
	return append(rows, weights("lm_head", KindHead, table, table, table, t)), nil
}

// sum adds up the totals of rows.
func sum(rows []Layer) *big.Int {
	total := new(big.Int)
	for _, row := range rows {
		total.Add(total, row.Total)
	}
	return total
}

// TrainingFLOPs is the training cost of one sequence of seqLen tokens in
// FLOPs, forward plus backward, under convention SPDF. A nil set is dense.
func TrainingFLOPs(c gpt.Config, seqLen int, set *masks.Set) (float64, error) {
	var kept Kept
	if set != nil {
		var err error
		if kept, err = MaskKept(c, set); err != nil {
			return 0, err
		}
	}
	rows, err := Ledger(c, SPDF, seqLen, kept)
	if err != nil {
		return 0, err
	}
	f, _ := new(big.Float).SetInt(sum(rows)).Float64()
	return f, nil
}
