"""The elementary functions of numerics: their errors, and where they saturate (N1)."""

from __future__ import annotations

import numpy as np
import pytest

from mgup_core.numerics.backend import backend_for
from mgup_core.numerics.elementary import tanh


@pytest.mark.parametrize(("dtype", "units"), [(np.float32, 8), (np.float64, 12)])
def test_tanh_is_right_to_a_few_units(dtype, units):
    rng = np.random.default_rng(0)
    small = 10.0 ** rng.uniform(-30, 1, 20_000)
    x = np.concatenate([rng.uniform(-25, 25, 20_000), small, rng.normal(size=20_000)]).astype(dtype)
    y, exact = tanh(backend_for(x), x), np.tanh(x.astype(np.longdouble))
    assert np.max(np.abs(y - exact) / np.spacing(np.abs(exact).astype(dtype))) < units
    assert np.abs(y).max() == 1.0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tanh_at_the_ends(dtype):
    """NaN stays NaN, as P2 needs."""
    x = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 30.0], dtype)
    y = tanh(backend_for(x), x)
    np.testing.assert_array_equal(y, np.tanh(x))
    assert np.signbit(y[4])
