"""Writes the masks of two matrices as other tools keep them, with NumPy and PyTorch.

Run with: python3 make.py. Made with NumPy 1.24 and PyTorch 1.13.1. The mask of w1
(5, 12) and w2 (4, 8) is in expected.json, row by row.
"""
import json
import struct
from collections import OrderedDict

import numpy as np
import torch
import torch.nn.utils.prune as prune

rng = np.random.RandomState(3)
keep = {"w1.weight": rng.rand(5, 12) < 0.4, "w2.weight": np.tile([True, False, False, True], (4, 2))}
weights = {n: rng.randn(*m.shape).astype(np.float32) for n, m in keep.items()}
weights["w1.weight"][0, :] = 0  # kept zeros
weights["w1.weight"][1, :] = -0.0
json.dump({n: m.astype(int).tolist() for n, m in keep.items()}, open("expected.json", "w"))

# torch.nn.utils.prune itself writes this one.
net = torch.nn.ModuleDict({"w1": torch.nn.Linear(12, 5), "w2": torch.nn.Linear(8, 4)})
for name in ("w1", "w2"):
    net[name].weight.data = torch.from_numpy(weights[name + ".weight"].copy())
    prune.custom_from_mask(net[name], "weight", torch.from_numpy(keep[name + ".weight"]).float())
torch.save(net.state_dict(), "torch.pt")

# Cerebras: the parameter and a boolean buffer beside it.
state = OrderedDict()
for n, w in weights.items():
    state[n] = torch.from_numpy(w * keep[n])
    state[n + "_mask"] = torch.from_numpy(keep[n])
torch.save(state, "cstorch.pt")

# NaN where pruned.
torch.save(OrderedDict((n, torch.from_numpy(np.where(keep[n], w, np.nan).astype(np.float32))) for n, w in weights.items()), "nan.pt")

np.savez("bool.npz", **keep)
np.savez("packed.npz", **{n: np.packbits(m.reshape(-1)) for n, m in keep.items()})
torch.save(OrderedDict((n, torch.from_numpy(w)) for n, w in weights.items()), "model.pt")


def safetensors(path, tensors):
    header, blobs, at = {}, [], 0
    for n, a in tensors.items():
        raw = np.ascontiguousarray(a).tobytes()
        dt = {"float32": "F32", "uint8": "U8", "int64": "I64"}[str(a.dtype)]
        header[n] = {"dtype": dt, "shape": list(a.shape), "data_offsets": [at, at + len(raw)]}
        blobs.append(raw)
        at += len(raw)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def bitmask(name, w, m, full=True):
    parts = {
        name + ".compressed": w[m] if full else w[m].reshape(w.shape[0], -1),
        name + ".bitmask": np.packbits(m, axis=1, bitorder="little"),
        name + ".shape": np.array(w.shape, dtype=np.int64),
    }
    if full:
        counts = m.sum(axis=1)
        parts[name + ".row_offsets"] = (np.cumsum(counts) - counts).astype(np.int64)
    return parts


both = {}
for n in keep:
    both.update(bitmask(n, weights[n], keep[n]))
safetensors("bitmask.safetensors", both)
both = {}
for n in keep:
    both.update(bitmask(n[: -len(".weight")], weights[n], keep[n]))
safetensors("bitmask_module.safetensors", both)
safetensors("bitmask24.safetensors", bitmask("w2.weight", weights["w2.weight"], keep["w2.weight"], full=False))
