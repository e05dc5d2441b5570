"""Exact selection: three algorithms and the oracle on scores that are hard to rank (P2 to P5)."""

from __future__ import annotations

import math
from fractions import Fraction

import array_api_strict as xps
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mgup_conformance.data import SCORES, generator
from mgup_core import rank, rank_mask, top_count
from mgup_core.selection.pairwise import pairwise_mask

from .support import oracle_mask, score_rows, strictly

METHODS = ["auto", "argsort", "counting", "partition"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("pattern", SCORES)
def test_every_way_is_the_oracle(pattern, dtype, method):
    """P2, P4: all algorithms give one mask, for K in {0, 1, half, d - 1, d}."""
    for d in (1, 2, 17, 200):
        rng = generator(pattern, dtype.__name__, d)
        with np.errstate(over="ignore"):
            scores = SCORES[pattern](rng, d, dtype is np.float64).astype(dtype)
        for k in {0, 1, d // 2, d - 1, d}:
            expected = oracle_mask(scores[None], k)[0]
            np.testing.assert_array_equal(rank_mask(scores, k, method=method), expected)


@pytest.mark.parametrize("pattern", SCORES)
def test_pairs_are_the_oracle(pattern):
    """P2, P4: of short rows, under array-api-strict, for another K in each row."""
    with np.errstate(over="ignore"):
        scores = SCORES[pattern](generator(pattern, "pairs"), 4 * 17, False).astype(np.float32)
    scores = np.where(np.abs(scores) < 2.0**-125, np.float32(0), scores).reshape(4, 17)
    ks = [0, 1, 8, 17]
    with strictly():
        mask = pairwise_mask(xps, xps.asarray(scores), xps.asarray([[k] for k in ks]))
    expected = [oracle_mask(row[None], k)[0] for row, k in zip(scores, ks, strict=True)]
    np.testing.assert_array_equal(np.asarray(mask), expected)


@pytest.mark.parametrize("method", METHODS)
@given(case=score_rows())
def test_every_way_on_any_data(method, case):
    """P4, and P5 by rows."""
    scores, k = case
    before = scores.copy()
    scores.flags.writeable = False
    mask = rank_mask(scores, k, stacked_dims=1, method=method)
    np.testing.assert_array_equal(mask, oracle_mask(scores, k))
    assert (mask.sum(axis=1) == k).all()
    np.testing.assert_array_equal(scores, before)


@pytest.mark.parametrize(
    "method", ["auto", "argsort", pytest.param("counting", marks=pytest.mark.slow)]
)
@given(case=score_rows(max_side=8))
def test_strictly(method, case):
    """The same under array-api-strict, without boolean indexing or data-dependent shapes."""
    scores, k = case
    with strictly():
        mask = rank_mask(xps.asarray(scores), k, stacked_dims=1, method=method)
    np.testing.assert_array_equal(np.asarray(mask), oracle_mask(scores, k))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("stacked_dims", [0, 1, 2, 3])
@pytest.mark.parametrize("shape", [(3, 4, 5), (1, 4, 5), (2, 0, 5), (0, 4, 5), (2, 3, 0)])
def test_slices_rank_apart(shape, stacked_dims, method):
    """P5: each slice is ranked by itself, empty ones included."""
    scores = generator("slices", shape).integers(-3, 4, shape).astype(np.float32)
    d = int(np.prod(shape[stacked_dims:]))
    mask = rank_mask(scores, top_count(0.5, d), stacked_dims=stacked_dims, method=method)
    assert mask.shape == shape
    for index in np.ndindex(shape[:stacked_dims]):
        alone = oracle_mask(scores[index].reshape(1, -1), top_count(0.5, d))
        np.testing.assert_array_equal(mask[index].reshape(1, -1), alone)


@given(case=score_rows(), data=st.data())
def test_permuting_off_ties_permutes_the_mask(case, data):
    """P4: only ties look at the index."""
    scores, k = case
    row = np.unique(np.where(np.abs(scores[0]) < 1e-30, 0, scores[0]))
    assume(not np.isnan(row).any())
    k = min(k, row.size)
    order = np.array(data.draw(st.permutations(range(row.size))))
    np.testing.assert_array_equal(rank_mask(row, k)[order], rank_mask(row[order], k))


@given(case=score_rows(), power=st.integers(-20, 20))
def test_scaling_by_a_power_of_two_keeps_the_mask(case, power):
    """P1, P4: the mask depends on the order of the scores only."""
    scores, k = case
    size = np.abs(scores)
    assume(((size == 0) | ~((size < 1e-25) | ((size > 1e25) & (size < np.inf)))).all())
    np.testing.assert_array_equal(
        rank_mask(scores * scores.dtype.type(2.0**power), k), rank_mask(scores, k)
    )


@given(case=score_rows(), taus=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_a_larger_ratio_selects_more(case, taus):
    """P4, P6: a larger tau selects all that a smaller one selects."""
    small, large = (rank(case[0], tau) for tau in sorted(taus))
    assert (large | ~small).all()


def test_examples_of_the_count():
    """P3: K is exact where floating-point arithmetic is wrong."""
    assert top_count(0.29, 100) == 29 != int(0.29 * 100)
    assert top_count(0.57, 100) == 57 != int(0.57 * 100)
    assert top_count(0.29, 10) == 2 != round(2.9)
    assert [top_count(0.5, 1), top_count(0.0, 9), top_count(1.0, 9), top_count(0.3, 0)] == [
        0,
        0,
        9,
        0,
    ]
    assert top_count(0.1, 10**15) == 10**14


@given(d=st.integers(1, 10**6), tenths=st.integers(0, 10**4))
def test_the_count_of_a_decimal(d, tenths):
    """P3: in whole numbers."""
    assert top_count(tenths / 10**4, d) == tenths * d // 10**4


class Symbol(int):
    """A length as a compiler holds it: an integer of 64 bits."""

    def __rmul__(self, other):
        product = other * int(self)
        assert product < 2**63
        return product


@given(st.floats(0.0, 1.0), st.integers(0, 2**33))
def test_the_count_of_any_ratio(tau, d):
    """P3, without a product that needs more than 64 bits."""
    assert top_count(tau, Symbol(d)) == math.floor(Fraction(repr(tau)) * d)


def test_examples_of_the_order():
    """P2, P4: equals by lowest index, NaN below -inf, all zeros and tiny scores equal."""
    s = np.array([1, 2, 2, 2], np.float32)
    assert rank_mask(s, 2).tolist() == [False, True, True, False]
    s = np.array([np.nan, -np.inf, -np.nan, 0], np.float32)
    assert rank_mask(s, 2).tolist() == [False, True, False, True]
    assert rank_mask(s, 3).tolist() == [True, True, False, True]
    s = np.array([-0.0, 0.0, 1e-44, -1e-40], np.float32)
    assert rank_mask(s, 2).tolist() == [True, True, False, False]
    tiny = np.float32(2.0**-125)
    below = np.nextafter(tiny, np.float32(0))
    assert rank_mask(np.array([0, below, tiny], np.float32), 2).tolist() == [True, False, True]


def test_k_is_clipped():
    """``rank_mask`` clips k to [0, d]."""
    s = np.array([3.0, 1.0])
    assert rank_mask(s, -4).tolist() == [False, False]
    assert rank_mask(s, 9).tolist() == [True, True]


@pytest.mark.parametrize("stacked_dims", [-1, 3])
def test_wrong_slices_are_refused(stacked_dims):
    """P5: the message names argument, value and range."""
    with pytest.raises(ValueError, match=rf"stacked_dims={stacked_dims} is outside \[0, 2\]"):
        rank_mask(np.zeros((2, 3)), 1, stacked_dims=stacked_dims)


def test_an_unknown_method_is_refused():
    with pytest.raises(ValueError, match=r"method='sort' is none of"):
        rank_mask(np.zeros(3), 1, method="sort")
