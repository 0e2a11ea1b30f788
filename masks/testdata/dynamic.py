"""An independent implementation of masks that move: GMP, SET and RigL.

It follows docs/mask-format.md and the papers with nothing but Python's standard
library (and generator.py beside it, for the draws of SET), by sorting whole lists:

    python3 dynamic.py > dynamic_golden.json

Of the kept weights the smallest in magnitude go, of equal ones those with the
higher index; of what is then pruned the best come, by their draws (SET) or by the
magnitude of their gradient (RigL), of equal ones the lower index. The number that
goes is the fraction of the step times the number that is there, cut off; the
fraction falls from its first value to 0 by half a cosine. GMP keeps what the
schedule of the step says, exactly, of decimal fractions.
"""

import hashlib
import json
import math
from fractions import Fraction

from generator import WORD, draws, kept_weights

GRID = 1 << 30


def value(s, step):
    """The value of a schedule, from its formula, rounded to a multiple of 2^-30 unless it is an end."""
    kind, init, final = s["kind"], s.get("init", 0.0), s.get("final", 0.0)
    begin, end, rate = s.get("begin", 0), s.get("end", 0), s.get("rate", 0.0)
    t = max(0, step - begin)
    if kind == "constant":
        return init
    if kind == "cyclic":
        return s["values"][t // s["every"] % len(s["values"])]
    if t == 0:
        return init
    if kind == "exponential":
        v = final - (final - init) * math.exp(rate * t)
    elif kind == "power":
        v = init * rate**t
    elif kind == "linear" and rate:
        v = init + rate * t
    else:
        p = t / (end - begin)
        if p == 1 or p > 1 and not s.get("repeat"):
            return final
        if kind == "linear":
            v = init + (final - init) * p
        elif kind == "cubic":
            v = final + (init - final) * (1 - p) ** 3
        elif kind == "cosine":
            v = final + (init - final) * 0.5 * (1 + math.cos(math.pi * p))
    return min(max(math.floor(v * GRID + 0.5) / GRID, 0.0), 1.0)


def kept_at(s, step, total):
    fraction = Fraction(repr(value(s, step)))
    return total - math.floor(fraction * total + Fraction(1, 2))


def best(places, score, count):
    return set(sorted(places, key=lambda e: (-score(e), e))[:count])


def grow_key(seed, name, part, step):
    fields = [b"spdf-splitmix64-1", seed.to_bytes(8, "little"), name.encode(), part.encode(), b"set", step.to_bytes(8, "little")]
    message = b"".join(len(f).to_bytes(8, "little") + f for f in fields)
    return int.from_bytes(hashlib.sha256(message).digest()[:8], "little")


class Numbers:
    """Small whole numbers with many ties, some of them -0, from a stream of their own."""

    def __init__(self, seed):
        self.state = seed

    def next(self):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) & WORD
        return (self.state >> 33) % 41 - 20

    def list(self, count):
        return [self.next() for _ in range(count)]


def run(method, rows, columns, sparsity, steps, drop=None, schedule=None, seed=11):
    name, part, total = "h.0.attn.c_attn.weight", "k", rows * columns
    kept = kept_weights(name, part, rows, columns, sparsity, seed)
    numbers = Numbers(seed)
    case = {"method": method, "name": name, "part": part, "out": rows, "in": columns, "sparsity": sparsity, "seed": seed, "steps": []}
    if drop:
        case["drop"] = drop
    if schedule:
        case["schedule"] = schedule
    for step in steps:
        weights = dict(zip(sorted(kept), numbers.list(len(kept))))
        record = {"step": step, "weights": [weights[e] for e in sorted(kept)]}
        if method == "gmp":
            count = min(kept_at(schedule, step, total), len(kept))
            kept = best(kept, lambda e: abs(weights[e]), count)
        else:
            count, fraction = len(kept), value(drop, step)
            goes = int(fraction * len(kept))
            stays = best(kept, lambda e: abs(weights[e]), count - goes)
            free = [e for e in range(total) if e not in stays]
            if method == "set":
                values = list(draws(grow_key(seed, name, part, step), total))
                comes = best(free, lambda e: -values[e], goes)
            else:
                gradients = numbers.list(total)
                record["gradients"] = gradients
                comes = best(free, lambda e: abs(gradients[e]), goes)
            kept = stays | comes
            record["dropped"] = goes
        record["kept"] = sorted(kept)
        case["steps"].append(record)
    return case


def schedules():
    list_ = [
        {"kind": "constant", "init": 0.75},
        {"kind": "linear", "init": 0.1, "final": 0.9, "begin": 10, "end": 43},
        {"kind": "linear", "init": 0.9, "rate": -0.0125, "begin": 3},
        {"kind": "cubic", "init": 0.05, "final": 0.8, "begin": 7, "end": 90},
        {"kind": "exponential", "init": 0.1, "final": 0.95, "rate": -0.03, "begin": 5},
        {"kind": "power", "init": 0.6, "rate": 0.97},
        {"kind": "cosine", "init": 0.3, "final": 0.0, "begin": 4, "end": 77},
        {"kind": "cosine", "init": 0.3, "final": 0.1, "end": 25, "repeat": True},
        {"kind": "cyclic", "values": [0.3, 0.5, 0.75], "every": 9, "begin": 6},
    ]
    steps = [0, 1, 4, 5, 6, 10, 11, 15, 25, 26, 33, 42, 43, 60, 77, 89, 90, 200]
    return [{"schedule": s, "steps": steps, "values": [value(s, n) for n in steps], "kept": [kept_at(s, n, 1001) for n in steps]} for s in list_]


if __name__ == "__main__":
    cosine = {"kind": "cosine", "init": 0.3, "begin": 0, "end": 100}
    cubic = {"kind": "cubic", "init": 0.3, "final": 0.9, "begin": 10, "end": 60}
    out = {
        "schedules": schedules(),
        "cases": [
            run("rigl", 13, 21, "0.7", [0, 20, 50, 90, 100], drop=cosine),
            run("set", 13, 21, "0.7", [0, 20, 50, 90, 100], drop=cosine),
            run("set", 8, 16, "1/2", [7], drop={"kind": "constant", "init": 1.0}),
            run("gmp", 12, 17, "0.3", [10, 20, 35, 60, 61], schedule=cubic),
        ],
    }
    print(json.dumps(out, separators=(",", ":")).replace('{"step"', '\n{"step"').replace('{"schedule":', '\n{"schedule":').replace('{"method"', '\n{"method"'))
