"""Every rule of the core as an optax transformation: jit, and state that is saved and restored.

It checks N1.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mgup_core as core
import mgup_jax
from mgup_conformance.ports import CLASSES, PORTED, REPRODUCIBLE, trains_vectors

pytestmark = pytest.mark.filterwarnings("ignore:.*none is selected")


def arrays(name: str, seed: int):
    # The program of an elementwise rule is one for all shapes, and compiled for each.
    vector = trains_vectors(name) and not CLASSES[name].elementwise
    shapes = {"a": (6, 10)} | ({"c": (7,)} if vector else {})
    rng = np.random.default_rng(seed)
    return {key: rng.standard_normal(shape).astype(np.float32) for key, shape in shapes.items()}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n == "soap")) for n in PORTED]
)
def test_jitted_steps(name):
    """One compilation; the core's steps, by bits where the rule is identical; restored state."""
    options = dict(REPRODUCIBLE.get(name, {}))
    if "out_axis" in CLASSES[name].__dataclass_fields__:
        options["out_axis"] = 0
    make = getattr(mgup_jax, f"mgup_{name}")
    optimizer = make(1e-2, weight_decay=0.1, **options)
    params = jax.tree.map(jnp.asarray, arrays(name, 0))
    reference = core.Optimizer(CLASSES[name](**options), core.MGUP(), lr=1e-2, weight_decay=0.1)
    expected = arrays(name, 0)
    kept = reference.init(expected)

    @jax.jit
    def step(params, state, grads):
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    state = optimizer.init(params)
    for t in range(1, 5):
        grads = arrays(name, t)
        params, state = step(params, state, grads)
        expected, kept = reference.step(expected, grads, kept)
        for key, w in expected.items():
            if reference.rule.identical:
                np.testing.assert_array_equal(np.asarray(params[key]), w)
            else:
                np.testing.assert_allclose(np.asarray(params[key]), w, rtol=1e-4, atol=1e-5)
        if t == 2:  # through plain arrays, as a checkpoint would take it
            leaves, structure = jax.tree.flatten(state)
            state = jax.tree.unflatten(structure, [jnp.asarray(np.asarray(x)) for x in leaves])
    assert step._cache_size() == 1


@pytest.mark.parametrize("name", [n for n in PORTED if not trains_vectors(n)])
def test_a_vector_is_refused(name):
    """A rule of matrices names itself and the remedy."""
    with pytest.raises(ValueError, match=CLASSES[name].__name__):
        getattr(mgup_jax, f"mgup_{name}")(1e-2).init({"w": jnp.zeros(4)})


def test_orbax(tmp_path):
    """Every rule's state, whatever its shapes and dtypes, saved and restored by bits."""
    checkpoint = pytest.importorskip("orbax.checkpoint")
    states = {}
    for name in PORTED:
        states[name] = jax.eval_shape(getattr(mgup_jax, f"mgup_{name}")(1e-2).init, arrays(name, 0))
    # Not as init leaves it, which a restored zero or identity would equal.
    states = jax.tree.map(lambda x: jnp.full(x.shape, 3, x.dtype), states)
    with checkpoint.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "states", states)
        checkpointer.wait_until_finished()
        restored = checkpointer.restore(tmp_path / "states", jax.eval_shape(lambda: states))
    for old, new in zip(jax.tree.leaves(states), jax.tree.leaves(restored), strict=True):
        assert old.dtype == new.dtype
        np.testing.assert_array_equal(old, new)
