"""Writes curve.json: the losses of 200 steps of PyTorch that train's test repeats.

The models are those of make.py, dense and masked, from the same weights; the
text is arithmetic, so that a test makes it again; learning rates are a warm-up
and a cosine, written out here a second time. float64, and the distance of
PyTorch's own float32 run beside it.

Run from the root of the repository:

    python3 testdata/golden/curve.py
"""

import json
import math
import platform

import numpy as np
import torch

import make

STEPS, WARMUP, PEAK, MIN_RATIO = 200, 20, 2e-3, 0.1
TEXT = 20000


def learning_rate(step):
    """Returns the learning rate of a step, counted from 0."""
    if step < WARMUP:
        return PEAK * (step + 1) / WARMUP
    x = (step - WARMUP) / (STEPS - WARMUP)
    return PEAK * (MIN_RATIO + (1 - MIN_RATIO) * 0.5 * (1 + math.cos(math.pi * x)))


def sequence(i):
    """Returns the tokens of sequence i with the one that follows."""
    start = i * 377 % (TEXT - make.SEQ_LEN - 1)
    return [k * k * 3 % 97 for k in range(start, start + make.SEQ_LEN + 1)]


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    make.STEPS, make.LR = STEPS, [learning_rate(s) for s in range(STEPS)]
    ids = np.array([[sequence(s * make.BATCH + b) for b in range(make.BATCH)] for s in range(STEPS)])
    out = {
        "command": "python3 testdata/golden/curve.py",
        "versions": {"torch": torch.__version__, "numpy": np.__version__, "python": platform.python_version()},
        "steps": STEPS, "warmup": WARMUP, "lr": PEAK, "min_lr_ratio": MIN_RATIO, "batch": make.BATCH, "seq_len": make.SEQ_LEN,
        "float32_distance": {}, "losses": {},
    }
    for offset, case in enumerate(["dense", "masked"]):
        rng = np.random.Generator(np.random.PCG64(make.SEED + offset))
        weights = make.init_weights(rng)
        masks = make.make_masks(rng) if case == "masked" else {}
        for name in weights:
            m = make.stored_mask(masks, name)
            if m is not None:
                weights[name] = np.where(m, weights[name], np.float32(0))
        losses = make.train(weights, masks, ids, torch.float64)[2]
        losses32 = make.train(weights, masks, ids, torch.float32)[2]
        out["losses"][case] = losses
        out["float32_distance"][case] = max(abs(a - b) / b for a, b in zip(losses32, losses))
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in out.items()]
    (make.HERE / "curve.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


main()
