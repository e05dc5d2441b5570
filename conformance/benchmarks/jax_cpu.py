"""The time of a jitted, donated step on the CPU, beside optax.adamw, with and without fences.

    python conformance/benchmarks/jax_cpu.py [--size 10000000] [--repeats 9] [--json FILE]

All rows are timed in turn, round after round, in one process, and the medians of the ratios are
shown: a machine's speed drifts, a ratio in one round less.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from datetime import date
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console
from rich.table import Table

from mgup_jax import mgup_adamw, mgup_lion
from mgup_jax.backend import JaxBackend

PEER = "optax.adamw"
OPTIMIZERS: dict[str, tuple[optax.GradientTransformation, bool]] = {
    PEER: (optax.adamw(1e-3), True),
    "mgup_adamw, off": (mgup_adamw(1e-3, mode="off"), True),
    "mgup_adamw, off, no fences": (mgup_adamw(1e-3, mode="off"), False),
    "mgup_adamw, callback": (mgup_adamw(1e-3, selection="callback"), True),
    "mgup_adamw, callback, no fences": (mgup_adamw(1e-3, selection="callback"), False),
    "mgup_adamw, graph": (mgup_adamw(1e-3, selection="graph"), True),
    "mgup_adamw, graph, no fences": (mgup_adamw(1e-3, selection="graph"), False),
    "mgup_adamw, sign": (mgup_adamw(1e-3, mode="sign"), True),
    "mgup_adamw, adaptive": (mgup_adamw(1e-3, mode="adaptive"), True),
    "optax.lion": (optax.lion(1e-4), True),
    "mgup_lion": (mgup_lion(1e-4), True),
}
"""Name -> (optimizer, whether its products are fenced)."""


def prepared(
    optimizer: optax.GradientTransformation,
    params: Any,
    grads: Any,
    in_flight: int = 1,
    in_place: bool = False,
) -> Callable[..., float]:
    """A function that takes some steps and says how many seconds each took.

    It may be given other gradients for them.

    Args:
        params: an array that nobody else needs: the steps work in its place.
        in_flight: how many steps are begun before the last is waited for.
        in_place: whether to take the optimizer's own step of the parameters.
    """

    def step(params: Any, state: Any, grads: Any) -> Any:
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    own: Any = optimizer
    advance = jax.jit(own.step if in_place else step, donate_argnums=(0, 1))
    held = [advance(params, optimizer.init(params), grads)]

    def seconds(grads: Any = grads) -> float:
        jax.block_until_ready((held[0], grads))
        start = time.perf_counter()
        for _ in range(in_flight):
            held[0] = advance(*held[0], grads)
        jax.block_until_ready(held[0])
        return (time.perf_counter() - start) / in_flight

    seconds()
    return seconds


def in_turns(steps: dict[str, Callable[[], float]], turns: int) -> dict[str, dict[str, float]]:
    """Of each step its milliseconds, and the ratio to optax.adamw's in the same turn: medians."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(turns):
        for name, seconds in steps.items():
            times[name].append(seconds())
    return {
        name: {
            "ms": 1e3 * statistics.median(taken),
            "ratio": statistics.median(x / y for x, y in zip(taken, times[PEER], strict=True)),
        }
        for name, taken in times.items()
    }


def arrays(size: int) -> tuple[Any, Any]:
    """New parameters and gradients, of the same numbers each time."""
    rng = np.random.default_rng(0)
    params, grads = (jnp.asarray(rng.standard_normal(size, np.float32)) for _ in range(2))
    return params, grads


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=10_000_000, help="parameters, in one array")
    parser.add_argument("--repeats", type=int, default=9, help="rounds; medians are shown")
    parser.add_argument("--json", help="where to write the figures")
    args = parser.parse_args()
    jax.config.update("jax_platforms", jax.config.jax_platforms or "cpu")
    steps = {}
    for name, (optimizer, fenced) in OPTIMIZERS.items():
        fence = JaxBackend._fence if fenced else lambda self, x, of=None: x
        with mock.patch.object(JaxBackend, "_fence", fence):
            steps[name] = prepared(optimizer, *arrays(args.size))
    report = in_turns(steps, args.repeats)
    table = Table(title=f"{args.size:,} parameters, float32, JAX {jax.__version__}")
    for heading in ("optimizer", "ms", f"× {PEER}"):
        table.add_column(heading, justify="left" if heading == "optimizer" else "right")
    for name, row in report.items():
        table.add_row(name, f"{row['ms']:.1f}", f"{row['ratio']:.2f}")
    Console().print(table)
    if args.json:
        about = {"date": date.today().isoformat(), "jax": jax.__version__, "size": args.size}
        with open(args.json, "w") as file:
            json.dump({**about, "rows": report}, file, indent=1)
            file.write("\n")


if __name__ == "__main__":
    main()
