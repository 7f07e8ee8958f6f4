#!/usr/bin/python3
"""One training step of a plain PyTorch Transformer, the peer of bench/training.cpp: same shapes, batch and loss.

With --score, the loss alone, without dropout and gradients: the peer of bench/scoring.cpp.

Layers are PyTorch's own (post-norm, dropout 0.1, causal mask), embeddings and output matrix are one. Where the shape
has something they cannot express (a qkv width other than the model's; a decoder that attends to several encoder
layers), that attention is written out. Prints one JSON object; a step is data, forward, backward and Adam, as there.
"""
import argparse
import json
import math
import os
import time

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--shape", choices=["small", "iwslt"], default="small")
parser.add_argument("--threads", type=int, default=1, help="PyTorch's own threads")
parser.add_argument("--blas-threads", type=int, default=0, help="OpenBLAS's threads (0: as --threads)")
parser.add_argument("--score", action="store_true", help="the loss alone")
parser.add_argument("--steps", type=int, default=3, help="timed steps, after one that warms up")
args = parser.parse_args()
# libraries read these when they load
os.environ["OMP_NUM_THREADS"] = str(args.threads)
os.environ["OPENBLAS_NUM_THREADS"] = str(args.blas_threads or args.threads)
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads slow each other down

import torch  # noqa: E402
from torch import nn  # noqa: E402

VOCABULARY, SENTENCES, LENGTH, DROPOUT, SMOOTHING, EOS = 8000, 164, 25, 0.1, 0.1, 2
# width, FFN, qkv, layers a side, heads, encoder layers attended to
SHAPES = {"small": (256, 512, 256, 3, 4, 1), "iwslt": (640, 2048, 512, 6, 4, 3)}
WIDTH, FFN, QKV, LAYERS, HEADS, SPAN = SHAPES[args.shape]


class Attention(nn.Module):
    """nn.MultiheadAttention with a qkv width of its own."""

    batch_first = True
    _qkv_same_embed_dim = False  # what PyTorch's layers ask before they leave this forward() out

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(WIDTH, QKV) for _ in range(3))
        self.out = nn.Linear(QKV, WIDTH)

    def forward(self, query, key, value, attn_mask=None, **_):
        def heads(x):
            return x.view(x.size(0), x.size(1), HEADS, QKV // HEADS).transpose(1, 2).flatten(0, 1)

        q, k, v = heads(self.q(query)), heads(self.k(key)), heads(self.v(value))
        q = q / math.sqrt(QKV // HEADS)
        scores = q @ k.transpose(1, 2) if attn_mask is None else torch.baddbmm(attn_mask, q, k.transpose(1, 2))
        context = nn.functional.dropout(scores.softmax(-1), DROPOUT, self.training) @ v
        context = context.view(query.size(0), HEADS, -1, QKV // HEADS).transpose(1, 2).flatten(2)
        return self.out(context), None


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        nn.init.normal_(self.embedding.weight, std=WIDTH**-0.5)
        layer = dict(d_model=WIDTH, nhead=HEADS, dim_feedforward=FFN, dropout=DROPOUT, batch_first=True)
        self.encoder = nn.ModuleList(nn.TransformerEncoderLayer(**layer) for _ in range(LAYERS))
        self.decoder = nn.ModuleList(nn.TransformerDecoderLayer(**layer) for _ in range(LAYERS))
        if QKV != WIDTH:
            for x in self.encoder:
                x.self_attn = Attention()
            for x in self.decoder:
                x.self_attn, x.multihead_attn = Attention(), Attention()
        self.dropout = nn.Dropout(DROPOUT)
        frequency = torch.exp(-torch.arange(WIDTH // 2) * math.log(10000) / (WIDTH // 2 - 1))
        angle = torch.arange(LENGTH)[:, None] * frequency
        self.register_buffer("positions", torch.cat([angle.sin(), angle.cos()], 1))
        self.register_buffer("causal", torch.full((LENGTH, LENGTH), -math.inf).triu(1))

    def embed(self, tokens):
        return self.dropout(self.embedding(tokens) * math.sqrt(WIDTH) + self.positions)

    def forward(self, source, previous):
        x, outputs = self.embed(source), []
        for layer in self.encoder:
            x = layer(x)
            outputs.insert(0, x)
        memory = torch.cat(outputs[:SPAN], 1) if SPAN > 1 else x
        y = self.embed(previous)
        for layer in self.decoder:
            y = layer(y, memory, tgt_mask=self.causal)
        return nn.functional.linear(y, self.embedding.weight)


torch.set_num_threads(args.threads)
torch.manual_seed(1)
model = Model()
model.train(not args.score)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, betas=(0.9, 0.98), eps=1e-8)
loss = nn.CrossEntropyLoss(label_smoothing=SMOOTHING)


def batch_loss():
    tokens = torch.randint(4, VOCABULARY, (2, SENTENCES, LENGTH))
    tokens[:, :, -1] = EOS
    source, target = tokens
    logits = model(source, target.roll(1, 1))
    return loss(logits.flatten(0, 1), target.flatten())


def step():
    if args.score:
        with torch.no_grad():
            return batch_loss().item()
    optimizer.zero_grad()
    batch_loss().backward()
    optimizer.step()


step()
wall, cpu = [], []
for _ in range(args.steps):
    w, c = time.perf_counter(), time.process_time()
    step()
    wall.append(time.perf_counter() - w)
    cpu.append(time.process_time() - c)
with open("/proc/self/status") as status:
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) / 1024
TOKENS = SENTENCES * LENGTH
print(json.dumps({
    "shape": args.shape, "torch": torch.__version__, "threads": args.threads,
    "blas_threads": int(os.environ["OPENBLAS_NUM_THREADS"]), "steps": args.steps,
    "parameters": sum(p.numel() for p in model.parameters()),
    "tokens_per_second": args.steps * TOKENS / sum(wall),
    "tokens_per_cpu_second": args.steps * TOKENS / sum(cpu),
    "best_tokens_per_second": TOKENS / min(wall), "best_tokens_per_cpu_second": TOKENS / min(cpu),
    "peak_MiB": peak,
}))
