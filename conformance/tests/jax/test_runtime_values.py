"""R7: betas, momentum and eps in the state of ``optax.inject_hyperparams``: one trace for all."""

from __future__ import annotations

from dataclasses import fields

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mgup_core as core
import mgup_jax
from mgup_core.trace.forms import runtime_fields

CASES = {
    "adamw": (core.AdamW(), ()),
    "adamw, paper": (core.AdamW(form="paper"), ()),
    "adan": (core.Adan(), ()),
    "ademamix": (core.AdEMAMix(), ()),
    "ademamix, warmup": (core.AdEMAMix(mix_warmup=4), ()),
    "adabelief, plain": (core.AdaBelief(rectify=False), ()),
    "lion": (core.Lion(), ()),
    "lionk": (core.LionK(kernel="clip"), ()),
    "signum": (core.Signum(), ()),
    "sgd": (core.SGD(nesterov=False), ("dampening",)),
    "adabelief": (core.AdaBelief(), ("b2",)),
}
"""A rule, and the floats that it compares, which stay static."""


def injected(rule: core.Rule, static: tuple[str, ...]):
    make = getattr(mgup_jax, f"mgup_{type(rule).__name__.lower()}")
    values = {f.name: getattr(rule, f.name) for f in fields(rule)}
    inject = optax.inject_hyperparams(make, static_args=(*make.structural_args, *static))
    rates = {"learning_rate": 0.02, "weight_decay": 0.1, "alpha": 2.0, "gamma": 0.5}
    return inject(**rates, **values)


@pytest.mark.parametrize(
    "name",
    [
        # With the host's corrections, with a schedule of the rule, and with a float that is static.
        name
        if name in ("adamw", "ademamix, warmup", "adabelief", "lion")
        else pytest.param(name, marks=pytest.mark.slow)
        for name in CASES
    ],
)
def test_fifty_steps_are_traced_once(name):
    """The bits are those of the reference with the float32 that was injected (N2, N3)."""
    rule, static = CASES[name]
    names = [n for n in runtime_fields(rule) if n not in static]
    optimizer = injected(rule, static)
    rng, traces = np.random.default_rng(0), []
    w = rng.standard_normal(50).astype(np.float32)
    params, arrays = jnp.asarray(w), [w]
    state = optimizer.init(params)
    kept = core.Optimizer(rule, core.MGUP()).init(arrays)
    assert set(names) < set(state.hyperparams)

    @jax.jit
    def step(g, state, params):
        traces.append(1)
        updates, state = optimizer.update(g, state, params)
        return optax.apply_updates(params, updates), state

    for t in range(50):
        g = rng.standard_normal(50).astype(np.float32)
        rates = {"learning_rate": 0.02 / (t + 1), "weight_decay": 0.1 / (t + 1)}
        factors = {"alpha": 2.0 + 0.01 * t, "gamma": 0.5 - 0.001 * t}
        own = {n: getattr(rule, n) * (1.0 - 0.001 * t) for n in names}
        values = {n: np.float32(v) for n, v in {**rates, **factors, **own}.items()}
        state.hyperparams.update({n: jnp.asarray(v) for n, v in values.items()})
        params, state = step(jnp.asarray(g), state, params)
        given = {f.name: getattr(rule, f.name) for f in fields(rule)}
        now = type(rule)(**{**given, **{n: float(values[n]) for n in names}})
        policy = core.MGUP(0.5, float(values["alpha"]), float(values["gamma"]))
        lr, decay = (float(values[n]) for n in rates)
        whole = core.Optimizer(now, policy, lr=lr, weight_decay=decay)
        arrays, kept = whole.step(arrays, [g], kept)
        np.testing.assert_array_equal(np.asarray(params), arrays[0], err_msg=f"step {t}")
    assert len(traces) == 1


@pytest.mark.parametrize("beta", [0.0, 0.25, 0.3, 1e-9])
def test_betas_below_one_half(beta):
    """``1 - beta`` of a float32 is rounded once there, too (N2)."""
    optimizer = injected(core.Lion(), ())
    w = np.ones(5, np.float32)
    g = np.asarray([0.1, -0.3, 7.0, 1e-3, 0.0], np.float32)
    state = optimizer.init(jnp.asarray(w))
    state.hyperparams.update(b1=jnp.asarray(beta), b2=jnp.asarray(beta))
    _, state = jax.jit(optimizer.update)(jnp.asarray(g), state, jnp.asarray(w))
    rule = core.Lion(*[float(np.float32(beta))] * 2)
    whole = core.Optimizer(rule, core.MGUP())
    _, expected = whole.step([w], [g], whole.init([w]))
    moments = jax.tree.leaves(state.inner_state)
    assert any(np.array_equal(m, expected.arrays[0]["exp_avg"]) for m in moments)


def test_known_values_are_checked():
    """Outside of a trace an array is a number, whose range is looked at (R7)."""
    w = jnp.ones(3)
    for bad in (1.0, 1.5, -0.1, float("nan")):
        optimizer = injected(core.AdamW(), ())
        state = optimizer.init(w)
        state.hyperparams["b1"] = jnp.asarray(bad)
        with pytest.raises(ValueError, match=r"b1=.* is outside \[0, 1\)"):
            optimizer.update(w, state, w)


@pytest.mark.parametrize(
    ("rule", "field"), [(core.SGD(), "dampening"), (core.AdaBelief(), "b2")], ids=str
)
def test_a_float_that_the_rule_compares_is_named(rule, field):
    """It must be static, and the error says where."""
    optimizer = injected(rule, ())
    w = jnp.ones(3)
    with pytest.raises(TypeError, match=f"value of {field}, which must be known.*static_args"):
        jax.jit(optimizer.update)(w, optimizer.init(w), w)


def test_muon():
    """Its momentum, its eps and AdamW's betas."""
    make = mgup_jax.mgup_muon
    moved = {"momentum", "eps", "adam_b1", "adam_b2", "adam_eps"}
    assert moved == set(make.static_args) - set(make.structural_args)
    inject = optax.inject_hyperparams(make, static_args=make.structural_args)
    optimizer, traces = inject(learning_rate=0.02), []
    params = {"kernel": jnp.ones((4, 3)), "bias": jnp.ones(3)}
    state = optimizer.init(params)

    @jax.jit
    def step(g, state, params):
        traces.append(1)
        return optimizer.update(g, state, params)

    found = []
    for momentum in (0.9, 0.5, 0.7):
        state.hyperparams["momentum"] = jnp.asarray(momentum)
        updates, _ = step(jax.tree.map(jnp.sin, params), state, params)
        found.append(updates)
    assert len(traces) == 1
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(found))


def test_the_static_args_of_before_keep_the_bits_of_numbers():
    """Betas that are not injected are float64 until they are rounded."""
    make = mgup_jax.mgup_adamw
    inject = optax.inject_hyperparams(make, static_args=make.static_args)
    w, g = jnp.ones(4), jnp.asarray([0.1, 0.2, -0.3, 0.4])
    one, other = inject(learning_rate=0.02), make(0.02)
    ends = [o.update(g, o.init(w), w)[0] for o in (one, other)]
    np.testing.assert_array_equal(*map(np.asarray, ends))
