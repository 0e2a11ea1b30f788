package gpt

// ParamCount is the number of parameters of a model by group. The tied head is
// the token embedding and is counted once.
type ParamCount struct {
	Embeddings int64 `json:"embeddings"` // V*C, also the head
	Positions  int64 `json:"positions"`  // T*C
	Weights    int64 `json:"weights"`    // the weight matrices of the blocks: what a mask sparsifies
	Biases     int64 `json:"biases"`     // of the linear layers
	Norms      int64 `json:"norms"`      // weights and biases of the LayerNorms
}

// Total returns the sum of all groups.
func (p ParamCount) Total() int64 {
	return p.Embeddings + p.Positions + p.Weights + p.Biases + p.Norms
}

// Params counts the parameters of the model that c describes. Per block, with
// width C and MLP width I, there are 4*C*C + 2*C*I weights, 5*C + I biases and
// 4*C LayerNorm parameters; the final LayerNorm adds 2*C. c must be valid.
func (c Config) Params() ParamCount {
	v, t, l := int64(c.VocabSize), int64(c.NCtx), int64(c.NLayer)
	d, inner := int64(c.NEmbd), int64(c.Inner())
	return ParamCount{
		Embeddings: v * d,
		Positions:  t * d,
		Weights:    l * (4*d*d + 2*d*inner),
		Biases:     l * (5*d + inner),
		Norms:      l*4*d + 2*d,
	}
}
