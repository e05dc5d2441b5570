"""Functions of a user's own rules: they pickle where a name leads to them, and their repr reads.

No clause: the contract of ``pickle``.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
import pytest

import mgup_core
import mgup_jax
from mgup_jax import create_optimizer, mgup_adamw, transformation


@dataclass(frozen=True)
class Slow(mgup_core.Lion):
    """Lion, more slowly."""

    b1: float = 0.95


@dataclass(frozen=True)
class AdamW(mgup_core.AdamW):
    """A rule that is called like one of the core's."""

    eps: float = 1e-3


mgup_slow = transformation(Slow)
other = transformation(Slow, name="other")


@pytest.mark.parametrize("made", [mgup_slow, other, mgup_adamw, mgup_jax.mgup_anchored_sgd])
def test_a_function_pickles_where_its_name_leads_to_it(made):
    assert pickle.loads(pickle.dumps(made)) is made


def test_a_function_that_no_name_leads_to_says_so():
    with pytest.raises((pickle.PicklingError, AttributeError), match="lost"):
        pickle.dumps(transformation(Slow, name="lost"))


def test_two_rules_of_one_name():
    """Names still mean the shipped ones."""
    made = transformation(AdamW)
    assert made.__name__ == mgup_adamw.__name__
    assert made.rule_class is AdamW
    params = jnp.ones(3)
    by_name = create_optimizer("adamw", 0.1)
    for theirs, ours in ((mgup_adamw(0.1), by_name), (made(0.1), transformation(AdamW)(0.1))):
        updates = [one.update(params, one.init(params), params)[0] for one in (theirs, ours)]
        assert np.array_equal(*updates)


def test_names_that_read():
    """Beside those that had no underscores."""
    for name in mgup_jax.list_optimizers():
        old = getattr(mgup_jax, name).__name__
        assert getattr(mgup_jax, old) is getattr(mgup_jax, name)
        assert old == name.replace("_", "").replace("mgup", "mgup_", 1)
    assert mgup_jax.mgup_anchored_sgd is mgup_jax.mgup_anchoredsgd
    assert repr(mgup_slow).startswith("<function mgup_slow at ")
    assert (mgup_slow.__module__, mgup_slow.__doc__.splitlines()[0]) == (
        __name__,
        "Slow with MGUP, for JAX.",
    )


def test_a_learning_rate_by_name():
    """None is the function's own default."""
    params = jnp.ones(3)
    for made in (create_optimizer("lion"), create_optimizer("mgup_lion", 1e-4)):
        update, _ = made.update(params, made.init(params), params)
        expected, _ = mgup_jax.mgup_lion().update(params, made.init(params), params)
        assert np.array_equal(update, expected)
