// Package torch reads PyTorch checkpoints (.pt, .bin, .pth, .ckpt) without
// executing anything in them, tells what a pickle would do if Python loaded it
// (Scan), and writes checkpoints that torch.load(weights_only=True) accepts.
//
// Three containers are read:
//
//	zip     <root>/data.pkl, the pickle; <root>/data/<key>, one storage each;
//	        <root>/byteorder, "little" or "big". Members are looked up by
//	        their whole name. Stored ones are read in place, deflated ones
//	        are inflated when their turn comes.
//	stream  five pickles (a magic number, 1001, a description of the machine,
//	        the object, the list of storage keys), then each storage: the
//	        number of elements, 8 bytes, and the elements. Always
//	        little-endian. PyTorch 0.1.10 to 1.5 wrote it.
//	tar     members storages, tensors and pickle, each a sequence of pickles
//	        with binary data between them. PyTorch before 0.1.10 wrote it.
//
// and an index, pytorch_model.bin.index.json, that spreads a checkpoint over
// such files.
//
// The pickle machine knows every opcode of protocols 0 to 5. It never imports
// or calls: of a global it keeps the name, and calls of the few names in the
// allow-list are carried out by code of this package (a tensor from a storage,
// an empty dict, ...). Any other global makes Open fail with an *UnsafeError,
// unless Options say that such objects may be skipped. See machine.go for the
// caps.
//
// An object is flattened to tensors by joining the keys of dicts and the
// indices of lists and tuples with dots. What is no tensor is listed as a Leaf;
// what is a tensor but has no element type among formats.DTypes, or is sparse
// or quantised, is listed as a Refusal.
//
// Different from torch.load: a storage must have exactly the size that the
// pickle gives it; a storage may not lie over another; a view that is larger
// than its storage may not be larger than 256 MiB; negated or conjugated views
// are refused; CRCs are not checked (PyTorch does not check them either, and can
// write files without). A TorchScript archive is refused.
//
// Sources: torch/serialization.py, torch/_utils.py and
// torch/_weights_only_unpickler.py of PyTorch 1.13 and 2.x; the opcodes are
// those of Python's pickletools.
package torch
