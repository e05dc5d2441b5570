"""Scores as integers in the same order, and the mask of those above a threshold (P2, P4, P7)."""

from __future__ import annotations

import triton
import triton.language as tl

from . import layout as table

LOWEST = tl.constexpr(-(2**31))  # NaN
NEGATIVE_INFINITY = tl.constexpr(-0x7F800000 - 1)
HIGHEST = tl.constexpr(2**31 - 1)

_D = tl.constexpr(table.D)
_FIRST_BLOCK = tl.constexpr(table.FIRST_BLOCK)
_THRESHOLD = tl.constexpr(table.THRESHOLD)
_QUOTA = tl.constexpr(table.QUOTA)
_TIES = tl.constexpr(table.TIES)


@triton.jit
def ordered(scores):
    """int32 keys in the order of canonical float32 scores; NaN lowest."""
    bits = scores.to(tl.int32, bitcast=True)
    return tl.where(scores != scores, LOWEST, tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits))


@triton.jit
def score_of(key):
    """What compares with canonical scores as a key does with theirs; NaN above the highest."""
    key = tl.where(key == -1, -2, key)  # of -0, which no score is, but as a float equals 0
    bits = tl.where(key < 0, key ^ 0x7FFFFFFF, key)
    return bits.to(tl.float32, bitcast=True)


@triton.jit
def block_of(row, number, BLOCK: tl.constexpr, DIVISOR: tl.constexpr):
    """(start, offsets, inside) of a block of a slice: its coordinates are start + offsets."""
    start = (number - tl.load(row + _FIRST_BLOCK)) * BLOCK
    left = tl.minimum(tl.load(row + _D) - start, BLOCK).to(tl.int32)
    offsets = tl.arange(0, BLOCK)
    return start, offsets, offsets < tl.multiple_of(left, DIVISOR)


@triton.jit
def chosen(scores, inside, record, earlier):
    """The rank mask of one block, in index order.

    Args:
        record: the slice's record, with its threshold.
        earlier: where the number of ties in the slice's earlier blocks is.
    """
    threshold = score_of(tl.load(record + _THRESHOLD).to(tl.int32))
    quota = tl.load(record + _QUOTA)
    ties = tl.load(record + _TIES)
    mask = scores > threshold
    if quota == ties:
        if quota > 0:
            mask = scores >= threshold
    else:
        left = quota - tl.load(earlier)
        tied = inside & (scores == threshold)
        mask = mask | (tied & (tl.cumsum(tied.to(tl.int32), 0) <= left))
    return mask
