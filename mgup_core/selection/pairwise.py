"""Exact selection by comparing all pairs of a short row: no loop and no sort."""

from __future__ import annotations

from typing import Any

from .._typing import Array


def pairwise_mask(xp: Any, scores: Array, k: Any) -> Array:
    """The mask of the k largest of each row of canonical scores (n, d), in n*d*d comparisons (P4).

    Args:
        k: an integer, or integers (n, 1).
    """
    n, d = scores.shape
    mine, other = xp.reshape(scores, (n, d, 1)), xp.reshape(scores, (n, 1, d))
    nan, no_number = mine != mine, other != other  # which ranks below every number (P2)
    better = (other > mine) | (nan & ~no_number)
    tie = (other == mine) | (nan & no_number)
    # Not arange, which not every tracer has.
    index = xp.cumulative_sum(xp.full((1, d), 1, dtype=xp.int32), axis=-1)
    before = xp.reshape(index, (1, 1, d)) < xp.reshape(index, (1, d, 1))
    ahead = xp.astype(better | (tie & before), xp.int32)
    return xp.sum(ahead, axis=-1) < k
