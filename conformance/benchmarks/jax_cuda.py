"""JAX on an NVIDIA GPU: the time of a jitted, donated step beside optax.adamw, and its bits.

    python conformance/benchmarks/jax_cuda.py [--sizes 67108864,134217728,tree] [--out FOLDER]

The modes are those of ``optimizer.step``; ``update`` is rank mode by ``update`` and
``optax.apply_updates``. ``tree`` is a LLaMA-like model of 134 million parameters in 111 arrays.
Times are of five steps in flight, in turns of all optimizers, each turn with gradients of its own,
since the search takes a pass more or less with others. A ratio is the median of the turns'.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from datetime import date
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax_cpu import PEER, prepared
from rich.console import Console
from rich.table import Table

import mgup_core as core
from mgup_jax import mgup_adamw, selection

MODES = ("rank", "sign", "adaptive", "off")
IN_FLIGHT = 5


def shapes(size: str) -> list[tuple[int, ...]]:
    """Of one array, or of a tree."""
    if size != "tree":
        return [(int(size),)]
    width, hidden, vocabulary = 768, 2048, 32000
    block = [(width, width)] * 4 + [(hidden, width)] * 2 + [(width, hidden)] + [(width,)] * 2
    return [(vocabulary, width), *(block * 12), (width,), (vocabulary, width)]


def normal(size: str, seed: int) -> list[Any]:
    """Made on the device, as one array that is cut: a random number for each takes XLA long."""
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes(size)])
    whole = jax.random.normal(jax.random.key(seed), (int(ends[-1]),))
    parts = zip(shapes(size), [0, *ends[:-1]], ends, strict=True)
    return [jnp.reshape(whole[a:z], shape) for shape, a, z in parts]


def gradients(size: str, turn: int) -> list[Any]:
    """Others for each turn."""
    return [1e-3 * g for g in normal(size, 1 + turn)]


def timed(size: str, turns: int) -> dict[str, Any]:
    """Milliseconds of the peer, and each mode's ratio to it."""
    options = {"learning_rate": 1e-3, "weight_decay": 0.1}
    optimizers = {PEER: optax.adamw(**options)}
    optimizers |= {mode: mgup_adamw(**options, mode=mode) for mode in MODES}
    steps = {
        name: prepared(one, normal(size, 0), gradients(size, 0), IN_FLIGHT, name != PEER)
        for name, one in optimizers.items()
    }
    if size != "tree":
        rank = optimizers["rank"]
        steps["update"] = prepared(rank, normal(size, 0), gradients(size, 0), IN_FLIGHT)
    times = {name: [] for name in steps}
    for turn in range(turns):
        grads = gradients(size, turn)
        for name, seconds in steps.items():
            times[name].append(seconds(grads))
    row = {"size": size, PEER: 1e3 * statistics.median(times[PEER])}
    for mode in times.keys() - {PEER}:
        pairs = zip(times[mode], times[PEER], strict=True)
        row[mode] = statistics.median(mine / theirs for mine, theirs in pairs)
    return row


def differing_bits(size: int = 1 << 20, steps: int = 5) -> dict[str, int]:
    """How many coordinates differ from the NumPy reference after some steps (N1)."""
    rng = np.random.default_rng(0)
    w = rng.standard_normal(size, np.float32)
    optimizer = mgup_adamw(1e-2, weight_decay=0.1)
    params, state = jnp.asarray(w), optimizer.init(jnp.asarray(w))
    reference = core.Optimizer(core.AdamW(), core.MGUP(), lr=1e-2, weight_decay=0.1)
    expected, kept = [w], reference.init([w])
    step = jax.jit(optimizer.step)
    for _ in range(steps):
        g = (rng.standard_normal(size) * 1e-2).astype(np.float32)
        params, state = step(params, state, jnp.asarray(g))
        expected, kept = reference.step(expected, [g], kept)
    pairs = {"parameters": (params, expected[0])}
    pairs |= {name: (state.moments[name], kept.arrays[0][name]) for name in kept.arrays[0]}
    return {
        name: int((np.asarray(x).view(np.int32) != y.view(np.int32)).sum())
        for name, (x, y) in pairs.items()
    }


def differing_masks(size: int = 1 << 20) -> dict[str, int]:
    """How many coordinates of a mask differ from a stable sort's, for scores with ties and NaN."""
    x = np.random.default_rng(3).standard_normal(size).astype(np.float32)
    kinds = {
        "normal": x,
        "sixteenths": np.round(x * 16) / 16,
        "nan": np.where(x > 1, np.float32(np.nan), x),
        "mostly zero": np.where(x > -1, np.float32(0), x),
        "equal": np.ones_like(x),
        "infinite": np.where(np.abs(x) > 1, np.copysign(np.float32(np.inf), x), x),
    }
    found = {}
    for name, scores in kinds.items():
        canonical = (scores + np.float32(0)).astype(np.float32)
        for k in (size // 2, 1, size - 1):
            mask = selection.graph_mask(jnp.asarray(canonical[None]), k)
            expected = np.zeros(size, bool)
            order = np.argsort(-np.where(np.isnan(canonical), -np.inf, canonical), kind="stable")
            expected[order[:k]] = True
            ranked = ~np.isnan(canonical)  # of NaN it may leave out any (P7)
            found[f"{name}, K = {k}"] = int((np.asarray(mask)[0] != expected)[ranked].sum())
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="1048576,16777216,67108864,134217728,tree")
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--out", type=Path, help="a folder for jax_cuda.json")
    args = parser.parse_args()
    if jax.default_backend() != "gpu":
        parser.error("JAX sees no GPU")
    device, console = jax.devices()[0].device_kind, Console(width=110)
    # Where JAX sees several devices it must not assume that one holds the scores: that is slower.
    seen = jax.device_count()
    table = Table(title=f"float32, JAX {jax.__version__} on {device} (of {seen})")
    for heading in ("elements", f"{PEER}, ms", *MODES, "update"):
        table.add_column(heading, justify="right")
    rows = []
    for size in args.sizes.split(","):
        rows.append(timed(size, args.turns))
        row = rows[-1]
        names = (PEER, *MODES, "update")
        figures = [f"{row[name]:.2f}" if name in row else "" for name in names]
        table.add_row(size, *figures)
        print(rows[-1], file=sys.stderr, flush=True)
    console.print(table)
    bits, masks = differing_bits(), differing_masks()
    console.print("Coordinates of 2^20 that differ from NumPy's after five steps:", bits)
    console.print("Coordinates of masks that differ from a stable sort's:", masks)
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        about = {"date": str(date.today()), "jax": jax.__version__}
        about |= {"device": device, "devices": seen}
        facts = {**about, "rows": rows, "differing_bits": bits, "differing_masks": masks}
        (args.out / "jax_cuda.json").write_text(json.dumps(facts, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
