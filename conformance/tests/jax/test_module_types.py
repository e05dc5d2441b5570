"""Muon by the types of flax.nnx's modules (R4), and MGUP as optax's ``scale_by_*`` are."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mgup_jax

nnx = pytest.importorskip("flax.nnx")


class Model(nnx.Module):
    def __init__(self, rngs):
        self.z = nnx.Embed(10, 4, rngs=rngs)
        self.b = nnx.Linear(4, 4, rngs=rngs)
        self.layers = nnx.List([nnx.Linear(4, 4, rngs=rngs)])
        self.a = nnx.Linear(4, 10, rngs=rngs)  # before the others in the order of names

    def __call__(self, x):
        return self.a(self.layers[0](self.b(self.z(x))))


def test_embeddings_and_the_head_go_to_adamw():
    model = Model(nnx.Rngs(0))
    numbers = mgup_jax.nnx_dimension_numbers(model)
    found = jax.tree_util.tree_leaves_with_path(
        numbers(nnx.state(model, nnx.Param)),
        is_leaf=lambda x: isinstance(x, mgup_jax.MuonDimensionNumbers),
    )
    names = {jax.tree_util.keystr(path[:-1]) for path, _ in found}
    assert names == {"['b']['kernel']", "['layers'][0]['kernel']"}
    tx = mgup_jax.mgup_muon(1e-2, muon_weight_dimension_numbers=numbers)
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
    grads = nnx.grad(lambda m: jnp.square(m(jnp.arange(3))).sum())(model)
    before = np.asarray(model.b.kernel[...])
    nnx.jit(lambda optimizer, model, grads: optimizer.update(model, grads))(optimizer, model, grads)
    assert not np.array_equal(before, np.asarray(model.b.kernel[...]))


def test_what_is_no_module():
    with pytest.raises(TypeError, match=r"not a flax.nnx.Module"):
        mgup_jax.nnx_dimension_numbers({})


@pytest.mark.parametrize("mode", ["rank", pytest.param("sign", marks=pytest.mark.slow), "adaptive"])
def test_a_direction_is_rescaled(mode):
    """The learning rate is a power of two, so that it changes no bit of the score's order."""
    params = {"w": jnp.asarray(np.random.default_rng(0).normal(size=(4, 5)), jnp.float32)}
    chain = optax.chain(
        mgup_jax.scale_by_mgup(optax.scale_by_adam(), mode=mode, tau=0.3),
        optax.scale_by_learning_rate(2.0**-7),
    )
    whole = mgup_jax.mgup(optax.adam(2.0**-7), mode=mode, tau=0.3)
    states = [chain.init(params), whole.init(params)]
    for seed in range(1, 4):
        g = {"w": jnp.asarray(np.random.default_rng(seed).normal(size=(4, 5)), jnp.float32)}
        a, states[0] = chain.update(g, states[0], params)
        b, states[1] = whole.update(g, states[1], params)
        np.testing.assert_array_equal(a["w"], b["w"])


def test_what_it_refuses():
    with pytest.raises(TypeError, match="GradientTransformation"):
        mgup_jax.scale_by_mgup(3)
    decaying = mgup_jax.scale_by_mgup(optax.add_decayed_weights(0.1))
    with pytest.raises(ValueError, match="decays weights"):
        decaying.init({"w": jnp.ones(3)})
