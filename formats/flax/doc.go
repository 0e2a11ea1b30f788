// Package flax reads the checkpoints that flax.serialization writes
// (flax_model.msgpack).
//
// A file is one MessagePack value: nested maps with text keys, whose leaves are
// arrays, numbers, texts and nil. An array is extension type 1: the bytes of an
// array of three, (shape, name of the type, elements in C order,
// little-endian). Arrays above 2^30 bytes are maps
//
//	{"__msgpack_chunked_array__": true, "shape": {"0": n, ...},
//	 "chunks": {"0": array, ...}}
//
// Maps are flattened to tensors by joining keys with dots; arrays of values
// likewise, by index. Extension types 2 (a complex number) and 3 (a NumPy
// scalar, as type 1) are leaves. Nothing is read of the elements before they are
// wanted, and a length in the file allocates nothing until its bytes are there.
//
// Source: google/flax, flax/serialization.py; the MessagePack specification.
package flax
