"""What mutants of the selection showed to be untested: each test kills one that survived.

It checks P2, P4, P7 and N6.
"""

from __future__ import annotations

import array_api_compat.numpy as xp
import numpy as np
import pytest

from mgup_core.numerics.backend import backend_for
from mgup_core.selection.bracket import Cut, boundary, row_cuts
from mgup_core.selection.ordered_keys import Keys
from mgup_core.selection.reference import argsort_mask
from mgup_core.trace.ops import OPERATIONS


def rows_of(kind: str, n: int, d: int, rng: np.random.Generator) -> np.ndarray:
    x = rng.standard_normal((n, d))
    if kind == "ties":
        x = rng.integers(-2, 3, (n, d)).astype(float)
    elif kind == "special":
        x[rng.random((n, d)) < 0.4] = np.nan
        x[rng.random((n, d)) < 0.4] = -np.inf
        x[rng.random((n, d)) < 0.2] = np.inf
    return x.astype(np.float32)


@pytest.mark.parametrize("kind", ["normal", "ties", "special"])
def test_the_cuts_of_rows(kind):
    """P4, P7: above the threshold, and the ties before the bound; NaN and -inf get no alpha."""
    rng = np.random.default_rng(0)
    for d in (1, 2, 3, 8, 33):
        for k in {0, 1, d // 2, max(d - 1, 0), d}:
            x = rows_of(kind, 20, d, rng)
            thresholds, bounds = row_cuts(x.copy(), k)
            ties = x == thresholds[:, None]
            mask = (x > thresholds[:, None]) | (ties & (np.arange(d) < bounds[:, None]))
            assert np.array_equal(mask, argsort_mask(xp, x, k) & (x > -np.inf)), (d, k)


@pytest.mark.parametrize("spans", [[5], [3, 2], [1, 1, 1, 1, 1], [2, 3]])
def test_the_bound_of_ties_over_blocks(spans):
    """P4: the first ``need`` of them, in whichever block; after the last, all."""
    ends = np.cumsum(spans)
    blocks = [slice(int(e - n), int(e)) for e, n in zip(ends, spans, strict=True)]
    for bits in range(2**5):
        scores = np.array([bits >> i & 1 for i in range(5)], np.float32)
        counts = [int(np.count_nonzero(scores[b])) for b in blocks]
        for need in range(1 + bits.bit_count()):
            bound = boundary(Cut(1.0, need), counts, blocks, lambda i, s=scores: s[blocks[i]])
            assert np.count_nonzero(scores[:bound]) == need


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_keys_on_both_sides_of_every_power_of_two(dtype):
    """P2: the rounded logarithm of the number below a power may be the power's."""
    keys = Keys(xp, dtype, None)
    info = np.finfo(dtype)
    exact = np.ldexp(dtype(1), np.arange(info.minexp + 1, info.maxexp))
    x = np.concatenate([np.nextafter(exact, 0), exact, np.nextafter(exact, info.max)]).astype(dtype)
    x = np.concatenate([-x, x, [0.0, info.max, -info.max, np.inf, -np.inf]]).astype(dtype)
    assert np.array_equal(keys.decode(keys.encode(x)), x)
    ordered = keys.encode(np.sort(x))
    assert (np.diff(ordered) >= 0).all()
    assert np.array_equal(ordered[1:] == ordered[:-1], np.sort(x)[1:] == np.sort(x)[:-1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_lies_at_the_bound_is_kept(dtype):
    """N6, P2: below it is 0; the bound itself is not."""
    be = backend_for(np.zeros(1, dtype))
    for bound in (be.tiny_moment, be.tiny_score):
        edge = dtype(bound)
        x = np.array([edge, -edge, np.nextafter(edge, dtype(0)), 0.0, np.nan], dtype)
        expected = np.array([edge, -edge, 0.0, 0.0, np.nan], dtype)
        for found in (be.flush(x, bound), OPERATIONS["flush"].numpy(x, edge)):
            assert np.array_equal(found, expected, equal_nan=True)
