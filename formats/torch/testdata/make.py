"""Makes the fixtures of this folder and expected.json. See README.md.

    /usr/bin/python3 make.py
"""

import hashlib
import io
import json
import os
import pickle
import struct
import sys
import tarfile
import zipfile
from collections import OrderedDict

import torch

HERE = os.path.dirname(os.path.abspath(__file__))
expected = {}


def digest(t):
    """SHA-256 of the contiguous little-endian bytes."""
    t = t.detach().contiguous()
    if t.dtype == torch.bfloat16:
        t = t.view(torch.int16)
    return hashlib.sha256(t.numpy().tobytes()).hexdigest()


def flat(value, name=""):
    """Yields (dotted name, tensor)."""
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


def note(file, value, **more):
    expected[file] = {
        "tensors": {
            name: {"dtype": str(t.dtype)[6:], "shape": list(t.shape), "sha256": digest(t)}
            for name, t in flat(value)
        },
        **more,
    }


def save(file, value, **options):
    torch.save(value, os.path.join(HERE, file), **options)
    note(file, value)


def numbers(*shape):
    n = 1
    for d in shape:
        n *= d
    return (torch.arange(n, dtype=torch.float32) * 0.37 - 3).reshape(shape)


def views():
    base = numbers(6, 8)
    tied = numbers(4, 3)
    return OrderedDict(
        base=base,
        transposed=base.t(),
        slice=base[1:6:2, 2:8:2],
        row=base[3],
        repeated=base[0].expand(5, 8),
        permuted=torch.arange(24).reshape(2, 3, 4).permute(2, 0, 1),
        tied=tied,
        head=tied,
        empty=torch.zeros(0, 4),
        scalar=torch.tensor(2.5),
    )


def types():
    x = numbers(5)
    return {
        "half": x.half(), "bfloat16": x.bfloat16(), "double": x.double(), "complex": torch.complex(x, -x),
        "long": x.long(), "int": x.int(), "short": x.short(), "char": x.to(torch.int8), "byte": x.abs().byte(),
        "bool": x > -2,
        "special": torch.tensor([0.0, -0.0, float("inf"), float("-inf"), 1e-45]),
    }


def trainer():
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.LayerNorm(3))
    with torch.no_grad():
        for i, p in enumerate(model.parameters()):
            p.copy_(numbers(*p.shape) + i)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model(numbers(2, 4)).sum().backward()
    optimizer.step()
    return {
        "model": model.state_dict(), "optimizer": optimizer.state_dict(), "iter_num": 7, "best": None,
        "config": {"name": "tiny", "sparsity": 0.75, "betas": (0.9, 0.95), "big": 1 << 70}, "list": [numbers(2), "x"],
    }


def tar(file, tensors):
    """The format of PyTorch before 0.1.10, which only reading is left of."""
    storages, records = io.BytesIO(), io.BytesIO()

    class Storage:
        """Pickled as the class that old files name."""

    def dump(value, to):
        pickle.dump(value, to, protocol=2)

    names = {torch.float32: "FloatStorage", torch.int64: "LongStorage"}
    roots = {}
    for t in tensors.values():
        s = t.storage()
        roots.setdefault(s.data_ptr(), (len(roots) + 1, t))
    dump(len(roots), storages)
    for key, t in roots.values():
        s = t.storage()
        dump((str(key), "cpu", getattr(torch, names[t.dtype])), storages)
        data = torch.tensor(s.tolist(), dtype=t.dtype).numpy().tobytes()
        storages.write(struct.pack("<q", s.size()) + data)
    # A view of half of the first storage, as its own storage.
    first_key, first = next(iter(roots.values()))
    dump([("100", str(first_key), 4, 6)], storages)

    dump(len(tensors) + 1, records)
    ids = {}
    for i, (name, t) in enumerate(tensors.items()):
        ids[name] = 1000 + i
        key, _ = roots[t.storage().data_ptr()]
        dump((ids[name], str(key), getattr(torch, names[t.dtype][:-7] + "Tensor")), records)
        n = t.dim()
        records.write(struct.pack(f"<ii{n}q{n}qq", n, 0, *t.shape, *t.stride(), t.storage_offset()))
    ids["view"] = 2000
    dump((2000, "100", torch.FloatTensor), records)
    records.write(struct.pack("<ii2q2qq", 2, 0, 2, 3, 3, 1, 0))
    all_tensors = dict(tensors, view=torch.tensor(first.storage().tolist()[4:10]).reshape(2, 3))

    class Ref:
        def __init__(self, key):
            self.key = key

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            return str(value.key) if isinstance(value, Ref) else None

    objects = io.BytesIO()
    p = Pickler(objects, protocol=2)
    p.dump(OrderedDict((name, Ref(ids[name])) for name in all_tensors))
    path = os.path.join(HERE, file)
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as out:
        for member, content in (("storages", storages), ("tensors", records), ("pickle", objects)):
            info = tarfile.TarInfo(member)
            info.size = len(content.getvalue())
            out.addfile(info, io.BytesIO(content.getvalue()))
    loaded = torch.load(path)
    for name, t in all_tensors.items():
        assert torch.equal(loaded[name], t), name
    note(file, all_tensors)


def rewrite(source, file, change, **more):
    """Writes a zip file anew, members through change(name, data)."""
    with zipfile.ZipFile(os.path.join(HERE, source)) as z, zipfile.ZipFile(os.path.join(HERE, file), "w") as out:
        for info in z.infolist():
            result = change(info.filename, z.read(info))
            if result is not None:
                method, data = result
                new = zipfile.ZipInfo(info.filename)
                new.compress_type = method
                out.writestr(new, data)
    expected[file] = {"tensors": expected[source]["tensors"], **more}


def big_endian():
    value = {"f": numbers(3, 2), "h": numbers(4).half(), "l": torch.arange(3), "c": torch.complex(numbers(2), -numbers(2))}
    save("big_source.tmp", value)
    # Bytes that are reversed together, by storage.
    swaps = {"0": 4, "1": 2, "2": 8, "3": 4}

    def change(name, data):
        root, _, rest = name.partition("/")
        if rest.startswith("data/"):
            n = swaps[rest[5:]]
            data = b"".join(data[i:i + n][::-1] for i in range(0, len(data), n))
        return zipfile.ZIP_STORED, data

    rewrite("big_source.tmp", "big_endian.pt", change)
    with zipfile.ZipFile(os.path.join(HERE, "big_endian.pt"), "a") as z:
        z.writestr("big_source/byteorder", "big")
    os.remove(os.path.join(HERE, "big_source.tmp"))
    del expected["big_source.tmp"]


class Evil:
    def __reduce__(self):
        return os.system, ("true",)


def main():
    torch.manual_seed(0)
    save("views.pt", views())
    save("views_legacy.pt", views(), _use_new_zipfile_serialization=False)
    save("types.pt", types())
    save("types_legacy.pt", types(), _use_new_zipfile_serialization=False)
    save("trainer.pt", trainer())
    for protocol in (3, 4, 5):
        save(f"protocol{protocol}.pt", views(), pickle_protocol=protocol)
    base = numbers(4, 5)
    tar("tar.pt", OrderedDict(base=base, t=base.t(), long=torch.arange(6).reshape(2, 3)))
    rewrite("views.pt", "deflated.pt", lambda name, data: (zipfile.ZIP_DEFLATED, data))
    big_endian()
    save("bare.pt", numbers(3))
    save("parameter.pt", {"p": torch.nn.Parameter(numbers(2, 3)), "list": torch.nn.ParameterList([torch.nn.Parameter(numbers(2))]).state_dict()})

    torch.save({"s": torch.eye(3).to_sparse(), "d": numbers(2)}, os.path.join(HERE, "sparse.pt"))
    note("sparse.pt", {"d": numbers(2)}, refusals=["s"])
    torch.save({"q": torch.quantize_per_tensor(numbers(4), 0.1, 3, torch.quint8), "z": torch.zeros(2, dtype=torch.complex128), "d": numbers(2)},
               os.path.join(HERE, "refused.pt"))
    note("refused.pt", {"d": numbers(2)}, refusals=["q", "z"])
    torch.save({"w": numbers(2), "x": Evil()}, os.path.join(HERE, "evil.pt"))
    note("evil.pt", {}, unsafe=f"{os.system.__module__}.system")
    torch.save(torch.nn.Sequential(torch.nn.Linear(2, 2)), os.path.join(HERE, "module.pt"))
    note("module.pt", {}, unsafe="torch.nn.modules.container.Sequential")

    text = json.dumps(expected, indent=1, sort_keys=True)
    with open(os.path.join(HERE, "expected.json"), "w") as out:
        out.write(text + "\n")
    print(torch.__version__, sys.version.split()[0])


main()
