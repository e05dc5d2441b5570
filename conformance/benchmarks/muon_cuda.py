"""Muon on an NVIDIA GPU: the time of a step beside torch.optim.Muon on the same matrices.

    python conformance/benchmarks/muon_cuda.py

The optimizers take turns, so that all meet the same clocks; a ratio is the median of the turns'.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections import Counter

import torch
from cuda import SIZES, llama, timed
from torch import Tensor

from mgup_torch import MGUPMuon
from mgup_torch.executors.stacked import BYTES
from mgup_torch.selection import select

OPTIMIZERS = {
    "torch": lambda p: torch.optim.Muon(p, adjust_lr_fn="match_rms_adamw"),
    "off": lambda p: MGUPMuon(p, mode="off"),
    "rank": lambda p: MGUPMuon(p),
}


def matrices(size: str, layers: int | None = None) -> list[tuple[int, ...]]:
    """Of a LLaMA-like model's blocks."""
    width, hidden, all_layers = SIZES[size]
    return [s for s in llama(width, hidden, layers or all_layers)[1:-1] if len(s) == 2]


MODELS = {
    "GPT, width 768, 12 layers": ([(768, 768)] * 4 + [(768, 3072), (3072, 768)]) * 12,
    "LLaMA, 134M": matrices("134M"),
    "LLaMA, 1.34B, 6 layers": matrices("1.34B", 6),
}


def parameters(shapes: list[tuple[int, ...]]) -> list[Tensor]:
    """With gradients, the same at each call."""
    generator = torch.Generator("cuda").manual_seed(0)
    params = [torch.randn(s, generator=generator, device="cuda") * 0.02 for s in shapes]
    for p in params:
        p.grad = torch.randn(p.shape, generator=generator, device="cuda") * 1e-3
    return [p.requires_grad_() for p in params]


def ranking(shapes: list[tuple[int, ...]]) -> float:
    """Milliseconds to rank as many scores, in stacks like those of a step."""
    total = 0.0
    for (rows, columns), n in Counter(shapes).items():
        d = rows * columns
        scores = torch.randn(min(n, max(BYTES // (4 * d), 1)), d, device="cuda")
        times = [timed(lambda x=scores, k=d // 2: select(x, k)) for _ in range(5)]
        total += statistics.median(times) * n / len(scores)
    return total


def difference(mine: list[Tensor], theirs: list[Tensor], before: list[Tensor]) -> float:
    """The greatest relative difference of what two optimizers changed."""
    triples = zip(mine, theirs, before, strict=True)
    return max(float((p - q).norm() / (q - w).norm()) for p, q, w in triples)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--turns", type=int, default=7)
    args = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("there is no NVIDIA GPU")
    print(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}")
    print("| matrices | torch.optim.Muon, ms | off, ms | ratio | rank, ms | ratio | ranking, ms |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    first = 0.0
    for model, shapes in MODELS.items():
        params = {name: parameters(shapes) for name in OPTIMIZERS}
        before = [p.detach().clone() for p in params["torch"]]
        optimizers = {name: make(params[name]) for name, make in OPTIMIZERS.items()}
        for one in optimizers.values():
            one.step()
        with torch.no_grad():
            first = max(first, difference(params["off"], params["torch"], before))
        for one in optimizers.values():  # a second time, to compile and capture what is to be
            one.step()
        times: dict[str, list[float]] = {name: [] for name in optimizers}
        for _ in range(args.turns):
            for name, one in optimizers.items():
                times[name].append(timed(one.step))
        ms = {name: statistics.median(found) for name, found in times.items()}
        ratio = {
            name: statistics.median(a / b for a, b in zip(found, times["torch"], strict=True))
            for name, found in times.items()
        }
        print(
            f"| {model}, {len(shapes)} | {ms['torch']:.1f} | {ms['off']:.1f} | {ratio['off']:.2f} "
            f"| {ms['rank']:.1f} | {ratio['rank']:.2f} | {ranking(shapes):.1f} |"
        )
    print(f'The first steps of torch.optim.Muon and of mode="off" differ by {first:.1e} at most.')
    return 0


if __name__ == "__main__":
    sys.exit(main())
