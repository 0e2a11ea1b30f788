"""An independent implementation of the generator spdf-splitmix64-1.

It follows docs/mask-format.md with nothing but Python's standard library, and
prints the digests that TestRandomGolden pins, and the worked example.
"""

import hashlib
from fractions import Fraction

WORD = (1 << 64) - 1


def stream_key(seed, name, part):
    fields = [b"spdf-splitmix64-1", seed.to_bytes(8, "little"), name.encode(), part.encode()]
    message = b"".join(len(f).to_bytes(8, "little") + f for f in fields)
    return int.from_bytes(hashlib.sha256(message).digest()[:8], "little")


def draws(key, count):
    state = key
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) & WORD
        z = ((state ^ state >> 30) * 0xBF58476D1CE4E5B9) & WORD
        z = ((z ^ z >> 27) * 0x94D049BB133111EB) & WORD
        yield z ^ z >> 31


def kept_weights(name, part, rows, columns, sparsity, seed):
    total = rows * columns
    pruned = int(Fraction(sparsity) * total + Fraction(1, 2))
    values = list(draws(stream_key(seed, name, part), total))
    return set(sorted(range(total), key=values.__getitem__)[: total - pruned])


def digest(kept, total):
    packed = bytearray((total + 7) // 8)
    for e in kept:
        packed[e // 8] |= 1 << e % 8
    return hashlib.sha256(packed).hexdigest()


if __name__ == "__main__":
    for case in [
        ("w", "", 4, 11, "0.75", 7),
        ("h.0.attn.c_attn.weight", "q", 64, 64, "0.75", 0),
        ("h.0.attn.c_attn.weight", "k", 64, 64, "0.75", 0),
        ("h.11.mlp.c_fc.weight", "", 301, 77, "0.9", 18446744073709551615),
        ("h.3.mlp.c_proj.weight", "", 192, 768, "0.5", 42),
        ("größe", "ß", 1, 1000, "2/3", 1),
    ]:
        kept = kept_weights(*case)
        print(*case, len(kept), digest(kept, case[2] * case[3]))

    print("key %016x" % stream_key(7, "w", ""))
    print("draws", *("%016x" % d for d in draws(stream_key(7, "w", ""), 3)))
    kept = kept_weights("w", "", 4, 11, "0.75", 7)
    for i in range(4):
        row = [int(i * 11 + j in kept) for j in range(11)]
        packed = bytearray(2)
        for j, bit in enumerate(row):
            packed[j // 8] |= bit << j % 8
        print(*row, packed.hex())
