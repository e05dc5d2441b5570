"""Exact products (N9) by tensor cores: whether they are exact, and what they cost.

    python conformance/benchmarks/exact_tensor_cores.py

On paper they are: a slice has 8 digits, so it is a bfloat16 and a TF32 number, and every partial
sum of a product of two slices is a float32. What a device's accumulators do is asked here. Each
way is compared with the same slices multiplied in float64, which holds every sum twice over, and
the first of each shape with NumPy's product on the host too. Prints Markdown; takes some seconds
on a GPU.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mgup_core import backend_for
from mgup_core.numerics.products import digits, exact_product
from mgup_torch.backend import TorchBackend

SHAPES = ((256, 256, 256), (512, 4096, 512), (1024, 1024, 1024), (2048, 2048, 8192))
ON_HOST = 512 * 4096 * 512
"""Multiplications that the host takes a few seconds for."""
TURNS = 5
ALONE = "the products of bfloat16 slices alone"


class Slices(TorchBackend):
    """The library's backend, with another way to multiply two slices."""

    def __init__(self, multiply: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__(torch.float32)
        self.multiply = multiply

    def matmul(self, a: Tensor, b: Tensor, dtype: str | None = None) -> Tensor:
        return self.multiply(a, b)


def float64(a: Tensor, b: Tensor) -> Tensor:
    """Every sum of a product of two slices has 24 digits; float64 holds 53."""
    return (a.double() @ b.double()).float()


def bfloat16(a: Tensor, b: Tensor) -> Tensor:
    """bfloat16 factors, float32 sums and a float32 result: cuBLAS on tensor cores."""
    a, b = a.to(torch.bfloat16), b.to(torch.bfloat16)
    if a.device.type == "cuda":
        return torch.mm(a, b, out_dtype=torch.float32)
    return a.float() @ b.float()


@contextmanager
def precision(name: str) -> Iterator[None]:
    """``highest`` is float32 by fused multiply-adds, ``high`` is TF32 on tensor cores."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(name)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


WAYS: dict[str, tuple[str, Callable[[Tensor, Tensor], Tensor]]] = {
    "float32, multiply-add": ("highest", torch.matmul),
    "TF32, tensor cores": ("high", torch.matmul),
    "bfloat16, tensor cores": ("highest", bfloat16),
    "float64": ("highest", float64),
}
"""How two slices are multiplied: the switch for float32 products, and the product."""


def factors(n: int, k: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of all sizes, with cancellation, and one of each all zeros."""
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((n, k)), rng.standard_normal((k, m))
    a *= np.exp2(rng.integers(-40, 40, (n, 1)) + rng.integers(-20, 1, (n, k)))
    b *= np.exp2(rng.integers(-40, 40, (1, m)) + rng.integers(-20, 1, (k, m)))
    a[3], b[:, 3] = 0.0, 0.0
    return a.astype(np.float32), b.astype(np.float32)


def seconds(step: Callable[[], Any], device: str) -> float:
    """Of one call, until the device has done it."""
    started = time.perf_counter()
    step()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def sliced(a: Tensor, b: Tensor, switch: str, be: Slices) -> Tensor:
    """The exact product, its slices multiplied in one of the ways."""
    with precision(switch):
        return exact_product(be, a, b)


def plain(a: Tensor, b: Tensor, switch: str) -> Tensor:
    """The library's own product."""
    with precision(switch):
        return torch.matmul(a, b)


def alone(a: Tensor, b: Tensor, count: int) -> None:
    """As many products of bfloat16 matrices as slices have, without making slices or sums."""
    for _ in range(count * (count + 1) // 2):
        bfloat16(a, b)


def steps_of(a: Tensor, b: Tensor) -> dict[str, Callable[[], Any]]:
    """What is timed, by name."""
    steps: dict[str, Callable[[], Any]] = {
        name: partial(sliced, a, b, switch, Slices(multiply))
        for name, (switch, multiply) in WAYS.items()
    }
    steps |= {f"plain product, {s}": partial(plain, a, b, s) for s in ("highest", "high")}
    narrow = a.to(torch.bfloat16), b.to(torch.bfloat16)
    steps[ALONE] = partial(alone, *narrow, digits(a.shape[1], False)[1])
    return steps


def measure(shape: tuple[int, int, int], device: str) -> Iterator[list[str]]:
    """The rows of one shape."""
    x, y = factors(*shape)
    a, b = torch.from_numpy(x).to(device), torch.from_numpy(y).to(device)
    others = [exact_product(Slices(float64), a, b)]
    if prod(shape) <= ON_HOST:
        others.append(torch.from_numpy(backend_for(x).matmul(x, y, "exact")).to(device))
    place = "·".join(map(str, shape))
    steps, made = steps_of(a, b), {}
    for name in list(steps):
        try:
            made[name] = steps[name]()
        except (TypeError, RuntimeError) as error:
            yield [place, name, "not offered", str(error).splitlines()[0], "", "", ""]
            del steps[name]
    turns = [{s: seconds(step, device) for s, step in steps.items()} for _ in range(TURNS + 1)]
    for name in steps:
        cells = [place, name]
        differ = [] if name == ALONE else [str(int((made[name] != x).sum())) for x in others]
        cells += [*differ, *[""] * (2 - len(differ))]
        cells.append(f"{1e3 * statistics.median(t[name] for t in turns[1:]):.3f}")
        for base in ("plain product, highest", "float32, multiply-add"):
            cells.append(f"{statistics.median(t[name] / t[base] for t in turns[1:]):.2f}")
        yield cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    device = parser.parse_args().device
    where = torch.cuda.get_device_name() if device == "cuda" else "CPU, for a trial"
    print(f"torch {torch.__version__} on {where}\n")
    print("| product | slices by | entries that differ | from NumPy | ms | x float32 | x exact |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for shape in SHAPES if device == "cuda" else SHAPES[:1]:
        for cells in measure(shape, device):
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
