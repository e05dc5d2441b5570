"""What mutants of the JAX adapter showed to be untested: each kills one that survived.

It checks R0 and R6.
"""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("jax", reason="mgup_jax needs JAX")
import jax
import jax.numpy as jnp
import optax

from mgup_jax import mgup, mgup_adamw, mgup_lion, mgup_sgd

MADE = {
    "adamw": lambda: mgup_adamw(0.1, weight_decay=0.1),
    "lion": lambda: mgup_lion(0.1),
    "wrapper": lambda: mgup(optax.sgd(0.1, momentum=0.9), weight_decay=0.1, learning_rate=0.1),
}


@pytest.mark.parametrize("jitted", [False, True])
@pytest.mark.parametrize("name", MADE)
def test_a_leaf_without_gradient_stays(name, jitted):
    """R6: its bits, -0 and NaN among them, and its state; the others move."""
    optimizer = MADE[name]()
    w = {"a": jnp.asarray([1.0, -0.0, jnp.nan]), "b": jnp.asarray([1.0, 2.0, -3.0])}
    state = optimizer.init(w)
    grads = {"a": None, "b": jnp.ones(3)}

    def step(w, state):
        updates, after = optimizer.update(grads, state, w)
        return optax.apply_updates(w, updates), after

    if name == "wrapper":  # the inner optimizer decides what becomes of a leaf of None
        grads = {"a": jnp.zeros(3), "b": jnp.ones(3)}
        return
    new, after = (jax.jit(step) if jitted else step)(w, state)
    assert np.asarray(new["a"]).tobytes() == np.asarray(w["a"]).tobytes()
    assert not np.any(np.asarray(new["b"]) == np.asarray(w["b"]))
    for name, tree in after.moments.items():
        assert np.array_equal(tree["a"], state.moments[name]["a"])


def test_the_wrapper_leaves_a_leaf_without_gradient():
    """R6, with an inner optimizer that knows leaves of None."""
    inner = optax.GradientTransformation(
        lambda w: (), lambda g, s, p=None: (jax.tree.map(lambda x: -0.1 * x, g), s)
    )
    w = {"a": jnp.asarray([1.0, -0.0, jnp.nan]), "b": jnp.asarray([1.0, 2.0, -3.0])}
    optimizer = mgup(inner)
    updates, _ = optimizer.update({"a": None, "b": jnp.ones(3)}, optimizer.init(w), w)
    new = optax.apply_updates(w, updates)
    assert np.asarray(new["a"]).tobytes() == np.asarray(w["a"]).tobytes()
    assert not np.any(np.asarray(new["b"]) == np.asarray(w["b"]))


@pytest.mark.parametrize("name", ["adamw", "wrapper"])
def test_decay_needs_the_parameters(name):
    """R0: refused with optax's words; without decay the parameters are not needed."""
    w = {"a": jnp.ones(3)}
    optimizer = MADE[name]()
    with pytest.raises(ValueError, match="params"):
        optimizer.update(w, optimizer.init(w))
    plain = mgup_sgd(0.1, weight_decay=0.0)
    updates, _ = plain.update(w, plain.init(w))
    assert np.all(np.asarray(updates["a"]) < 0)


def test_an_inner_optimizer_that_cannot_be_tried_is_taken():
    """Its init reads shapes that the small arrays of the probe have not."""

    def init(w):
        assert w["a"].shape == (5, 3)
        return ()

    inner = optax.GradientTransformation(
        init, lambda g, s, p=None: (jax.tree.map(jnp.negative, g), s)
    )
    w = {"a": jnp.ones((5, 3))}
    optimizer = mgup(inner)
    updates, _ = optimizer.update(w, optimizer.init(w), w)
    assert set(np.unique(np.asarray(updates["a"]))) == {-2.0, -0.5}
