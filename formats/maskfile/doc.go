// Package maskfile reads and writes weight masks as safetensors files, which
// any loader of that format opens.
//
// A mask of a matrix (out, in) is the U8 tensor of shape (out, ceil(in/8))
// named after the matrix, "name" or "name#part". Bit j%8 of byte j/8 of a row,
// counted from the least significant, is 1 where weight (i, j) is kept; the
// bits past the last column are zero. The __metadata__ is
//
//	spdf.format       "spdf-mask-1"
//	spdf.bit_order    "lsb-first"
//	spdf.mask         one JSON object, below
//	spdf.mask_sha256  SHA-256 of the bytes of that JSON text, lower-case hex
//
// and anything that does not begin with "spdf.", which is not looked at. The
// object has every one of these keys, once:
//
//	{"format_version": 1,
//	 "method", "distribution", "pattern", "scope", "compat", "generator": strings,
//	 "sparsity": string as typed, "seed": decimal string, "parent_sha256": string,
//	 "parameters", "kept", "total": whole numbers, "realised_sparsity": number,
//	 "tensors": [{"name", "part", "shape": [out, in], "kept", "sha256"}, ...]}
//
// with "" and 0 for what is unknown. The SHA-256 of a tensor is that of its
// out*in bits without padding (masks.Mask.SHA256). docs/mask-format.md says the
// same at length.
//
// The reader recomputes every count and hash, refuses a file that differs, and
// refuses a tensor without an entry and an entry without a tensor. The header
// is bounded by package safetensors, a matrix by masks.Target.Check, and no
// size is believed that the file does not hold.
package maskfile
