"""Compilation and step of a model of many small arrays on the CPU, beside optax.adamw.

    python conformance/benchmarks/jax_many.py [--width 64] [--repeats 15] [--json FILE]

A transformer of twelve layers has 150 arrays: at width 64, 100 of them are of 64 to 512 numbers.
Steps are calls of a function of ``jax.jit``, as anyone makes them; a call of what ``.compile()``
returns goes through Python for every array where the program has a callback.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console
from rich.table import Table

from mgup_jax import mgup_adamw

PEER = "optax.adamw"
OPTIMIZERS = {
    PEER: optax.adamw(1e-3, weight_decay=0.01),
    "mgup_adamw, off": mgup_adamw(1e-3, mode="off"),
    "mgup_adamw, sign": mgup_adamw(1e-3, mode="sign"),
    "mgup_adamw, auto": mgup_adamw(1e-3),
    "mgup_adamw, callback": mgup_adamw(1e-3, selection="callback"),
    "mgup_adamw, graph": mgup_adamw(1e-3, selection="graph"),
}


def model(width: int) -> Any:
    """The arrays of a transformer, of normal noise."""
    rng, d = np.random.default_rng(0), width
    layer = [(d,)] * 6 + [(3 * d,), (4 * d,), (d, 3 * d), (d, d), (d, 4 * d), (4 * d, d)]
    shapes = [layer] * 12 + [[(d,), (d,), (512, d), (128, d), (d, 512), (512,)]]
    return [[jnp.asarray(rng.standard_normal(s, np.float32)) for s in part] for part in shapes]


def compiled(optimizer: optax.GradientTransformation, width: int) -> tuple[Any, Any, float]:
    """(the step, what it goes on with, seconds of processor time to trace and compile it)."""

    def step(params: Any, state: Any, grads: Any) -> Any:
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    params = model(width)
    state = optimizer.init(params)
    advance = jax.jit(step, donate_argnums=(0, 1))
    start = time.process_time()
    advance.lower(params, state, params).compile()
    return advance, (params, state), time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=15, help="rounds; medians are shown")
    parser.add_argument("--json", help="where to write the figures")
    args = parser.parse_args()
    jax.config.update("jax_platforms", jax.config.jax_platforms or "cpu")
    steps = {name: compiled(optimizer, args.width) for name, optimizer in OPTIMIZERS.items()}
    held = {name: carry for name, (_, carry, _) in steps.items()}
    times: dict[str, list[float]] = {name: [] for name in steps}
    grads = model(args.width)
    for turn in range(args.repeats + 1):
        for name, (advance, _, _) in steps.items():
            start = time.perf_counter()
            held[name] = jax.block_until_ready(advance(*held[name], grads))
            if turn:  # the first warms up
                times[name].append(time.perf_counter() - start)
    number = sum(x.size for x in jax.tree.leaves(grads))
    rows = {
        name: {
            "compile_s": seconds,
            "compile_ratio": seconds / steps[PEER][2],
            "step_ms": 1e3 * statistics.median(times[name]),
            "step_ratio": statistics.median(
                a / b for a, b in zip(times[name], times[PEER], strict=True)
            ),
        }
        for name, (_, _, seconds) in steps.items()
    }
    table = Table(title=f"150 arrays, {number:,} parameters, float32, JAX {jax.__version__}")
    for heading in ("optimizer", "compile, s", f"× {PEER}", "step, ms", f"× {PEER} "):
        table.add_column(heading, justify="left" if heading == "optimizer" else "right")
    for name, row in rows.items():
        table.add_row(
            name, *(f"{x:.{n}f}" for x, n in zip(row.values(), (1, 1, 1, 2), strict=True))
        )
    Console().print(table)
    if args.json:
        about = {"jax": jax.__version__, "numbers": number, "processors": os.cpu_count()}
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump({**about, "rows": rows}, file, indent=1)


if __name__ == "__main__":
    main()
