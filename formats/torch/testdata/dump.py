"""Prints, as JSON, what torch.load makes of a file: by name dtype, shape, SHA-256, storage.

    dump.py FILE weights_only|whole
"""

import hashlib
import json
import sys

import torch


def flat(value, name=""):
    if isinstance(value, torch.Tensor):
        yield name, value
        return
    items = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, (list, tuple)):
        items = enumerate(value)
    for key, item in items:
        yield from flat(item, f"{name}.{key}" if name else str(key))


def digest(t):
    t = t.detach().contiguous()
    if t.dtype == torch.bfloat16:
        t = t.view(torch.int16)
    return hashlib.sha256(t.numpy().tobytes()).hexdigest()


value = torch.load(sys.argv[1], weights_only=sys.argv[2] == "weights_only")
print(json.dumps({
    name: {"dtype": str(t.dtype)[6:], "shape": list(t.shape), "sha256": digest(t), "storage": str(t.storage().data_ptr())}
    for name, t in flat(value)
}))
