"""The reference optimizer: it is pure, exact in its limits, and changes no argument (R0 to R6)."""

from __future__ import annotations

import copy

import array_api_strict as xps
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mgup_core import (
    MGUP,
    SGD,
    AdamW,
    AdaptiveSignMGUP,
    Backend,
    Cautious,
    Lion,
    Muon,
    Optimizer,
    SignMGUP,
    backend_for,
)

from .support import floats, strictly

ELEMENTWISE = [
    AdamW(),
    AdamW(form="paper"),
    AdamW(form="published"),
    Lion(),
    SGD(),
    SGD(nesterov=True),
    SGD(dampening=0.3),
    SGD(coupled_decay=True),
]
RULES = [*ELEMENTWISE, Muon()]
POLICIES = [MGUP(), SignMGUP(), AdaptiveSignMGUP(), Cautious()]


def data(dtype=np.float32, seed=0, steps=4):
    """Parameters, and gradients for some steps. They are matrices, which every rule trains."""
    rng = np.random.default_rng(seed)
    params = {key: rng.standard_normal((4, 6)).astype(dtype) for key in "ab"}
    grads = [
        {key: rng.standard_normal((4, 6)).astype(dtype) for key in params} for _ in range(steps)
    ]
    return params, grads


def follow(optimizer, params, grads):
    state = optimizer.init(params)
    for one in grads:
        params, state = optimizer.step(params, one, state)
    return params, state


def assert_same(left, right):
    for key in left[0]:
        np.testing.assert_array_equal(left[0][key], right[0][key])
        for name in left[1].arrays[key]:
            np.testing.assert_array_equal(
                left[1].arrays[key][name], right[1].arrays[key][name], strict=True
            )


@pytest.mark.parametrize("policy", [MGUP(alpha=1.0, gamma=1.0), SignMGUP(1.0, 1.0)], ids=repr)
@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_ones_are_the_base_rule(rule, policy):
    """P11: alpha = gamma = 1 gives the bits of the base rule, decay included."""
    assert_same(
        follow(Optimizer(rule, policy, weight_decay=0.1), *data()),
        follow(Optimizer(rule, None, weight_decay=0.1), *data()),
    )


@settings(max_examples=60)
@given(values=st.data(), rule=st.sampled_from(ELEMENTWISE))
def test_ones_are_the_base_rule_on_any_gradient(values, rule):
    """P11, P7: so it does with NaN, infinities and numbers that overflow."""
    grads = [{"a": values.draw(arrays(np.float32, 6, elements=floats(np.float32)))} for _ in "12"]
    params = {"a": np.linspace(-1, 1, 6, dtype=np.float32)}
    assert_same(
        follow(Optimizer(rule, MGUP(alpha=1.0, gamma=1.0), lr=0.1), params, grads),
        follow(Optimizer(rule, None, lr=0.1), params, grads),
    )


@settings(max_examples=60)
@given(values=st.data(), rule=st.sampled_from(ELEMENTWISE), policy=st.sampled_from(POLICIES[:3]))
def test_finite_where_the_base_rule_is_finite(values, rule, policy):
    """P7: one step of MGUP is finite exactly where one plain step is."""
    g = {"a": values.draw(arrays(np.float32, 6, elements=floats(np.float32)))}
    params = {"a": np.zeros(6, np.float32)}
    plain, _ = follow(Optimizer(rule, None, lr=1.0, weight_decay=0.0), params, [g])
    ours, _ = follow(Optimizer(rule, policy, lr=1.0, weight_decay=0.0), params, [g])
    np.testing.assert_array_equal(np.isfinite(plain["a"]), np.isfinite(ours["a"]))


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_nothing_given_is_changed(rule):
    """The step takes read-only arrays, and leaves the old state as it was."""
    params, grads = data()
    for x in (*params.values(), *grads[0].values()):
        x.flags.writeable = False
    optimizer = Optimizer(rule, MGUP())
    state = optimizer.init(params)
    for arrays_of in state.arrays.values():
        for value in arrays_of.values():
            value.flags.writeable = False
    kept = copy.deepcopy(state)
    first, _ = optimizer.step(params, grads[0], state)
    again, _ = optimizer.step(params, grads[0], state)
    np.testing.assert_equal(state._asdict(), kept._asdict())
    for key in params:
        np.testing.assert_array_equal(first[key], again[key])
        assert (first[key] != params[key]).all()


@pytest.mark.parametrize("policy", [*POLICIES, None], ids=repr)
@pytest.mark.parametrize("rule", ELEMENTWISE, ids=repr)
def test_strictly(rule, policy):
    """array-api-strict gives the same bits without any optional feature (N1)."""
    params, grads = data()
    optimizer = Optimizer(rule, policy, weight_decay=0.1)
    expected = follow(optimizer, params, grads)
    with strictly():
        inside = {key: xps.asarray(w, copy=True) for key, w in params.items()}
        given_ = [{key: xps.asarray(g, copy=True) for key, g in one.items()} for one in grads]
        got, state = follow(optimizer, inside, given_)
    outside = {key: np.asarray(w) for key, w in got.items()}
    kept = {k: {n: np.asarray(v) for n, v in s.items()} for k, s in state.arrays.items()}
    assert_same(expected, (outside, state._replace(arrays=kept)))


def test_muon_strictly():
    """N7: Muon's direction agrees by norm, and its momentum bit for bit."""
    params, grads = data()
    expected, state = follow(Optimizer(Muon()), params, grads)
    with strictly():
        inside = {key: xps.asarray(w, copy=True) for key, w in params.items()}
        given_ = [{key: xps.asarray(g, copy=True) for key, g in one.items()} for one in grads]
        got, kept = follow(Optimizer(Muon()), inside, given_)
    for key in params:
        np.testing.assert_allclose(np.asarray(got[key]), expected[key], rtol=0, atol=1e-5)
        np.testing.assert_array_equal(
            np.asarray(kept.arrays[key]["momentum_buffer"]), state.arrays[key]["momentum_buffer"]
        )


@pytest.mark.parametrize("rule", ELEMENTWISE, ids=repr)
def test_the_fast_paths_are_the_portable_ones(rule):
    """P4, N6: NumPy's own backend gives the bits of the portable one."""

    def portable(x):
        be = backend_for(x)
        return Backend(be.xp, be.dtype, be.device)

    assert_same(
        follow(Optimizer(rule, weight_decay=0.1), *data()),
        follow(Optimizer(rule, weight_decay=0.1, backend=portable), *data()),
    )


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_lists_tuples_and_dicts(rule):
    """The result has the structure of the argument, on which no value depends."""
    params, grads = data(steps=2)
    by_key, _ = follow(Optimizer(rule), params, grads)
    for kind in (list, tuple):
        out, _ = follow(
            Optimizer(rule), kind(params.values()), [kind(one.values()) for one in grads]
        )
        assert type(out) is kind
        for left, right in zip(out, by_key.values(), strict=True):
            np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("rule", ELEMENTWISE, ids=repr)
def test_an_absent_gradient_is_as_if_the_step_had_not_been(rule):
    """R6: a parameter without gradient keeps its value, state and step count."""
    params, grads = data(steps=3)
    skipped = [{"a": None, "b": grads[0]["b"]}, *grads[1:]]
    got, state = follow(Optimizer(rule), params, skipped)
    expected, late = follow(Optimizer(rule), params, grads[1:])
    np.testing.assert_array_equal(got["a"], expected["a"])
    np.testing.assert_equal(state.arrays["a"], late.arrays["a"])
    np.testing.assert_array_equal(got["b"], follow(Optimizer(rule), params, grads)[0]["b"])
    assert state.steps == {"a": 2, "b": 3}


def test_empty_and_0d_parameters():
    """R6: d = 0 is a no-op; d = 1 is a slice like any other."""
    params = [np.zeros((0, 3), np.float32), np.asarray(2.0, np.float32)]
    grads = [np.zeros((0, 3), np.float32), np.asarray(1.0, np.float32)]
    out, _ = follow(Optimizer(SGD(), lr=0.5), params, [grads])
    assert out[0].shape == (0, 3)
    assert out[1].shape == ()
    assert out[1] == 2.0 - 0.5 * 0.5


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("rule", ELEMENTWISE, ids=repr)
def test_low_precision_is_float32_rounded_when_stored(rule, dtype):
    """R5: with float32 state, one step is the float32 step of the same values, cast."""
    params, grads = data(dtype, steps=1)
    wide = {key: w.astype(np.float32) for key, w in params.items()}
    wide_grads = [{key: g.astype(np.float32) for key, g in grads[0].items()}]
    got, state = follow(Optimizer(rule, lr=0.1, state_dtype="float32"), params, grads)
    expected, same = follow(Optimizer(rule, lr=0.1), wide, wide_grads)
    for key in params:
        assert got[key].dtype == dtype
        np.testing.assert_array_equal(got[key], expected[key].astype(dtype))
        for name, value in state.arrays[key].items():
            np.testing.assert_array_equal(value, same.arrays[key][name], strict=True)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64])
def test_state_has_the_dtype_of_the_parameter(dtype):
    """R5: the state has the parameter's dtype, unless state_dtype is given."""
    params, grads = data(dtype, steps=1)
    _, state = follow(Optimizer(AdamW()), params, grads)
    assert {v.dtype for s in state.arrays.values() for v in s.values()} == {np.dtype(dtype)}


def test_decay_is_added_and_never_multiplied():
    """R0: the decay adds (eta*lambda)*w, whatever the multiplier."""
    params, grads = data(np.float64, steps=1)
    plain, _ = follow(Optimizer(SGD(), lr=0.1, weight_decay=0.0), params, grads)
    decayed, _ = follow(Optimizer(SGD(), lr=0.1, weight_decay=0.5), params, grads)
    for key, w in params.items():
        np.testing.assert_allclose(plain[key] - decayed[key], 0.1 * 0.5 * w, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_the_learning_rate_of_a_step(rule):
    """``step(lr=…)`` takes one step at that rate."""
    params, grads = data(steps=1)
    optimizer = Optimizer(rule, lr=0.1)
    got, _ = optimizer.step(params, grads[0], optimizer.init(params), lr=0.02)
    expected, _ = follow(Optimizer(rule, lr=0.02), params, grads)
    for key in params:
        np.testing.assert_array_equal(got[key], expected[key])


def test_defaults_are_the_rules():
    """R1 to R4: the defaults are each rule's own learning rate and decay."""
    defaults = {AdamW: (1e-3, 1e-2), Lion: (1e-4, 0.0), SGD: (1e-3, 0.0), Muon: (1e-3, 0.1)}
    for rule, values in defaults.items():
        optimizer = Optimizer(rule())
        assert (optimizer.lr, optimizer.weight_decay) == values
        assert optimizer.policy == MGUP()


def test_stacked_slices_by_key():
    """P5: stacked_dims holds for all parameters or by key, and each slice is ranked by itself."""
    params, grads = data(steps=1)
    by_key, _ = follow(Optimizer(SGD(), stacked_dims={"a": 1}), params, grads)
    for_all, _ = follow(Optimizer(SGD(), stacked_dims=1), params, grads)
    whole, _ = follow(Optimizer(SGD()), params, grads)
    np.testing.assert_array_equal(by_key["a"], for_all["a"])
    np.testing.assert_array_equal(by_key["b"], whole["b"])
    assert (by_key["a"] != whole["a"]).any()
    rows = list(params["a"])
    alone, _ = follow(Optimizer(SGD()), rows, [list(grads[0]["a"])])
    np.testing.assert_array_equal(np.stack(alone), by_key["a"])


def test_statistics():
    """The statistics are those of the step taken."""
    a = np.ones(6)
    g = np.array([4.0, 1.0, -2.0, 3.0, 0.0, -3.0])  # scores g*g: 16, 1, 4, 9, 0, 9
    optimizer = Optimizer(SGD(), MGUP())
    *_, told = optimizer.step_with_statistics([a], [g], optimizer.init([a]))
    assert told[0]._asdict() == {
        "selected": 3 / 6,
        "threshold": 9.0,
        "ties": 2.0,
        "positive": np.float64(5) / 6,
        "multiplier": 1.25,
    }
    *_, nothing = Optimizer(SGD(), None).step_with_statistics([a], [g], optimizer.init([a]))
    assert nothing == {}


def test_lion_takes_no_step_at_zero():
    """R2: sign(0) = 0."""
    out, _ = follow(Optimizer(Lion(), lr=0.5), [np.ones(2)], [[np.array([0.0, 1.0])]])
    assert out[0][0] == 1.0
    assert out[0][1] != 1.0


def test_the_first_step_of_sgd_is_the_gradient():
    """R3: the first step sets m = g, dampened or not."""
    g = np.array([1.0, -2.0])
    _, state = follow(Optimizer(SGD(dampening=0.9)), [np.ones(2)], [[g]])
    np.testing.assert_array_equal(state.arrays[0]["momentum_buffer"], g)


def test_muon_orthogonalises():
    """R4: a step of unit rate has singular values near the scale, wide or tall."""
    rng = np.random.default_rng(0)
    for shape in ((8, 20), (20, 8)):
        w = np.zeros(shape)
        rule = Muon(scale="original")
        optimizer = Optimizer(rule, None, lr=1.0, weight_decay=0.0)
        (out,), _ = follow(optimizer, [w], [[rng.standard_normal(shape)]])
        values = np.linalg.svd(out, compute_uv=False) / max(1.0, shape[0] / shape[1]) ** 0.5
        assert values.min() > 0.6
        assert values.max() < 1.3
