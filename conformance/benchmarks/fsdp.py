"""Time of a step under FSDP2 beside fused AdamW, bytes sent, and whether the masks are right.

    torchrun --nproc-per-node 2 conformance/benchmarks/fsdp.py
    torchrun --nproc-per-node 2 conformance/benchmarks/fsdp.py --size tiny

Synthetic LLaMA-shaped parameters, each sharded over all processes as FSDP2 does it. On NVIDIA GPUs
through NCCL; without one, tiny shapes through gloo, which checks the program and not its speed.
The two optimizers take turns, so that both meet the same clocks; the ratio is the median of the
rounds' ratios, of the slowest process in each.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import torch
import torch.distributed as dist

# Beside this file, which is where torchrun finds it.
from cuda import SIZES, llama
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard

from mgup_torch import MGUPAdamW

Shapes = Sequence[tuple[int, ...]]
TINY = (32, 85, 2)
CHECKED = ((257, 129), (64, 48), (5, 7, 2), (1,), (3,), (1000,))
LARGE = ((4096, 2048), (1001, 4096), (1001, 4097))  # as on a GPU is stepped in one pass


@dataclass
class Row:
    """One optimizer on one set of shards."""

    name: str
    dtype: str
    milliseconds: float
    fused_adamw: float
    """Of fused AdamW on the same shards, timed in between."""
    ratio: float
    host: float
    """Milliseconds until the call returns."""
    collectives: int
    kilobytes: float
    """Sent by each process in a step."""
    kilobytes_a_tensor: float
    extra_megabytes: float
    """Peak memory of a process within a step, beyond parameters, gradients and state."""


class Tensors(torch.nn.Module):
    """Parameters of some shapes, and nothing else."""

    def __init__(self, shapes: list[tuple[int, ...]], device: torch.device, dtype: torch.dtype):
        super().__init__()
        self.all = torch.nn.ParameterList(
            torch.nn.Parameter(torch.randn(s, device=device, dtype=dtype) * 0.02) for s in shapes
        )


def sharded(shapes, device, dtype, mesh: DeviceMesh) -> list[Tensor]:
    """FSDP2's parameters, with gradients like those that its backward pass leaves."""
    torch.manual_seed(0)
    model = Tensors(shapes, device, dtype)
    fully_shard(model, mesh=mesh)
    params = list(model.parameters())
    for p in params:
        p.grad = torch.zeros_like(p)
    return params


def differentiate(params: list[Tensor], generator: torch.Generator) -> None:
    """New gradients, in place: noise that is small beside the weights."""
    for p in params:
        g = p.grad.to_local()
        g.copy_(torch.randn(g.shape, generator=generator, device=g.device) * 1e-3)


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def timed(step: Callable[[], object], device: torch.device) -> float:
    """Milliseconds of one step, of the slowest process.

    An accelerator is kept busy first, as it is by a backward pass, until the host has said all.
    """
    wait(device)
    dist.barrier()
    if device.type == "cuda":
        before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda._sleep(100_000_000)  # cycles, some fifty milliseconds
        before.record()
        step()
        after.record()
        torch.cuda.synchronize()
        taken = before.elapsed_time(after)
    else:
        begun = time.perf_counter()
        step()
        taken = 1e3 * (time.perf_counter() - begun)
    slowest = torch.tensor(taken, device=device)
    dist.all_reduce(slowest, dist.ReduceOp.MAX)
    return slowest.item()


def host_time(step: Callable[[], object], device: torch.device, steps: int = 5) -> float:
    """Milliseconds until a step returns to the host, while an accelerator is busy elsewhere."""
    times = []
    for _ in range(steps):
        wait(device)
        dist.barrier()
        if device.type == "cuda":
            torch.cuda._sleep(1_000_000_000)
        begun = time.perf_counter()
        step()
        times.append(time.perf_counter() - begun)
    wait(device)
    return 1e3 * statistics.median(times)


def measure(name, shapes, device, dtype, mesh, rounds: int, **options) -> Row:
    """MGUP-AdamW beside fused AdamW, round by round."""
    params, others = (sharded(shapes, device, dtype, mesh) for _ in range(2))
    common = {"lr": 1e-3, "weight_decay": 0.1}
    optimizer = MGUPAdamW(params, **common, **options)
    fused = torch.optim.AdamW(others, fused=True, **common)
    generator = torch.Generator(device).manual_seed(dist.get_rank())
    for _ in range(4):
        differentiate(params, generator)
        differentiate(others, generator)
        optimizer.step()
        fused.step()
    wait(device)
    extra = 0.0
    if device.type == "cuda":
        held = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        optimizer.step()
        wait(device)
        extra = (torch.cuda.max_memory_allocated() - held) / 1e6
    mine, theirs = [], []
    for _ in range(rounds):
        theirs.append(timed(fused.step, device))
        mine.append(timed(optimizer.step, device))
    traffic = optimizer.communication()
    return Row(
        name=name,
        dtype=str(dtype).removeprefix("torch."),
        milliseconds=statistics.median(mine),
        fused_adamw=statistics.median(theirs),
        ratio=statistics.median(a / b for a, b in zip(mine, theirs, strict=True)),
        host=host_time(optimizer.step, device),
        collectives=traffic.collectives,
        kilobytes=traffic.bytes / 1e3,
        kilobytes_a_tensor=traffic.bytes / 1e3 / len(params),
        extra_megabytes=extra,
    )


def check(
    device: torch.device, dtype: torch.dtype, mesh: DeviceMesh, shapes: Shapes, *, ties: bool
) -> int:
    """How many coordinates differ from those of the unsharded optimizer, after five steps."""
    there = sharded(list(shapes), device, dtype, mesh)
    whole = [p.detach().full_tensor().clone().requires_grad_() for p in there]
    optimizers = MGUPAdamW(there), MGUPAdamW(whole)
    torch.manual_seed(1)  # the same on every process
    for _ in range(5):
        for p, q in zip(there, whole, strict=True):
            g = torch.randn(q.shape, device=device).to(dtype)
            if ties:
                g *= torch.rand(q.shape, device=device) > 0.5
            q.grad, p.grad = g, _shard_of(g, p)
        for optimizer in optimizers:
            optimizer.step()
    pairs = zip(there, whole, strict=True)
    return sum(int((p.detach().full_tensor() != q).sum()) for p, q in pairs)


def _shard_of(whole: Tensor, p: Tensor) -> Tensor:
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(whole, p.device_mesh, p.placements, src_data_rank=None)


def show(rows: list[Row], title: str, console: Console) -> None:
    table = Table(title=title, title_justify="left")
    for heading in (
        "optimizer", "dtype", "ms", "AdamW fused", "ratio", "host ms", "collectives", "KB sent",
        "KB a tensor", "extra MB",
    ):  # fmt: skip
        table.add_column(heading, justify="left" if heading in ("optimizer", "dtype") else "right")
    for r in rows:
        table.add_row(
            r.name, r.dtype, f"{r.milliseconds:.2f}", f"{r.fused_adamw:.2f}", f"{r.ratio:.2f}",
            f"{r.host:.2f}", str(r.collectives), f"{r.kilobytes:.0f}",
            f"{r.kilobytes_a_tensor:.1f}", f"{r.extra_megabytes:.1f}",
        )  # fmt: skip
    console.print(table)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--size", choices=(*SIZES, "tiny"), help="default 1.34B, or tiny on a CPU")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--only", default="", help="rows whose name holds this")
    parser.add_argument("--reference", action="store_true", help="time the reference step too")
    parser.add_argument("--out", type=Path, help="a folder for fsdp.json")
    args = parser.parse_args()
    if "RANK" not in os.environ:
        parser.error("start it with torchrun --nproc-per-node 2 conformance/benchmarks/fsdp.py")
    accelerated = torch.cuda.is_available()
    device = torch.device("cpu")
    if accelerated:
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    else:
        torch.set_num_threads(1)
    dist.init_process_group("nccl" if accelerated else "gloo")
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    console = Console(width=130, quiet=dist.get_rank() > 0)
    size = args.size or ("1.34B" if accelerated else "tiny")
    shapes = llama(*SIZES[size]) if size != "tiny" else [(1000, 32), *llama(*TINY)[1:-1]]
    dtypes = torch.float32, torch.bfloat16
    cases = [(CHECKED, True), *([(LARGE, True), (LARGE, False)] if accelerated else [])]
    differing = {
        str(dtype): sum(check(device, dtype, mesh, checked, ties=ties) for checked, ties in cases)
        for dtype in dtypes
    }
    rows = []
    for dtype in dtypes:
        for name, options in (
            ("MGUP-AdamW rank", {}),
            ("MGUP-AdamW rank, reference", {"implementation": "reference"}),
            ("MGUP-AdamW sign", {"mode": "sign"}),
            ("MGUP-AdamW adaptive", {"mode": "adaptive"}),
            ("MGUP-AdamW rank, each shard alone", {"scope": "local"}),
        ):
            if args.only in name and (args.reference or "reference" not in name):
                rows.append(measure(name, shapes, device, dtype, mesh, args.rounds, **options))
                console.print(f"{name}, {rows[-1].dtype}: {rows[-1].ratio:.2f}")
                if accelerated:
                    torch.cuda.empty_cache()
    where = torch.cuda.get_device_name() if accelerated else "CPU"
    elements = sum(torch.Size(shape).numel() for shape in shapes)
    title = (
        f"One step of {elements / 1e6:.0f} million parameters in {len(shapes)} tensors on "
        f"{mesh.size()} × {where}, {dist.get_backend()}"
    )
    show(rows, title, console)
    for dtype, count in differing.items():
        console.print(f"{dtype}: {count} coordinates differ from the unsharded optimizer's.")
    console.print(f"PyTorch {torch.__version__}.")
    if args.out and dist.get_rank() == 0:
        args.out.mkdir(parents=True, exist_ok=True)
        facts = {
            "date": str(date.today()), "device": where, "processes": mesh.size(),
            "backend": dist.get_backend(), "torch": torch.__version__, "size": size,
            "differing": differing, "rows": [asdict(r) for r in rows],
        }  # fmt: skip
        (args.out / "fsdp.json").write_text(json.dumps(facts, indent=1) + "\n")
        console.print(f"wrote {args.out / 'fsdp.json'}")
    dist.destroy_process_group()
    return 1 if any(differing.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
