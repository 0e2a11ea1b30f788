"""Writes the golden files that train/gpt and train/optim are compared with.

A plain GPT-2 in PyTorch: Hugging Face's parameter names, Conv1D weights stored
(in, out), tanh GELU, tied head, LayerNorm eps 1e-5, no dropout. Each case runs
in float64 and in float32 from the same float32 start. The float64 results,
rounded to float32, are what is stored; how far PyTorch's own float32 run is
from them is stored beside, per tensor, so that a tolerance can be judged.

Run from the root of the repository:

    python3 testdata/golden/make.py
"""

import json
import pathlib
import platform
import struct

import numpy as np
import torch
import torch.nn.functional as F

HERE = pathlib.Path(__file__).resolve().parent

# No width is a multiple of a vector: C is 27, HS 9, 3C 81, 4C 108, V 97, and
# the 69 tokens of a batch are neither one panel of 64 nor two.
CONFIG = {
    "model_type": "gpt2",
    "activation_function": "gelu_new",
    "vocab_size": 97,
    "n_positions": 24,
    "n_embd": 27,
    "n_layer": 2,
    "n_head": 3,
    "n_inner": None,
    "layer_norm_epsilon": 1e-5,
    "initializer_range": 0.02,
}
BATCH, SEQ_LEN, STEPS = 3, 23, 10
BETAS, EPS, WEIGHT_DECAY, CLIP_NORM = (0.9, 0.999), 1e-8, 0.1, 1.0
# Warm-up, peak, decay: ten values, none of them repeated.
LR = [0.0005, 0.001, 0.0015, 0.002, 0.00195, 0.0018, 0.0016, 0.0013, 0.0009, 0.0004]
SPARSITY = 0.75
SEED = 20230602


def shapes():
    """Returns the name and shape of every parameter, in the order of the model."""
    c, inner = CONFIG["n_embd"], 4 * CONFIG["n_embd"]
    out = {"wte.weight": (CONFIG["vocab_size"], c), "wpe.weight": (CONFIG["n_positions"], c)}
    for layer in range(CONFIG["n_layer"]):
        h = f"h.{layer}."
        out[h + "ln_1.weight"] = out[h + "ln_1.bias"] = (c,)
        out[h + "attn.c_attn.weight"], out[h + "attn.c_attn.bias"] = (c, 3 * c), (3 * c,)
        out[h + "attn.c_proj.weight"], out[h + "attn.c_proj.bias"] = (c, c), (c,)
        out[h + "ln_2.weight"] = out[h + "ln_2.bias"] = (c,)
        out[h + "mlp.c_fc.weight"], out[h + "mlp.c_fc.bias"] = (c, inner), (inner,)
        out[h + "mlp.c_proj.weight"], out[h + "mlp.c_proj.bias"] = (inner, c), (c,)
    out["ln_f.weight"] = out["ln_f.bias"] = (c,)
    return out


def init_weights(rng):
    """Returns float32 weights in which nothing is 0 or 1, so that every gradient matters."""
    weights = {}
    for name, shape in shapes().items():
        x = rng.standard_normal(shape)
        if ".ln_" in "." + name and name.endswith("weight"):
            x = 1 + 0.2 * x
        elif len(shape) == 1:
            x = 0.1 * x
        else:
            x = 0.08 * x
        weights[name] = x.astype(np.float32)
    return weights


def make_masks(rng):
    """Returns bool masks (out, in) by mask key, each with exactly round((1-s)*total) kept."""
    c, masks = CONFIG["n_embd"], {}
    for name, shape in shapes().items():
        if len(shape) != 2 or not name.startswith("h."):
            continue
        parts = ["#q", "#k", "#v"] if "c_attn" in name else [""]
        for part in parts:
            rows = shape[1] // len(parts)
            total = rows * shape[0]
            pruned = int(np.floor(SPARSITY * total + 0.5))
            keep = np.ones(total, dtype=bool)
            keep[rng.permutation(total)[:pruned]] = False
            masks[name + part] = keep.reshape(rows, shape[0])
    return masks


def stored_mask(masks, name):
    """Returns the mask of a stored (in, out) tensor, or None."""
    found = [m for key, m in masks.items() if key.partition("#")[0] == name]
    return np.concatenate(found, axis=0).T.copy() if found else None


def forward(p, ids):
    """Returns logits (B, T, V) of the token ids (B, T)."""
    heads, c = CONFIG["n_head"], CONFIG["n_embd"]
    eps = CONFIG["layer_norm_epsilon"]
    b, t = ids.shape

    def norm(x, name):
        return F.layer_norm(x, (c,), p[name + ".weight"], p[name + ".bias"], eps)

    def linear(x, name):  # Conv1D
        return x @ p[name + ".weight"] + p[name + ".bias"]

    causal = torch.ones(t, t, dtype=torch.bool).tril()
    x = p["wte.weight"][ids] + p["wpe.weight"][:t]
    for layer in range(CONFIG["n_layer"]):
        h = f"h.{layer}."
        qkv = linear(norm(x, h + "ln_1"), h + "attn.c_attn")
        q, k, v = (y.view(b, t, heads, c // heads).transpose(1, 2) for y in qkv.split(c, dim=2))
        scores = (q @ k.transpose(2, 3)) / (c // heads) ** 0.5
        attn = scores.masked_fill(~causal, float("-inf")).softmax(dim=-1)
        x = x + linear((attn @ v).transpose(1, 2).reshape(b, t, c), h + "attn.c_proj")
        inner = F.gelu(linear(norm(x, h + "ln_2"), h + "mlp.c_fc"), approximate="tanh")
        x = x + linear(inner, h + "mlp.c_proj")
    return norm(x, "ln_f") @ p["wte.weight"].T


def train(weights, masks, ids, dtype):
    """Runs the steps and returns logits and gradients of the first batch, losses, norms, weights."""
    p = {name: torch.tensor(w, dtype=dtype, requires_grad=True) for name, w in weights.items()}
    keep = {}
    for name in p:
        m = stored_mask(masks, name)
        if m is not None:
            keep[name] = torch.tensor(m)
    opt = torch.optim.AdamW(
        [
            {"params": [w for w in p.values() if w.dim() == 2], "weight_decay": WEIGHT_DECAY},
            {"params": [w for w in p.values() if w.dim() != 2], "weight_decay": 0.0},
        ],
        lr=LR[0], betas=BETAS, eps=EPS,
    )
    logits, grads, losses, norms = None, None, [], []
    for step in range(STEPS):
        batch = torch.tensor(ids[step])
        out = forward(p, batch[:, :-1])
        loss = F.cross_entropy(out.reshape(-1, out.shape[-1]), batch[:, 1:].reshape(-1))
        opt.zero_grad()
        loss.backward()
        for name, m in keep.items():
            p[name].grad = torch.where(m, p[name].grad, torch.zeros_like(p[name].grad))
        if step == 0:
            logits = out.detach().numpy().copy()
            grads = {name: w.grad.numpy().copy() for name, w in p.items()}
        # Scales by CLIP_NORM / (norm + 1e-6) where that is below 1.
        norm = torch.nn.utils.clip_grad_norm_(list(p.values()), CLIP_NORM)
        losses.append(loss.item())
        norms.append(norm.item())
        for group in opt.param_groups:
            group["lr"] = LR[step]
        opt.step()
    final = {name: w.detach().numpy().copy() for name, w in p.items()}
    for name, m in keep.items():
        assert not final[name][~m.numpy()].any(), name
    return logits, grads, losses, norms, final


def distance(got, want):
    """Returns |got-want| / |want| in the 2-norm, or the absolute norm where want is 0."""
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    scale = np.linalg.norm(want)
    return float(f"{np.linalg.norm(got - want) / (scale if scale > 0 else 1):.2e}")


def key_third(bias):
    """Returns the part of c_attn.bias that is added to the keys."""
    return bias[CONFIG["n_embd"]:2 * CONFIG["n_embd"]]


def without_key_bias(tensors):
    """Returns the tensors with every c_attn.bias reduced to its q and v parts."""
    c = CONFIG["n_embd"]
    return {
        name: np.concatenate([x[:c], x[2 * c:]]) if name.endswith("c_attn.bias") else x
        for name, x in tensors.items()
    }


def distances(got, want):
    """Returns the distance of every tensor, the bias of the keys left out."""
    got, want = without_key_bias(got), without_key_bias(want)
    return {name: distance(got[name], want[name]) for name in want}


def key_bias_norms(tensors):
    """Returns the norm of the key bias of every layer."""
    return {
        name: float(f"{np.linalg.norm(key_third(x)):.2e}")
        for name, x in tensors.items() if name.endswith("c_attn.bias")
    }


def write_safetensors(path, tensors, metadata):
    """Writes name -> array (float32 or uint8): float32 first, then by name."""
    order = sorted(tensors, key=lambda n: (-tensors[n].itemsize, n))
    header, offset, data = {"__metadata__": metadata}, 0, []
    for name in order:
        raw = np.ascontiguousarray(tensors[name]).tobytes()
        header[name] = {
            "dtype": {"float32": "F32", "uint8": "U8"}[tensors[name].dtype.name],
            "shape": list(tensors[name].shape),
            "data_offsets": [offset, offset + len(raw)],
        }
        offset += len(raw)
        data.append(raw)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(data))


def write_case(case, masks, weights, ids):
    for name in weights:
        m = stored_mask(masks, name)
        if m is not None:
            weights[name] = np.where(m, weights[name], np.float32(0))
    logits, grads, losses, norms, final = train(weights, masks, ids, torch.float64)
    logits32, grads32, losses32, norms32, final32 = train(weights, masks, ids, torch.float32)
    # Both branches of clipping are in every case.
    assert min(norms) < 0.99 * CLIP_NORM and 1.01 * CLIP_NORM < max(norms), norms

    tensors = {"logits": logits.astype(np.float32)}
    for name in weights:
        tensors["init." + name] = weights[name]
        tensors["grad." + name] = grads[name].astype(np.float32)
        tensors["final." + name] = final[name].astype(np.float32)
    for key, m in masks.items():
        tensors["mask." + key] = np.packbits(m, axis=1, bitorder="little")
    write_safetensors(HERE / f"gpt2_{case}.safetensors", tensors, {"case": case, "reference": "float64"})

    facts = {
        "case": case,
        "reference": "float64 PyTorch from the float32 init.*, rounded to float32 where stored as a tensor",
        "command": "python3 testdata/golden/make.py",
        "versions": {"torch": torch.__version__, "numpy": np.__version__, "python": platform.python_version()},
        "config": CONFIG,
        "batch": BATCH,
        "seq_len": SEQ_LEN,
        "sparsity": SPARSITY if masks else 0.0,
        "optimizer": {
            "name": "AdamW", "beta1": BETAS[0], "beta2": BETAS[1], "eps": EPS,
            "weight_decay": WEIGHT_DECAY, "clip_norm": CLIP_NORM, "clip_eps": 1e-6,
            "decayed": "tensors with two dimensions, embeddings included",
        },
        "lr": LR,
        "losses": losses,
        "grad_norms": norms,
        "ids": ids.tolist(),
        "torch_float32_distance": {
            "logits": distance(logits32, logits),
            "losses": distance(losses32, losses),
            "grad_norms": distance(norms32, norms),
            "grad": distances(grads32, grads),
            "final": distances(final32, final),
        },
        # The bias of the keys adds the same number to all scores of a query, and
        # softmax does not see that: its gradient is 0 but for rounding, which
        # AdamW scales up to steps of the size of lr. Its final values therefore
        # mean nothing beyond sum(lr) per element, in any arithmetic.
        "key_bias": {
            "note": "gradient 0 but for rounding; compare final values to within sum(lr) only",
            "grad_norm_float64": key_bias_norms(grads),
            "grad_norm_float32": key_bias_norms(grads32),
            "final_distance": {
                name: distance(key_third(final32[name]), key_third(final[name])) for name in key_bias_norms(final)
            },
        },
    }
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in facts.items()]
    (HERE / f"gpt2_{case}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for offset, case in enumerate(["dense", "masked"]):
        rng = np.random.Generator(np.random.PCG64(SEED + offset))
        weights = init_weights(rng)
        masks = make_masks(rng) if case == "masked" else {}
        # Slightly skewed, so that there is something to learn in ten steps.
        p = np.arange(1, CONFIG["vocab_size"] + 1) ** -0.4
        ids = rng.choice(CONFIG["vocab_size"], size=(STEPS, BATCH, SEQ_LEN + 1), p=p / p.sum())
        write_case(case, masks, weights, ids)


if __name__ == "__main__":
    main()
