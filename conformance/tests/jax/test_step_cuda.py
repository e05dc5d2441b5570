"""The step of the parameters by kernels on a GPU: ``JAX_PLATFORMS=cuda,cpu pytest -m cuda``.

A rule whose betas are traced asks the host, for which JAX needs a CPU device.

N1, N4, N5, P2 to P5, P7, R7.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mgup_core as core
from mgup_jax import in_place, mgup_adamw, transformation
from mgup_jax.kernels import unavailable

from .support import MAKERS, RULES, Reference, gradients

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(unavailable() is not None, reason=f"{unavailable()}"),
    pytest.mark.filterwarnings("ignore:.*none is selected"),
]
SMALL = {"a": (1500,), "b": (7, 5), "c": (3, 11, 2), "d": (64, 48), "e": (1,)}
LONG = {"a": (9_000_000,), "b": (4097,)}
"""The first takes its step in one pass."""
POLICIES = {"rank": core.MGUP(), "sign": core.SignMGUP(), "off": None}


def normal(shapes, seed=0):
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(x).astype(np.float32) for name, x in shapes.items()}


def check(
    name, shapes, mode="rank", *, grads=gradients, steps=3, dtype="float32", stacked=0, **how
):
    """The reference's bits after some steps, each jitted, by kernels alone."""
    optimizer = MAKERS[name](1e-2, weight_decay=0.1, mode=mode, stacked_dims=stacked)
    start = jax.tree.map(lambda w: w.astype(jnp.dtype(dtype)), normal(shapes))
    options = {"lr": 1e-2, "weight_decay": 0.1, "stacked_dims": stacked}
    reference = Reference(start, RULES[name](), POLICIES[mode], **options)
    params = jax.tree.map(jnp.asarray, start)
    state = optimizer.init(params)
    step = jax.jit(optimizer.step, donate_argnums=(0, 1))
    assert "mgup_step" in step.lower(params, state, params).as_text()
    for t in range(steps):
        given = jax.tree.map(lambda g: g.astype(jnp.dtype(dtype)), grads(reference.params, t))
        params, state = step(params, state, jax.tree.map(jnp.asarray, given))
        reference.step(given)
        reference.check(params, state.moments, step=t)
    assert int(state.count) == steps


@pytest.mark.parametrize("mode", POLICIES)
@pytest.mark.parametrize("name", MAKERS)
def test_small(name, mode):
    check(name, SMALL, mode)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_narrow(dtype):
    check("adamw", SMALL, dtype=dtype)


def test_stacked():
    check("adamw", {"a": (4, 33, 7), "b": (2, 40)}, stacked=1)


@pytest.mark.parametrize("name", MAKERS)
def test_one_pass(name):
    check(name, LONG, steps=2)


@pytest.mark.parametrize("kind", ["zeros", "equal", "coarse", "nan"])
def test_hard_gradients(kind):
    """P4, P7: crowds of ties, also at the threshold, and scores that are none."""

    def grads(params, t):
        g = normal(LONG, 1 + t)["a"] * np.float32(1e-2)
        rare = normal(LONG, 90 + t)["a"] > 1.3
        g = {
            "zeros": np.where(rare, g, np.float32(0)),
            "equal": np.full_like(g, 0.01),
            "coarse": np.round(g * 100) / np.float32(100),
            "nan": np.where(rare, np.float32("nan"), g),
        }[kind]
        return {"a": g, "b": g[:4097]}

    check("adamw", LONG, grads=grads, steps=2)


def test_under_scan_with_schedules():
    """R7: whatever a schedule gives, in one program; the same bits as step by step."""
    rates = {
        "learning_rate": lambda t: 1e-2 / (1 + t),
        "weight_decay": lambda t: 0.1 / (1 + t),
        "alpha": lambda t: 2.0 + 0.1 * t,
        "gamma": lambda t: 0.5 - 0.01 * t,
    }
    optimizer = mgup_adamw(**rates)
    quiet = mgup_adamw(**rates, selection="graph", update_dtype="compute")
    start = jax.tree.map(jnp.asarray, normal(SMALL))
    grads = jax.tree.map(lambda x: jnp.stack([x, -2 * x, 3 * x, x - 1]), start)

    def many(step):
        begin = start, optimizer.init(start)
        return jax.jit(lambda: jax.lax.scan(lambda c, g: (step(*c, g), None), begin, grads)[0])()

    def by_update(params, state, g):
        updates, state = quiet.update(g, state, params)
        return optax.apply_updates(params, updates), state

    one, other = many(optimizer.step), many(by_update)
    assert jax.tree.all(jax.tree.map(lambda x, y: bool((x == y).all()), one, other))


def test_what_the_kernels_leave_to_xla():
    """A float that changes as the program runs, and a dtype that they do not compute in."""
    rule = transformation(core.AdamW)
    params = jnp.asarray(normal({"a": (64,)})["a"])
    state = rule(1e-2).init(params)

    def traced(b1):
        return rule(1e-2, b1=b1).step(params, state, params)[0]

    in_place._tell.cache_clear()
    with pytest.warns(UserWarning, match="b1 of AdamW change as the program runs"):
        moved = jax.jit(traced)(jnp.float32(0.9))
    known = rule(1e-2, b1=float(np.float32(0.9)))  # the number that the program was given
    np.testing.assert_array_equal(moved, known.step(params, state, params)[0])
    with pytest.warns(UserWarning, match="an array of shape"):
        rule(1e-2).step(params, rule(1e-2).init(params), params.astype(jnp.bfloat16))


def test_two_programs_take_turns():
    """Each has a plan of its own, and nothing of one step is left for the next."""
    optimizer = mgup_adamw(1e-2)
    step = jax.jit(optimizer.step)
    trees = [jax.tree.map(jnp.asarray, normal(x)) for x in (SMALL, LONG)]
    states = list(map(optimizer.init, trees))
    first = [step(p, s, p) for p, s in zip(trees, states, strict=True)]
    again = [step(p, s, p) for p, s in zip(trees, states, strict=True)]
    assert jax.tree.all(jax.tree.map(lambda x, y: bool((x == y).all()), first, again))
