#!/usr/bin/env python3
"""A measuring agent for another framework: PyTorch on a GPU, or on the CPU if there is none.

hat measure --command 'ssh gpubox python3 torch_agent.py' talks to it (docs/remote_devices.md). To measure yet another
framework, replace Network: encode() and decode() must return when the device is done, not when it is asked.
"""
import math
import sys
import time

import torch
from torch import nn

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def done():
    if DEVICE == "cuda":
        torch.cuda.synchronize()


class Attention(nn.Module):
    def __init__(self, embed, memory, qkv, heads):
        super().__init__()
        self.heads, self.head = heads, qkv // heads
        self.q, self.k, self.v = nn.Linear(embed, qkv), nn.Linear(memory, qkv), nn.Linear(memory, qkv)
        self.out = nn.Linear(qkv, embed)

    def split(self, x):
        return x.view(x.shape[0], x.shape[1], self.heads, self.head).transpose(1, 2)

    def keys(self, memory):
        return self.split(self.k(memory)), self.split(self.v(memory))

    def forward(self, x, keys, values):
        scores = self.split(self.q(x)) @ keys.transpose(2, 3) / math.sqrt(self.head)
        seen = torch.softmax(scores, -1) @ values
        return self.out(seen.transpose(1, 2).flatten(2))


class Layer(nn.Module):
    def __init__(self, embed, ffn, qkv, heads, cross_heads=0, memory=0):
        super().__init__()
        self.attention = Attention(embed, embed, qkv, heads)
        self.cross = Attention(embed, memory, qkv, cross_heads) if cross_heads else None
        self.up, self.down = nn.Linear(embed, ffn), nn.Linear(ffn, embed)
        self.norms = nn.ModuleList([nn.LayerNorm(embed) for _ in range(3)])


class Network:
    """One architecture, ready to run."""

    def __init__(self, model, arch):
        self.model = model
        number = lambda key: int(arch[key][0])
        side = lambda name, *rows: zip(*[[int(v) for v in arch[f"{name}.{row}"]] for row in rows])
        enc, dec = number("encoder.embed"), number("decoder.embed")
        self.encoder = nn.ModuleList([Layer(enc, *sizes) for sizes in side("encoder", "ffn", "qkv", "self_heads")])
        self.decoder = nn.ModuleList(
            [Layer(dec, *sizes, enc) for sizes in side("decoder", "ffn", "qkv", "self_heads", "cross_heads")])
        self.spans = [int(v) for v in arch["decoder.cross_span"]]
        self.source, self.target = nn.Embedding(model["source_vocab"], enc), nn.Embedding(model["target_vocab"], dec)
        self.output = nn.Linear(dec, model["target_vocab"], bias=False)
        for part in (self.encoder, self.decoder, self.source, self.target, self.output):
            part.to(DEVICE).eval()
        self.encode()

    def encode(self):
        x = self.source(torch.full((self.model["batch"], self.model["source_length"]), 3, device=DEVICE))
        outputs = []
        for layer in self.encoder:
            x = layer.norms[0](x + layer.attention(x, *layer.attention.keys(x)))
            x = layer.norms[1](x + layer.down(torch.relu(layer.up(x))))
            outputs.append(x)
        # a decoder layer reads the last 1, 2 or 3 encoder layers, concatenated along the length
        self.memory = [torch.cat(outputs[-span:], 1) for span in self.spans]
        done()

    def decode(self):
        beam = self.model["beam"]
        crossed = [[t.repeat_interleave(beam, 0) for t in layer.cross.keys(memory)]
                   for layer, memory in zip(self.decoder, self.memory)]
        cache = [None] * len(self.decoder)
        for _ in range(self.model["target_length"]):
            x = self.target(torch.full((self.model["batch"] * beam, 1), 3, device=DEVICE))
            for i, layer in enumerate(self.decoder):
                new = layer.attention.keys(x)
                cache[i] = new if cache[i] is None else [torch.cat(pair, 2) for pair in zip(cache[i], new)]
                x = layer.norms[0](x + layer.attention(x, *cache[i]))
                x = layer.norms[1](x + layer.cross(x, *crossed[i]))
                x = layer.norms[2](x + layer.down(torch.relu(layer.up(x))))
            self.output(x)
        done()


def times(run, count, say):
    samples = []
    while len(samples) < count["repeats"] or (sum(samples) < count["min_ns"] and len(samples) < count["max_repeats"]):
        say()
        begin = time.perf_counter_ns()
        run()
        samples.append(time.perf_counter_ns() - begin)
    return ",".join(map(str, samples))


def main():
    def send(line):
        print(line, flush=True)
        main.said = time.monotonic()

    name = torch.cuda.get_device_name() if DEVICE == "cuda" else "cpu"
    send("hello protocol=1")
    model, networks = None, {}
    for line in sys.stdin:
        if not line.strip():
            continue
        request = ""
        try:
            verb, *words = line.split()
            keys = dict(word.split("=", 1) for word in words)
            request = keys.get("id", "0")
            arch = {k: v.split(",") for k, v in keys.items() if "." in k}
            if verb == "quit":
                return
            if verb == "ping":
                send(f"pong id={request}")
            elif verb == "model":
                networks.clear()
                model = {k: int(v) for k, v in keys.items() if k not in arch and k != "sharing"}
                if DEVICE == "cpu":
                    torch.set_num_threads(model["threads"] or torch.get_num_threads())
                send(f"ready device={name}; torch {torch.__version__}; threads={torch.get_num_threads()}")
            elif verb == "time":
                count = {k: int(v) for k, v in keys.items() if k not in arch}
                key = str(arch)
                if key not in networks:  # the drift reference comes back after each candidate: keep two
                    if len(networks) == 2:
                        del networks[next(iter(networks))]
                    networks[key] = Network(model, arch)
                network = networks[key] = networks.pop(key)

                def say():
                    if time.monotonic() - main.said > 2:
                        send(f"busy id={request}")

                for _ in range(count["warmup"]):
                    say()
                    network.encode()
                    network.decode()
                encoder, decoder = times(network.encode, count, say), times(network.decode, count, say)
                send(f"samples id={request} encoder={encoder} decoder={decoder}")
            else:
                send(f"error id={request} message=verb '{verb}' is unknown")
        except Exception as e:  # whatever it is, the host wants to know
            send(f"error id={request or 0} message={type(e).__name__}: {' '.join(str(e).split())}")


if __name__ == "__main__":
    with torch.no_grad():
        main()
