// Package kernels is the arithmetic of a training step on float32 slices:
// dense and sparse matrix products, attention, LayerNorm, GELU, the loss and
// the optimizer's update, with the worker pool they share.
//
// Matrices are row-major slices with a row stride where one is taken; the
// destination comes first. There is no tensor type and no input or output.
//
// The innermost loops are a table of functions, [Set]: a Go reference that
// runs everywhere and, on some CPUs, assembly. Everything above them
// (blocking, packing, threads, argument checks) exists once. See docs/kernels.md.
//
// # Determinism
//
// A result depends on the arguments and on the kernel set, never on the number
// of threads: an output element is computed by one thread in a fixed order, and
// reductions combine partial sums of fixed blocks in index order. The reference
// writes float32(a*b), which no compiler may fuse, so its results have the same
// bits on every machine.
//
// # Special values
//
// NaN and infinities pass through the dense products as IEEE 754 says (0*NaN is
// NaN; nothing skips zeros). The sparse products never touch a pruned place, so
// what stands there cannot leak into a result.
//
// # Errors
//
// Misuse (a slice too short, a stride smaller than a row) panics with a constant
// string; zero sizes return early.
package kernels
