"""Identity (N1), closeness (N7), and the oracle's own arithmetic."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mgup_conformance.compare import Mismatch, check_close, check_identical, digest
from mgup_conformance.scalar import ROUND, Arithmetic

TINY = {np.float32: 2.0**-100, np.float64: 2.0**-967}


def identical(x, y):
    same = digest(x) == digest(y)
    try:
        check_identical("x", x, y)
    except Mismatch:
        assert not same
        return False
    assert same
    return True


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_identity(dtype):
    """N1, and the digest agrees with it."""
    one, bound = dtype(1), dtype(TINY[dtype])
    below = np.nextafter(bound, dtype(0))
    negative_nan = np.copysign(dtype(np.nan), dtype(-1))
    pairs = [(one, one), (dtype(np.nan), negative_nan), (dtype(0), dtype(-0.0)), (below, -below)]
    for x, y in pairs:
        assert identical(np.array([x, one]), np.array([y, one]))
    different = [
        (one, np.nextafter(one, dtype(2))), (bound, below), (bound, -bound), (one, -one),
        (dtype(np.nan), dtype(np.inf)), (dtype(np.inf), dtype(-np.inf)),
    ]  # fmt: skip
    for x, y in different:
        assert not identical(np.array([x, one]), np.array([y, one]))


def test_identity_looks_at_dtype_and_shape():
    x = np.ones(4, np.float32)
    assert not identical(x, x.astype(np.float64))
    assert not identical(x, x.reshape(2, 2))
    assert not identical(x, x.astype(ml_dtypes.bfloat16))


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_low_precision_differs_by_one_unit(dtype):
    x = np.ones(4, dtype)
    y = x.copy()
    assert identical(x, y)
    y[2] = (x.view(np.uint16) + np.uint16(1)).view(dtype)[2]
    with pytest.raises(Mismatch, match=r"1 of 4 values differ"):
        check_identical("x", x, y)


def test_a_mismatch_says_all_it_knows():
    x = np.ones((2, 3), np.float32)
    y = x.copy()
    y[1, 2] = np.float32(1.5)
    with pytest.raises(Mismatch) as caught:
        check_identical("state exp_avg", x, y, step=7, parameter=3)
    assert str(caught.value) == (
        "state exp_avg: 1 of 6 values differ\n"
        "  at step 7, parameter 3, coordinate [1, 2]\n"
        "  expected 0x1.0000000000000p+0 (1)\n"
        "  got      0x1.8000000000000p+0 (1.5)"
    )


def test_closeness():
    """N7: 1e-4 of the norm, 2e-4 of the largest entry; NaN is never close."""
    x = np.linspace(1.0, 2.0, 100)
    check_close("u", x, x * (1 + 0.9e-4))
    for wrong in (x * (1 + 1.2e-4), x + np.where(np.arange(100) == 5, 5e-4, 0), x * np.nan):
        with pytest.raises(Mismatch, match="in a norm of"):
            check_close("u", x, wrong)
    check_close("u", np.zeros((0, 3)), np.zeros((0, 3)))


def test_a_direction_of_zeros():
    """Nothing to divide by: only zeros are close to zeros."""
    check_close("u", np.zeros(3), np.zeros(3))
    with pytest.raises(Mismatch):
        check_close("u", np.zeros(3), np.full(3, 1e-9))


def test_the_oracle_rounds_as_ml_dtypes_does():
    """R5: to nearest even, at every midpoint of two bfloat16 or float16 numbers and beside it."""
    for dtype, name in ((ml_dtypes.bfloat16, "bfloat16"), (np.float16, "float16")):
        every = np.arange(2**15, dtype=np.uint16).view(dtype)
        numbers = every[np.isfinite(every.astype(np.float32))].astype(np.float32)
        middle = (numbers[:-1].astype(np.float64) + numbers[1:]) / 2
        exact = middle.astype(np.float32)
        exact = exact[exact == middle][::7]
        for x in (exact, np.nextafter(exact, np.float32(0)), np.nextafter(exact, np.float32(9e9))):
            expected = x.astype(dtype).astype(np.float64)
            assert [ROUND[name](float(v)) for v in x] == expected.tolist()


@given(
    x=st.floats(width=32, allow_nan=False), y=st.floats(width=32, allow_nan=False),
)  # fmt: skip
def test_the_oracle_computes_as_numpy_does(x, y):
    """N4: float32 operations by double operations rounded once more."""
    ar, p, q = Arithmetic("float32"), np.float32(x), np.float32(y)
    with np.errstate(all="ignore"):
        expected = [p + q, p * q, p / q, np.sqrt(p)]
    got = [ar.add(x, y), ar.mul(x, y), ar.div(x, y), ar.sqrt(x)]
    np.testing.assert_array_equal(np.array(got), np.array(expected, np.float64))
