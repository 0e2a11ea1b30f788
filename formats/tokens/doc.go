// Package tokens holds text as token ids: the shard files that training maps,
// and the way from text, JSON Lines and CSV files to them.
//
// # A shard
//
// A file NAME.tok is a header of 128 bytes and the ids behind it, little-endian:
//
//	offset  size  field
//	0       8     "spdf.tok"
//	8       4     version, 1
//	12      4     bytes per id, 2 or 4
//	16      8     number of ids
//	24      8     vocabulary size V; every id is below it
//	32      8     id between documents, or -1 (signed)
//	40      32    SHA-256 of the tokenizer (bpe.Tokenizer.Hash), or zeros
//	72      32    SHA-256 of the ids as they stand in the file
//	104     24    zeros
//
// The file ends with the last id. Ids take 2 bytes if V is at most 65,536 and 4
// otherwise. A shard is read by mapping it, and nothing of its size is
// allocated; V is at most 16,777,216. An id is compared with V when it is read;
// the SHA-256 of the ids is only compared by Verify.
//
// # A directory
//
// Shards that belong together are named in an index.json beside them: an object
// with format "spdf.tokens", version 1, the facts of the headers, the shards in
// order, the number of documents, of bytes of their text and of tokens, and the
// files the text came from. The index may take 64 MiB and name 1,000,000
// shards. Documents follow each other without regard to the ends of shards; the
// end-of-text id follows every document, the last one too.
//
// # Files of other programs
//
// A .bin file of nanoGPT is ids of 2 bytes, little-endian, and nothing else. One of
// llm.c has 256 numbers of 4 bytes in front: a magic number, a version, the number
// of ids, zeros; 20240520 and 1 for ids of 2 bytes, 20240801 and 7 for 4. OpenBin
// maps them. They name no tokenizer and have no hash.
//
// # Text
//
// See ReadDocuments for how files become documents, and Prepare for how
// documents become a directory.
package tokens
