"""Bad input: a clear error that names the argument, before anything is computed.

It checks P3, P5, P7 and R6.
"""

from __future__ import annotations

import functools
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.experimental import checkify

import mgup_jax
from mgup_conformance.backends.jax import enable_x64
from mgup_jax import mgup, mgup_adamw, mgup_lion, mgup_muon, mgup_sgd

NAN, INF = float("nan"), float("inf")
EVERY = [mgup_adamw, mgup_lion, mgup_sgd, mgup_muon]
PARAMS = {"a": jnp.ones((3, 4)), "b": jnp.ones(5)}

ARGUMENTS = [
    ("tau", 1.5), ("tau", NAN), ("tau", "0.5"), ("alpha", 0.5), ("alpha", INF), ("alpha", "2"),
    ("gamma", 0.0), ("gamma", 1.5), ("gamma", NAN), ("learning_rate", -0.1),
    ("learning_rate", NAN), ("learning_rate", "0.1"), ("learning_rate", jnp.ones(2)),
    ("learning_rate", jnp.asarray(-1.0)), ("weight_decay", -0.1), ("weight_decay", INF),
    ("mode", "best"), ("ties", "up"), ("tau_min", 0.0), ("selection", "host"),
    ("state_dtype", "int32"), ("mu_dtype", "complex64"), ("update_dtype", "float32"),
]  # fmt: skip
OWN = [
    (mgup_adamw, "b1", 1.0), (mgup_adamw, "b2", NAN), (mgup_adamw, "eps", -1.0),
    (mgup_adamw, "form", "mine"), (mgup_lion, "b2", 1.5), (mgup_sgd, "momentum", 1.0),
    (mgup_sgd, "dampening", 2.0), (mgup_muon, "ns_steps", 0), (mgup_muon, "adam_b1", 1.0),
    (mgup_muon, "scale", "mine"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), ARGUMENTS, ids=str)
@pytest.mark.parametrize("make", EVERY)
def test_arguments(make, name, value):
    """P7 and the rest: the message names the argument."""
    with pytest.raises((ValueError, TypeError), match=name):
        make(**{"learning_rate": 1e-3, name: value})


@pytest.mark.parametrize(
    ("make", "name", "value"), OWN, ids=lambda x: getattr(x, "__name__", str(x))
)
def test_own_arguments(make, name, value):
    with pytest.raises((ValueError, TypeError), match=name.removeprefix("adam_")):
        make(1e-3, **{name: value})


@pytest.mark.parametrize("make", EVERY)
def test_unknown_arguments(make):
    with pytest.raises(TypeError, match="momentun"):
        make(1e-3, momentun=0.9)


def test_hyperparameters_of_another_rule():
    """Issue of ports: the rule and the remedy are named."""
    with pytest.raises(TypeError, match=r"mgup_adan: .*'nesterov'\. It takes learning_rate, b1"):
        mgup_jax.mgup_adan(1e-3, nesterov=True)
    with pytest.raises(ValueError, match=r"params\[0\]: NAMO trains matrices.*AdamW"):
        mgup_jax.mgup_namo(1e-3).init([jnp.ones(4)])


@pytest.mark.parametrize(
    "bad",
    [
        {"a": PARAMS["a"]},
        {**PARAMS, "c": PARAMS["b"]},
        [PARAMS["a"], PARAMS["b"]],
        {"a": {"b": PARAMS["a"]}, "b": PARAMS["b"]},
    ],
    ids=["fewer", "more", "list", "deeper"],
)
@pytest.mark.parametrize("make", [*EVERY[:3], lambda lr: mgup(optax.sgd(lr))])
def test_structures(make, bad):
    """A gradient tree that init did not see."""
    optimizer = make(1e-3)
    state = optimizer.init(PARAMS)
    for update in (optimizer.update, jax.jit(optimizer.update)):
        with pytest.raises(ValueError, match="updates"):
            update(bad, state, PARAMS)


def test_shapes():
    """A gradient, or a checkpoint, of another shape."""
    optimizer = mgup_adamw(1e-3)
    state = optimizer.init(PARAMS)
    with pytest.raises(ValueError, match=r"\['a'\].*\(4, 3\).*\(3, 4\)"):
        optimizer.update({**PARAMS, "a": jnp.ones((4, 3))}, state, PARAMS)
    other = optimizer.init({**PARAMS, "a": jnp.ones((4, 3))})
    with pytest.raises(ValueError, match="exp_avg"):
        optimizer.update(PARAMS, other, PARAMS)


@pytest.mark.parametrize("dtype", ["int32", "complex64", "bool"])
def test_dtypes(dtype):
    """R6: the message names the leaf and the remedy."""
    bad = {**PARAMS, "b": jnp.ones(5, dtype)}
    with pytest.raises(TypeError, match=rf"\['b'\].*{dtype}.*optax\.masked"):
        mgup_adamw(1e-3).init(bad)
    optimizer = mgup_adamw(1e-3)
    with pytest.raises(TypeError, match=rf"updates\['b'\].*{dtype}"):
        optimizer.update(bad, optimizer.init(PARAMS), PARAMS)


def test_parameters_not_passed():
    """Where decay needs them; elsewhere they may be left out, with the same result."""
    optimizer = mgup_adamw(1e-3, weight_decay=0.1)
    with pytest.raises(ValueError, match="params"):
        optimizer.update(PARAMS, optimizer.init(PARAMS))
    plain = mgup_adamw(1e-3, weight_decay=0.0)
    state = plain.init(PARAMS)
    with_params, without = plain.update(PARAMS, state, PARAMS)[0], plain.update(PARAMS, state)[0]
    assert all(map(np.array_equal, *map(jax.tree.leaves, (with_params, without))))


@pytest.mark.parametrize("stacked", [3, -1, 1.0, {"a": 1}, {"a": 1, "c": 1}])
def test_stacked_dims(stacked):
    """P5: named, with the shape it does not fit."""
    with pytest.raises((ValueError, TypeError), match="stacked_dims"):
        mgup_adamw(1e-3, stacked_dims=stacked).init(PARAMS)


def test_a_schedule_that_returns_nan():
    """Eager: an error before anything is computed. In a program: under checkify."""
    optimizer = mgup_adamw(lambda count: jnp.where(count < 1, 1e-3, jnp.nan))
    state = optimizer.init(PARAMS)
    _, state = optimizer.update(PARAMS, state, PARAMS)
    with pytest.raises(ValueError, match="learning_rate=nan"):
        optimizer.update(PARAMS, state, PARAMS)
    checked = jax.jit(checkify.checkify(optimizer.update))
    error, _ = checked(PARAMS, state, PARAMS)
    with pytest.raises(checkify.JaxRuntimeError, match="learning_rate=nan"):
        error.throw()
    error, _ = checked(PARAMS, optimizer.init(PARAMS), PARAMS)
    assert error.get() is None


@pytest.mark.parametrize(
    ("name", "late"),
    [
        ("alpha", 0.5),
        pytest.param("gamma", 1.5, marks=pytest.mark.slow),
        ("gamma", 0.0),
        ("weight_decay", -1.0),
    ],
)
def test_schedules_that_leave_their_range(name, late):
    """P7: reported as the learning rate is, eager and under checkify; not before they leave it."""
    optimizer = mgup_adamw(1e-3, **{name: lambda count: jnp.where(count < 1, 1.0, late)})
    state = optimizer.init(PARAMS)
    _, after = optimizer.update(PARAMS, state, PARAMS)
    with pytest.raises(ValueError, match=f"{name}={late}"):
        optimizer.update(PARAMS, after, PARAMS)
    checked = jax.jit(checkify.checkify(optimizer.update))
    assert checked(PARAMS, state, PARAMS)[0].get() is None
    assert f"{name}={late}" in checked(PARAMS, after, PARAMS)[0].get()


def test_a_slice_of_one_is_told():
    """P3: K = 0 damps all of it, which init says once, with the remedy."""
    with pytest.warns(UserWarning, match=r"none is selected.*\['b'\].*mode='off'"):
        mgup_adamw(1e-3).init({"b": jnp.ones(1)})


@pytest.mark.parametrize("make", [mgup_adamw, mgup_muon, lambda lr: mgup(optax.sgd(lr))])
@pytest.mark.parametrize(
    "init",
    [
        lambda o: o.init,
        lambda o: functools.partial(jax.eval_shape, o.init),
        lambda o: optax.chain(optax.clip(1.0), optax.masked(o, True)).init,
        lambda o: jax.jit(optax.inject_hyperparams(lambda lr: o)(1e-3).init),
    ],
    ids=["alone", "traced", "in a chain", "jitted"],
)
def test_forty_scalars_are_one_warning_at_the_callers_line(make, init):
    """P3; issue 15, 22."""
    optimizer, params = make(1e-3), {f"s{i}": jnp.ones(()) for i in range(40)}
    with pytest.warns(UserWarning, match=r"40 parameter.*'s0'.*'s39'") as caught:
        init(optimizer)(params)
    assert [w.filename for w in caught] == [__file__]


@pytest.mark.parametrize("absent", ["jax", "optax"])
def test_a_missing_framework(absent):
    """The message names the extra."""
    code = f"import sys; sys.modules[{absent!r}] = None; import mgup_jax"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install 'mgup[jax]'" in found.stderr


@pytest.mark.parametrize("name", ["learning_rate", "weight_decay", "alpha", "eps"])
def test_numbers_that_float32_does_not_hold(name):
    """N2: refused by init, where the parameters' dtypes are known first."""
    optimizer = mgup_adamw(**{"learning_rate": 0.1, name: 1e39})
    with pytest.raises(ValueError, match=rf"{name}=1e\+39 is beyond float32"):
        optimizer.init(PARAMS)
    with enable_x64(True):
        optimizer.init({"a": jnp.ones(3, jnp.float64)})


@pytest.mark.parametrize("name", ["learning_rate", "weight_decay", "alpha"])
def test_a_schedule_that_leaves_float32(name):
    """N2: refused by update wherever its value is known."""
    rates = {"learning_rate": 0.1, name: lambda count: 1e39 if count == 1 else 1.0}
    optimizer = mgup_adamw(**rates)
    _, state = optimizer.update(PARAMS, optimizer.init(PARAMS), PARAMS)
    with pytest.raises(ValueError, match=rf"{name}=1e\+39 is beyond float32"):
        optimizer.update(PARAMS, state, PARAMS)


@pytest.mark.parametrize("name", ["learning_rate", "weight_decay", "alpha"])
def test_a_traced_value_that_float32_does_not_hold(name):
    """N2: a float64 value inside a program is reported by checkify, as one out of range is."""
    with enable_x64(True):
        late = lambda count: jnp.where(count < 1, 1.0, jnp.float64(1e39))  # noqa: E731
        optimizer = mgup_adamw(**{"learning_rate": 0.1, name: late})
        update = jax.jit(checkify.checkify(optimizer.update))
        state = optimizer.init(PARAMS)
        error, (_, state) = update(PARAMS, state, PARAMS)
        assert error.get() is None
        assert f"{name}=1e+39" in update(PARAMS, state, PARAMS)[0].get()


def test_the_wrapper_refuses_them_too():
    for rates in ({"alpha": 1e39}, {"learning_rate": 0.1, "weight_decay": 1e39}):
        with pytest.raises(ValueError, match="is beyond float32"):
            mgup(optax.sgd(0.1), **rates).init(PARAMS)
