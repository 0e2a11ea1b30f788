// Package stored is what the readers and writers of checkpoints share: a file
// that is read in place (File), a tensor whose bytes come when they are asked
// for (Tensor), and copies between strided arrays (View).
//
// Files are read with positional reads, not mapped: a page of a mapping counts
// as resident memory once it has been touched, and a file that is cut under a
// mapping kills the process, where a read returns an error.
package stored
