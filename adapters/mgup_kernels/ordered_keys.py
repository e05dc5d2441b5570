"""Scores as integers in the same order, and the mask of those above a threshold (P2, P4, P7)."""

from __future__ import annotations

import triton
import triton.language as tl

from . import layout

LOWEST = tl.constexpr(-(2**31))
"""The key of NaN."""
NEGATIVE_INFINITY = tl.constexpr(-0x7F800000 - 1)
HIGHEST = tl.constexpr(2**31 - 1)

_LOCAL_LENGTH = tl.constexpr(layout.LOCAL_LENGTH)
_FIRST_BLOCK = tl.constexpr(layout.FIRST_BLOCK)
_THRESHOLD = tl.constexpr(layout.THRESHOLD)
_TIE_QUOTA = tl.constexpr(layout.TIE_QUOTA)
_TIES = tl.constexpr(layout.TIES)


@triton.jit
def key_of(scores):
    """int32 keys in the order of canonical float32 scores; NaN has the lowest."""
    bits = scores.to(tl.int32, bitcast=True)
    return tl.where(scores != scores, LOWEST, tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits))


@triton.jit
def score_of(key):
    """The float32 that compares with canonical scores as a key compares with their keys.

    Keys above that of +inf give NaN, which no score exceeds.
    """
    key = tl.where(key == -1, -2, key)  # the key of -0, which no score is and which equals 0
    bits = tl.where(key < 0, key ^ 0x7FFFFFFF, key)
    return bits.to(tl.float32, bitcast=True)


@triton.jit
def block_coordinates(row, block, BLOCK: tl.constexpr, DIVISOR: tl.constexpr):
    """The coordinates of a block of a slice.

    Args:
        row: the slice's row of the slice table.
        block: the block's number in the plan.

    Returns:
        (start, offsets, inside): coordinate ``start + offsets`` exists where ``inside``.
    """
    start = (block - tl.load(row + _FIRST_BLOCK)) * BLOCK
    left = tl.minimum(tl.load(row + _LOCAL_LENGTH) - start, BLOCK).to(tl.int32)
    offsets = tl.arange(0, BLOCK)
    return start, offsets, offsets < tl.multiple_of(left, DIVISOR)


@triton.jit
def selected_in_block(scores, inside, record, earlier_ties):
    """The rank mask of one block, in index order.

    Args:
        scores: canonical, float32.
        record: the slice's search record, with its threshold.
        earlier_ties: address of the number of ties in the slice's earlier blocks.
    """
    threshold = score_of(tl.load(record + _THRESHOLD).to(tl.int32))
    quota = tl.load(record + _TIE_QUOTA)
    ties = tl.load(record + _TIES)
    mask = scores > threshold
    if quota == ties:
        if quota > 0:
            mask = scores >= threshold
    else:
        left = quota - tl.load(earlier_ties)
        tied = inside & (scores == threshold)
        mask = mask | (tied & (tl.cumsum(tied.to(tl.int32), 0) <= left))
    return mask
