// Package parquet reads columns of text from Parquet files, which it leaves to
// parquet-go to decode.
//
// Only columns of byte arrays are read: required, optional, or one list of them.
// Encrypted files are refused. Limits: the footer has at most MaxFooter bytes, a
// column of a row group at most MaxChunk uncompressed, as the footer says; a page
// that claims more than it should can cost what a page may have by the format, 2 GiB.
// parquet-go panics on some damaged files; that is an error here.
package parquet

// MaxFooter is the largest footer in bytes.
const MaxFooter = 16 << 20

// MaxChunk is the largest column of a row group in bytes, uncompressed.
const MaxChunk = 1 << 30
