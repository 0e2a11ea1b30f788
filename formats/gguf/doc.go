// Package gguf reads and writes GGUF files, the checkpoints of llama.cpp.
//
// A file is, little-endian,
//
//	magic    "GGUF"
//	version  uint32: 1, 2 or 3
//	counts   of tensors and of metadata, uint64 (uint32 in version 1)
//	metadata per entry: key, uint32 type, value; a text is its length, uint64
//	         (uint32 in version 1), and UTF-8; an array is uint32 type,
//	         length, values
//	tensors  per tensor: name, uint32 rank, dimensions (uint64; uint32 in
//	         version 1), the innermost first, uint32 type, uint64 offset
//	data     starts at the next multiple of the alignment (general.alignment,
//	         32 if absent); offsets count from here and are multiples of it
//
// Shapes are handed out the other way round, the innermost dimension last, as
// everywhere here. The block types, in which 32 or 256 weights share scales, are
// handed out under their names (Q8_0, Q4_K, ...) with their bytes; Q8_0 and Q4_0
// can be dequantised.
//
// Stricter than llama.cpp: keys and names must be UTF-8 and occur once, tensors
// must not overlap, and what metadata take in memory is bounded. Looser: rank 0
// and names of 64 to 4096 bytes are read. Big-endian files and split files are
// refused (split ones are read part by part).
//
// Source: ggml/docs/gguf.md and ggml/src/gguf.cpp.
package gguf
