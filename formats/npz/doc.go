// Package npz reads and writes NumPy's .npy files, and .npz files, which are zip
// files of them.
//
// A .npy file is
//
//	magic    "\x93NUMPY" and the version, two bytes: 1.0, 2.0 or 3.0
//	length   of the header, little-endian: 2 bytes in version 1.0, else 4
//	header   a Python dict: {'descr': type, 'fortran_order': bool,
//	         'shape': (n, ...), }, padded with blanks and ended by a newline
//	data     the elements, in C order or, if fortran_order, in Fortran order
//
// The types read are f2 f4 f8, i1 i2 i4 i8, u1 u2 u4 u8, b1 and c8, little- and
// big-endian; tensors are handed out in C order, little-endian. Objects, which
// are pickles, are refused, as are structures, texts, dates and c16; other arrays
// of the same .npz file are read. V1 and V2 are raw bytes without a meaning: they are read only where the side record
// says what they are.
//
// A .npz file has one member <name>.npy for each array, stored or deflated. Ours
// carries, if it was given, a side record as the comment of the zip file, which
// NumPy does not look at.
//
// Stricter than NumPy: the header may have 64 KiB and no other keys; behind the
// data nothing may follow; members may not overlap.
//
// Source: NumPy Enhancement Proposal 1, "A Simple File Format for NumPy Arrays",
// and numpy/lib/format.py.
package npz
