"""Sharded parameters on eight virtual devices: the unsharded mask, and only counts travel (P4)."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

PROGRAM = """
import json, math, re, sys
import jax, jax.numpy as jnp, numpy as np, optax
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
from mgup_core.counting import SAMPLE
from mgup_jax import mgup_adamw

axes = (getattr(AxisType, sys.argv[1]),) * 2
mesh = jax.make_mesh((4, 2), ("x", "y"), axis_types=axes)
COLLECTIVE = r"= \\w+\\[([\\d,]*)\\]\\S* (?:all-gather|all-to-all|collective-permute)"

def check(shape, spec, options, local):
    rng = np.random.default_rng(0)
    start, grads = (rng.integers(-9, 9, shape).astype(np.float32) / 4 for _ in range(2))
    optimizer = mgup_adamw(1e-2, weight_decay=0.1, **options)

    def step(params, state, grads):
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    sharding = NamedSharding(mesh, spec)
    w, g = (jax.device_put(x, sharding) for x in (start, grads))
    state = optimizer.init(w)
    compiled = jax.jit(step).lower(w, state, g).compile()
    moved, state = compiled(w, state, g)
    whole = jax.tree.map(jnp.asarray, start)
    expected, _ = jax.jit(step)(whole, optimizer.init(whole), grads)
    assert (np.asarray(moved) == np.asarray(expected)).all()
    for x in (moved, *jax.tree.leaves(state.moments)):
        assert x.sharding.is_equivalent_to(sharding, len(shape))
    gathered = re.findall(COLLECTIVE, compiled.as_text())
    sizes = [math.prod(map(int, dims.split(","))) if dims else 1 for dims in gathered]
    assert not local or max(sizes, default=0) <= 2 * SAMPLE < math.prod(shape), sizes

for case in json.loads(sys.argv[2]):
    shape, spec, options, local = case
    check(tuple(shape), P(*[tuple(x) if isinstance(x, list) else x for x in spec]), options, local)
print("ok")
"""
ROWS = [(1024, 96), ["x"], {}, True]
CASES = {
    "Auto": [
        ROWS,
        [(1024, 96), [["x", "y"]], {}, True],
        [(1024, 96), ["x"], {"mode": "adaptive"}, True],
        [(8, 64, 192), ["x", "y"], {"stacked_dims": 1}, True],
        [(1024, 96), [None, "x"], {}, False],
    ],
    "Explicit": [ROWS],
}
"""Kind of mesh axes -> [shape, partition, options, whether only a sample may be gathered]."""


@pytest.mark.parametrize("kind", CASES)
def test_sharded_equals_whole(kind):
    """P4: the same bits, the same shardings; no gather beyond the sample where rows are local."""
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, kind, json.dumps(CASES[kind])],
        capture_output=True,
        text=True,
        env={**os.environ, **flags},
    )
    assert done.stdout.strip() == "ok", done.stderr[-3000:]
