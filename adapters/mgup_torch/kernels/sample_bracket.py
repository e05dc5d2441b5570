"""A guess of each slice's threshold, from a sample: two scores that likely enclose it (P4).

It decides how long the selection takes, and never what is selected.
"""

from __future__ import annotations

import triton
import triton.language as tl

from . import layout as table
from .ordered_keys import HIGHEST, LOWEST, NEGATIVE_INFINITY, ordered

D = tl.constexpr(table.D)
TOTAL = tl.constexpr(table.TOTAL)
K = tl.constexpr(table.K)

LOW = tl.constexpr(table.LOW)
HIGH = tl.constexpr(table.HIGH)
BASE = tl.constexpr(table.BASE)
TOP = tl.constexpr(table.TOP)
SHIFT = tl.constexpr(table.SHIFT)
STATUS = tl.constexpr(table.STATUS)
COUNTED = tl.constexpr(table.COUNTED)
RECORD = tl.constexpr(table.RECORD)

AMONG_CANDIDATES = tl.constexpr(table.AMONG_CANDIDATES)
DIGIT_BITS = tl.constexpr(table.DIGIT_BITS)
WHOLE_RANGE = tl.constexpr(table.WHOLE_RANGE)


@triton.jit
def _around(keys, first, second, enough):
    """(high, low) around the keys of two ranks, from 1: int32.

    Their prefixes grow bit by bit from the highest, until no more than ``enough`` keys are left
    between. If that is never, as where a rank falls among many equal keys, they are the keys.
    """
    lifted = keys.to(tl.uint32, bitcast=True) ^ 0x80000000
    a = tl.full([], 0, tl.uint32)
    b = tl.full([], 0, tl.uint32)
    bit = tl.full([], 0x80000000, tl.uint32)
    beyond = tl.full([], 0, tl.int32)  # keys above all that begin like the first,
    least = tl.full([], 0x7FFF, tl.int32)  # and keys not below all that begin like the second
    while (bit > 0) & (least - beyond > enough):
        # Both counts in one sum: a sample is smaller than 2^15.
        both = (lifted >= (a | bit)).to(tl.int32) + ((lifted >= (b | bit)).to(tl.int32) << 16)
        counts = tl.sum(both)
        one, other = counts & 0xFFFF, counts >> 16
        beyond = tl.where(one >= first, beyond, one)
        least = tl.where(other >= second, other, least)
        a = tl.where(one >= first, a | bit, a)
        b = tl.where(other >= second, b | bit, b)
        bit = bit >> 1
    a |= tl.where(bit > 0, (bit << 1) - 1, 0)
    flip = tl.full([], 0x80000000, tl.uint32)
    return (a ^ flip).to(tl.int32, bitcast=True), (b ^ flip).to(tl.int32, bitcast=True)


@triton.jit(do_not_specialize=["first_slice"])
def bracket(
    tables, records, uniforms, columns, scalars, first_slice,
    SEEN: tl.constexpr, SAMPLE: tl.constexpr, CHUNK: tl.constexpr, DIVISOR: tl.constexpr,
    DEVIATIONS: tl.constexpr,
):  # fmt: skip
    """One program a slice: a bracket (low, high] from a sample, exact where it is the whole."""
    i = first_slice + tl.program_id(0)
    row = tables + i * columns
    record = records + i * RECORD
    d = tl.load(row + D)
    total = tl.load(row + TOTAL)
    k = tl.load(row + K)
    # A chunk from each stratum, at a hashed place: no period of the data can hide. A short slice
    # is taken whole.
    chunk = tl.arange(0, SAMPLE // CHUNK)
    stratum = tl.where(d > SAMPLE, d // (SAMPLE // CHUNK), CHUNK).to(tl.int32)
    hashed = (chunk.to(tl.uint32) + 1) * 2654435761
    within = tl.umulhi(hashed, (stratum - CHUNK + 1).to(tl.uint32)).to(tl.int32)
    first = (chunk * stratum + within) // CHUNK * CHUNK
    places = first[:, None] + tl.arange(0, CHUNK)[None, :]
    inside = places < tl.multiple_of(d, DIVISOR)
    keys = ordered(SEEN(row, uniforms + i * scalars, 0, places, inside))
    keys = tl.where(inside, keys, LOWEST)

    n = tl.minimum(d, SAMPLE).to(tl.float32)
    share = k.to(tl.float32) / tl.maximum(total, 1).to(tl.float32)
    # Of the selected, a part of the slice has as many as its length says, give or take one.
    above = (k * d // tl.maximum(total, 1)).to(tl.int32)
    below = ((k * d + total - 1) // tl.maximum(total, 1)).to(tl.int32)
    enough = below * 0
    if d > SAMPLE:
        middle = (n * share).to(tl.int32)
        margin = (DEVIATIONS * tl.sqrt(n * share * (1 - share))).to(tl.int32) + 2
        above, below = middle - margin, middle + margin
        enough = 2 * margin * 33 // 32
    size = tl.minimum(d, SAMPLE).to(tl.int32)
    high, low = _around(keys, tl.maximum(above, 1), tl.minimum(below, size), enough)
    high = tl.where(above < 1, HIGHEST, high)
    low = tl.where(below > size, NEGATIVE_INFINITY, tl.maximum(low, NEGATIVE_INFINITY))
    if d == 0:  # no part, no opinion
        high, low = high * 0 + LOWEST, low * 0 + HIGHEST
    tl.store(record + LOW, low.to(tl.int64))
    tl.store(record + HIGH, high.to(tl.int64))
    enclose_keys(record, low.to(tl.int64), high.to(tl.int64))


@triton.jit
def enclose_keys(record, low, high):
    """The range of keys to look at, from a guess: the threshold is in (low, high], likely."""
    high = tl.maximum(high, low)
    # Where both agree the threshold is among ties. Otherwise leave both out: each may be a crowd.
    single = high - low <= 1
    top = tl.where(single, high, high - 1)
    bottom = tl.where(single, high - 1, low)
    shift = tl.full([], 0, tl.int64)
    for s in range(WHOLE_RANGE):
        shift += (((top - bottom - 1) >> (s + DIGIT_BITS)) > 0).to(tl.int64)
    tl.store(record + BASE, bottom + 1)
    tl.store(record + TOP, top)
    tl.store(record + SHIFT, shift)
    tl.store(record + COUNTED, 0)
    tl.store(record + STATUS, AMONG_CANDIDATES)


@triton.jit
def enclose(records, bounds, slices):
    """One program a slice: the guesses of all devices as one.

    If each guess holds its own part's threshold, the range that they span holds the whole's.

    Args:
        bounds: (2, slices): the lowest low, negated, and the highest high.
    """
    i = tl.program_id(0)
    low, high = -tl.load(bounds + i), tl.load(bounds + slices + i)
    enclose_keys(records + i * RECORD, low, high)
