"""Exact selection with ``numpy.partition``: the fast way where scores lie in host memory."""

from __future__ import annotations

import numpy as np

from .._typing import Array


def partition_mask(scores: Array, k: int) -> Array:
    """The mask of the k largest of each row of canonical scores (n, d), NumPy arrays only (P4)."""
    mask = np.zeros(scores.shape, dtype=bool)
    if k > 0:
        for row, selected in zip(scores, mask, strict=True):
            _select(row, min(k, row.size), selected)
    return mask


def _select(scores: Array, k: int, mask: Array) -> None:
    """Set the k largest of one row (d,) in ``mask``."""
    d = scores.size
    if d == 0:
        return
    top = np.partition(scores, d - k)[d - k :]
    if np.isnan(top.max()):  # numpy ranks NaN highest; P2 ranks it lowest
        nan = np.isnan(scores)
        numbers = d - int(np.count_nonzero(nan))
        if numbers <= k:
            np.logical_not(nan, out=mask)
            mask[np.flatnonzero(nan)[: k - numbers]] = True
            return
        filled = np.where(nan, -np.inf, scores).astype(scores.dtype)
        top = np.partition(filled, d - k)[d - k :]
    threshold = top.min()
    np.greater(scores, threshold, out=mask)
    need = k - int(np.count_nonzero(mask))
    ties = np.flatnonzero(scores == threshold)
    mask[ties[:need]] = True
