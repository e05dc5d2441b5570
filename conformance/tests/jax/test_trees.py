"""What parameters may be: modules that can be called, pairs, leaves that no optimizer can train.

It checks R6.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mgup_conformance.compare import check_identical
from mgup_jax import MuonDimensionNumbers, mgup, mgup_adamw, mgup_lion, mgup_muon

from .support import step_of, tree


@jax.tree_util.register_dataclass
@dataclass
class Linear:
    """A module as those of Equinox are: a pytree that can be called."""

    weight: Any
    bias: Any

    def __call__(self, x):
        raise AssertionError("the module was called")


def values():
    return jax.tree.map(jnp.asarray, tree({"w": (6, 4), "b": (6,)}))


def stepped(optimizer, params):
    return jax.jit(step_of(optimizer))(params, optimizer.init(params), params)


def same(expected, actual):
    for x, y in zip(jax.tree.leaves(expected), jax.tree.leaves(actual), strict=True):
        check_identical("parameter", np.asarray(x), np.asarray(y))


def like_optax(w, b):
    """Arguments for a tree of a matrix and a vector: a tree, and a function of it."""
    return Linear(w, b), lambda params: Linear(w, b)


def test_modules_that_can_be_called():
    """As optax.masked has it: a function is what has functions only as leaves."""
    v = values()
    module = Linear(v["w"], v["b"])
    masked = {"mask": (True, False), "stacked_dims": (1, 0)}
    numbers = {"muon_weight_dimension_numbers": (MuonDimensionNumbers(1, 0), None)}
    for make, options in ((mgup_lion, masked), (mgup_muon, masked), (mgup_muon, numbers)):
        decay = {} if options is numbers else {"weight_decay": 0.1}
        plain = {name: dict(zip("wb", pair, strict=True)) for name, pair in options.items()}
        expected, _ = stepped(make(1e-2, **decay, **plain), v)
        for which in (0, 1):  # a tree, and a function
            ours = {name: like_optax(*pair)[which] for name, pair in options.items()}
            moved, _ = stepped(make(1e-2, **decay, **ours), module)
            same([expected["w"], expected["b"]], [moved.weight, moved.bias])


def test_pairs_are_not_axes():
    """mgup_muon: layers as pairs (w, b), pairs of pairs."""
    v = values()
    expected, _ = stepped(mgup_muon(1e-2), v)
    layers = ((v["w"], v["b"]), (v["w"], v["b"]))
    for w, b in stepped(mgup_muon(1e-2), layers)[0]:
        same([expected["w"], expected["b"]], [w, b])


@pytest.mark.parametrize(
    "bad",
    [1.0, 3, jnp.tanh, "relu", np.arange(3)],
    ids=["float", "int", "function", "str", "integers"],
)
@pytest.mark.parametrize("make", [mgup_adamw, mgup_muon, lambda lr: mgup(optax.sgd(lr))])
def test_leaves_that_cannot_be_trained(make, bad):
    """R6: named, with the type or dtype and the remedy; init and update."""
    params = {"w": jnp.ones((3, 2)), "part": [bad]}
    kind = str(getattr(bad, "dtype", type(bad).__name__))
    told = re.escape("['part'][0]") + f".*{kind}.*optax.masked"
    with pytest.raises(TypeError, match="params" + told):
        make(1e-2).init(params)
    optimizer = make(1e-2)
    good = {**params, "part": [jnp.ones(4)]}
    with pytest.raises(TypeError, match="updates" + told):
        optimizer.update(params, optimizer.init(good), good)


@pytest.mark.parametrize("make", [mgup_lion, lambda lr: mgup(optax.sgd(lr))])
def test_a_leaf_without_gradient(make):
    """R6: it keeps its bits, -0 and decay included, and its state."""
    params = {"w": jnp.asarray([1.0, -2.0]), "frozen": jnp.asarray([-0.0, 3.0])}
    optimizer = make(1e-2)
    state = optimizer.init(params)
    for step in (step_of(optimizer), jax.jit(step_of(optimizer))):
        moved, _ = step(params, state, {"w": params["w"], "frozen": None})
        assert np.array_equal(*(np.asarray(x["frozen"]).view("u4") for x in (params, moved)))
        assert (moved["w"] != params["w"]).all()
