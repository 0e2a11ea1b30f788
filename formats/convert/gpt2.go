package convert

// gpt2 is GPT-2 and what has its weights: Cerebras-GPT, nanoGPT.
//
// Sources: transformers, modeling_gpt2.py and modeling_flax_gpt2.py;
// Cerebras/modelzoo, checkpoint_converters/gpt2_hf_cs.py (releases 1.7 to 2.5);
// karpathy/nanoGPT, model.py; karpathy/llm.c, train_gpt2.py;
// ggml-org/llama.cpp, gguf-py/gguf/tensor_mapping.py.
var gpt2 = &family{
	arch: "gpt2",
	slots: map[string]string{
		"wte": "VC", "wpe": "TC", "head": "VC",
		"#.ln1w": "C", "#.ln1b": "C", "#.ln2w": "C", "#.ln2b": "C", "lnfw": "C", "lnfb": "C",
		"#.q": "CC", "#.k": "CC", "#.v": "CC", "#.qb": "C", "#.kb": "C", "#.vb": "C", "#.o": "CC", "#.ob": "C",
		"#.up": "IC", "#.upb": "I", "#.down": "CI", "#.downb": "C",
	},
	layouts: []*layout{gpt2HF, gpt2Cerebras, gpt2NanoGPT, gpt2LLMC, gpt2GGUF, gpt2Flax},
}

const causalBuffer = "is the causal mask, a constant"

var gpt2HF = &layout{
	name:   "hf",
	prefix: "transformer.",
	rows: []row{
		{name: "wte.weight", kind: linear, slots: "wte"},
		{name: "wpe.weight", kind: linear, slots: "wpe"},
		{name: "h.#.ln_1.weight", kind: vector, slots: "#.ln1w"},
		{name: "h.#.ln_1.bias", kind: vector, slots: "#.ln1b"},
		{name: "h.#.attn.c_attn.weight", kind: conv1D, slots: "#.q #.k #.v"},
		{name: "h.#.attn.c_attn.bias", kind: vector, slots: "#.qb #.kb #.vb"},
		{name: "h.#.attn.c_proj.weight", kind: conv1D, slots: "#.o"},
		{name: "h.#.attn.c_proj.bias", kind: vector, slots: "#.ob"},
		{name: "h.#.ln_2.weight", kind: vector, slots: "#.ln2w"},
		{name: "h.#.ln_2.bias", kind: vector, slots: "#.ln2b"},
		{name: "h.#.mlp.c_fc.weight", kind: conv1D, slots: "#.up"},
		{name: "h.#.mlp.c_fc.bias", kind: vector, slots: "#.upb"},
		{name: "h.#.mlp.c_proj.weight", kind: conv1D, slots: "#.down"},
		{name: "h.#.mlp.c_proj.bias", kind: vector, slots: "#.downb"},
		{name: "ln_f.weight", kind: vector, slots: "lnfw"},
		{name: "ln_f.bias", kind: vector, slots: "lnfb"},
		{name: "lm_head.weight", kind: linear, slots: "head", when: untied, full: true},
	},
	drops: []drop{{"h.#.attn.bias", causalBuffer}, {"h.#.attn.masked_bias", causalBuffer}},
}

// gpt2Cerebras has the query, key and value apart. Releases 1.8 and 1.9 put
// "model." before the names; up to 2.0 the positions had no ".embed".
var gpt2Cerebras = &layout{
	name: "cerebras",
	rows: []row{
		{name: "embedding_layer.word_embeddings.weight", kind: linear, slots: "wte"},
		{name: "embedding_layer.position_embeddings.embed.weight", kind: linear, slots: "wpe"},
		{name: "transformer_decoder.layers.#.norm1.weight", kind: vector, slots: "#.ln1w"},
		{name: "transformer_decoder.layers.#.norm1.bias", kind: vector, slots: "#.ln1b"},
		{name: "transformer_decoder.layers.#.self_attn.proj_q_dense_layer.weight", kind: linear, slots: "#.q"},
		{name: "transformer_decoder.layers.#.self_attn.proj_q_dense_layer.bias", kind: vector, slots: "#.qb"},
		{name: "transformer_decoder.layers.#.self_attn.proj_k_dense_layer.weight", kind: linear, slots: "#.k"},
		{name: "transformer_decoder.layers.#.self_attn.proj_k_dense_layer.bias", kind: vector, slots: "#.kb"},
		{name: "transformer_decoder.layers.#.self_attn.proj_v_dense_layer.weight", kind: linear, slots: "#.v"},
		{name: "transformer_decoder.layers.#.self_attn.proj_v_dense_layer.bias", kind: vector, slots: "#.vb"},
		{name: "transformer_decoder.layers.#.self_attn.proj_output_dense_layer.weight", kind: linear, slots: "#.o"},
		{name: "transformer_decoder.layers.#.self_attn.proj_output_dense_layer.bias", kind: vector, slots: "#.ob"},
		{name: "transformer_decoder.layers.#.norm3.weight", kind: vector, slots: "#.ln2w"},
		{name: "transformer_decoder.layers.#.norm3.bias", kind: vector, slots: "#.ln2b"},
		{name: "transformer_decoder.layers.#.ffn.ffn.0.linear_layer.weight", kind: linear, slots: "#.up"},
		{name: "transformer_decoder.layers.#.ffn.ffn.0.linear_layer.bias", kind: vector, slots: "#.upb"},
		{name: "transformer_decoder.layers.#.ffn.ffn.1.linear_layer.weight", kind: linear, slots: "#.down"},
		{name: "transformer_decoder.layers.#.ffn.ffn.1.linear_layer.bias", kind: vector, slots: "#.downb"},
		{name: "transformer_decoder.norm.weight", kind: vector, slots: "lnfw"},
		{name: "transformer_decoder.norm.bias", kind: vector, slots: "lnfb"},
		{name: "ln_f.weight", when: alias, of: "transformer_decoder.norm.weight"},
		{name: "ln_f.bias", when: alias, of: "transformer_decoder.norm.bias"},
		{name: "lm_head.weight", kind: linear, slots: "head", when: untied},
		{name: "lm_head.weight", when: alias, of: "embedding_layer.word_embeddings.weight"},
	},
}

var gpt2NanoGPT = &layout{
	name:   "nanogpt",
	prefix: "transformer.",
	rows: append(asLinear(gpt2HF.rows),
		row{name: "lm_head.weight", when: alias, of: "wte.weight", full: true}),
	drops: gpt2HF.drops[:1],
}

var gpt2LLMC = &layout{
	name:     "llmc",
	stacked:  true,
	padVocab: 128,
	rows: []row{
		{name: "wte", kind: linear, slots: "wte"},
		{name: "wpe", kind: linear, slots: "wpe"},
		{name: "ln1w", kind: vector, slots: "#.ln1w"},
		{name: "ln1b", kind: vector, slots: "#.ln1b"},
		{name: "qkvw", kind: linear, slots: "#.q #.k #.v"},
		{name: "qkvb", kind: vector, slots: "#.qb #.kb #.vb"},
		{name: "attprojw", kind: linear, slots: "#.o"},
		{name: "attprojb", kind: vector, slots: "#.ob"},
		{name: "ln2w", kind: vector, slots: "#.ln2w"},
		{name: "ln2b", kind: vector, slots: "#.ln2b"},
		{name: "fcw", kind: linear, slots: "#.up"},
		{name: "fcb", kind: vector, slots: "#.upb"},
		{name: "fcprojw", kind: linear, slots: "#.down"},
		{name: "fcprojb", kind: vector, slots: "#.downb"},
		{name: "lnfw", kind: vector, slots: "lnfw"},
		{name: "lnfb", kind: vector, slots: "lnfb"},
	},
}

var gpt2GGUF = &layout{
	name: "gguf",
	rows: []row{
		{name: "token_embd.weight", kind: linear, slots: "wte"},
		{name: "position_embd.weight", kind: linear, slots: "wpe"},
		{name: "blk.#.attn_norm.weight", kind: vector, slots: "#.ln1w"},
		{name: "blk.#.attn_norm.bias", kind: vector, slots: "#.ln1b"},
		{name: "blk.#.attn_qkv.weight", kind: linear, slots: "#.q #.k #.v"},
		{name: "blk.#.attn_qkv.bias", kind: vector, slots: "#.qb #.kb #.vb"},
		{name: "blk.#.attn_output.weight", kind: linear, slots: "#.o"},
		{name: "blk.#.attn_output.bias", kind: vector, slots: "#.ob"},
		{name: "blk.#.ffn_norm.weight", kind: vector, slots: "#.ln2w"},
		{name: "blk.#.ffn_norm.bias", kind: vector, slots: "#.ln2b"},
		{name: "blk.#.ffn_up.weight", kind: linear, slots: "#.up"},
		{name: "blk.#.ffn_up.bias", kind: vector, slots: "#.upb"},
		{name: "blk.#.ffn_down.weight", kind: linear, slots: "#.down"},
		{name: "blk.#.ffn_down.bias", kind: vector, slots: "#.downb"},
		{name: "output_norm.weight", kind: vector, slots: "lnfw"},
		{name: "output_norm.bias", kind: vector, slots: "lnfb"},
		{name: "output.weight", kind: linear, slots: "head", when: untied},
	},
}

var gpt2Flax = &layout{
	name:     "flax",
	prefix:   "transformer.",
	readOnly: true,
	rows:     renamed(asLinear(gpt2HF.rows), flaxNames),
}

// flaxNames are the ends of names that Flax gives to weights. Its Conv1D keeps
// (out, in), unlike PyTorch's.
var flaxNames = [][2]string{
	{"wte.weight", "wte.embedding"}, {"wpe.weight", "wpe.embedding"},
	{"ln_1.weight", "ln_1.scale"}, {"ln_2.weight", "ln_2.scale"}, {"ln_f.weight", "ln_f.scale"},
	{"c_attn.weight", "c_attn.kernel"}, {"c_proj.weight", "c_proj.kernel"}, {"c_fc.weight", "c_fc.kernel"},
	{"lm_head.weight", "lm_head.kernel"},
}
