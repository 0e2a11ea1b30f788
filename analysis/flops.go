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
	Model      any        `json:"model"` // Shape.Config
	SeqLen     int        `json:"seq_len"`
	Tokens     int64      `json:"tokens"`     // of pre-training
	BatchSize  int        `json:"batch_size"` // sequences of a step, for memory and optimizer

	Parameters     int64    `json:"parameters"`
	DenseOptimizer *big.Int `json:"dense_optimizer"` // FLOPs of one update of all of them
	DenseMemory    Memory   `json:"dense_memory"`
	Results        []Result `json:"results"`
	DenseLayers    []Layer  `json:"-"` // of one sequence
	Shape          Shape    `json:"-"`
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

	KeptParameters  int64    `json:"kept_parameters"`
	OverallSparsity float64  `json:"overall_sparsity"` // pruned / all parameters
	Optimizer       *big.Int `json:"optimizer"`        // FLOPs of one AdamW update, in no total
	Memory          Memory   `json:"memory"`

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

// Request says what a report counts.
type Request struct {
	Convention Convention
	SeqLen     int
	Tokens     int64 // of the pre-training
	BatchSize  int   // sequences of a step; 0: one
	Scenarios  []Scenario
	FineTunes  []FineTune
}

// NewFLOPReport is Shape.Report of a GPT-2 for steps of one sequence.
func NewFLOPReport(c gpt.Config, convention Convention, seqLen int, tokens int64, scenarios []Scenario, tunes []FineTune) (*FLOPReport, error) {
	return ShapeOf(c).Report(Request{Convention: convention, SeqLen: seqLen, Tokens: tokens, Scenarios: scenarios, FineTunes: tunes})
}

// Report counts the pre-training that q asks for, for every scenario, each with
// every fine-tuning on its own after it.
func (s Shape) Report(q Request) (*FLOPReport, error) {
	if q.Tokens < 1 {
		return nil, fmt.Errorf("analysis: %d tokens, want at least 1", q.Tokens)
	}
	if q.BatchSize == 0 {
		q.BatchSize = 1
	}
	if q.BatchSize < 1 || q.BatchSize > maxBatch {
		return nil, fmt.Errorf("analysis: %d sequences in a step, want 1 to %d", q.BatchSize, maxBatch)
	}
	dense, err := s.Ledger(q.Convention, q.SeqLen, nil)
	if err != nil {
		return nil, err
	}
	denseTotal := overTokens(sum(dense), q.Tokens, q.SeqLen)
	tuning, err := s.fineTunings(q.Convention, q.FineTunes)
	if err != nil {
		return nil, err
	}
	parameters := s.Parameters().Total()
	report := &FLOPReport{
		Convention: q.Convention, Model: s.Config(), SeqLen: q.SeqLen, Tokens: q.Tokens, BatchSize: q.BatchSize,
		Parameters: parameters, DenseOptimizer: times(big.NewInt(parameters), AdamWFLOPs),
		DenseMemory: s.memory(parameters, 0, q.BatchSize, q.SeqLen),
		Results:     []Result{}, DenseLayers: dense, Shape: s,
	}
	for _, scenario := range q.Scenarios {
		rows, err := s.Ledger(q.Convention, q.SeqLen, scenario.Kept)
		if err != nil {
			return nil, err
		}
		perSequence := sum(rows)
		total := overTokens(perSequence, q.Tokens, q.SeqLen)
		kept, masked := s.keptParameters(scenario.Kept)
		result := Result{
			Sparsity:         scenario.Sparsity,
			Layers:           rows,
			FLOPsPerSequence: perSequence,
			FLOPsTotal:       total,
			DenseFLOPsTotal:  denseTotal,
			Reduction:        ratio(total, denseTotal),
			Speedup:          ratio(denseTotal, total),
			KeptParameters:   kept,
			OverallSparsity:  float64(parameters-kept) / float64(parameters),
			Optimizer:        times(big.NewInt(kept), AdamWFLOPs),
			Memory:           s.memory(kept, masked, q.BatchSize, q.SeqLen),
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
func (s Shape) fineTunings(convention Convention, tunes []FineTune) ([]FineTuning, error) {
	var out []FineTuning
	for _, f := range tunes {
		if f.Seqs < 1 {
			return nil, fmt.Errorf("analysis: fine-tuning on %d sequences, want at least 1", f.Seqs)
		}
		if f.SeqLen < 1 || f.SeqLen > s.NCtx {
			return nil, fmt.Errorf("analysis: fine-tuning on sequences of %d tokens, the model has positions for 1 to %d", f.SeqLen, s.NCtx)
		}
		rows, err := s.Ledger(convention, f.SeqLen, nil)
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
