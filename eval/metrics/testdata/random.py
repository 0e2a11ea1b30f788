"""Writes random.json: texts made here and their scores by sacreBLEU.

Made with sacrebleu 2.6.0 and regex 2026.5.9 on Python 3:  python3 random.py
"""

import json
import random

from sacrebleu.metrics import BLEU

random.seed(20261124)
ALPHABET = list("ab01.,-!?\"'&;() \t\u00a0\u001c\u00e9\u20ac\u00ab\u4e2d\u0663ΣσİẞÀ$%{}~`[]^_@/:")
ALPHABET += ["&amp;", "&lt;", "&quot;", "  ", "the ", "1,000.5"]


def word():
    return "".join(random.choice(ALPHABET) for _ in range(random.randint(0, 12)))


cases = []
while len(cases) < 40:
    vocabulary = [word() for _ in range(6)]
    texts = lambda n: [" ".join(random.choices(vocabulary, k=random.randint(0, 6))) for _ in range(n)]
    hyps = texts(random.randint(1, 3))
    refs = [texts(random.randint(1, 3)) for _ in hyps]
    streams = [[r[i] if i < len(r) else None for r in refs] for i in range(max(map(len, refs)))]
    metric = BLEU(
        tokenize=random.choice(["13a", "intl", "char", "none"]),
        smooth_method=random.choice(["exp", "floor", "add-k", "none"]),
        lowercase=random.random() < 0.5,
        effective_order=random.random() < 0.3,
    )
    result = metric.corpus_score(hyps, streams)
    cases.append({
        "hyps": hyps, "refs": refs, "signature": metric.get_signature().format(),
        "score": result.score, "hyp_len": result.sys_len, "ref_len": result.ref_len,
    })

with open("random.json", "w", encoding="utf-8") as f:
    json.dump(cases, f, ensure_ascii=True, indent=1)
    f.write("\n")
