package gpt

// Stage is a part of a pass that an observer can tell apart.
type Stage int

// The stages: the products of a block with the bias, GELU and residual at their
// end, its attention, the head, and all else, which is embeddings, LayerNorm,
// dropout and the loss.
const (
	StageOther Stage = iota
	StageQKV
	StageAttention
	StageProj
	StageFC
	StageOut
	StageHead
)

// Observe has f called whenever a pass enters a stage of a block, forward or
// backward; a stage ends where the next one begins, and the last one of a pass
// is StageOther. nil ends it. f runs on the goroutine of the pass, with no
// kernel running.
func (m *Model) Observe(f func(s Stage, block int, backward bool)) { m.observe = f }

// enter tells the observer, if there is one.
func (m *Model) enter(s Stage, block int, backward bool) {
	if m.observe != nil {
		m.observe(s, block, backward)
	}
}
