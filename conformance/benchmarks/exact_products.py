"""Time and error of exact products (N9) beside float32's and bfloat16's, PyTorch and JAX.

    python conformance/benchmarks/exact_products.py [--device cuda]

Kinds take turns on the same matrices; a ratio is the median of the turns' ratios to float32. The
error is of the whole Newton-Schulz iteration, relative to float64's result. Prints Markdown.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import torch

from mgup_core import backend_for
from mgup_core.rules.matrix import newton_schulz

SHAPES = ((64, 64), (256, 256), (768, 768))
KINDS: tuple[Any, ...] = ("float32", "bfloat16", "exact")
TURNS = 5


def seconds(step: Callable[[], np.ndarray]) -> float:
    """Of one call, which ends with the result in host memory."""
    started = time.perf_counter()
    step()
    return time.perf_counter() - started


def orthogonal(x: Any, kind: Any) -> Any:
    """Muon's five steps."""
    return newton_schulz(backend_for(x), x, dtype=kind)


def on_torch(x: np.ndarray, kind: Any, device: str) -> Callable[[], np.ndarray]:
    there = torch.from_numpy(x).to(device)
    return lambda: orthogonal(there, kind).cpu().numpy()


def on_jax(x: np.ndarray, kind: Any, device: str) -> Callable[[], np.ndarray]:
    jitted, there = jax.jit(lambda x: orthogonal(x, kind)), jax.numpy.asarray(x)
    return lambda: np.asarray(jitted(there))


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", help="of PyTorch; JAX takes its own default")
    device = parser.parse_args(arguments).device
    torch.set_num_threads(1)
    where = torch.cuda.get_device_name() if device != "cpu" else "CPU, one thread"
    print(f"torch {torch.__version__} on {where}; JAX {jax.__version__} on {jax.devices()[0]}\n")
    print("| matrix | library | float32, ms | bfloat16 | exact | error: float32, bfloat16, exact |")
    print("| --- | --- | ---: | ---: | ---: | --- |")
    for shape in SHAPES:
        x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        true = orthogonal(x.astype(np.float64), "float32")
        for library, made_of in (("PyTorch", on_torch), ("JAX, jitted", on_jax)):
            steps = [made_of(x, kind, device) for kind in KINDS]
            errors = [np.linalg.norm(step() - true) / np.linalg.norm(true) for step in steps]
            turns = [[seconds(step) for step in steps] for _ in range(TURNS)]
            base = 1e3 * statistics.median(t[0] for t in turns)
            ratios = [statistics.median(t[i] / t[0] for t in turns) for i in (1, 2)]
            cells = (
                f"{shape[0]} × {shape[1]}", library, f"{base:.2f}",
                *(f"{ratio:.1f} ×" for ratio in ratios), ", ".join(f"{e:.0e}" for e in errors),
            )  # fmt: skip
            print(f"| {' | '.join(cells)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
