package analysis

import (
	"fmt"
	"math/big"

	"github.com/spdfctl/spdfctl/train/gpt"
)

// FLOPReport is the cost of pre-training a model, and of fine-tuning it densely
// after that, for several sparsities. Its JSON is what others read.
type FLOPReport struct {
	Convention Convention `json:"convention"`
	Model      gpt.Config `json:"model"`
	SeqLen     int        `json:"seq_len"`
	Tokens     int64      `json:"tokens"` // of pre-training
	Results    []Result   `json:"results"`

	DenseLayers []Layer `json:"-"` // of one sequence
}

// Result is the cost at one sparsity beside the dense cost, in FLOPs.
type Result struct {
	Sparsity         float64  `json:"sparsity"` // of the sparsified layers
	Layers           []Layer  `json:"layers"`   // of one sequence
	FLOPsPerSequence *big.Int `json:"flops_per_sequence"`
	FLOPsTotal       *big.Int `json:"flops_total"` // FLOPsPerSequence * tokens / seq_len, to the nearest FLOP
	DenseFLOPsTotal  *big.Int `json:"dense_flops_total"`
	Reduction        float64  `json:"reduction"` // this / dense
	Speedup          float64  `json:"speedup"`   // dense / this: an upper bound that no hardware reaches

	FineTuning []FineTuning `json:"finetune,omitempty"` // in the order asked for
}

// FineTuning is the cost of one dense fine-tuning after the pre-training.
type FineTuning struct {
	Seqs                 int64    `json:"seqs"` // all epochs
	SeqLen               int      `json:"seq_len"`
	ForwardPerSequence   *big.Int `json:"forward_per_sequence"`
	FLOPsPerSequence     *big.Int `json:"flops_per_sequence"`
	FLOPsTotal           *big.Int `json:"flops_total"`            // FLOPsPerSequence * seqs
	WithPretraining      *big.Int `json:"with_pretraining"`       // FLOPsTotal and the pre-training before it
	DenseWithPretraining *big.Int `json:"dense_with_pretraining"` // the same after dense pre-training
	Speedup              float64  `json:"speedup"`                // dense with pre-training / with pre-training
}

// Scenario is one way to prune the model.
type Scenario struct {
	Sparsity float64 // of the sparsified layers
	Kept     Kept
}

// FineTune asks for the cost of Seqs sequences of SeqLen tokens, all epochs.
type FineTune struct {
	Seqs   int64
	SeqLen int
}

// NewFLOPReport counts the pre-training on tokens tokens in sequences of seqLen
// for every scenario, each with every fine-tuning on its own after it.
func NewFLOPReport(c gpt.Config, convention Convention, seqLen int, tokens int64, scenarios []Scenario, tunes []FineTune) (*FLOPReport, error) {
	if tokens < 1 {
		return nil, fmt.Errorf("analysis: %d tokens, want at least 1", tokens)
	}
	dense, err := Ledger(c, convention, seqLen, nil)
	if err != nil {
		return nil, err
	}
	denseTotal := overTokens(sum(dense), tokens, seqLen)
	tuning, err := fineTunings(c, convention, tunes)
	if err != nil {
		return nil, err
	}
	report := &FLOPReport{Convention: convention, Model: c, SeqLen: seqLen, Tokens: tokens, Results: []Result{}, DenseLayers: dense}
	for _, s := range scenarios {
		rows, err := Ledger(c, convention, seqLen, s.Kept)
		if err != nil {
			return nil, err
		}
		perSequence := sum(rows)
		total := overTokens(perSequence, tokens, seqLen)
		result := Result{
			Sparsity:         s.Sparsity,
			Layers:           rows,
			FLOPsPerSequence: perSequence,
			FLOPsTotal:       total,
			DenseFLOPsTotal:  denseTotal,
			Reduction:        ratio(total, denseTotal),
			Speedup:          ratio(denseTotal, total),
		}
		for _, f := range tuning {
			f.WithPretraining = new(big.Int).Add(total, f.FLOPsTotal)
			f.DenseWithPretraining = new(big.Int).Add(denseTotal, f.FLOPsTotal)
			f.Speedup = ratio(f.DenseWithPretraining, f.WithPretraining)
			result.FineTuning = append(result.FineTuning, f)
		}
		report.Results = append(report.Results, result)
	}
	return report, nil
}

// fineTunings fills in what does not depend on the pre-training.
func fineTunings(c gpt.Config, convention Convention, tunes []FineTune) ([]FineTuning, error) {
	var out []FineTuning
	for _, f := range tunes {
		if f.Seqs < 1 {
			return nil, fmt.Errorf("analysis: fine-tuning on %d sequences, want at least 1", f.Seqs)
		}
		if f.SeqLen < 1 || f.SeqLen > c.NCtx {
			return nil, fmt.Errorf("analysis: fine-tuning on sequences of %d tokens, the model has positions for 1 to %d", f.SeqLen, c.NCtx)
		}
		rows, err := Ledger(c, convention, f.SeqLen, nil)
		if err != nil {
			return nil, err
		}
		forward := new(big.Int)
		for _, row := range rows {
			forward.Add(forward, row.Forward)
		}
		perSequence := sum(rows)
		out = append(out, FineTuning{
			Seqs:               f.Seqs,
			SeqLen:             f.SeqLen,
			ForwardPerSequence: forward,
			FLOPsPerSequence:   perSequence,
			FLOPsTotal:         times(perSequence, f.Seqs),
		})
	}
	return out, nil
}

// overTokens returns perSequence * tokens / seqLen to the nearest FLOP.
func overTokens(perSequence *big.Int, tokens int64, seqLen int) *big.Int {
	n := times(perSequence, tokens)
	n.Lsh(n, 1).Add(n, big.NewInt(int64(seqLen)))
	return n.Quo(n, big.NewInt(2*int64(seqLen)))
}

// ratio returns a / b to the nearest float64. b is positive.
func ratio(a, b *big.Int) float64 {
	f, _ := new(big.Rat).SetFrac(a, b).Float64()
	return f
}
