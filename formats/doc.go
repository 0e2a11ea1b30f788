// Package formats describes stored tensors and holds what every file format of
// the module shares: element types, the half-precision conversions, and the
// only two ways of putting something on disk, WriteAtomic for a file and
// AtomicDir for a directory. Each codec is a package of its own below this one.
package formats
