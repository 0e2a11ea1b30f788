// Package convert turns checkpoints of any format that is read here into any that
// is written, without holding them in memory.
//
// Open finds out the format of a file or directory and lists its tensors. NewPlan
// decides what is to be written: which tensors under which names, in which
// layout and element type, and what is dropped. Plan.Write streams it.
//
// A layout is how one model family names and orders its weights: for GPT-2 hf,
// cerebras, nanogpt, llmc, gguf and flax, for the Llama family hf and gguf.
// Layouts are tables (gpt2.go, llama.go): every stored tensor is made of slots,
// the matrices and vectors of the mathematics, and going from one layout to
// another moves the slots. A tensor that no table has is an error, or a drop
// that is listed. Masks move with the weights, by the same copies.
//
// The formats differ in what they can say. What a target lacks is carried in a
// side record that other readers ignore, so that converting back gives the same
// bytes:
//
//	safetensors  __metadata__; tied tensors as safetensors.torch writes them,
//	             alias to name; the metadata of GGUF as JSON under "gguf"
//	torch        a member <root>/.spdf/side.json
//	npz          the comment of the zip file
//	gguf         the key spdf.side
//
// Memory: the part of the source tensors that one output tensor is made of, where
// it cannot be streamed, and blocks of a few megabytes; never more than the
// largest tensor and 256 MB.
package convert
