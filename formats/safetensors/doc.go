// Package safetensors reads and writes the safetensors checkpoint format.
//
// A file is
//
//	length  8 bytes, little-endian: size of the header, at most 100 000 000
//	header  JSON object, white space around it allowed:
//	        {"__metadata__": {string: string},            optional
//	         name: {"dtype": D, "shape": [n, ...], "data_offsets": [begin, end]}, ...}
//	data    the tensors, row-major, little-endian, without alignment; the
//	        offsets count from here and must cover it without hole or overlap
//
// D is one of formats.DTypes. An index, model.safetensors.index.json, spreads a
// checkpoint over shards: {"metadata": {...}, "weight_map": {name: shard}}.
//
// The JSON of headers, their types and element types are those of
// github.com/nlpodyssey/safetensors. What that library lacks or gets wrong is
// put right here, each thing where a comment names it and library_test.go pins
// it. Stricter than the reference: keys that occur twice, an entry with a key
// beyond the three, more than 131072 tensors and more than 64 dimensions.
//
// Source: huggingface/safetensors, safetensors/src/tensor.rs and README (2026-05).
package safetensors
