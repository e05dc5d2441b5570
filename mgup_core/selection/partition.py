"""Exact selection with ``numpy.partition``, the fastest where the scores lie in host memory."""

from __future__ import annotations

import numpy as np

from .._typing import Array


def partition_mask(scores: Array, k: int) -> Array:
    """The mask of the k largest of each row of canonical scores (n, d); NumPy arrays only (P4)."""
    n, d = scores.shape
    k = min(k, d)
    if k <= 0 or n == 0:
        return np.zeros(scores.shape, dtype=bool)
    numbers, nan = scores, None
    if np.isnan(scores.max()):  # numpy ranks NaN highest; P2 ranks it lowest
        nan = np.isnan(scores)
        numbers = np.where(nan, -np.inf, scores).astype(scores.dtype)
    threshold = np.partition(numbers, d - k, axis=-1)[:, d - k, None]
    mask = np.greater_equal(scores, threshold)
    if nan is None and np.count_nonzero(mask) == n * k:  # no row has less than k
        return mask
    have = np.count_nonzero(mask, axis=-1, keepdims=True)
    crowded = np.flatnonzero(have > k)
    if len(crowded):
        over = scores[crowded] > threshold[crowded]
        need = k - np.count_nonzero(over, axis=-1, keepdims=True)
        mask[crowded] = over | _first(mask[crowded] & ~over, need)
    lacking = np.flatnonzero(have < k)
    if nan is not None and len(lacking):
        mask[lacking] |= _first(nan[lacking], k - have[lacking])
    return mask


def _first(mask: Array, n: Array) -> Array:
    """The first ``n`` true values of each row."""
    return mask & (np.cumsum(mask, axis=-1, dtype=np.int64) <= n)
