package analysis

// Memory is what training holds at once, in bytes, as this program's trainer
// holds it: float32 throughout, kept weights only, activations of the whole
// pass kept for the backward pass, scores never whole, logits in chunks.
type Memory struct {
	Weights     int64 `json:"weights"`
	Index       int64 `json:"index"` // where the kept weights lie: two 16-bit columns each
	Gradients   int64 `json:"gradients"`
	Moments     int64 `json:"moments"`
	Activations int64 `json:"activations"`
	Total       int64 `json:"total"`
}

const (
	floatBytes = 4
	indexBytes = 2 * 2 // both orientations of a product, see kernels.Sparse
	maxBatch   = 1 << 20

	// headChunk is the most logits held at a time, and panel the least rows of
	// them: package gpt's.
	headChunk = 32 << 20
	panel     = 128
)

// keptParameters returns the parameters that exist under kept, and how many of
// them lie in matrices that are not whole.
func (s Shape) keptParameters(kept Kept) (all, masked int64) {
	all = s.Parameters().Total()
	if kept == nil {
		return all, 0
	}
	for _, m := range s.matrices() {
		n := int64(kept(m.Target)) * int64(m.experts)
		if n < m.total() {
			masked += n
			all -= m.total() - n
		}
	}
	return all, masked
}

// memory prices a model of kept parameters for passes of batch sequences.
func (s Shape) memory(kept, masked int64, batch, seqLen int) Memory {
	m := Memory{
		Weights:     kept * floatBytes,
		Index:       masked * indexBytes,
		Gradients:   kept * floatBytes,
		Moments:     2 * kept * floatBytes,
		Activations: s.activationFloats(int64(batch)*int64(seqLen)) * floatBytes,
	}
	m.Total = m.Weights + m.Index + m.Gradients + m.Moments + m.Activations
	return m
}

// activationFloats counts the numbers that a pass over n tokens keeps, as
// package gpt plans its buffers; other families are priced by the same plan.
func (s Shape) activationFloats(n int64) int64 {
	c, q, kv, inner := int64(s.NEmbd), int64(s.NHead*s.HeadSize), int64(s.NKVHead*s.HeadSize), int64(s.NInner)
	inner *= int64(max(1, s.ExpertsPerToken))
	wide := 2 * inner // before and after the activation
	if s.GatedMLP {
		wide += inner
	}
	// Two inputs and two norms of C, their statistics, q, k and v, the
	// attention's output and the log-sum of every head.
	block := 4*c + 4 + q + 2*kv + q + int64(s.NHead) + wide
	// The stream's end, the last norm, its statistics, the losses; a branch's
	// output; three gradients in flight.
	rest := 2*c + 2 + 1 + c + 2*c + max(inner, q+2*kv)
	// The tokens are cut into equal chunks of logits.
	v := int64(s.VocabSize)
	most := max(panel, headChunk/v)
	chunks := (n + most - 1) / most
	return n*(int64(s.NLayer)*block+rest) + (n+chunks-1)/chunks*v
}
