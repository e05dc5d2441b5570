"""The time and memory of a step on the CPU, beside torch.optim and the published form.

    python conformance/benchmarks/torch_cpu.py [--repeats 9] [--json FILE]

All optimizers of a case are timed in turn, round after round, in one process, and the medians of
the ratios are shown: a machine's speed drifts, a ratio in one round less. The extra memory is the
rise of the resident set within one step, measured in a process of its own.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date

import torch
from rich.console import Console
from rich.table import Table

import mgup_torch

Shapes = list[tuple[int, ...]]


def one_tensor() -> Shapes:
    return [(10_000_000,)]


def transformer(layers: int = 12, width: int = 768, vocabulary: int = 50_257) -> Shapes:
    """GPT-2's smallest: its tensors, with embeddings tied."""
    block: Shapes = [
        *[(width,)] * 4,
        (3 * width, width),
        (3 * width,),
        (width, width),
        (width,),
        (4 * width, width),
        (4 * width,),
        (width, 4 * width),
        (width,),
    ]
    return [(vocabulary, width), (1024, width), *block * layers, (width,), (width,)]


class Published:
    """MGUP-AdamW as published: tensor by tensor, topk, scatter. For comparison only."""

    def __init__(self, params: list[torch.Tensor], lr: float = 1e-3) -> None:
        self.params, self.lr, self.t = params, lr, 0
        self.m = [torch.zeros_like(p) for p in params]
        self.v = [torch.zeros_like(p) for p in params]

    @torch.no_grad()
    def step(self) -> None:
        self.t += 1
        rate = self.lr * (1 - 0.999**self.t) ** 0.5 / (1 - 0.9**self.t)
        for p, m, v in zip(self.params, self.m, self.v, strict=True):
            m.mul_(0.9).add_(p.grad, alpha=0.1)
            v.mul_(0.999).addcmul_(p.grad, p.grad, value=0.001)
            update = m / (v.sqrt() + 1e-8)
            scores = (update * p.grad).flatten()
            _, top = torch.topk(scores, scores.numel() // 2)
            factor = torch.full_like(scores, 0.5).scatter_(0, top, 2.0)
            p.mul_(1 - self.lr * 0.01).add_(update * factor.view_as(p), alpha=-rate)


OPTIMIZERS: dict[str, Callable[[list[torch.Tensor]], object]] = {
    "AdamW, foreach": lambda params: torch.optim.AdamW(params, foreach=True),
    "AdamW, fused": lambda params: torch.optim.AdamW(params, fused=True),
    "MGUP-AdamW as published": Published,
    "MGUPAdamW": mgup_torch.MGUPAdamW,
    "MGUPAdamW, not compiled": lambda params: mgup_torch.MGUPAdamW(
        params, implementation="reference"
    ),
    "MGUPAdamW, sign": lambda params: mgup_torch.MGUPAdamW(params, mode="sign"),
    "MGUPAdamW, adaptive": lambda params: mgup_torch.MGUPAdamW(params, mode="adaptive"),
    "MGUPAdamW, off": lambda params: mgup_torch.MGUPAdamW(params, mode="off"),
    "MGUPLion": mgup_torch.MGUPLion,
    "MGUPSGD": mgup_torch.MGUPSGD,
}
CASES = {"1e7 in one tensor": one_tensor, "12 layers of width 768": transformer}
BUDGET = 60.0
"""Seconds in which a case begins rounds: on large tensors the published form takes many a step."""
PEER, NAIVE = "AdamW, foreach", "MGUP-AdamW as published"


def parameters(shapes: Shapes) -> list[torch.Tensor]:
    torch.manual_seed(0)
    params = [torch.nn.Parameter(torch.randn(shape)) for shape in shapes]
    for p in params:
        p.grad = torch.randn_like(p) * 0.01
    return params


def seconds(step: Callable[[], object]) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def time_case(shapes: Shapes, names: list[str], repeats: int) -> dict[str, list[float]]:
    """Seconds per step of each optimizer, round by round: as many as fit, but three at least."""
    # All share the parameters and gradients, each has its own state.
    params = parameters(shapes)
    steps = {name: OPTIMIZERS[name](params).step for name in names}  # type: ignore[attr-defined]
    for step in steps.values():
        step()
    rounds: list[dict[str, float]] = []
    begun = time.perf_counter()
    while len(rounds) < repeats and (len(rounds) < 3 or time.perf_counter() - begun < BUDGET):
        rounds.append({name: seconds(step) for name, step in steps.items()})
    return {name: [r[name] for r in rounds] for name in names}


def extra_memory(case: str, name: str) -> float:
    """The peak rise of the resident set within a step, as a share of the parameters' bytes."""
    out = subprocess.run(
        [sys.executable, __file__, "--memory", case, name],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(out.stdout)


def measure_memory(case: str, name: str) -> float:
    params = parameters(CASES[case]())
    optimizer = OPTIMIZERS[name](params)
    for _ in range(2):
        optimizer.step()  # type: ignore[attr-defined]

    def status(key: str) -> int:
        with open("/proc/self/status") as lines:
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))

    # Give free heap memory back, then set the peak to what is resident now.
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/clear_refs", "w") as refs:
        refs.write("5")
    before = status("VmRSS")
    optimizer.step()  # type: ignore[attr-defined]
    size = sum(p.numel() * p.element_size() for p in params)
    return (status("VmHWM") - before) / size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9, help="rounds at most; medians are shown")
    parser.add_argument("--only", action="append", choices=OPTIMIZERS, help="these, and the peers")
    parser.add_argument("--json", help="where to write the figures")
    parser.add_argument("--memory", nargs=2, metavar=("CASE", "NAME"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.memory:
        print(measure_memory(*args.memory))
        return
    names = [n for n in OPTIMIZERS if not args.only or n in (*args.only, PEER, NAIVE)]
    console, report = Console(), {}
    about = {
        "date": date.today().isoformat(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "processor": _processor(),
    }
    for case, shapes in CASES.items():
        times = time_case(shapes(), names, args.repeats)
        table = Table(title=f"{case}, float32 ({about['processor']}, {about['threads']} threads)")
        for heading in ("optimizer", "ms", "× foreach AdamW", "× as published", "extra memory"):
            table.add_column(heading, justify="left" if heading == "optimizer" else "right")
        report[case] = {}
        for name in names:
            row = {
                "ms": 1e3 * statistics.median(times[name]),
                "x_foreach": _ratio(times[name], times[PEER]),
                "x_published": _ratio(times[name], times[NAIVE]),
                "extra_memory": extra_memory(case, name),
            }
            report[case][name] = row
            table.add_row(
                name,
                f"{row['ms']:.1f}",
                f"{row['x_foreach']:.2f}",
                f"{row['x_published']:.3f}",
                f"{row['extra_memory']:.1%}",
            )
        console.print(table)
    if args.json:
        with open(args.json, "w") as file:
            json.dump({**about, "cases": report}, file, indent=1)
            file.write("\n")


def _ratio(a: list[float], b: list[float]) -> float:
    return statistics.median(x / y for x, y in zip(a, b, strict=True))


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.split(":")[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
