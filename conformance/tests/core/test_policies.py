"""The policies and their multipliers (P1, P2, P6 to P12)."""

from __future__ import annotations

from fractions import Fraction

import array_api_strict as xps
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mgup_core import (
    MGUP,
    AdaptiveSignMGUP,
    Cautious,
    SignMGUP,
    differentiate,
    rank,
    safeguard,
    score,
    top_count,
)

from .support import floats, score_rows, strictly

POLICIES = [
    MGUP(),
    MGUP(0.29, 1.5, 0.8),
    SignMGUP(),
    SignMGUP(1.7, 0.3, "aligned"),
    AdaptiveSignMGUP(),
    Cautious(),
]
NAN, INF = np.nan, np.inf


def test_score_is_the_product_in_the_compute_dtype():
    """P1: bfloat16 and float16 are cast up first; float64 stays."""
    for dtype in (ml_dtypes.bfloat16, np.float16, np.float32):
        a, g = np.array([1.01, 3.0], dtype), np.array([1.01, -2.0], dtype)
        s = score(a, g)
        assert s.dtype == np.float32
        np.testing.assert_array_equal(s, a.astype(np.float32) * g.astype(np.float32))
    a = np.array([1.01])
    assert score(a, a)[0] == 1.01 * 1.01
    assert score(a, a).dtype == np.float64


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_score_is_canonical(dtype):
    """P2: -0 and tiny scores are +0, and NaN stays NaN."""
    tiny = dtype(2 * np.finfo(dtype).tiny)  # NumPy 1 would promote it
    s = np.array([-0.0, np.nextafter(tiny, dtype(0)), -tiny, NAN, -INF], dtype)
    out = score(s, np.ones(5, dtype))
    np.testing.assert_array_equal(out, np.array([0, 0, -tiny, NAN, -INF], dtype))
    assert not np.signbit(out[:2]).any()


@given(case=score_rows(), tau=st.sampled_from([0.0, 0.29, 0.5, 0.9, 1.0]))
def test_exactly_k_get_alpha(case, tau):
    """P4, P6, P12: K coordinates have alpha, the rest gamma, and the mean is as specified."""
    scores, _ = case
    scores = np.where(np.isnan(scores) | np.isinf(scores), scores.dtype.type(1), scores)
    d = scores.shape[1]
    phi = MGUP(tau, 2.0, 0.5).multiplier(scores, np.ones_like(scores), stacked_dims=1)
    k = top_count(tau, d)
    assert ((phi == 2.0).sum(axis=1) == k).all()
    assert ((phi == 0.5).sum(axis=1) == d - k).all()
    mean = Fraction(4 * k + (d - k), 2 * d)
    assert [Fraction(float(row.sum())) / d for row in phi] == [mean] * len(phi)


def test_the_default_raises_the_mean_step_by_a_quarter():
    """P12: 1 + tau - tau^2 = 1.25."""
    a = np.arange(10.0)
    assert MGUP().multiplier(a, a).mean() == 1.25
    assert MGUP(0.2).multiplier(a, a).mean() == pytest.approx(1 + 0.2 - 0.04, abs=1e-15)


def test_one_coordinate_is_damped():
    """P3: d = 1 at tau = 0.5 selects nothing."""
    assert MGUP().multiplier(np.array([3.0]), np.array([3.0])).tolist() == [0.5]


def test_defaults_of_the_paper():
    """P6: the defaults are alpha = 1/tau and gamma = tau."""
    policy = MGUP(0.25)
    assert (policy.alpha, policy.gamma) == (4.0, 0.25)
    policy = MGUP(0.25, 1.5, 0.75)
    assert (policy.alpha, policy.gamma) == (1.5, 0.75)
    assert MGUP(0.0, gamma=0.5).multiplier(np.ones(3), np.ones(3)).tolist() == [0.5] * 3


def test_never_alpha_on_nan_or_minus_infinity():
    """P7: NaN and -inf among the K count towards K and get gamma."""
    s = np.array([NAN, -INF, INF, 1.0], np.float32)
    phi = MGUP(1.0, 2.0, 0.5).multiplier(s, np.ones_like(s))
    assert phi.tolist() == [0.5, 0.5, 2.0, 2.0]
    assert safeguard(np.array([True] * 4), s).tolist() == [False, False, True, True]
    for policy in (SignMGUP(), SignMGUP(ties="aligned"), AdaptiveSignMGUP(), Cautious()):
        low = policy.multiplier(s, np.ones_like(s))[:2]
        assert (low < 1.0).all()


def test_sign_mode():
    """P8: alpha where the score is above 0, or at 0 with ties="aligned"."""
    s = np.array([1.0, 0.0, -0.0, -1.0, INF, NAN, 1e-44], np.float32)
    one = np.ones_like(s)
    damped = [2.0, 0.5, 0.5, 0.5, 2.0, 0.5, 0.5]
    assert SignMGUP().multiplier(s, one).tolist() == damped
    aligned = [2.0, 2.0, 2.0, 0.5, 2.0, 0.5, 2.0]
    assert SignMGUP(ties="aligned").multiplier(s, one).tolist() == aligned


def test_adaptive_mode():
    """P9: the factors are 1/share and share of the exact, clipped share."""
    s = np.array([1.0, 2.0, 0.0, -1.0, -2.0], np.float32)
    share = np.float32(2) / np.float32(5)
    high, low = np.float32(1) / share, share
    phi = AdaptiveSignMGUP().multiplier(s, np.ones_like(s))
    assert phi.tolist() == [high, high, low, low, low]
    nothing = AdaptiveSignMGUP(0.25).multiplier(-np.ones(4), np.ones(4))
    assert nothing.tolist() == [0.25] * 4
    assert AdaptiveSignMGUP().multiplier(np.ones(4), np.ones(4)).tolist() == [1.0] * 4


def test_cautious_baseline():
    """P10: the rest is zeroed, and the mean is bounded by 1e-3 from below."""
    s = np.array([1.0, -1.0, 0.0, 1.0])
    assert Cautious().multiplier(s, np.ones_like(s)).tolist() == [2.0, 0.0, 0.0, 2.0]
    rare = -np.ones(4000)
    rare[7] = 1.0
    assert Cautious().multiplier(rare, np.ones(4000))[7] == 1.0 / 1e-3


@pytest.mark.parametrize("policy", POLICIES, ids=repr)
@given(data=st.data())
def test_multipliers_are_finite_and_not_negative(policy, data):
    """P7 and P5 hold for any scores: each slice is decided by itself."""
    dtype = data.draw(st.sampled_from([np.float32, np.float64]))
    a, g = (data.draw(arrays(dtype, (3, 5), elements=floats(dtype))) for _ in "ag")
    with np.errstate(all="raise"):
        phi = policy.multiplier(a, g, stacked_dims=1)
    assert np.isfinite(phi).all()
    assert (phi >= 0).all()
    assert phi.dtype == dtype
    for row in range(3):
        np.testing.assert_array_equal(phi[row], policy.multiplier(a[row], g[row]))


@pytest.mark.parametrize("policy", POLICIES, ids=repr)
@pytest.mark.parametrize("shape", [(), (0,), (1,), (2, 3, 4)])
def test_strictly_and_on_read_only_arrays(policy, shape):
    """The multiplier has the shape of ``a``, under array-api-strict and on read-only arrays."""
    rng = np.random.default_rng(1)
    a, g = (np.asarray(rng.standard_normal(shape)).astype(np.float32) for _ in "ag")
    for x in (a, g):
        x.flags.writeable = False
    expected = policy.multiplier(a, g)
    assert expected.shape == shape
    with strictly():
        got = policy.multiplier(xps.asarray(a, copy=True), xps.asarray(g, copy=True))
    np.testing.assert_array_equal(np.asarray(got), expected)


def test_differentiate():
    """P6: the multiplier has the dtype asked for, by default float32."""
    mask = np.array([True, False])
    assert differentiate(mask, 2.0, 0.1).tolist() == [2.0, np.float32(0.1)]
    assert differentiate(mask, 2.0, 0.1, dtype=np.float64).tolist() == [2.0, 0.1]


def test_the_four_functions_make_the_policy():
    """MGUP is the composition of score, rank, safeguard and differentiate."""
    rng = np.random.default_rng(0)
    a, g = rng.integers(-2, 3, (2, 50)).astype(np.float32)
    a[3] = NAN
    s = score(a, g)
    phi = differentiate(safeguard(rank(s, 0.3), s), 1 / 0.3, 0.3)
    np.testing.assert_array_equal(phi, MGUP(0.3).multiplier(a, g))


def test_scheduled_factors():
    """P6: alpha and gamma may be 0-d arrays of a schedule."""
    a = np.array([1.0, 2.0], np.float32)
    policy = MGUP(0.5, alpha=np.asarray(1.5), gamma=np.asarray(0.7))
    assert policy.multiplier(a, a).tolist() == [np.float32(0.7), 1.5]
