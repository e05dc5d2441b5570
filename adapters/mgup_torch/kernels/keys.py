"""Scores as integers in the same order, and the mask of those above a threshold (P2, P4, P7)."""

from __future__ import annotations

import triton
import triton.language as tl

from . import table

LOWEST = tl.constexpr(-(2**31))  # NaN
NEGATIVE_INFINITY = tl.constexpr(-0x7F800000 - 1)
HIGHEST = tl.constexpr(2**31 - 1)

_THRESHOLD = tl.constexpr(table.THRESHOLD)
_QUOTA = tl.constexpr(table.QUOTA)
_TIES = tl.constexpr(table.TIES)


@triton.jit
def ordered(scores):
    """int32 keys in the order of canonical float32 scores; NaN lowest."""
    bits = scores.to(tl.int32, bitcast=True)
    return tl.where(scores != scores, LOWEST, tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits))


@triton.jit
def chosen(scores, inside, record, earlier):
    """The rank mask of one block, in index order.

    Args:
        record: the slice's record, with its threshold.
        earlier: where the number of ties in the slice's earlier blocks is.
    """
    keys = ordered(scores)
    threshold = tl.load(record + _THRESHOLD).to(tl.int32)
    quota = tl.load(record + _QUOTA)
    ties = tl.load(record + _TIES)
    mask = keys > threshold
    if quota == ties:
        if quota > 0:
            mask = keys >= threshold
    else:
        left = quota - tl.load(earlier)
        tied = inside & (keys == threshold)
        mask = mask | (tied & (tl.cumsum(tied.to(tl.int32), 0) <= left))
    return mask
