"""Derivatives through a step, as meta-learning takes them: the mask's is zero (issue 11).

It checks P6, N6.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mgup_jax import mgup, mgup_adamw, mgup_sgd

# Of one shape, for which JAX compiles each operation once.
GRADS = {"w": jnp.asarray([[1.0, -2.0], [3.0, 0.5]]), "zero": jnp.zeros((2, 2))}
PARAMS = {"w": jnp.asarray([[0.5, -1.0], [0.25, 2.0]]), "zero": jnp.ones((2, 2))}
WAYS = [{"mode": mode} for mode in ("sign", "adaptive", "cautious", "off")]
WAYS += [{"selection": how} for how in ("callback", "graph")]


def stepped(optimizer, x):
    updates, _ = optimizer.update(
        jax.tree.map(lambda g: g * x, GRADS), optimizer.init(PARAMS), PARAMS
    )
    return jax.tree.map(lambda w, u: w + u, PARAMS, updates)


def loss(optimizer):
    return lambda x: sum(jnp.sum(w**2) for w in jax.tree.leaves(stepped(optimizer, x)))


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_step_of_sgd(way):
    """The step is linear in a positive x, so that its derivatives are known."""
    optimizer = mgup_sgd(0.125, momentum=0.0, **way)
    x = jnp.float32(2.0)
    slope = jax.tree.map(lambda new, old: (new - old) / x, stepped(optimizer, x), PARAMS)
    jacobian = jax.jit(jax.jacfwd(lambda x: stepped(optimizer, x)))(x)
    jax.tree.map(np.testing.assert_array_equal, slope, jacobian)
    pairs = list(zip(*map(jax.tree.leaves, (stepped(optimizer, x), slope)), strict=True))
    f = loss(optimizer)
    gradient, hessian = jax.jit(lambda x: (jax.grad(jax.checkpoint(f))(x), jax.hessian(f)(x)))(x)
    # Few binary digits: no sum of these numbers is rounded, in whatever order.
    assert float(gradient) == sum(float(2 * jnp.sum(w * s)) for w, s in pairs)
    assert float(hessian) == sum(float(2 * jnp.sum(s * s)) for _, s in pairs)


@pytest.mark.parametrize("make", [mgup_adamw, lambda lr: mgup(optax.sgd(lr))])
def test_gradients_of_zero(make):
    """N6: a moment that is 0 is a constant; no NaN comes of its root, eager or mapped."""
    optimizer, xs = make(1e-2), jnp.asarray([0.5, 2.0])
    slope = jax.jacrev(lambda x: stepped(optimizer, x)["zero"])
    np.testing.assert_array_equal(jax.jit(jax.vmap(slope))(xs), np.zeros((2, 2, 2)))
    np.testing.assert_array_equal([slope(x) for x in xs], np.zeros((2, 2, 2)))
    assert np.isfinite(jax.jit(jax.vmap(jax.grad(loss(optimizer))))(xs)).all()


def test_adamw_against_differences():
    """N4's roots and quotients have the derivatives of roots and quotients."""
    with jax.experimental.enable_x64() if not hasattr(jax, "enable_x64") else jax.enable_x64(True):
        params, grads = (
            {"w": jnp.asarray(np.asarray(tree["w"], np.float64))} for tree in (PARAMS, GRADS)
        )
        optimizer = mgup_adamw(0.1, eps=1.0, selection="graph")

        def f(x):
            given = jax.tree.map(lambda g: g * x, grads)
            updates, _ = optimizer.update(given, optimizer.init(params), params)
            return jnp.sum((params["w"] + updates["w"]) ** 3)

        f = jax.jit(f)
        difference = (f(2.0 + 1e-5) - f(2.0 - 1e-5)) / 2e-5
        np.testing.assert_allclose(jax.grad(f)(2.0), difference, rtol=1e-6)
