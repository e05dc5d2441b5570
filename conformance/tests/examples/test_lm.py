"""The language model of the examples: one model and one optimizer, in four frameworks.

No clause: the example's own promises.
"""

from __future__ import annotations

import dataclasses
import importlib

import numpy as np
import pytest

pytest.importorskip("lm", reason="the examples are not beside the tests")

from lm.recipes import RECIPES
from lm.trainer import Settings, initial_weights, rates
from mgup_conformance.compare import check_identical
from train_lm import BACKENDS, make_trainer

SETTINGS = Settings(
    steps=8, warmup=2, layers=1, width=8, heads=2, context=6, seed=3, backend="torch",
    device="cpu", threads=1, tau=0.5, alpha=None, gamma=None,
)  # fmt: skip
FRAMEWORKS = {"numpy": "autograd", "torch": "torch", "jax": "flax", "mindspore": "mindspore"}
ELEMENTWISE = [name for name, recipe in RECIPES.items() if recipe.rule != "muon" and recipe.mode]

pytestmark = pytest.mark.filterwarnings("ignore:.*none is selected:UserWarning")


def batches(n):
    rng = np.random.default_rng(0)
    for _ in range(n):
        text = rng.integers(0, 256, (4, SETTINGS.context + 1))
        yield text[:, :-1], text[:, 1:]


def trainer(backend, recipe):
    pytest.importorskip(FRAMEWORKS[backend])
    return make_trainer(recipe, dataclasses.replace(SETTINGS, backend=backend))


@pytest.mark.parametrize("backend", [name for name in BACKENDS if name != "torch"])
@pytest.mark.parametrize("name", ["adamw", pytest.param("mgup-muon", marks=pytest.mark.slow)])
def test_frameworks_train_the_same_model(backend, name):
    """The same loss before the first step, to rounding; the same way down after it."""
    recipe = dataclasses.replace(RECIPES[name], lr=1e-3)
    one, other = trainer("torch", recipe), trainer(backend, recipe)
    for i, batch in enumerate(batches(3)):
        expected = pytest.approx(one.step(batch).loss, rel=1e-4 if i else 2e-6)
        assert other.step(batch).loss == expected


def recorded(recipe):
    """A run in PyTorch: the weights at first, the gradients of each step, the weights at last."""
    made = trainer("torch", recipe)
    weights = {name: w.detach().numpy().copy() for name, w in made.model.named_parameters()}
    gradients = []
    for batch in batches(SETTINGS.steps):
        made.step(batch)
        named = made.model.named_parameters()
        gradients.append({name: w.grad.numpy().copy() for name, w in named})
    last = {name: w.detach().numpy() for name, w in made.model.named_parameters()}
    return weights, gradients, last


def by_numpy(recipe, weights, gradients):
    from lm.numpy_trainer import make_optimizers

    ((optimizer, _),) = make_optimizers(recipe, list(weights), SETTINGS)
    state = optimizer.init(weights)
    for lr, step in zip(rates(recipe, SETTINGS), gradients, strict=True):
        weights, state = optimizer.step(weights, step, state, lr=lr)
    return weights


def by_jax(recipe, weights, gradients):
    import jax
    import optax

    from lm.jax_trainer import make_transformation

    transformation = make_transformation(recipe, SETTINGS)
    weights = jax.tree.map(jax.numpy.asarray, weights)
    state = transformation.init(weights)

    @jax.jit
    def step(weights, state, gradients):
        updates, state = transformation.update(gradients, state, weights)
        return optax.apply_updates(weights, updates), state

    for given in gradients:
        weights, state = step(weights, state, given)
    return {name: np.asarray(w) for name, w in weights.items()}


def by_mindspore(recipe, weights, gradients):
    import mindspore as ms

    from lm.mindspore_trainer import make_optimizer

    # Not the names of the weights: MindSpore knows none twice.
    parameters = [ms.Parameter(ms.Tensor(w), name=f"w{i}") for i, w in enumerate(weights.values())]
    optimizer = make_optimizer(recipe, parameters, SETTINGS)
    for given in gradients:
        optimizer(tuple(ms.Tensor(given[name]) for name in weights))
    return {name: p.asnumpy() for name, p in zip(weights, parameters, strict=True)}


@pytest.mark.parametrize(
    ("apply", "name"),
    [
        (apply, name)
        if apply is by_numpy or name == "mgup-adamw"
        else pytest.param(apply, name, marks=pytest.mark.slow)  # rules are compared elsewhere
        for apply in (by_numpy, by_jax, by_mindspore)
        for name in ELEMENTWISE
    ],
)
def test_the_same_gradients_give_the_same_weights(apply, name):
    """N1: bit for bit, with the warmup and the decay of the example, by its own optimizers."""
    pytest.importorskip("torch")
    pytest.importorskip(FRAMEWORKS[apply.__name__.removeprefix("by_")])
    recipe = RECIPES[name]
    weights, gradients, expected = recorded(recipe)
    actual = apply(recipe, weights, gradients)
    assert actual.keys() == expected.keys() == initial_weights(SETTINGS).keys()
    for key, value in expected.items():
        check_identical(key, value, actual[key])
        assert (value != weights[key]).any()


def test_every_backend_has_a_trainer():
    for backend, (module, name) in BACKENDS.items():
        pytest.importorskip(FRAMEWORKS[backend])
        assert hasattr(importlib.import_module(module), name)
