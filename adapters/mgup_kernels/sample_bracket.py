"""A bracket of each slice's threshold: two scores of a sample that likely enclose it (P4).

The bracket decides how long the selection takes, and never what is selected.
"""

from __future__ import annotations

import triton
import triton.language as tl

from . import layout
from .ordered_keys import HIGHEST, LOWEST, NEGATIVE_INFINITY, key_of

LOCAL_LENGTH = tl.constexpr(layout.LOCAL_LENGTH)
LENGTH = tl.constexpr(layout.LENGTH)
K = tl.constexpr(layout.K)

GUESS_LOW = tl.constexpr(layout.GUESS_LOW)
GUESS_HIGH = tl.constexpr(layout.GUESS_HIGH)
RANGE_LOW = tl.constexpr(layout.RANGE_LOW)
RANGE_HIGH = tl.constexpr(layout.RANGE_HIGH)
DIGIT_SHIFT = tl.constexpr(layout.DIGIT_SHIFT)
STATUS = tl.constexpr(layout.STATUS)
BRACKET_COUNTS = tl.constexpr(layout.BRACKET_COUNTS)
RECORD = tl.constexpr(layout.RECORD)

AMONG_CANDIDATES = tl.constexpr(layout.AMONG_CANDIDATES)
DIGIT_BITS = tl.constexpr(layout.DIGIT_BITS)
FIRST_SHIFT = tl.constexpr(layout.FIRST_SHIFT)


@triton.jit
def _enclosing_prefixes(keys, first, second, enough):
    """Two keys that enclose the ``first``-th and the ``second``-th largest key of a sample.

    Both prefixes grow bit by bit from the highest bit, until at most ``enough`` keys lie between
    them. Where that never happens, as among many equal keys, the result is the two keys themselves.

    Args:
        keys: int32, fewer than 2^15.
        first, second: ranks from 1, first <= second.

    Returns:
        (high, low): 0-d int32.
    """
    unsigned = keys.to(tl.uint32, bitcast=True) ^ 0x80000000
    a = tl.full([], 0, tl.uint32)
    b = tl.full([], 0, tl.uint32)
    bit = tl.full([], 0x80000000, tl.uint32)
    above_a = tl.full([], 0, tl.int32)  # how many keys exceed every key with the prefix a
    from_b = tl.full([], 0x7FFF, tl.int32)  # how many keys are at least the prefix b
    while (bit > 0) & (from_b - above_a > enough):
        # One sum gives both counts, since each is below 2^15.
        both = (unsigned >= (a | bit)).to(tl.int32) + ((unsigned >= (b | bit)).to(tl.int32) << 16)
        counts = tl.sum(both)
        from_a_bit, from_b_bit = counts & 0xFFFF, counts >> 16
        above_a = tl.where(from_a_bit >= first, above_a, from_a_bit)
        from_b = tl.where(from_b_bit >= second, from_b_bit, from_b)
        a = tl.where(from_a_bit >= first, a | bit, a)
        b = tl.where(from_b_bit >= second, b | bit, b)
        bit = bit >> 1
    a |= tl.where(bit > 0, (bit << 1) - 1, 0)
    flip = tl.full([], 0x80000000, tl.uint32)
    return (a ^ flip).to(tl.int32, bitcast=True), (b ^ flip).to(tl.int32, bitcast=True)


@triton.jit(do_not_specialize=["first_slice"])
def sample_bracket(
    slice_table, search_records, slice_scalars, table_stride, scalars_stride, first_slice,
    STATISTIC: tl.constexpr, SAMPLE: tl.constexpr, CHUNK: tl.constexpr, DIVISOR: tl.constexpr,
    DEVIATIONS: tl.constexpr,
):  # fmt: skip
    """One program a slice: write its bracket (low, high] and the range that it leaves to search.

    A slice of at most SAMPLE coordinates is its own sample, whose bracket is exact.

    Args:
        DEVIATIONS: how many standard deviations of the sample's rank the bracket reaches to either
            side of the threshold's rank.
    """
    i = first_slice + tl.program_id(0)
    row = slice_table + i * table_stride
    record = search_records + i * RECORD
    d = tl.load(row + LOCAL_LENGTH)
    total = tl.load(row + LENGTH)
    k = tl.load(row + K)
    # One chunk of CHUNK neighbours from each stratum, at a hashed place, so that no period of the
    # data escapes the sample. A short slice is taken whole.
    chunk = tl.arange(0, SAMPLE // CHUNK)
    stratum = tl.where(d > SAMPLE, d // (SAMPLE // CHUNK), CHUNK).to(tl.int32)
    hashed = (chunk.to(tl.uint32) + 1) * 2654435761
    within = tl.umulhi(hashed, (stratum - CHUNK + 1).to(tl.uint32)).to(tl.int32)
    first = (chunk * stratum + within) // CHUNK * CHUNK
    coordinates = first[:, None] + tl.arange(0, CHUNK)[None, :]
    inside = coordinates < tl.multiple_of(d, DIVISOR)
    keys = key_of(STATISTIC(row, slice_scalars + i * scalars_stride, 0, coordinates, inside))
    keys = tl.where(inside, keys, LOWEST)

    n = tl.minimum(d, SAMPLE).to(tl.float32)
    share = k.to(tl.float32) / tl.maximum(total, 1).to(tl.float32)
    # A part of a slice holds that share of the K selected which its length is of the slice's,
    # rounded down or up.
    first_rank = (k * d // tl.maximum(total, 1)).to(tl.int32)
    last_rank = ((k * d + total - 1) // tl.maximum(total, 1)).to(tl.int32)
    enough = last_rank * 0
    if d > SAMPLE:
        middle = (n * share).to(tl.int32)
        margin = (DEVIATIONS * tl.sqrt(n * share * (1 - share))).to(tl.int32) + 2
        first_rank, last_rank = middle - margin, middle + margin
        enough = 2 * margin * 33 // 32
    size = tl.minimum(d, SAMPLE).to(tl.int32)
    high, low = _enclosing_prefixes(
        keys, tl.maximum(first_rank, 1), tl.minimum(last_rank, size), enough
    )
    high = tl.where(first_rank < 1, HIGHEST, high)
    low = tl.where(last_rank > size, NEGATIVE_INFINITY, tl.maximum(low, NEGATIVE_INFINITY))
    if d == 0:  # an empty part must not narrow the bracket of the other devices
        high, low = high * 0 + LOWEST, low * 0 + HIGHEST
    tl.store(record + GUESS_LOW, low.to(tl.int64))
    tl.store(record + GUESS_HIGH, high.to(tl.int64))
    set_search_range(record, low.to(tl.int64), high.to(tl.int64))


@triton.jit
def set_search_range(record, low, high):
    """Start the search of a slice in its bracket (low, high]: int64 keys."""
    high = tl.maximum(high, low)
    # Neighbouring keys enclose one key, which then has many ties. Otherwise both ends are left out,
    # since either may be a score with many ties.
    single = high - low <= 1
    top = tl.where(single, high, high - 1)
    bottom = tl.where(single, high - 1, low)
    shift = tl.full([], 0, tl.int64)
    for s in range(FIRST_SHIFT):
        shift += (((top - bottom - 1) >> (s + DIGIT_BITS)) > 0).to(tl.int64)
    tl.store(record + RANGE_LOW, bottom + 1)
    tl.store(record + RANGE_HIGH, top)
    tl.store(record + DIGIT_SHIFT, shift)
    tl.store(record + BRACKET_COUNTS, 0)
    tl.store(record + STATUS, AMONG_CANDIDATES)


@triton.jit
def write_bounds(search_records, bounds):
    """One program a slice: the ends of this device's bracket.

    Args:
        bounds: (2, slices) int64: the low ends, negated, and the high ones.
    """
    i = tl.program_id(0)
    record = search_records + i * RECORD
    tl.store(bounds + i, -tl.load(record + GUESS_LOW))
    tl.store(bounds + tl.num_programs(0) + i, tl.load(record + GUESS_HIGH))


@triton.jit
def merge_brackets(search_records, bounds):
    """One program a slice: the bracket that spans those of all devices.

    If each device's bracket holds the threshold of its own part, their span holds the whole's.

    Args:
        bounds: (2, slices) int64: the maxima over the devices of those of :func:`write_bounds`.
    """
    i = tl.program_id(0)
    low, high = -tl.load(bounds + i), tl.load(bounds + tl.num_programs(0) + i)
    set_search_range(search_records + i * RECORD, low, high)
