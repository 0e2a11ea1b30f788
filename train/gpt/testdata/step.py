"""Times training steps of GPT-2 small in PyTorch, the peer of

    spdfctl kernels bench --step gpt2 --sparsity 0,0.75

Same shapes and work: 4 sequences of 256 tokens, float32, forward, backward,
clipping at 1 and AdamW. With a sparsity, weights are multiplied by fixed
masks and gradients masked before the update, which is how masks are
simulated there. Prints tokens/s, medians, and the peak memory of the process.

    python3 train/gpt/testdata/step.py [sparsity] [steps]
"""

import math
import os
import resource
import statistics
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

C, LAYERS, HEADS, VOCAB, POSITIONS, BATCH, T = 768, 12, 12, 50257, 1024, 4, 256


class Masked(nn.Linear):
    """A linear layer whose weight is multiplied by a mask, if it has one."""

    mask = None

    def forward(self, x):
        w = self.weight if self.mask is None else self.weight * self.mask
        return F.linear(x, w, self.bias)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(C), nn.LayerNorm(C)
        self.qkv, self.proj = Masked(C, 3 * C), Masked(C, C)
        self.fc, self.out = Masked(C, 4 * C), Masked(4 * C, C)

    def forward(self, x):
        q, k, v = (y.view(BATCH, T, HEADS, -1).transpose(1, 2) for y in self.qkv(self.norm1(x)).split(C, 2))
        s = q @ k.transpose(2, 3) / math.sqrt(C // HEADS)
        s = s.masked_fill(torch.ones(T, T, dtype=torch.bool).triu(1), float("-inf")).softmax(-1)
        x = x + self.proj((s @ v).transpose(1, 2).reshape(BATCH, T, C))
        return x + self.out(F.gelu(self.fc(self.norm2(x)), approximate="tanh"))


class GPT2(nn.Module):
    def __init__(self):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(VOCAB, C), nn.Embedding(POSITIONS, C)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm = nn.LayerNorm(C)
        nn.init.normal_(self.wte.weight, std=0.02)

    def forward(self, ids):
        x = self.wte(ids) + self.wpe(torch.arange(T))
        for b in self.blocks:
            x = b(x)
        return F.linear(self.norm(x), self.wte.weight)


def main():
    sparsity = float(sys.argv[1]) if len(sys.argv) > 1 else 0.0
    steps = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    torch.set_num_threads(os.cpu_count())
    torch.manual_seed(1)
    model = GPT2()
    masked = [m for m in model.modules() if isinstance(m, Masked)] if sparsity else []
    for m in masked:
        m.mask = (torch.rand_like(m.weight) >= sparsity).float()
        m.weight.data *= m.mask
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.1)
    ids = torch.randint(VOCAB, (BATCH, T + 1))
    times = []
    for _ in range(steps + 1):
        start = time.perf_counter()
        optimizer.zero_grad()
        loss = F.cross_entropy(model(ids[:, :-1]).reshape(-1, VOCAB), ids[:, 1:].reshape(-1))
        loss.backward()
        for m in masked:
            m.weight.grad *= m.mask
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        times.append(time.perf_counter() - start)
    rate = BATCH * T / statistics.median(times[1:])
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"sparsity {sparsity}: {rate:.1f} tokens/s, {torch.get_num_threads()} threads, peak RSS {rss:.2f} GiB")


if __name__ == "__main__":
    main()
