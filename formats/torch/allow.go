package torch

import "strings"

// handler carries out one call of the allow-list.
type handler func(args tuple) (any, error)

// allowed is the allow-list: what a pickle may name, as module and name. A nil
// handler is a name that may stand as an argument but not be called. Nothing
// here runs code of a file: handlers build values of this package, and those
// that describe make an object that flattening skips.
//
// Storage classes, dtypes and the old tensor classes are matched by lookup.
var allowed = map[string]handler{
	"collections.OrderedDict": newDict,
	"collections.Counter":     newDict,
	"collections.defaultdict": newDefaultDict,
	"torch.Size":              newSize,

	"torch.Tensor":                 emptyTensor,
	"torch._tensor.Tensor":         emptyTensor,
	"torch.nn.Parameter":           newParameter,
	"torch.nn.parameter.Parameter": newParameter,
	"torch.nn.parameter.Buffer":    newParameter,

	"torch._utils._rebuild_tensor":               rebuildTensor,
	"torch._utils._rebuild_tensor_v2":            rebuildTensorV2,
	"torch._utils._rebuild_tensor_v3":            rebuildTensorV3,
	"torch._utils._rebuild_parameter":            newParameter,
	"torch._utils._rebuild_parameter_with_state": newParameter,
	"torch._tensor._rebuild_from_type":           rebuildFromType,
	"torch._tensor._rebuild_from_type_v2":        rebuildFromType,

	"torch._utils._rebuild_sparse_tensor":            refuseTensor("is sparse"),
	"torch._utils._rebuild_sparse_csr_tensor":        refuseTensor("is sparse"),
	"torch._utils._rebuild_nested_tensor":            refuseTensor("is nested"),
	"torch._utils._rebuild_qtensor":                  refuseTensor("is quantised"),
	"torch._utils._rebuild_meta_tensor_no_storage":   refuseTensor("has no data (device meta)"),
	"torch._utils._rebuild_device_tensor_from_numpy": refuseTensor("is kept as a NumPy array"),
	"torch._utils._rebuild_xla_tensor":               refuseTensor("is kept as a NumPy array"),
	"torch._utils._rebuild_wrapper_subclass":         refuseTensor("is of a subclass without storage"),
	"torch.serialization._get_layout":                describe,
	"torch.device":                                   describe,
	"torch.torch_version.TorchVersion":               describe,
	"torch.per_tensor_affine":                        nil,
	"torch.per_channel_affine":                       nil,
	"torch.per_channel_affine_float_qparams":         nil,

	"_codecs.encode":         encodeLatin1,
	"copyreg._reconstructor": describe,
	"builtins.set":           newSet,
	"builtins.frozenset":     newSet,
	"builtins.list":          newList,
	"builtins.dict":          newDict,
	"builtins.bytearray":     describe,
	"builtins.complex":       describe,
	"builtins.slice":         describe,
	"builtins.range":         describe,
	"builtins.object":        nil,
	"builtins.tuple":         nil,
	"builtins.int":           nil,
	"builtins.float":         nil,
	"builtins.str":           nil,
	"builtins.bool":          nil,
	"builtins.bytes":         nil,

	"argparse.Namespace":                  describe,
	"types.SimpleNamespace":               describe,
	"pathlib.PosixPath":                   describe,
	"pathlib.PurePosixPath":               describe,
	"pathlib.WindowsPath":                 describe,
	"pathlib.PureWindowsPath":             describe,
	"datetime.datetime":                   describe,
	"datetime.date":                       describe,
	"datetime.timedelta":                  describe,
	"numpy.ndarray":                       nil,
	"numpy.dtype":                         describe,
	"numpy.core.multiarray._reconstruct":  describe,
	"numpy._core.multiarray._reconstruct": describe,
	"numpy.core.multiarray.scalar":        describe,
	"numpy._core.multiarray.scalar":       describe,
}

// renamedModules are modules that moved: Python 2's names, and PyTorch's own.
var renamedModules = map[string]string{
	"__builtin__":  "builtins",
	"copy_reg":     "copyreg",
	"torch.tensor": "torch._tensor",
}

// lookup says whether a name is on the allow-list, and what a call of it does.
// The name must be one identifier: Python splits "serialization.os.system" at
// the dots and walks the attributes.
func lookup(module, name string) (h handler, ok bool) {
	if renamed, moved := renamedModules[module]; moved {
		module = renamed
	}
	if strings.Contains(name, ".") {
		return nil, false
	}
	if h, ok := allowed[module+"."+name]; ok {
		return h, true
	}
	if _, ok := storageElem(&global{module, name}); ok {
		return nil, true
	}
	switch module {
	case "torch":
		if _, ok := elems[name]; ok {
			return nil, true
		}
		return emptyTensor, tensorClass(name)
	case "torch.cuda":
		return emptyTensor, tensorClass(name)
	}
	return nil, false
}

// tensorClass reports whether name is one of the classes that PyTorch once had
// for each element type.
func tensorClass(name string) bool {
	kind, ok := strings.CutSuffix(name, "Tensor")
	if !ok {
		return false
	}
	_, ok = storageTypes[kind+"Storage"]
	return ok && kind != "Untyped" && kind != "_Untyped"
}
