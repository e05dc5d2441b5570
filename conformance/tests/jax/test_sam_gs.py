"""SAM-GS on JAX's arrays, compiled.

It checks N10: the bits of NumPy.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mgup_core import SAMGS


@pytest.mark.parametrize("trigger", ["mean", "any"])
def test_a_compiled_aggregation_is_the_same(trigger):
    """N10: NumPy's bits. No value is asked for, and the count of steps is traced."""
    rng = np.random.default_rng(0)
    surgery = SAMGS(threshold=0.6, trigger=trigger)
    compiled, state, other = jax.jit(surgery.aggregate), None, None
    for _ in range(5):
        sizes = np.exp(rng.standard_normal(3))
        tasks = [{"w": (s * rng.standard_normal((2, 3))).astype(np.float32)} for s in sizes]
        ours = jax.tree.map(jnp.asarray, tasks)
        state, other = state or surgery.init(ours), other or surgery.init(tasks)
        gradient, state = compiled(ours, state)
        expected, other = surgery.aggregate(tasks, other)
        np.testing.assert_array_equal(gradient["w"], expected["w"])
