"""How many passes a selection takes: a wrong sign in a guess costs time, and no result shows it.

The counts are exact: sorts, sums of integers, products and roots have the same bits everywhere.

It checks P4.
"""

from __future__ import annotations

import array_api_compat.numpy as xp
import numpy as np
import pytest

from mgup_core.selection import bracket
from mgup_core.selection.counting import counting_mask
from mgup_core.selection.reference import argsort_mask

N = 20_000


def scores(kind: str) -> np.ndarray:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, N))
    if kind == "tied":
        x = rng.integers(-3, 4, (2, N)).astype(float)
    elif kind == "zeros":
        x = x * (rng.random((2, N)) < 0.1)
    elif kind == "decades":
        x = x * 10.0 ** rng.integers(-20, 20, (2, N))
    elif kind == "skewed":
        x = np.exp(4 * x)
    elif kind == "sorted":
        x = np.sort(x, axis=-1)
    elif kind == "nan":
        x[rng.random((2, N)) < 0.6] = np.nan
    return x.astype(np.float32)


def passes_of(x: np.ndarray, k: int, *, ways: bool, sampled: bool = True) -> int:
    """How often the counts over the scores are asked for; the mask is the reference's."""
    asked = []

    def counts(masks):
        asked.append(len(masks))
        return [np.count_nonzero(m, axis=-1, keepdims=True).astype(np.int32) for m in masks]

    def loop(n, body, carry):
        for _ in range(n):
            carry = body(carry)
        return carry

    def while_loop(condition, body, carry):
        while condition(carry):
            carry = body(carry)
        return carry

    more = {"counts": counts} if ways else {"all_reduce": lambda n: (asked.append(1), n)[1]}
    if not ways:
        more |= {"index": np.arange(N), "total": N}
        more |= {"sample": x[:, ::7]} if sampled else {}
    mask = counting_mask(xp, x, k, loop=loop, while_loop=while_loop, **more)
    assert np.array_equal(mask, argsort_mask(xp, x, k))
    return len(asked)


KINDS = ["normal", "tied", "zeros", "decades", "skewed", "sorted", "nan"]
SHARES = [0.01, 0.29, 0.5, 0.99]
PASSES = {
    "normal": [[7, 3, 4, 6], [14, 10, 10, 16], [26, 18, 14, 24]],
    "tied": [[1, 10, 13, 1], [14, 40, 14, 10], [56, 52, 56, 50]],
    "zeros": [[6, 1, 1, 7], [22, 10, 10, 12], [24, 50, 50, 22]],
    "decades": [[5, 6, 5, 4], [14, 18, 18, 10], [24, 22, 24, 20]],
    "skewed": [[6, 5, 5, 7], [14, 12, 14, 18], [26, 24, 26, 26]],
    "sorted": [[8, 3, 3, 6], [16, 6, 12, 18], [26, 18, 14, 24]],
    "nan": [[6, 5, 1, 1], [16, 14, 10, 8], [20, 24, 50, 48]],
}
"""By kind: with several counts at once, with an all-reduce and a sample, and without a sample; each
for the shares in their order."""


@pytest.mark.parametrize("kind", KINDS)
def test_passes_of_counting(kind):
    """P4: as many as when the guesses were made; fewer are welcome, and noted here."""
    x = scores(kind)
    found = [
        [passes_of(x, round(N * share), **how) for share in SHARES]
        for how in ({"ways": True}, {"ways": False}, {"ways": False, "sampled": False})
    ]
    assert found == PASSES[kind]


BLOCK = 1 << 12
KEPT = {
    "normal": [1913, 6832, 9209, 1798],
    "tied": [0, -1, 0, 0],
    "zeros": [1509, 0, 0, 1837],
    "decades": [1940, 8198, 8412, 1677],
    "skewed": [1913, 6832, 9209, 1798],
    "sorted": [1791, 7588, 8496, 1676],
}
"""By kind: the scores that lie in the guessed bracket, for the shares in their order."""


def kept_of(x: np.ndarray, k: int) -> int:
    """How many scores the pass over the blocks keeps; -1 where its bracket missed the threshold."""
    spans = [slice(i, min(i + BLOCK, x.size)) for i in range(0, x.size, BLOCK)]
    kept = []

    def again(i):
        kept[:] = [-1]
        return x[spans[i]]

    def each(work):
        return [work(i) for i in range(len(spans))]

    def scan(block, low, high):
        found = bracket.scan(block, low, high)
        kept.append(found.between.size)
        return found

    cut, ties = bracket.find_cut(
        k, spans, lambda i: x[spans[i]], again, lambda stride: x[::stride], each, scan
    )
    expected = argsort_mask(xp, x[None], k)[0]
    masks, left = [], cut.need
    for span, n in zip(spans, ties, strict=True):
        masks.append(bracket.mask_of(x[span], cut.threshold, n, min(max(left, 0), n)))
        left -= n
    assert np.array_equal(np.concatenate(masks), expected)
    return -1 if -1 in kept else sum(kept)


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "nan"])
def test_scores_that_a_bracket_keeps(kind):
    """P4 in host memory: one pass, and few scores to partition after it."""
    x = np.concatenate([scores(kind).reshape(-1)] * 5)[:150_001]
    assert [kept_of(x, round(x.size * share)) for share in SHARES] == KEPT[kind]
