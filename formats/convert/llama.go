package convert

import (
	"slices"
	"strings"
)

// llama is the Llama family: Llama 1 to 3, Mistral. In GGUF the rows of q and k
// are interleaved.
//
// Sources: transformers, modeling_llama.py and modeling_qwen2.py;
// ggml-org/llama.cpp, convert_hf_to_gguf.py and gguf-py/gguf/tensor_mapping.py.
var llama = &family{
	arch:    "llama",
	slots:   llamaSlots,
	layouts: []*layout{llamaHF(false), llamaGGUF(true, false)},
}

// qwen2 is Qwen2: Llama with biases of q, k and v, and nothing interleaved.
var qwen2 = &family{
	arch:    "qwen2",
	slots:   llamaSlots,
	layouts: []*layout{llamaHF(true), llamaGGUF(false, true)},
}

var llamaSlots = map[string]string{
	"wte": "VC", "head": "VC", "norm": "C",
	"#.an": "C", "#.q": "QC", "#.k": "KC", "#.v": "KC", "#.o": "CQ", "#.qb": "Q", "#.kb": "K", "#.vb": "K",
	"#.fn": "C", "#.gate": "IC", "#.up": "IC", "#.down": "CI",
}

func llamaHF(biases bool) *layout {
	l := &layout{
		name:   "hf",
		prefix: "model.",
		rows: []row{
			{name: "embed_tokens.weight", kind: linear, slots: "wte"},
			{name: "layers.#.input_layernorm.weight", kind: vector, slots: "#.an"},
			{name: "layers.#.self_attn.q_proj.weight", kind: linear, slots: "#.q"},
			{name: "layers.#.self_attn.k_proj.weight", kind: linear, slots: "#.k"},
			{name: "layers.#.self_attn.v_proj.weight", kind: linear, slots: "#.v"},
			{name: "layers.#.self_attn.o_proj.weight", kind: linear, slots: "#.o"},
			{name: "layers.#.post_attention_layernorm.weight", kind: vector, slots: "#.fn"},
			{name: "layers.#.mlp.gate_proj.weight", kind: linear, slots: "#.gate"},
			{name: "layers.#.mlp.up_proj.weight", kind: linear, slots: "#.up"},
			{name: "layers.#.mlp.down_proj.weight", kind: linear, slots: "#.down"},
			{name: "norm.weight", kind: vector, slots: "norm"},
			{name: "lm_head.weight", kind: linear, slots: "head", when: untied, full: true},
		},
		drops: []drop{{"layers.#.self_attn.rotary_emb.inv_freq", "follows from rope_theta"}},
	}
	if biases {
		l.rows = append(l.rows,
			row{name: "layers.#.self_attn.q_proj.bias", kind: vector, slots: "#.qb"},
			row{name: "layers.#.self_attn.k_proj.bias", kind: vector, slots: "#.kb"},
			row{name: "layers.#.self_attn.v_proj.bias", kind: vector, slots: "#.vb"})
	}
	return l
}

func llamaGGUF(interleaved, biases bool) *layout {
	l := &layout{
		name: "gguf",
		rows: []row{
			{name: "token_embd.weight", kind: linear, slots: "wte"},
			{name: "blk.#.attn_norm.weight", kind: vector, slots: "#.an"},
			{name: "blk.#.attn_q.weight", kind: linear, slots: "#.q"},
			{name: "blk.#.attn_k.weight", kind: linear, slots: "#.k"},
			{name: "blk.#.attn_v.weight", kind: linear, slots: "#.v"},
			{name: "blk.#.attn_output.weight", kind: linear, slots: "#.o"},
			{name: "blk.#.ffn_norm.weight", kind: vector, slots: "#.fn"},
			{name: "blk.#.ffn_gate.weight", kind: linear, slots: "#.gate"},
			{name: "blk.#.ffn_up.weight", kind: linear, slots: "#.up"},
			{name: "blk.#.ffn_down.weight", kind: linear, slots: "#.down"},
			{name: "output_norm.weight", kind: vector, slots: "norm"},
			{name: "output.weight", kind: linear, slots: "head", when: untied},
		},
		drops: []drop{{"rope_freqs.weight", "follows from the scaling of rotary positions in config.json"}},
	}
	if interleaved {
		l.rows[2].heads, l.rows[3].heads = 'N', 'M'
	}
	if biases {
		l.rows = append(l.rows,
			row{name: "blk.#.attn_q.bias", kind: vector, slots: "#.qb"},
			row{name: "blk.#.attn_k.bias", kind: vector, slots: "#.kb"},
			row{name: "blk.#.attn_v.bias", kind: vector, slots: "#.vb"})
	}
	return l
}

// asLinear returns rows with Conv1D weights transposed to (out, in).
func asLinear(rows []row) []row {
	rows = slices.Clone(rows)
	for i := range rows {
		if rows[i].kind == conv1D {
			rows[i].kind = linear
		}
	}
	return rows
}

// renamed returns rows with ends of names replaced.
func renamed(rows []row, ends [][2]string) []row {
	rows = slices.Clone(rows)
	for i := range rows {
		for _, end := range ends {
			if base, ok := strings.CutSuffix(rows[i].name, end[0]); ok {
				rows[i].name = base + end[1]
			}
		}
	}
	return rows
}
