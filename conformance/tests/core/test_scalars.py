"""Scalars (N2, N3) and moments (N6)."""

from __future__ import annotations

from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mgup_conformance.scalar import Arithmetic
from mgup_core import Backend, backend_for, bias_correction, ema
from mgup_core.numerics.scalars import inverse_correction

BETAS = [0.9, 0.95, 0.98, 0.99, 0.999, 0.9999, 0.99999]
STEPS = [*range(1, 40), 100, 999, 1000, 1023, 1024, 12_345, 65_535, 10**5, 10**6, 8_388_607, 10**7]


def be_for(dtype) -> Backend:
    return backend_for(np.zeros(1, dtype))


def errors(dtype, beta) -> list[float]:
    """The relative errors of c(beta, t), against fifty digits."""
    with localcontext() as context:
        context.prec = 50
        exact = [1 - Decimal(beta) ** t for t in STEPS]
        got = [Decimal(float(bias_correction(be_for(dtype), beta, t))) for t in STEPS]
        return [float(abs(a - b) / b) for a, b in zip(got, exact, strict=True)]


@pytest.mark.parametrize("beta", BETAS)
def test_accuracy(beta):
    """N3: relative error <= 1.5e-7 in float32 up to t = 1e7, where pow is off by 2e-5."""
    assert max(errors(np.float32, beta)) <= 1.5e-7


@pytest.mark.parametrize("beta", BETAS)
def test_accuracy_in_float64(beta):
    """N3: in float64, the complements lose only what 1 - beta loses."""
    assert max(errors(np.float64, beta)) <= 2**-53 / (1 - beta)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(beta=st.sampled_from([0.0, 0.5, *BETAS]), t=st.integers(1, 2**31 - 1))
def test_a_traced_step_gives_the_same_bits(dtype, beta, t):
    """N3: a 0-d array t, a Python t and the oracle give the same bits."""
    expected = bias_correction(be_for(dtype), beta, t)
    assert bias_correction(be_for(dtype), beta, np.asarray(t, np.int32)) == expected
    assert inverse_correction(be_for(dtype), beta, np.asarray(t, np.int32)) == inverse_correction(
        be_for(dtype), beta, t
    )
    assert Arithmetic(dtype.__name__).correction(beta, t) == float(expected)


def test_scalars_are_arrays_of_the_compute_dtype():
    """N2: a scalar is 0-d and rounded once; arrays are cast."""
    for dtype in (np.float32, np.float64):
        x = be_for(dtype).scalar(0.1)
        assert x.shape == ()
        assert x.dtype == dtype
        assert x == dtype(0.1)
    assert be_for(np.float32).scalar(np.asarray(0.1)) == np.float32(0.1)


def test_one_minus_beta_is_formed_in_double():
    """N2: 1 - 0.999 rounded once, not float32(1) - float32(0.999)."""
    g = np.ones(1, np.float32)
    m = ema(be_for(np.float32), np.zeros(1, np.float32), g, 0.999)
    assert m[0] == np.float32(1 - 0.999) != np.float32(1) - np.float32(0.999)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nothing_above_the_threshold_meets_a_subnormal(dtype):
    """N1, N6: numbers at the threshold have no subnormal difference; no subnormal changes one."""
    normal = np.finfo(dtype).tiny
    least = dtype(be_for(dtype).tiny_moment)
    assert np.nextafter(least, dtype(1)) - least >= normal
    for change in (normal, -normal):  # more than any subnormal number
        assert least + change == least


@pytest.mark.parametrize(("dtype", "bound"), [(np.float32, 2.0**-100), (np.float64, 2.0**-967)])
def test_tiny_moments_are_zero(dtype, bound):
    """N6: values below the threshold become +0; the threshold, NaN and infinities stay."""
    below = np.nextafter(dtype(bound), dtype(0))
    x = np.array([below, -below, -0.0, bound, -bound, np.nan, np.inf, -np.inf], dtype)
    for be in (be_for(dtype), Backend(be_for(dtype).xp, dtype)):
        flushed = be.flush(x)
        np.testing.assert_array_equal(flushed, [0, 0, 0, bound, -bound, np.nan, np.inf, -np.inf])
        assert flushed.dtype == dtype
    assert not np.signbit(Backend(be_for(dtype).xp, dtype).flush(x)[:3]).any()
