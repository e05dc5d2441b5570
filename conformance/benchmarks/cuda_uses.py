"""What else a training on an NVIDIA GPU waits for: first steps, schedulers, hooks, the wrapper.

    python conformance/benchmarks/cuda_uses.py
    python conformance/benchmarks/cuda_uses.py --only hooks --out runs/cuda_uses

Each row has a peer that is timed in turn with it, on tensors of the same shapes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import torch
from cuda import SIZES, llama, timed
from rich.console import Console
from rich.table import Table
from torch import Tensor

from mgup_torch import MGUP, MGUPAdamW

COMMON = {"lr": 1e-3, "weight_decay": 0.1}
FIRST = """
import time, torch
from mgup_torch import MGUPAdamW
p = torch.randn(4096, 4096, device="cuda", requires_grad=True)
p.grad = torch.randn_like(p)
optimizer = MGUPAdamW([p])
torch.cuda.synchronize()
begun = time.perf_counter()
optimizer.step()
torch.cuda.synchronize()
print(time.perf_counter() - begun)
"""


@dataclass
class Row:
    """One use, beside its peer."""

    name: str
    value: float
    unit: str
    peer: str = ""
    ratio: float | None = None
    """To the peer, the median of the rounds' ratios."""


def tensors(shapes: list[tuple[int, ...]]) -> list[Tensor]:
    generator = torch.Generator("cuda").manual_seed(0)
    params = [
        (torch.randn(s, generator=generator, device="cuda") * 0.02).requires_grad_() for s in shapes
    ]
    for p in params:
        p.grad = torch.randn(p.shape, generator=generator, device="cuda") * 1e-3
    return params


def beside(
    step: Callable[[], object], peer: Callable[[], object], rounds: int, clock: Callable[..., float]
) -> tuple[float, float]:
    """(milliseconds of a step, ratio to the peer), medians."""
    for _ in range(4):
        step()
        peer()
    pairs = [(clock(step), clock(peer)) for _ in range(rounds)]
    ratio = statistics.median(mine / other for mine, other in pairs)
    return statistics.median(mine for mine, _ in pairs), ratio


def whole(step: Callable[[], object]) -> float:
    """Milliseconds until the device has done it, the host's time included."""
    torch.cuda.synchronize()
    begun = time.perf_counter()
    step()
    torch.cuda.synchronize()
    return 1e3 * (time.perf_counter() - begun)


def first_steps(rounds: int) -> Iterator[Row]:
    """In new processes: nothing compiled yet, and everything in the cache of a former one."""
    with tempfile.TemporaryDirectory() as cache:
        env = {**os.environ, "TRITON_CACHE_DIR": cache}
        for name in ("first step, nothing compiled", "first step of a second process"):
            done = subprocess.run(
                [sys.executable, "-c", FIRST], env=env, check=True, capture_output=True, text=True
            )
            yield Row(name, float(done.stdout), "s")


def one_cycle(rounds: int) -> Iterator[Row]:
    """OneCycleLR cycles beta1 by default, at every step."""
    shapes = llama(*SIZES["134M"])
    cycled = MGUPAdamW(tensors(shapes), **COMMON)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(cycled, 1e-2, total_steps=10_000)
    constant = MGUPAdamW(tensors(shapes), **COMMON)

    def step() -> None:
        cycled.step()
        scheduler.step()

    value, ratio = beside(step, constant.step, rounds, timed)
    yield Row("OneCycleLR, cycling betas", value, "ms", "constant betas", ratio)


def hooks(rounds: int) -> Iterator[Row]:
    """One optimizer for each of 146 parameters, as in hooks of gradients."""
    shapes = [(256, 256)] * 146
    together = MGUPAdamW(tensors(shapes), **COMMON)
    params = tensors(shapes)
    torch.cuda.synchronize()
    before = torch.cuda.mem_get_info()[0]
    apart = [MGUPAdamW([p], **COMMON) for p in params]

    def step() -> None:
        for one in apart:
            one.step()

    value, ratio = beside(step, together.step, rounds, whole)
    torch.cuda.synchronize()
    state = sum(x.numel() * 4 for one in apart for s in one.state.values() for x in s.values())
    held = before - torch.cuda.mem_get_info()[0] - state
    yield Row("146 optimizers", value, "ms", "one optimizer", ratio)
    yield Row("146 optimizers, memory of each besides its state", held / 146e3, "KB")


def wrapper(rounds: int) -> Iterator[Row]:
    shapes = llama(*SIZES["134M"])
    wrapped = MGUP(torch.optim.AdamW(tensors(shapes), fused=True, **COMMON))
    plain = torch.optim.AdamW(tensors(shapes), fused=True, **COMMON)
    value, ratio = beside(wrapped.step, plain.step, rounds, timed)
    yield Row("MGUP(AdamW(fused=True)), 134 M", value, "ms", "AdamW(fused=True)", ratio)


USES = {"first": first_steps, "onecycle": one_cycle, "hooks": hooks, "wrapper": wrapper}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--only", default=",".join(USES), help="of " + ", ".join(USES))
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--out", type=Path, help="a folder for cuda_uses.json")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("there is no NVIDIA GPU")
    rows: list[Row] = []
    for name in args.only.split(","):
        for row in USES[name](args.rounds):
            rows.append(row)
            print(row, file=sys.stderr, flush=True)
        torch.cuda.empty_cache()
    table = Table(title=f"Uses on {torch.cuda.get_device_name()}", title_justify="left")
    for heading in ("use", "value", "", "beside", "ratio"):
        table.add_column(heading)
    for r in rows:
        table.add_row(
            r.name, f"{r.value:.3g}", r.unit, r.peer, "" if r.ratio is None else f"{r.ratio:.2f}"
        )
    Console(width=110).print(table)
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        facts = {
            "date": str(date.today()),
            "device": torch.cuda.get_device_name(),
            "torch": torch.__version__,
            "rows": [asdict(r) for r in rows],
        }
        (args.out / "cuda_uses.json").write_text(json.dumps(facts, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
