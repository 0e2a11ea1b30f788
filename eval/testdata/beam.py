"""Reference of the beam searches, written apart from the Go code.

A "language model" of V tokens whose logits after a text depend on its last two
tokens: table[a][b]. Prints cases with what transformers' BeamSearchScorer and
LoRA's gpt2_beam.py return, followed step by step with flat lists and Python floats.

    python3 eval/testdata/beam.py > eval/testdata/beam.json
"""
import json
import math
import random

V = 9
NEG = -math.inf


def softmax_log(row):
    top = max(row)
    if top == NEG:
        return [NEG] * len(row)
    lse = top + math.log(sum(math.exp(x - top) for x in row))
    return [x - lse for x in row]


def banned(history, n):
    if n == 0 or len(history) + 1 < n:
        return []
    grams = {}
    for i in range(len(history) - n + 1):
        g = tuple(history[i:i + n])
        grams.setdefault(g[:-1], []).append(g[-1])
    return grams.get(tuple(history[len(history) - n + 1:]), [])


def penalised(total, length, c):
    if c["convention"] == "gnmt":
        return total / ((5 + length) / 6) ** c["length_penalty"]
    return total / length ** c["length_penalty"]


def hf(table, c):
    """BeamSearchScorer: hypotheses are kept as [score, ids]."""
    k, eos, prompt = c["width"], c["stop"], c["prompt"]
    beams = [(0.0, [])] + [(-1e9, [])] * (k - 1)
    pool, finished = [], False
    for step in range(1, c["max"] + 1):
        flat = []
        for b, (total, ids) in enumerate(beams):
            text = prompt + ids
            scores = softmax_log(table[text[-2]][text[-1]])
            if len(ids) < c["min"]:
                for e in eos:
                    scores[e] = NEG
            for t in banned(text, c["ngram"]):
                scores[t] = NEG
            flat += [(total + s, b, t) for t, s in enumerate(scores)]
        flat.sort(key=lambda x: (-x[0], x[1], x[2]))
        flat = flat[:max(2, 1 + len(eos)) * k]
        new = []
        for rank, (total, b, t) in enumerate(flat):
            if t in eos:
                if rank >= k:
                    continue
                s = penalised(total, step, c)
                worst = min(pool, key=lambda h: h[0])[0] if pool else None
                if len(pool) < k or s > worst:
                    pool.append([s, beams[b][1]])
                    if len(pool) > k:
                        pool.remove(min(pool, key=lambda h: h[0]))
            else:
                new.append((total, beams[b][1] + [t]))
            if len(new) == k:
                break
        beams = new
        if len(pool) >= k:
            worst = min(h[0] for h in pool)
            if c["early"] == "first":
                finished = True
            elif c["early"] == "heuristic":
                finished = worst >= penalised(flat[0][0], step, c)
            else:
                at = c["max"] if c["length_penalty"] > 0 else step
                finished = worst >= penalised(flat[0][0], at, c)
        if finished:
            break
    if not finished:
        for total, ids in beams:
            s = penalised(total, c["max"], c)
            if len(pool) < k or s > min(h[0] for h in pool):
                pool.append([s, ids])
                if len(pool) > k:
                    pool.remove(min(pool, key=lambda h: h[0]))
    score, ids = sorted(pool, key=lambda h: h[0])[-1]
    return ids, score


def lora(table, c):
    """gpt2_beam.py: the flat beam keeps its width, what ended gets -inf."""
    k, eos, prompt = c["width"], c["stop"], c["prompt"]
    scores, history = [0.0] * k, None
    best, text = None, None
    for i in range(c["max"]):
        rows = []
        for b in range(k):
            ids = history[b] if history else []
            seen = prompt + ids
            row = list(table[seen[-2]][seen[-1]])
            if i < c["min"]:
                for e in eos:
                    row[e] = NEG
            if history:
                for t in banned(ids, c["ngram"]):
                    row[t] = NEG
            rows.append(softmax_log(row))
        flat = [(s, t) for t, s in enumerate(rows[0])] if i == 0 else \
            [(scores[b] + s, b * V + t) for b in range(k) for t, s in enumerate(rows[b])]
        flat.sort(key=lambda x: (-x[0], x[1]))
        flat = flat[:k]
        history = [(history[x // V] if history else []) + [x % V] for _, x in flat]
        scores = [s for s, _ in flat]
        for b in range(k):
            if history[b][-1] in eos:
                s = penalised(scores[b], len(history[b]), c)
                if best is None or best < s:
                    best, text = s, history[b][:-1]
                scores[b] = NEG
    for b in range(k):
        s = penalised(scores[b], len(history[b]), c)
        if scores[b] > NEG and (best is None or best < s):
            best, text = s, history[b]
    return text, best


def main():
    rng = random.Random(7)
    table = [[[round(rng.gauss(0, 1.6), 3) for _ in range(V)] for _ in range(V)] for _ in range(V)]
    cases = []
    for n in range(120):
        c = {
            "prompt": [rng.randrange(V) for _ in range(rng.randint(2, 5))],
            "width": rng.choice([2, 3, 4, 5]),
            "length_penalty": rng.choice([0.0, 0.6, 0.8, 1.0, 1.5, -0.5]),
            "convention": rng.choice(["hf", "gnmt"]),
            "rules": rng.choice(["hf", "hf", "lora"]),
            "early": rng.choice(["first", "heuristic", "never"]),
            "ngram": rng.choice([0, 1, 2, 3, 4]),
            "min": rng.choice([0, 0, 2, 4]),
            "max": rng.choice([5, 8, 12]),
            "stop": rng.choice([[0], [0], [0, 1]]),
        }
        if c["ngram"] == 1:
            c["max"] = 4  # else every token is used up
            c["min"] = min(c["min"], 4)
            c["prompt"] = c["prompt"][:2]
            c["width"] = 2
        c["ids"], c["score"] = (lora if c["rules"] == "lora" else hf)(table, c)
        cases.append(c)
    print(json.dumps({"table": table, "cases": cases}))


main()
