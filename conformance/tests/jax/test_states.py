"""A state that does not belong to the parameters or the optimizer: refused before anything runs.

No clause: CONTRIBUTING.md, "Fail before changing anything".
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax
import pytest

from mgup_jax import mgup, mgup_adamw, mgup_lion, mgup_muon, mgup_sgd

PARAMS = {"a": jnp.ones((3, 4)), "b": jnp.ones(5)}
OTHERS = {"a": jnp.ones((4, 3)), "b": jnp.ones(5)}


def wrapped(lr):
    return mgup(optax.adam(lr))


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize(
    ("make", "told"),
    [
        (mgup_adamw, r"\['a'\].*exp_avg"),
        (mgup_lion, r"\['a'\].*exp_avg"),
        (mgup_sgd, r"\['a'\].*momentum_buffer"),
        (mgup_muon, r"\['a'\].*momentum_buffer"),
        (wrapped, r"inner_state.*mu.*\['a'\].*\(4, 3\).*\(3, 4\)"),
    ],
)
def test_of_other_parameters(make, told, jit):
    """The leaf, the state and both shapes are named; a reshaped parameter is another."""
    optimizer = make(1e-2)
    update = jax.jit(optimizer.update) if jit else optimizer.update
    with pytest.raises(ValueError, match=told):
        update(PARAMS, optimizer.init(OTHERS), PARAMS)


@pytest.mark.parametrize("make", [mgup_adamw, mgup_lion, mgup_muon, wrapped])
@pytest.mark.parametrize("other", [mgup_adamw, mgup_lion, mgup_muon, wrapped, optax.adam])
def test_of_another_optimizer(make, other):
    """No KeyError, no AttributeError."""
    if make is other:
        pytest.skip("its own")
    state = other(1e-2).init(PARAMS)
    with pytest.raises(ValueError, match=r"state.*another"):
        make(1e-2).update(PARAMS, state, PARAMS)


def test_of_another_inner_optimizer():
    state = mgup(optax.sgd(1e-2)).init(PARAMS)
    with pytest.raises(ValueError, match=r"inner_state.*another"):
        wrapped(1e-2).update(PARAMS, state, PARAMS)


def test_decay_without_parameters_runs_nothing():
    """The wrapper, too, says so before the inner optimizer steps."""
    ran = []
    inner = optax.stateless(lambda updates, params: ran.append(1) or updates)
    optimizer = mgup(inner, weight_decay=0.1, learning_rate=1e-2)
    state = optimizer.init(PARAMS)
    ran.clear()
    with pytest.raises(ValueError, match=r"update\(updates, state, params\)"):
        optimizer.update(PARAMS, state)
    assert not ran
