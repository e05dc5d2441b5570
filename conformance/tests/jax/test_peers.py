"""Ported rules beside those of optax, after ten steps in float64; where they differ, by what.

It checks R0.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mgup_jax
from mgup_core import (
    ADOPT,
    AdaBelief,
    Adan,
    AdEMAMix,
    AMSGrad,
    LionK,
    NAdamW,
    Optimizer,
    RAdam,
    ScheduleFreeAdamW,
    ScheduleFreeSGD,
    Signum,
)

pytest.importorskip("optax", minversion="0.2.8", reason="older ones lack some of these")

SHAPES = ((4, 6), (5,))


def both(rule, theirs, *, weight_decay=0.0):
    """(our parameters, optax's) after ten steps of one stream of gradients."""
    rng = np.random.default_rng(1)
    params = [rng.standard_normal(shape) for shape in SHAPES]
    optimizer = Optimizer(rule, None, lr=0.01, weight_decay=weight_decay)
    ours, state = params, optimizer.init(params)
    with jax.enable_x64(True):
        other = [jnp.asarray(w) for w in params]
        memory = theirs.init(other)
        for _ in range(10):
            grads = [rng.standard_normal(shape) for shape in SHAPES]
            ours, state = optimizer.step(ours, grads, state)
            updates, memory = theirs.update([jnp.asarray(g) for g in grads], memory, other)
            other = optax.apply_updates(other, updates)
        return np.concatenate([w.ravel() for w in ours]), np.concatenate(
            [np.asarray(w).ravel() for w in other]
        )


def lion_k(mode, **options):
    return optax.chain(
        optax.scale_by_lion(b1=0.9, b2=0.99, mode=mode, **options), optax.scale(-0.01)
    )


@pytest.mark.parametrize(
    ("rule", "theirs"),
    [
        (AdaBelief(rectify=False), lambda: optax.adabelief(0.01)),
        (AdEMAMix(mix=5.0), lambda: optax.contrib.ademamix(0.01)),
        (Signum(), lambda: optax.signum(0.01)),
        (NAdamW(), lambda: optax.nadamw(0.01, weight_decay=0.0)),
        (ADOPT(), lambda: optax.contrib.adopt(0.01)),
        (ADOPT(clipping=False), lambda: optax.contrib.adopt(0.01, use_clipping=False)),
        (RAdam(eps=0.0), lambda: optax.radam(0.01, eps=0.0)),
        (LionK(), lambda: lion_k("hard")),
        (LionK(kernel="clip"), lambda: lion_k("refined")),
        (LionK(kernel="tanh", sharpness=2.0), lambda: lion_k("smooth", smooth_beta=2.0)),
    ],
    ids=lambda x: repr(x) if not callable(x) else "",
)
def test_the_same_after_ten_steps(rule, theirs):
    ours, other = both(rule, theirs())
    np.testing.assert_allclose(ours, other, rtol=0, atol=1e-13)


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_schedule_free_trains_and_evaluates_where_optax_does(kind):
    """At the parameters y, and at the average x; both are the reference's to the bit (R8)."""
    rule = {"adamw": ScheduleFreeAdamW, "sgd": ScheduleFreeSGD}[kind]()
    rng = np.random.default_rng(1)
    w = rng.standard_normal((4, 6))
    core = Optimizer(rule, None, lr=0.05, weight_decay=0.3)
    reference, steps = [w], core.init([w])
    with jax.enable_x64(True):
        theirs = getattr(optax.contrib, f"schedule_free_{kind}")(0.05, weight_decay=0.3)
        make = getattr(mgup_jax, f"mgup_schedule_free_{kind}")
        ours = make(0.05, weight_decay=0.3, mode="off")
        params, y = [jnp.asarray(w)], jnp.asarray(w)
        state, memory = ours.init(params), theirs.init(y)
        for _ in range(10):
            g = rng.standard_normal((4, 6))
            updates, state = ours.update([jnp.asarray(g)], state, params)
            params = optax.apply_updates(params, updates)
            updates, memory = theirs.update(jnp.asarray(g), memory, y)
            y = optax.apply_updates(y, updates)
            reference, steps = core.step(reference, [g], steps)
        x = optax.contrib.schedule_free_eval_params(memory, y)
        there = mgup_jax.eval_params((optax.EmptyState(), (state,)), params)
    np.testing.assert_array_equal(params[0], reference[0])
    np.testing.assert_array_equal(there[0], core.evaluation(reference, steps)[0])
    np.testing.assert_allclose(params[0], y, rtol=0, atol=1e-13)
    np.testing.assert_allclose(there[0], x, rtol=0, atol=1e-13)


def test_the_wrapper_refuses_an_average_of_optax():
    """R8: the multiplier belongs on z, which the wrapper cannot reach."""
    params = [jnp.ones(3)]
    for inner in (
        optax.contrib.schedule_free_sgd(0.1),
        optax.chain(optax.clip(1.0), optax.contrib.schedule_free_sgd(0.1)),
    ):
        with pytest.raises(ValueError, match="put MGUP inside"):
            mgup_jax.mgup(inner, learning_rate=0.1).init(params)


def test_eval_params_of_a_state_without_an_average():
    params = [jnp.ones(3)]
    with pytest.raises(ValueError, match="no average"):
        mgup_jax.eval_params(mgup_jax.mgup_adamw().init(params), params)


def test_ademamix_decays_alike():
    theirs = optax.contrib.ademamix(0.01, weight_decay=0.3)
    ours, other = both(AdEMAMix(mix=5.0), theirs, weight_decay=0.3)
    np.testing.assert_allclose(ours, other, rtol=0, atol=1e-13)


def test_nadamw_decays_alike():
    ours, other = both(NAdamW(), optax.nadamw(0.01, weight_decay=0.3), weight_decay=0.3)
    np.testing.assert_allclose(ours, other, rtol=0, atol=1e-13)


def test_optax_has_another_amsgrad_and_adds_eps_elsewhere_in_radam():
    """The maximum of the corrected second moment; eps beside the corrected root."""
    ours, other = both(AMSGrad(), optax.amsgrad(0.01))
    assert np.abs(ours - other).max() > 1e-4
    ours, other = both(RAdam(eps=0.1), optax.radam(0.01, eps=0.1))
    assert np.abs(ours - other).max() > 1e-4


def test_optax_has_another_adan():
    """It looks ahead by 1 - b2 where the authors' code does by b2, and has another eps: not ours.

    Without a look-ahead to differ in, where b2 = 1 - b2, they agree.
    """
    ours, other = both(Adan(), optax.adan(0.01))
    assert np.abs(ours - other).max() > 1e-3
    ours, other = both(Adan(b2=0.5), optax.adan(0.01, b2=0.5, eps_root=0.0))
    np.testing.assert_allclose(ours, other, rtol=0, atol=1e-13)
