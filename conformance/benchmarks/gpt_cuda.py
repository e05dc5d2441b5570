"""Training a GPT of 124 million parameters in bfloat16: tokens a second under three optimizers.

    python conformance/benchmarks/gpt_cuda.py

Weights are float32 under autocast, tokens are the bytes of Python's own standard library, attention
is PyTorch's. The optimizers take turns of a few steps in one process, so that whatever else the
machine does slows all alike; each number is the median of the turns.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import sysconfig
import time
from pathlib import Path

import numpy as np
import torch
from cuda import Naive
from torch import Tensor, nn
from torch.nn import functional as F

from mgup_torch import MGUPAdamW

LAYERS, WIDTH, HEADS, VOCABULARY, CONTEXT = 12, 768, 12, 50_304, 1024
OPTIMIZERS = {
    "AdamW fused": lambda p: torch.optim.AdamW(p, lr=3e-4, weight_decay=0.1, fused=True),
    "MGUP-AdamW": lambda p: MGUPAdamW(p, lr=3e-4, weight_decay=0.1),
    "MGUP-AdamW, naive": lambda p: Naive(p, lr=3e-4, weight_decay=0.1),
}


class Block(nn.Module):
    """Attention, then a two-layer perceptron, each on the normalised residual stream."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)])
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.mlp = nn.Sequential(
            nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH)
        )

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norms[0](x)).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return x + self.mlp(self.norms[1](x))


class GPT(nn.Module):
    """GPT-2 small, its head tied to the embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, WIDTH)
        self.places = nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.Sequential(*(Block() for _ in range(LAYERS)))
        self.norm = nn.LayerNorm(WIDTH)
        for weight in (self.tokens.weight, self.places.weight):
            nn.init.normal_(weight, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.tokens(tokens) + self.places.weight[: tokens.shape[1]]
        return F.linear(self.norm(self.blocks(x)), self.tokens.weight)


class Training:
    """One model under one optimizer."""

    def __init__(self, make, corpus: Tensor, batch: int) -> None:
        torch.manual_seed(0)
        self.model = GPT().cuda()
        self.optimizer = make(self.model.parameters())
        self.corpus, self.batch = corpus, batch
        self.generator = torch.Generator().manual_seed(0)

    def run(self, steps: int) -> tuple[float, float]:
        """(seconds, the last loss)."""
        torch.cuda.synchronize()
        started = time.perf_counter()
        for _ in range(steps):
            high = len(self.corpus) - CONTEXT - 1
            starts = torch.randint(high, (self.batch,), generator=self.generator)
            window = self.corpus[starts[:, None] + torch.arange(CONTEXT + 1)].cuda().long()
            with torch.autocast("cuda", torch.bfloat16):
                logits = self.model(window[:, :-1])
                loss = F.cross_entropy(logits.flatten(0, 1), window[:, 1:].flatten())
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        torch.cuda.synchronize()
        return time.perf_counter() - started, loss.item()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--batch", type=int, default=16, help=f"windows of {CONTEXT} tokens")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--steps", type=int, default=10, help="of a turn")
    args = parser.parse_args()
    folder = Path(sysconfig.get_paths()["stdlib"])
    text = b"".join(path.read_bytes() for path in sorted(folder.glob("*.py")))
    corpus = torch.from_numpy(np.frombuffer(text, np.uint8).copy())
    training = {name: Training(make, corpus, args.batch) for name, make in OPTIMIZERS.items()}
    for one in training.values():
        one.run(4)
    seconds: dict[str, list[float]] = {name: [] for name in training}
    losses = {}
    for _ in range(args.turns):
        for name, one in training.items():
            spent, losses[name] = one.run(args.steps)
            seconds[name].append(spent / args.steps)
    parameters = sum(p.numel() for p in next(iter(training.values())).model.parameters())
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {parameters:,} parameters")
    print("| optimizer | ms a step | tokens a second | relative | loss then |")
    print("| --- | ---: | ---: | ---: | ---: |")
    median = {name: statistics.median(times) for name, times in seconds.items()}
    tokens = args.batch * CONTEXT
    for name, s in median.items():
        relative = median["AdamW fused"] / s
        print(
            f"| {name} | {1e3 * s:.1f} | {tokens / s:,.0f} | {relative:.3f} | {losses[name]:.3f} |"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
