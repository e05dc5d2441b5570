"""Time and memory of a step on an NVIDIA GPU, beside the optimizers of torch.optim.

    python conformance/benchmarks/cuda.py
    python conformance/benchmarks/cuda.py --sizes 134M --out runs/cuda --profile

Synthetic LLaMA-shaped parameters. Each row is timed in turn with fused AdamW on the same tensors,
so that both meet the same clocks; the ratio is the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from mgup_torch import MGUPSGD, MGUPAdamW, MGUPLion

SIZES = {"134M": (768, 2048, 12), "1.34B": (2048, 5461, 24)}
VOCABULARY = 32_000


def llama(width: int, hidden: int, layers: int) -> list[tuple[int, ...]]:
    """Shapes of a LLaMA-like model: embedding, blocks, norm, head."""
    block = [(width, width)] * 4 + [(hidden, width)] * 2 + [(width, hidden)] + [(width,)] * 2
    return [(VOCABULARY, width), *(block * layers), (width,), (VOCABULARY, width)]


@dataclass
class Row:
    """One optimizer on one set of tensors."""

    size: str
    name: str
    dtype: str
    milliseconds: float
    fused_adamw: float
    """Of fused AdamW on the same tensors, timed in between."""
    ratio: float
    floor: float | None
    """The bytes that must be moved, at the measured speed of a copy."""
    host: float
    """Milliseconds until the call returns."""
    extra_megabytes: float
    """Peak memory within a step, beyond parameters, gradients and state."""


class Naive(torch.optim.Optimizer):
    """The algorithm as it is usually written: a topk and a scatter for each tensor."""

    def __init__(self, params: list[Tensor], lr: float = 1e-3, weight_decay: float = 0.1) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                if not state:
                    state.update(step=0, m=torch.zeros_like(p), v=torch.zeros_like(p))
                state["step"] += 1
                m, v, g, t = state["m"], state["v"], p.grad, state["step"]
                m.mul_(0.9).add_(g, alpha=0.1)
                v.mul_(0.999).addcmul_(g, g, value=0.001)
                u = (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)
                top = (u * g).flatten().topk(p.numel() // 2).indices
                phi = torch.full_like(u, 0.5).flatten().scatter_(0, top, 2.0).view_as(u)
                p.mul_(1 - group["lr"] * group["weight_decay"]).add_(u * phi, alpha=-group["lr"])


def peers(
    dtype: torch.dtype,
) -> Iterator[tuple[str, Callable[[list[Tensor]], torch.optim.Optimizer], int]]:
    """(name, how to make it, arrays read or written a coordinate)."""
    common = {"lr": 1e-3, "weight_decay": 0.1}
    yield "AdamW fused", lambda p: torch.optim.AdamW(p, fused=True, **common), 7
    yield "MGUP-AdamW rank", lambda p: MGUPAdamW(p, **common), 7
    yield "MGUP-AdamW sign", lambda p: MGUPAdamW(p, mode="sign", **common), 7
    yield "MGUP-AdamW adaptive", lambda p: MGUPAdamW(p, mode="adaptive", **common), 10
    yield "MGUP-Lion rank", lambda p: MGUPLion(p, lr=1e-4, weight_decay=0.1), 7
    yield "MGUP-SGD rank", lambda p: MGUPSGD(p, lr=1e-3, momentum=0.9, weight_decay=0.1), 7
    if dtype == torch.bfloat16:
        wide = {"state_dtype": torch.float32, **common}
        yield "MGUP-AdamW rank, float32 state", lambda p: MGUPAdamW(p, **wide), 7
        # torch.optim's fused AdamW has no state wider than the parameters.
        yield "AdamW by MGUPAdamW, float32 state", lambda p: MGUPAdamW(p, mode="off", **wide), 7
        return
    yield "AdamW foreach", lambda p: torch.optim.AdamW(p, foreach=True, **common), 7
    yield (
        "MGUP-AdamW rank, reference",
        lambda p: MGUPAdamW(p, implementation="reference", **common),
        10,
    )
    yield "MGUP-AdamW naive", lambda p: Naive(p), 10
    try:
        from timm.optim import NAdamW
    except ImportError:
        return
    yield "timm NAdamW caution", lambda p: NAdamW(p, caution=True, foreach=True, **common), 7


def gradients(kind: str, params: list[Tensor], generator: torch.Generator) -> None:
    """New gradients, in place, of a kind that is hard in its own way."""
    for p in params:
        g = torch.randn(p.shape, generator=generator, device=p.device) * 1e-3
        if kind == "zeros":  # rows of an embedding that no token asked for
            rows = torch.rand(p.shape[0], generator=generator, device=p.device) < 0.9
            g[rows] = 0
        elif kind == "equal":
            g = torch.full_like(g, 1e-3)
        elif kind == "narrow":
            g = 1e-3 * (1 + 1e-5 * torch.rand(p.shape, generator=generator, device=p.device))
        elif kind == "heavy":
            g = g * torch.exp(4 * torch.randn(p.shape, generator=generator, device=p.device))
        elif kind == "jump":
            g = g * 1e4
        p.grad.copy_(g)


KINDS = ("normal", "zeros", "equal", "narrow", "heavy", "jump")


def timed(step: Callable[[], object]) -> float:
    """Milliseconds of one step on the device, by its events.

    The device is kept busy first, as it is by a backward pass, until the host has said everything.
    """
    before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda._sleep(10_000_000)  # cycles, some five milliseconds
    before.record()
    step()
    after.record()
    torch.cuda.synchronize()
    return before.elapsed_time(after)


def host_time(step: Callable[[], object], steps: int = 20) -> float:
    """Milliseconds until a step returns to the host, while the device is busy elsewhere."""
    times = []
    for _ in range(steps):
        torch.cuda._sleep(10_000_000)
        begun = time.perf_counter()
        step()
        times.append(time.perf_counter() - begun)
        torch.cuda.synchronize()
    return 1e3 * statistics.median(times)


def copy_speed() -> float:
    """Bytes a millisecond that a large copy moves, read and written counted."""
    source = torch.randn(1 << 28, device="cuda")
    target = torch.empty_like(source)
    times = [timed(lambda: target.copy_(source)) for _ in range(10)]
    return 2 * source.numel() * 4 / statistics.median(times)


def measure(
    size: str, shapes: list[tuple[int, ...]], name: str, make: Callable[..., torch.optim.Optimizer],
    arrays: int, dtype: torch.dtype, rounds: int, speed: float, kind: str = "normal",
) -> Row:  # fmt: skip
    """One optimizer beside fused AdamW, round by round."""
    generator = torch.Generator("cuda").manual_seed(0)
    params = [
        (torch.randn(s, generator=generator, device="cuda") * 0.02).to(dtype).requires_grad_()
        for s in shapes
    ]
    others = [p.detach().clone().requires_grad_() for p in params]
    for p, q in zip(params, others, strict=True):
        q.grad = p.grad = torch.zeros_like(p)
    fused = torch.optim.AdamW(others, lr=1e-3, weight_decay=0.1, fused=True)
    optimizer = make(params)
    for i in range(4):
        gradients("normal" if kind == "jump" and i < 3 else kind, params, generator)
        fused.step()
        optimizer.step()
    torch.cuda.synchronize()
    held = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    optimizer.step()
    torch.cuda.synchronize()
    scratch = torch.cuda.max_memory_allocated() - held + _kept(optimizer)
    mine, theirs = [], []
    for _ in range(rounds):
        theirs.append(timed(fused.step))
        mine.append(timed(optimizer.step))
    ratios = [a / b for a, b in zip(mine, theirs, strict=True)]
    elements = sum(p.numel() for p in params)
    return Row(
        size=size,
        name=name if kind == "normal" else f"{name}, gradients: {kind}",
        dtype=str(dtype).removeprefix("torch."),
        milliseconds=statistics.median(mine),
        fused_adamw=statistics.median(theirs),
        ratio=statistics.median(ratios),
        floor=arrays * elements * 4 / speed if dtype == torch.float32 else None,
        host=host_time(optimizer.step),
        extra_megabytes=scratch / 1e6,
    )


def _kept(optimizer: torch.optim.Optimizer) -> int:
    """What the optimizer keeps on the device besides its state."""
    fusion = getattr(optimizer, "_fusion", None)
    return 0 if fusion is None else fusion.step.memory()


def show(rows: list[Row], console: Console) -> None:
    """The table."""
    table = Table(title=f"One step on {torch.cuda.get_device_name()}", title_justify="left")
    for heading in (
        "size",
        "optimizer",
        "dtype",
        "ms",
        "AdamW fused",
        "ratio",
        "floor",
        "host ms",
        "extra MB",
    ):
        table.add_column(heading, justify="left" if heading in ("optimizer", "dtype") else "right")
    for r in rows:
        floor = "" if r.floor is None else f"{r.floor:.2f}"
        table.add_row(
            r.size, r.name, r.dtype, f"{r.milliseconds:.2f}", f"{r.fused_adamw:.2f}",
            f"{r.ratio:.2f}", floor, f"{r.host:.2f}", f"{r.extra_megabytes:.1f}",
        )  # fmt: skip
    console.print(table)


def profile(console: Console) -> None:
    """Where the time of a rank-mode step goes."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiler

    params = [torch.randn(s, device="cuda").requires_grad_() for s in llama(*SIZES["134M"])]
    for p in params:
        p.grad = torch.randn_like(p)
    optimizer = MGUPAdamW(params)
    for _ in range(3):
        optimizer.step()
    with profiler(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as events:
        for _ in range(5):
            optimizer.step()
        torch.cuda.synchronize()
    console.print(events.key_averages().table(sort_by="self_device_time_total", row_limit=20))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--sizes", default=",".join(SIZES), help="of " + ", ".join(SIZES))
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--only", default="", help="rows whose name holds this")
    parser.add_argument("--out", type=Path, help="a folder for cuda.json")
    parser.add_argument("--profile", action="store_true", help="show where the time goes instead")
    args = parser.parse_args()
    console = Console(width=130)
    if not torch.cuda.is_available():
        parser.error("there is no NVIDIA GPU")
    if args.profile:
        profile(console)
        return 0
    speed = copy_speed()
    rows: list[Row] = []
    for size in args.sizes.split(","):
        shapes = llama(*SIZES[size])
        for dtype in (torch.float32, torch.bfloat16):
            for name, make, arrays in peers(dtype):
                if args.only in name:
                    rows.append(
                        measure(size, shapes, name, make, arrays, dtype, args.rounds, speed)
                    )
                    print(rows[-1], file=sys.stderr, flush=True)
        for kind in KINDS[1:]:
            if args.only in "MGUP-AdamW rank":
                rest = 7, torch.float32, args.rounds, speed, kind
                rows.append(measure(size, shapes, "MGUP-AdamW rank", MGUPAdamW, *rest))
    show(rows, console)
    console.print(f"A copy moves {speed / 1e9:.2f} TB/s. PyTorch {torch.__version__}.")
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        facts = {
            "date": str(date.today()),
            "device": torch.cuda.get_device_name(),
            "torch": torch.__version__,
            "copy_bytes_per_ms": speed,
            "rows": [asdict(r) for r in rows],
        }
        (args.out / "cuda.json").write_text(json.dumps(facts, indent=1) + "\n")
        console.print(f"wrote {args.out / 'cuda.json'}; docs/figures.py draws it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
