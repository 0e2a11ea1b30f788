"""Writes checkpoints of the shape of a small GPT-2 into a folder and prints their names as JSON.

    gpt2.py FOLDER
"""

import json
import os
import sys

import torch
import torch.nn as nn

C, L, H, T, V = 24, 2, 4, 16, 50

torch.manual_seed(1)


class Conv1D(nn.Module):
    def __init__(self, n_in, n_out):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_in, n_out))
        self.bias = nn.Parameter(torch.zeros(n_out))

    def forward(self, x):
        return x @ self.weight + self.bias


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("bias", torch.tril(torch.ones(T, T, dtype=torch.uint8)).view(1, 1, T, T))
        self.register_buffer("masked_bias", torch.tensor(-1e4))
        self.c_attn = Conv1D(C, 3 * C)
        self.c_proj = Conv1D(C, C)

    def forward(self, x):
        q, k, v = self.c_attn(x).split(C, -1)
        return self.c_proj(torch.tril(q @ k.transpose(-1, -2)).softmax(-1) @ v)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.ln_1 = nn.LayerNorm(C)
        self.attn = Attention()
        self.ln_2 = nn.LayerNorm(C)
        self.mlp = nn.ModuleDict({"c_fc": Conv1D(C, 4 * C), "c_proj": Conv1D(4 * C, C)})

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp.c_proj(self.mlp.c_fc(self.ln_2(x)).tanh())


class GPT2(nn.Module):
    def __init__(self):
        super().__init__()
        self.transformer = nn.ModuleDict({
            "wte": nn.Embedding(V, C), "wpe": nn.Embedding(T, C),
            "h": nn.ModuleList([Block() for _ in range(L)]), "ln_f": nn.LayerNorm(C),
        })
        self.lm_head = nn.Linear(C, V, bias=False)
        self.lm_head.weight = self.transformer.wte.weight

    def forward(self, ids):
        t = self.transformer
        x = t.wte(ids) + t.wpe(torch.arange(ids.shape[1]))
        for block in t.h:
            x = block(x)
        return self.lm_head(t.ln_f(x))


model = GPT2()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
for _ in range(2):
    ids = torch.randint(V, (2, T))
    loss = nn.functional.cross_entropy(model(ids).view(-1, V), ids.view(-1))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

state = model.state_dict()
cases = {
    "f32": state,
    "f16": {k: v.half() if v.is_floating_point() else v for k, v in state.items()},
    "bf16": {k: v.bfloat16() if v.is_floating_point() else v for k, v in state.items()},
    # Not contiguous: every matrix as the transpose of one stored the other way.
    "strided": {k: v.t().contiguous().t() if v.dim() == 2 else v for k, v in state.items()},
    # Sliced out of one flat storage, as sharded training does.
    "flat": None,
    "trainer": {"model": state, "optimizer": optimizer.state_dict(), "scheduler": {"last_epoch": 2}, "rng": torch.get_rng_state(), "iter_num": 2},
}
floats = [k for k, v in state.items() if v.is_floating_point()]
buffer = torch.cat([state[k].reshape(-1) for k in floats])
at, views = 0, {}
for k in floats:
    n = state[k].numel()
    views[k] = buffer[at:at + n].view(state[k].shape)
    at += n
cases["flat"] = views

names = []
for name, value in cases.items():
    for suffix, zipped in (("zip.pt", True), ("legacy.pt", False)):
        file = f"{name}_{suffix}"
        torch.save(value, os.path.join(sys.argv[1], file), _use_new_zipfile_serialization=zipped)
        names.append(file)
    file = f"{name}_proto4.pt"
    torch.save(value, os.path.join(sys.argv[1], file), pickle_protocol=4)
    names.append(file)
print(json.dumps(names))
