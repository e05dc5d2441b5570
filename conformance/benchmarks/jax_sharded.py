"""JAX over all devices: the time of a jitted, donated step beside optax.adamw, and its bits.

    python conformance/benchmarks/jax_sharded.py [--shape 65536,2048] [--turns 7]
    XLA_FLAGS=--xla_force_host_platform_device_count=2 JAX_PLATFORMS=cpu \\
      python conformance/benchmarks/jax_sharded.py --shape 64,256

One array, cut along its first axis by a NamedSharding. Times are of five steps in flight, in turns;
a ratio is the median of the turns'. The second line checks the program, and not its speed.
"""

from __future__ import annotations

import argparse
from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding
from jax_cpu import PEER, in_turns, prepared
from rich.console import Console
from rich.table import Table

from mgup_jax import mgup_adamw

MODES = ("rank", "sign", "adaptive", "off")
IN_FLIGHT = 5
CHECKED = ((1000, 64), (4096, 33), (7, 2**17))
"""Cut along the first axis where two devices divide it, else along the second."""


def array(shape: tuple[int, ...], seed: int, where: Any) -> Any:
    """Normal numbers in quarters, so that scores tie."""
    x = np.random.default_rng(seed).standard_normal(shape, np.float32)
    return jax.device_put(np.round(4 * x) / np.float32(4), where)


def timed(shape: tuple[int, ...], where: Any, turns: int) -> dict[str, dict[str, float]]:
    """Of each optimizer its milliseconds, and the ratio to optax.adamw."""
    options = {"learning_rate": 1e-3, "weight_decay": 0.1}
    made = {PEER: optax.adamw(**options)}
    made |= {mode: mgup_adamw(**options, mode=mode) for mode in MODES}
    steps = {
        name: prepared(one, array(shape, 0, where), array(shape, 1, where), IN_FLIGHT)
        for name, one in made.items()
    }
    return in_turns(steps, turns)


def trained(shape: tuple[int, ...], where: Any) -> Any:
    """The parameters after five steps."""
    optimizer = mgup_adamw(1e-2, weight_decay=0.1)
    params = array(shape, 0, where)
    state = jax.jit(optimizer.init)(params)
    update = jax.jit(optimizer.update)
    for step in range(5):
        updates, state = update(array(shape, 1 + step, where), state, params)
        params = optax.apply_updates(params, updates)
    return np.asarray(params)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", default="65536,2048")
    parser.add_argument("--turns", type=int, default=7)
    args = parser.parse_args()
    devices = jax.devices()
    mesh = Mesh(np.array(devices), ("x",))
    cut = [NamedSharding(mesh, PartitionSpec(*axes)) for axes in (("x", None), (None, "x"))]
    shape = tuple(map(int, args.shape.split(",")))
    table = Table(title=f"{shape} over {len(devices)} × {devices[0].device_kind}")
    for heading in ("optimizer", "ms", f"× {PEER}"):
        table.add_column(heading, justify="left" if heading == "optimizer" else "right")
    for name, row in timed(shape, cut[0], args.turns).items():
        table.add_row(name, f"{row['ms']:.3f}", f"{row['ratio']:.2f}")
    console = Console()
    console.print(table)
    alone = SingleDeviceSharding(devices[0])
    for one in CHECKED:
        where = cut[one[0] % len(devices) != 0]
        differing = int((trained(one, where) != trained(one, alone)).sum())
        console.print(f"{one}: {differing} coordinates differ from one device's")


if __name__ == "__main__":
    main()
