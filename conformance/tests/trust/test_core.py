"""What mutants of the core showed to be untested: each test kills one that survived.

It checks N2, P3, P5 to P7, P9, P10, R1, R4, R6 and R7.
"""

from __future__ import annotations

import math
from dataclasses import fields

import numpy as np
import pytest

import mgup_core as core
from mgup_core import _checks as checks
from mgup_core.frontend.muon_routing import check_words
from mgup_core.step import rescale

INTEGERS = [f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)]


@pytest.mark.parametrize("dtype", ["bool", *INTEGERS, "complex64", "complex128"])
def test_only_real_floating_arrays_are_trained(dtype):
    """R6: every other dtype is refused by its name, int8 too."""
    optimizer = core.Optimizer(core.SGD())
    with pytest.raises(TypeError, match=rf"params\[0\] has dtype {dtype}"):
        optimizer.init([np.ones(3, dtype)])
    start = [np.ones(3, np.float32)]
    with pytest.raises(TypeError, match=rf"grads\[0\] has dtype {dtype}"):
        optimizer.step(start, [np.ones(3, dtype)], optimizer.init(start))


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0)])
@pytest.mark.parametrize(
    "policy", [core.MGUP(), core.SignMGUP(), core.AdaptiveSignMGUP(), core.Cautious()], ids=str
)
def test_statistics_of_an_empty_array(policy, shape):
    """R6: nothing is selected, nothing is positive, and no quotient is 0/0."""
    optimizer = core.Optimizer(core.SGD(), policy)
    w = np.ones(shape, np.float32)
    *_, told = optimizer.step_with_statistics([w], [w], optimizer.init([w]))
    assert [float(x) for x in told[0]] == [0.0, math.inf, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("size", [1, 2, 5])
def test_statistics_of_few(size):
    """Shares are of the coordinates; the threshold is the lowest selected score."""
    optimizer = core.Optimizer(core.SGD(momentum=0.0), core.MGUP(0.5, 2.0, 0.25), lr=0.1)
    w, g = np.zeros(size, np.float32), np.arange(1.0, size + 1, dtype=np.float32)
    *_, told = optimizer.step_with_statistics([w], [g], optimizer.init([w]))
    k = size // 2
    assert float(told[0].selected) == np.float32(k / size)
    assert float(told[0].threshold) == (math.inf if k == 0 else float(g[-k]) ** 2)
    assert float(told[0].ties) == (k > 0)
    assert float(told[0].positive) == 1.0
    assert float(told[0].multiplier) == pytest.approx((2.0 * k + 0.25 * (size - k)) / size)


@pytest.mark.parametrize("words", [("head", 3), [None], (b"head",)])
def test_exceptions_are_words(words):
    """R4: a number among them would be no word, and route nothing."""
    with pytest.raises(TypeError, match="must be words"):
        check_words(words)


def test_one_word_is_a_word():
    assert check_words("head") == ("head",)
    assert check_words(["a", "b"]) == ("a", "b")


RANGES = [
    ("[0, 1)", [0, 0.5, 1 - 1e-16], [-1e-300, 1, 1.5, math.nan, math.inf]),
    ("(0, 1]", [1e-300, 1], [0, -1, 1 + 1e-15, math.nan]),
    ("[1, inf)", [1, 1e300], [1 - 1e-15, math.inf, math.nan]),
    ("[0, inf)", [0, 5e-324], [-5e-324, math.inf, -math.inf, math.nan]),
]


@pytest.mark.parametrize(("interval", "inside", "outside"), RANGES)
def test_ranges_at_their_ends(interval, inside, outside):
    """P7, N2: which end belongs to an interval, and that no NaN does."""
    for value in (*inside, *map(np.float64, inside), np.asarray(7.0)):
        checks.check_range("x", value, interval, "")
    for value in (*outside, *map(np.float64, outside)):
        with pytest.raises(ValueError, match=r"x=.* is outside"):
            checks.check_range("x", value, interval, "why")
    for value in ("1", None, [1.0]):
        with pytest.raises(TypeError, match="is not a number: why"):
            checks.check_range("x", value, interval, "why")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_a_dtype_holds(dtype):
    """N2: the largest number fits, the next does not; infinity is somebody else's to refuse."""
    most = float(np.finfo(dtype).max)
    checks.check_fits({"lr": most, "eps": -most, "word": "1e400", "none": None}, dtype)
    checks.check_fits({"lr": math.inf, "eps": math.nan, "flag": True}, dtype)
    if dtype == np.float32:
        for value in (most * 1.0001, -most * 1.0001, 10**39, np.float64(1e39)):
            with pytest.raises(ValueError, match=r"lr=.* is beyond float32"):
                checks.check_fits({"lr": value}, dtype)


def test_axes_of_a_shape():
    for axis in (-2, -1, 0, 1):
        assert checks.axis_refusal("out_axis", axis, (4, 3)) is None
    for axis in (-3, 2, 0.0, "0"):
        assert "is no axis of shape (4, 3)" in checks.axis_refusal("out_axis", axis, (4, 3))


def test_policies_without_their_numbers_are_one():
    """R7: what decides a program; the numbers do not, the kind and the ties do."""
    assert core.MGUP(0.25, 3.0, 0.5).static is core.MGUP(0.5).static
    assert core.MGUP(0.25).static == core.MGUP()
    assert core.SignMGUP(3.0, ties="aligned").static == core.SignMGUP(ties="aligned")
    assert core.SignMGUP(3.0, 0.1).static is core.SignMGUP().static
    assert core.SignMGUP(ties="aligned").static != core.SignMGUP().static
    assert core.SignMGUP(ties="aligned").static.selects_zero
    assert core.MGUP(0.5).static != core.SignMGUP().static
    assert core.Cautious().static == core.Cautious()


def test_a_tau_that_float32_rounds_to_zero():
    """P3, P7: gamma would be 0 by default; given, it serves."""
    for tau in (0.0, 1e-60):
        with pytest.raises(ValueError, match="gamma, which is tau by default"):
            core.MGUP(tau)
        assert core.MGUP(tau, gamma=0.5).top(10**6) == 0
    assert core.MGUP(0.0, gamma=0.5).alpha == 1.0
    with pytest.raises(ValueError, match="is zero in float32"):
        core.SignMGUP(gamma=1e-60)


def test_factors_and_the_safeguard():
    """P6, P7, P9, P10: by hand."""
    s = np.array([[3.0, -1.0, 2.0, np.nan, -np.inf, np.inf]], np.float32)
    be = core.backend_for(s)
    split = core.MGUP(1.0, 2.0, 0.5).decide(be, s)
    assert split.mask.tolist() == [[True, True, True, False, False, True]]
    split = core.AdaptiveSignMGUP(0.01).decide(be, s)
    assert split.mask.tolist() == [[True, False, True, False, False, True]]
    assert (float(split.high.reshape(())), float(split.low.reshape(()))) == (2.0, 0.5)
    split = core.Cautious().decide(be, s)
    assert (float(split.high.reshape(())), float(split.low.reshape(()))) == (2.0, 0.0)
    none = core.AdaptiveSignMGUP(0.25).decide(be, -np.abs(s))
    assert (float(none.high.reshape(())), float(none.low.reshape(()))) == (4.0, 0.25)
    none = core.Cautious().decide(be, np.full((1, 3), -1.0, np.float32))
    assert float(none.high.reshape(())) == pytest.approx(1000.0)
    aligned = core.SignMGUP(ties="aligned").decide(be, np.array([[0.0, -1.0, 1.0]], np.float32))
    assert aligned.mask.tolist() == [[True, False, True]]


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_the_share_of_one_coordinate(sign):
    """P9, P10: all of it or none of it."""
    s = np.array([[sign]], np.float32)
    be = core.backend_for(s)
    adaptive = core.AdaptiveSignMGUP(0.25).decide(be, s)
    cautious = core.Cautious().decide(be, s)
    share = [1.0, 1.0] if sign > 0 else [0.25, np.float32(1e-3)]
    assert [float(x.high.reshape(())) for x in (adaptive, cautious)] == [
        float(np.float32(1.0) / np.float32(x)) for x in share
    ]
    assert float(adaptive.low.reshape(())) == share[0]


def test_a_rescaling_without_a_rate_decays_nothing():
    """R0: the rate of a step is not the decay's, unless it is given."""
    w = np.array([1.0, -2.0, 4.0], np.float32)
    after = w - np.float32(0.5)
    be = core.backend_for(w)
    plain = rescale(be, None, w, after, w)
    assert np.array_equal(rescale(be, None, w, after, w, weight_decay=0.1).w, plain.w)
    decayed = rescale(be, None, w, after, w, lr=1.0, weight_decay=0.5).w
    assert np.array_equal(decayed, after - w / 2)


def test_the_state_says_what_is_missing():
    optimizer = core.Optimizer(core.AdamW())
    w = [np.ones((2, 3), np.float32)]
    state = optimizer.init(w)
    lacking = state._replace(arrays={0: {"exp_avg": state.arrays[0]["exp_avg"]}})
    with pytest.raises(ValueError, match="lacks 'exp_avg_sq', which AdamW reads"):
        optimizer.step(w, w, lacking)
    other = {**state.arrays[0], "exp_avg": np.zeros((3, 2), np.float32)}
    with pytest.raises(ValueError, match=r"'exp_avg' of 0 has shape \(3, 2\)"):
        optimizer.step(w, w, state._replace(arrays={0: other}))
    kept = {**state.arrays[0], "mine": np.ones(1)}
    _, after = optimizer.step(w, w, state._replace(arrays={0: kept}))
    assert after.arrays[0]["mine"] is kept["mine"]


@pytest.mark.parametrize("how", ["list", "tuple", "dict"])
def test_collections_come_back_as_they_were(how):
    """R6: nothing of the arguments changes, and a gradient of None leaves its parameter."""
    w = [np.ones(3, np.float32), np.full(2, 2.0, np.float32)]
    g = [np.ones(3, np.float32), None]
    made = {"list": list, "tuple": tuple, "dict": lambda x: dict(enumerate(x))}[how]
    optimizer = core.Optimizer(core.AdamW(), lr=0.1)
    params = made(w)
    state = optimizer.init(params)
    new, after = optimizer.step(params, made(g), state)
    assert type(new) is type(params)
    assert new[1] is w[1]
    assert after.steps == {0: 1, 1: 0}
    assert np.array_equal(w[0], np.ones(3))
    assert not np.array_equal(new[0], w[0])
    assert state.steps == {0: 0, 1: 0}
    assert not state.arrays[0]["exp_avg"].any()


def test_collections_that_are_none():
    optimizer = core.Optimizer(core.SGD())
    with pytest.raises(ValueError, match="params is empty"):
        optimizer.init([])
    with pytest.raises(TypeError, match="params must be a list, tuple or dict"):
        optimizer.init({1.0})
    w = [np.ones(3, np.float32)]
    with pytest.raises(TypeError, match="grads must be a list, tuple or dict"):
        optimizer.step(w, w[0], optimizer.init(w))
    with pytest.raises(ValueError, match="name different parameters"):
        optimizer.step(w, w * 2, optimizer.init(w))


def test_a_steps_learning_rate():
    """R7: the given one for this step alone; refused where it is no rate."""
    optimizer = core.Optimizer(core.SGD(momentum=0.0), None, lr=1.0)
    w = [np.ones(2, np.float32)]
    state = optimizer.init(w)
    assert optimizer.step(w, w, state, lr=0.5)[0][0].tolist() == [0.5, 0.5]
    assert optimizer.step(w, w, state, lr=0.0)[0][0].tolist() == [1.0, 1.0]
    assert optimizer.step(w, w, state)[0][0].tolist() == [0.0, 0.0]
    for lr in (-1.0, math.nan, math.inf, 1e39):
        with pytest.raises(ValueError, match="lr="):
            optimizer.step(w, w, state, lr=lr)


def test_stacked_dims_by_key():
    """P5: each key its own, 0 where none is said."""
    w = {"a": np.ones((2, 4), np.float32), "b": np.ones((2, 4), np.float32)}
    g = {k: np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.float32) for k in w}
    optimizer = core.Optimizer(
        core.SGD(momentum=0.0), core.MGUP(0.5, 2.0, 0.5), lr=1.0, stacked_dims={"a": 1}
    )
    new, _ = optimizer.step(w, g, optimizer.init(w))
    phi = {k: (w[k] - new[k]) / g[k] for k in w}
    assert phi["a"].tolist() == [[0.5, 0.5, 2, 2], [0.5, 0.5, 2, 2]]
    assert phi["b"].tolist() == [[0.5] * 4, [2.0] * 4]


SHARES = ("b1", "b2", "b3", "momentum", "mu2", "beta_max")
FLOORS = ("eps", "damping")
NUMBERS = [
    (kind, f.name) for kind in core.rules.ALL for f in fields(kind) if f.name in SHARES + FLOORS
]


@pytest.mark.parametrize(("kind", "name"), NUMBERS, ids=lambda x: getattr(x, "__name__", x))
def test_every_rule_refuses_its_numbers_out_of_range(kind, name):
    """R1 to R4, N2: rates of forgetting lie in [0, 1), what keeps a quotient finite in [0, inf)."""
    outside = [-1e-9, math.nan, math.inf]
    if name in SHARES:  # of M3 they are weights of sums
        outside.append(1 + 1e-9 if kind is core.M3 else 1.0)
    for value in outside:
        with pytest.raises(ValueError, match=name):
            kind(**{name: value})
    with pytest.raises(TypeError, match=name):
        kind(**{name: "0.9"})


FLAGS = [(kind, f.name) for kind in core.rules.ALL for f in fields(kind) if f.type == "bool"]


@pytest.mark.parametrize(("kind", "name"), FLAGS, ids=lambda x: getattr(x, "__name__", x))
def test_flags_are_true_or_false(kind, name):
    """An empty dict counted as False, and broke off a step that had begun."""
    for value in ({}, [], "no", None, 2, 0.5):
        try:
            rule = kind(**{name: value})
        except (ValueError, TypeError):
            continue  # refused by the rule itself
        with pytest.raises(TypeError, match=rf"{name}=.* is neither True nor False"):
            core.Optimizer(rule)
    core.Optimizer(kind(**{name: np.bool_(getattr(kind(), name))}))
