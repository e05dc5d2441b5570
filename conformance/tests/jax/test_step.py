"""The step of the parameters themselves, where XLA ranks, and what is told where kernels cannot.

N1, N4, P4, R5, and the list of bad input of the issue of speed. The kernels' step is in
test_step_cuda.py.
"""

from __future__ import annotations

import ctypes
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mgup_core as core
from mgup_jax import in_place, kernels, mgup_adamw, mgup_sgd
from mgup_jax.kernels import xla_call

from .support import MAKERS, RATES, RULES, Reference, gradients, tree


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", MAKERS)
def test_it_is_the_reference(name, dtype):
    """N1, R5: parameters are rounded once, whatever the dtype of the updates would be."""
    optimizer = MAKERS[name](**RATES)
    start = tree(dtype=dtype)
    reference = Reference(start, RULES[name](), core.MGUP(), lr=1e-2, weight_decay=0.1)
    params, state = jax.tree.map(jnp.asarray, start), None
    state = optimizer.init(params)
    step = jax.jit(optimizer.step, donate_argnums=(0, 1))
    for t in range(3):
        grads = jax.tree.map(lambda g: g.astype(dtype), gradients(reference.params, t))
        params, state = step(params, state, jax.tree.map(jnp.asarray, grads))
        reference.step(grads)
        reference.check(params, state.moments, step=t)


def test_it_is_update_under_scan_and_vmap():
    optimizer = mgup_adamw(**RATES)
    params = {"a": jnp.linspace(-1, 1, 24).reshape(2, 12), "frozen": None}
    grads = {"a": jnp.sin(jnp.arange(72.0)).reshape(3, 2, 12), "frozen": None}

    def by_update(carry, g):
        params, state = carry
        updates, state = optimizer.update(g, state, params)
        return (optax.apply_updates(params, updates), state), None

    def by_step(carry, g):
        return optimizer.step(*carry, g), None

    def both(params, grads):
        begin = params, optimizer.init(params)
        return [jax.lax.scan(f, begin, grads)[0] for f in (by_update, by_step)]

    several = jax.tree.map(lambda x: jnp.stack([x, -x]), (params, grads))
    for one, other in (jax.jit(both)(params, grads), jax.vmap(both)(*several)):
        assert jax.tree.all(jax.tree.map(lambda x, y: bool((x == y).all()), one, other))


def test_an_optimizer_is_still_a_pair():
    optimizer = mgup_adamw(1e-2)
    init, update = optimizer
    assert isinstance(optimizer, optax.GradientTransformationExtraArgs)
    assert (init, update) == (optimizer.init, optimizer.update)


GPU = SimpleNamespace(
    client=SimpleNamespace(platform_version="cuda 13000"),
    compute_capability="9.0",
    device_kind="NVIDIA H100",
)


def changed(**values):
    return SimpleNamespace(**{**vars(GPU), **values})


@pytest.mark.parametrize(
    ("devices", "reason"),
    [
        ([changed(client=SimpleNamespace(platform_version="rocm 60000"))], "NVIDIA GPUs only"),
        ([changed(compute_capability="6.1", device_kind="GTX 1080")], "GTX 1080 is older than"),
        ([GPU, GPU], "JAX sees 2 GPUs"),
        ([GPU], r"Triton cannot be imported .*mgup\[jax-cuda\]"),
    ],
)
def test_why_kernels_cannot_is_said_once(monkeypatch, devices, reason):
    """The step is taken all the same, with the same result."""
    monkeypatch.setattr(jax, "devices", lambda: devices)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(in_place, "unavailable", kernels.unavailable.__wrapped__)
    monkeypatch.setitem(__import__("sys").modules, "triton", None)
    in_place._tell.cache_clear()
    optimizer, quiet = mgup_sgd(1e-2), mgup_sgd(1e-2, selection="graph")
    params, grads = jnp.arange(1.0, 9.0), jnp.cos(jnp.arange(8.0))
    state = optimizer.init(params)
    with pytest.warns(UserWarning, match=reason):
        moved, _ = jax.jit(optimizer.step)(params, state, grads)
    again, _ = jax.jit(optimizer.step)(params, state, grads)  # a second warning would be an error
    other, _ = jax.jit(quiet.step)(params, state, grads)
    assert (moved == other).all()
    assert (moved == again).all()


@pytest.mark.parametrize("n", [1, 2, 9])
def test_a_function_as_a_custom_call(n):
    """Its arguments and results are one memory; what it raises is an error of the program."""
    seen = []

    def double(stream, arguments, results, number):
        assert stream == 0
        assert (arguments[:n] == results).all()
        seen.append(number)
        if number < 0:
            raise ValueError("a number below zero")
        factor = ctypes.c_float.from_address(int(arguments[-1])).value
        for address in results:
            np.ctypeslib.as_array((ctypes.c_float * 5).from_address(int(address)))[:] *= factor

    name = f"mgup_test_{n}"
    xla_call.register(name, double, "cpu")

    def doubled(xs, number):
        return xla_call.call(name, number, xs, [jnp.float32(2)])

    xs = [jnp.arange(5.0) + i for i in range(n)]
    found = jax.jit(lambda xs: doubled(xs, 2**53 + 1))(xs)
    for i, x in enumerate(found):
        np.testing.assert_array_equal(x, 2 * (np.arange(5.0) + i))
        np.testing.assert_array_equal(xs[i], np.arange(5.0) + i)  # not donated, so copied
    assert seen == [2**53 + 1]
    looped = jax.jit(lambda xs: jax.lax.fori_loop(0, 3, lambda _, xs: doubled(xs, 7), xs))(xs)
    np.testing.assert_array_equal(looped[0], 8 * np.arange(5.0))
    with pytest.raises(jax.errors.JaxRuntimeError, match="a number below zero"):
        jax.block_until_ready(jax.jit(lambda xs: doubled(xs, -1))(xs))
