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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    device = parser.parse_args().device
    where = torch.cuda.get_device_name() if device == "cuda" else "CPU, for a trial"
    print(f"torch {torch.__version__} on {where}\n")
    print("| product | slices by | entries that differ | of NumPy's | ms | x float32 | x exact |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for shape in SHAPES if device == "cuda" else SHAPES[:1]:
        x, y = factors(*shape)
        a, b = torch.from_numpy(x).to(device), torch.from_numpy(y).to(device)
        expected = exact_product(Slices(float64), a, b)
        n, k, m = shape
        host = None
        if n * k * m <= ON_HOST:
            host = torch.from_numpy(backend_for(x).matmul(x, y, "exact")).to(device)
        steps: dict[str, Callable[[], Tensor]] = {}
        wrong: dict[str, Tensor] = {}
        for name, (switch, multiply) in WAYS.items():

            def step(switch: str = switch, be: Slices = Slices(multiply)) -> Tensor:
                with precision(switch):
                    return exact_product(be, a, b)

            try:
                wrong[name] = step()
            except (TypeError, RuntimeError) as error:
                print(f"| {n}·{k}·{m} | {name} | not offered: {str(error).splitlines()[0]} |")
                continue
            steps[name] = step
        for switch in ("highest", "high"):

            def product(switch: str = switch) -> Tensor:
                with precision(switch):
                    return torch.matmul(a, b)

            steps[f"plain product, {switch}"] = product
            wrong[f"plain product, {switch}"] = product()
        if "bfloat16, tensor cores" in steps:
            count = digits(k, False)[1]
            narrow = a.bfloat16(), b.bfloat16()

            def alone(count: int = count, pair: Any = narrow) -> None:
                for _ in range(count * (count + 1) // 2):
                    bfloat16(*pair)

            steps["the products of bfloat16 slices alone"] = alone
        turns = [{s: seconds(step, device) for s, step in steps.items()} for _ in range(TURNS + 1)]
        turns = turns[1:]  # the first chooses kernels
        for name in steps:
            cells = [f"{n}·{k}·{m}", name]
            for other in (expected, host):
                known = other is not None and name in wrong
                cells.append(f"{int((wrong[name] != other).sum())}" if known else "")
            cells.append(f"{1e3 * statistics.median(t[name] for t in turns):.3f}")
            for base in ("plain product, highest", "float32, multiply-add"):
                cells.append(f"{statistics.median(t[name] / t[base] for t in turns):.2f}")
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
