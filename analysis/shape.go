package analysis

import (
	"fmt"
	"strconv"

	"github.com/spdfctl/spdfctl/masks"
	"github.com/spdfctl/spdfctl/train/gpt"
)

// Families of decoder-only transformers that the ledger knows.
const (
	FamilyGPT2    = "gpt2"     // GPT-2, GPT-3, Cerebras-GPT
	FamilyNeoX    = "gpt_neox" // GPT-NeoX, Pythia
	FamilyLlama   = "llama"    // Llama 1 to 3, Mistral: GQA, SwiGLU, RMSNorm
	FamilyMixtral = "mixtral"  // Llama with experts
)

// Shape is a decoder-only transformer as the ledger sees it: the sizes of its
// matrices and which small parameters it has. Rotary positions have neither.
type Shape struct {
	Family    string `json:"model_type"`
	VocabSize int    `json:"vocab_size"`
	NCtx      int    `json:"n_positions"`
	NEmbd     int    `json:"n_embd"`
	NLayer    int    `json:"n_layer"`
	NHead     int    `json:"n_head"`
	NKVHead   int    `json:"n_kv_head"` // heads of keys and values: fewer than n_head under GQA
	HeadSize  int    `json:"head_size"`
	NInner    int    `json:"n_inner"` // of one expert, where there are any

	GatedMLP        bool `json:"gated_mlp"` // SwiGLU: a third matrix
	Experts         int  `json:"experts,omitempty"`
	ExpertsPerToken int  `json:"experts_per_token,omitempty"`

	TiedHead         bool `json:"tied_head"`
	LearnedPositions bool `json:"learned_positions"`
	Biases           bool `json:"biases"`      // of the linear layers
	NormBiases       bool `json:"norm_biases"` // LayerNorm has them, RMSNorm does not

	gpt2 gpt.Config // what the shape was made from, if it was GPT-2
}

// ShapeOf returns the shape of a GPT-2.
func ShapeOf(c gpt.Config) Shape {
	s := Shape{
		Family: FamilyGPT2, VocabSize: c.VocabSize, NCtx: c.NCtx, NEmbd: c.NEmbd, NLayer: c.NLayer,
		NHead: c.NHead, NKVHead: c.NHead, NInner: c.Inner(),
		TiedHead: true, LearnedPositions: true, Biases: true, NormBiases: true, gpt2: c,
	}
	if c.NHead > 0 {
		s.HeadSize = c.HeadSize()
	}
	return s
}

// Config returns the document that describes s in a report: for a GPT-2 the
// configuration as it was given, for another family s itself.
func (s Shape) Config() any {
	if s.Family == FamilyGPT2 {
		return s.gpt2
	}
	return s
}

// Limits on a size, so that a product of four fits an int64 comfortably.
const (
	maxDim    = 1 << 20
	maxVocab  = 1 << 24
	maxLayers = 1 << 12
	maxExpert = 1 << 12
)

// Validate reports the first size that no model can have.
func (s Shape) Validate() error {
	if s.Family == FamilyGPT2 {
		return s.gpt2.Validate()
	}
	for _, f := range []struct {
		key        string
		value, max int
	}{
		{"vocab_size", s.VocabSize, maxVocab},
		{"n_positions", s.NCtx, maxVocab},
		{"n_embd", s.NEmbd, maxDim},
		{"n_layer", s.NLayer, maxLayers},
		{"n_head", s.NHead, maxDim},
		{"n_kv_head", s.NKVHead, s.NHead},
		{"head_size", s.HeadSize, maxDim / max(1, s.NHead)},
		{"n_inner", s.NInner, maxDim},
	} {
		if f.value < 1 || f.value > f.max {
			return fmt.Errorf("analysis: model: %s is %d, outside 1 to %d", f.key, f.value, f.max)
		}
	}
	if s.NHead%s.NKVHead != 0 {
		return fmt.Errorf("analysis: model: n_head %d is not a multiple of n_kv_head %d", s.NHead, s.NKVHead)
	}
	if s.Experts < 0 || s.Experts > maxExpert {
		return fmt.Errorf("analysis: model: experts is %d, outside 0 to %d", s.Experts, maxExpert)
	}
	if s.Experts > 0 && (s.ExpertsPerToken < 1 || s.ExpertsPerToken > s.Experts) {
		return fmt.Errorf("analysis: model: experts_per_token is %d, outside 1 to %d", s.ExpertsPerToken, s.Experts)
	}
	return nil
}

// matrix is one sparsifiable weight matrix of a block. With experts it stands
// for the same matrix of all of them.
type matrix struct {
	masks.Target        // shape of one expert
	kind         string //
	experts      int    // 1 without experts
	active       int    // of them per token
}

// total returns the weights of all experts.
func (m matrix) total() int64 { return int64(m.experts) * int64(m.Total()) }

// matrices lists what a mask may sparsify, in the order of the computation.
func (s Shape) matrices() []matrix {
	q, kv := s.NHead*s.HeadSize, s.NKVHead*s.HeadSize
	var list []matrix
	add := func(kind, name, part string, out, in int) {
		list = append(list, matrix{masks.Target{Name: name, Part: part, Out: out, In: in}, kind, 1, 1})
	}
	for i := range s.NLayer {
		n := strconv.Itoa(i)
		switch s.Family {
		case FamilyGPT2:
			for _, t := range gpt.MaskTargets(gpt.Config{NLayer: 1, NEmbd: s.NEmbd, NInner: s.NInner}) {
				add(kindOf(t), "h."+n+t.Name[len("h.0"):], t.Part, t.Out, t.In)
			}
		case FamilyNeoX:
			h := "gpt_neox.layers." + n + "."
			for _, p := range []struct{ kind, part string }{{KindQuery, "q"}, {KindKey, "k"}, {KindValue, "v"}} {
				add(p.kind, h+"attention.query_key_value.weight", p.part, q, s.NEmbd)
			}
			add(KindProj, h+"attention.dense.weight", "", s.NEmbd, q)
			add(KindFC, h+"mlp.dense_h_to_4h.weight", "", s.NInner, s.NEmbd)
			add(KindOut, h+"mlp.dense_4h_to_h.weight", "", s.NEmbd, s.NInner)
		default:
			h := "model.layers." + n + "."
			add(KindQuery, h+"self_attn.q_proj.weight", "", q, s.NEmbd)
			add(KindKey, h+"self_attn.k_proj.weight", "", kv, s.NEmbd)
			add(KindValue, h+"self_attn.v_proj.weight", "", kv, s.NEmbd)
			add(KindProj, h+"self_attn.o_proj.weight", "", s.NEmbd, q)
			if s.Experts == 0 {
				add(KindGate, h+"mlp.gate_proj.weight", "", s.NInner, s.NEmbd)
				add(KindFC, h+"mlp.up_proj.weight", "", s.NInner, s.NEmbd)
				add(KindOut, h+"mlp.down_proj.weight", "", s.NEmbd, s.NInner)
				continue
			}
			first := len(list)
			add(KindGate, h+"block_sparse_moe.experts.w1.weight", "", s.NInner, s.NEmbd)
			add(KindFC, h+"block_sparse_moe.experts.w3.weight", "", s.NInner, s.NEmbd)
			add(KindOut, h+"block_sparse_moe.experts.w2.weight", "", s.NEmbd, s.NInner)
			for j := first; j < len(list); j++ {
				list[j].experts, list[j].active = s.Experts, s.ExpertsPerToken
			}
		}
	}
	return list
}

// names of the tables that are not in blocks.
func (s Shape) embeddingName() string {
	switch s.Family {
	case FamilyGPT2:
		return "wte.weight"
	case FamilyNeoX:
		return "gpt_neox.embed_in.weight"
	}
	return "model.embed_tokens.weight"
}

// Parameters counts the parameters of a model by group.
type Parameters struct {
	Embeddings int64 `json:"embeddings"` // also the head, if it is tied
	Head       int64 `json:"head"`       // 0 if it is tied
	Positions  int64 `json:"positions"`
	Weights    int64 `json:"weights"` // matrices of the blocks: what a mask sparsifies
	Routers    int64 `json:"routers"`
	Biases     int64 `json:"biases"`
	Norms      int64 `json:"norms"`
}

// Total returns the sum of all groups.
func (p Parameters) Total() int64 {
	return p.Embeddings + p.Head + p.Positions + p.Weights + p.Routers + p.Biases + p.Norms
}

// Parameters counts the parameters of s, which must be valid.
func (s Shape) Parameters() Parameters {
	v, d, l := int64(s.VocabSize), int64(s.NEmbd), int64(s.NLayer)
	p := Parameters{Embeddings: v * d, Norms: l*2*d + d}
	for _, m := range s.matrices() {
		p.Weights += m.total()
		if s.Biases {
			p.Biases += int64(m.Out)
		}
	}
	if !s.TiedHead {
		p.Head = v * d
	}
	if s.LearnedPositions {
		p.Positions = int64(s.NCtx) * d
	}
	if s.NormBiases {
		p.Norms *= 2
	}
	p.Routers = l * int64(s.Experts) * d
	return p
}
