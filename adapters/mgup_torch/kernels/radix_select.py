"""The exact threshold of every slice at once (P4), by counts; nothing waits for the host.

1. :mod:`bracket <.bracket>` guesses, from a sample of each slice, two scores that likely enclose
   the threshold.
2. :func:`count` reads all scores once: how many lie above the bracket, and a copy of the few in it.
3. :func:`begin` checks the guess; :func:`refine` and :func:`pick` descend by digits among those
   few. Where the threshold is not in the bracket, or the copies did not fit, they descend over all
   scores instead, four more reads; so the guess decides the time, never the result.
4. :mod:`ties <.ties>` at the threshold go to the lowest indices.

Where :mod:`one_pass <.one_pass>` writes at the first read, only what waits is read again.

A slice of which each device holds a contiguous part is ranked by the same kernels, with the counts
of all devices added up in between: :func:`bracket.enclose` takes the bracket of all, and
:func:`begin` the counts.

Blocks, chunks of copies and slices are numbered over a whole plan; ``first_block``, ``first_chunk``
and ``first_slice`` are the first of the batch that a launch is for.
"""

from __future__ import annotations

import triton
import triton.language as tl

from . import layout as table
from .ordered_keys import HIGHEST, NEGATIVE_INFINITY, block_of, ordered, score_of

K = tl.constexpr(table.K)
FIRST_CHUNK = tl.constexpr(table.FIRST_CHUNK)
CANDIDATES = tl.constexpr(table.CANDIDATES)
CAPACITY = tl.constexpr(table.CAPACITY)

BASE = tl.constexpr(table.BASE)
TOP = tl.constexpr(table.TOP)
SHIFT = tl.constexpr(table.SHIFT)
RANK = tl.constexpr(table.RANK)
STATUS = tl.constexpr(table.STATUS)
COUNTED = tl.constexpr(table.COUNTED)
THRESHOLD = tl.constexpr(table.THRESHOLD)
QUOTA = tl.constexpr(table.QUOTA)
VERIFIED = tl.constexpr(table.VERIFIED)
WRITTEN = tl.constexpr(table.WRITTEN)
TIES = tl.constexpr(table.TIES)
RECORD = tl.constexpr(table.RECORD)

AMONG_CANDIDATES = tl.constexpr(table.AMONG_CANDIDATES)
AMONG_ALL = tl.constexpr(table.AMONG_ALL)
FOUND = tl.constexpr(table.FOUND)
UNFINISHED = tl.constexpr(table.UNFINISHED)
UNEVEN = tl.constexpr(table.UNEVEN)
DIGIT_BITS = tl.constexpr(table.DIGIT_BITS)
WHOLE_RANGE = tl.constexpr(table.WHOLE_RANGE)

DIGITS = tl.constexpr(1 << table.DIGIT_BITS)


@triton.jit
def _among(scores, low, high):
    return (scores >= low) & ~(scores > high)  # high may be NaN, above all


@triton.jit
def _copy(copies, at, capacity, scores, low, high):
    """Copy those in the bracket, and say where the next go."""
    among = _among(scores, low, high)
    tl.store(copies + at, scores.to(tl.int32, bitcast=True), mask=among & (at < capacity))
    return at + among.to(tl.int32)


@triton.jit
def count_scores(record, scores, low, high, BLOCK: tl.constexpr):
    """Add a block's scores to what its slice has counted against the bracket.

    Returns:
        1 where they are in it; of each four neighbours how many are above, and from bit 16 on how
        many in it; how many blocks before have in it, and this one.
    """
    above = (scores > high).to(tl.int32)
    among = _among(scores, low, high).to(tl.int32)
    # A thread holds four neighbours: they are added up first, and the sums are scanned.
    fours = tl.sum(tl.reshape(above + (among << 16), [BLOCK // 4, 4]), 1)
    both = tl.sum(fours, 0)
    here = both >> 16
    added = ((both & 0xFFFF).to(tl.int64) << 32) | here.to(tl.int64)
    begin = tl.atomic_add(record + COUNTED, added, sem="relaxed").to(tl.int32)
    return among, fours, begin, here


@triton.jit
def count_block(
    row, record, scalars, b, tally, place, candidates,
    SEEN: tl.constexpr, BLOCK: tl.constexpr, DIVISOR: tl.constexpr,
):  # fmt: skip
    """Counts of one block against the bracket, and copies of the scores in it.

    Args:
        tally: where to say how many of its scores are in the bracket.
        place: where to say at which of the slice's copies its own begin.
    """
    # Before the scores, so that these small loads need not be waited for after them.
    top = tl.load(record + TOP).to(tl.int32)
    base = tl.load(record + BASE).to(tl.int32)
    copies = candidates + tl.load(row + CANDIDATES)
    capacity = tl.load(row + CAPACITY).to(tl.int32)
    start, offsets, inside = block_of(row, b, BLOCK, DIVISOR)
    scores = SEEN(row, scalars, start, offsets, inside)
    scores = tl.where(inside, scores, float("nan"))  # neither above nor in any bracket
    low, high = score_of(base), score_of(top)
    _among_it, fours, begin, here = count_scores(record, scores, low, high, BLOCK)
    tl.store(tally, here)
    if base < top:
        tl.store(place, begin)
        found = fours >> 16
        at = begin + tl.cumsum(found, 0) - found
        # Neighbour by neighbour, so that each stays in its thread: a scan over all coordinates
        # would have them change places for the store.
        one, other = tl.split(tl.reshape(scores, [BLOCK // 4, 2, 2]))
        for pair in tl.static_range(2):
            first, second = tl.split(one if pair == 0 else other)
            at = _copy(copies, at, capacity, first, low, high)
            at = _copy(copies, at, capacity, second, low, high)


@triton.jit(do_not_specialize=["first_block"])
def count(
    tables, records, uniforms, columns, scalars, block_slice, first_block,
    tallies, starts, candidates,
    SEEN: tl.constexpr, BLOCK: tl.constexpr, DIVISOR: tl.constexpr,
):  # fmt: skip
    """One program a block: counts against the bracket, and copies of the scores in it.

    Args:
        tallies: for each block of the batch, how many of its scores are in the bracket.
        starts: for each, where its copies begin.
    """
    local = tl.program_id(0)
    b = first_block + local
    i = tl.load(block_slice + b).to(tl.int64)
    row = tables + i * columns
    record = records + i * RECORD
    count_block(
        row, record, uniforms + i * scalars, b, tallies + local, starts + local, candidates,
        SEEN, BLOCK, DIVISOR,
    )  # fmt: skip


@triton.jit
def _settle(record, flags, threshold, quota, ties):
    tl.store(record + THRESHOLD, threshold)
    tl.store(record + QUOTA, quota)
    tl.store(record + TIES, ties)
    tl.store(record + STATUS, tl.load(record + STATUS) + FOUND)
    if quota != ties:
        tl.atomic_add(flags + UNEVEN, 1, sem="relaxed")


@triton.jit(do_not_specialize=["first_slice"])
def tell_counts(tables, records, columns, first_slice, counts):
    """One program a slice: this device's part in the counts of :func:`begin`."""
    i = first_slice + tl.program_id(0)
    counted = tl.load(records + i * RECORD + COUNTED)
    among = counted & 0xFFFFFFFF
    column, n = counts + tl.program_id(0), tl.num_programs(0)
    tl.store(column, counted >> 32)
    tl.store(column + n, among)
    spilled = among > tl.load(tables + i * columns + CAPACITY)
    tl.store(column + 2 * n, spilled.to(tl.int64))


@triton.jit(do_not_specialize=["first_slice"])
def begin(tables, records, columns, first_slice, flags, counts, missed, SHARED: tl.constexpr):
    """One program a slice: whether the bracket holds the threshold, and where to go on if not.

    Args:
        counts: where SHARED, (3, slices), over all devices: how many keys are above the bracket,
            how many in it, and on how many devices they did not fit.
        missed: counts the slices of which a verified bracket did not hold the threshold.
    """
    i = first_slice + tl.program_id(0)
    _begin(tables + i * columns, records + i * RECORD, flags, counts, missed, SHARED)


@triton.jit
def _begin(row, record, flags, counts, missed, SHARED: tl.constexpr):
    k = tl.load(row + K)
    if SHARED:
        column, n = counts + tl.program_id(0), tl.num_programs(0)
        above, among = tl.load(column), tl.load(column + n)
        fits = tl.load(column + 2 * n) == 0
    else:
        counted = tl.load(record + COUNTED)
        above, among = counted >> 32, counted & 0xFFFFFFFF
        fits = among <= tl.load(row + CAPACITY)
    rank = k - above
    top = tl.load(record + TOP)
    enclosed = (rank > 0) & (rank <= among)
    verified = tl.load(record + VERIFIED) != 0
    fits |= verified  # what does not fit waits
    if verified & ~enclosed:  # :mod:`one_pass`: the list is all that can still be decided
        tl.atomic_add(missed, 1, sem="relaxed")
        _settle(record, flags, tl.where(rank <= 0, top, tl.load(record + BASE) - 1), 0, 0)
    elif k <= 0:
        _settle(record, flags, HIGHEST, 0, 0)
    elif enclosed & (tl.load(record + BASE) == top):
        _settle(record, flags, top, rank, among)
    elif enclosed & fits:
        tl.store(record + RANK, rank)
    else:
        tl.store(record + BASE, NEGATIVE_INFINITY + 1)
        tl.store(record + TOP, HIGHEST)
        tl.store(record + SHIFT, WHOLE_RANGE)
        tl.store(record + RANK, k)
        tl.store(record + STATUS, AMONG_ALL)
        tl.atomic_add(flags + UNFINISHED, 1, sem="relaxed")


@triton.jit
def waits(record, length, verified, otherwise):
    """Whether a block's scores are to be looked at again: of a verified slice, one that waits."""
    one_pass = tl.load(record + VERIFIED) != 0
    waiting = tl.load(length, mask=one_pass, other=0) < 0
    return tl.where(one_pass, verified & waiting, otherwise)


@triton.jit
def _digits(keys, inside, record):
    """(in the range that is searched, which digit there)."""
    base = tl.load(record + BASE).to(tl.int32)
    top = tl.load(record + TOP).to(tl.int32)
    among = inside & (keys >= base) & (keys <= top)
    shift = tl.load(record + SHIFT).to(tl.uint32)
    digit = ((keys - base).to(tl.uint32, bitcast=True) >> shift).to(tl.int32, bitcast=True)
    return among, tl.where(among, digit, 0)


@triton.jit(do_not_specialize=["first_chunk", "chunks", "first_block", "blocks"])
def refine(
    tables, records, uniforms, columns, scalars, chunk_slice, first_chunk, chunks,
    block_slice, first_block, blocks, lengths, candidates, digits, flags,
    SEEN: tl.constexpr, BLOCK: tl.constexpr, DIVISOR: tl.constexpr, COPIES: tl.constexpr,
):  # fmt: skip
    """One program a chunk of copies: count the next digit, of the copies or else of all scores."""
    program = tl.program_id(0)
    j = tl.arange(0, DIGITS)
    if program < chunks:
        chunk = first_chunk + program
        i = tl.load(chunk_slice + chunk).to(tl.int64)
        row = tables + i * columns
        record = records + i * RECORD
        n = tl.load(record + COUNTED) & 0xFFFFFFFF
        if tl.load(record + VERIFIED) != 0:
            n = tl.minimum(n, tl.load(record + WRITTEN))
        start = (chunk - tl.load(row + FIRST_CHUNK)) * COPIES
        if (tl.load(record + STATUS) == AMONG_CANDIDATES) & (start < n):
            at = start + tl.arange(0, COPIES)
            copies = tl.load(candidates + tl.load(row + CANDIDATES) + at, mask=at < n, other=0)
            among, digit = _digits(ordered(copies.to(tl.float32, bitcast=True)), at < n, record)
            # Also where few are left: they may be equal, and single additions would queue.
            counts = tl.histogram(digit, DIGITS, mask=among)
            tl.atomic_add(digits + i * DIGITS + j, counts, mask=counts > 0, sem="relaxed")
    if tl.load(flags + UNFINISHED) > 0:
        for b in range(first_block + program, first_block + blocks, tl.num_programs(0)):
            other = tl.load(block_slice + b).to(tl.int64)
            its_row = tables + other * columns
            its_record = records + other * RECORD
            status = tl.load(its_record + STATUS)
            if waits(its_record, lengths + b - first_block, status < FOUND, status == AMONG_ALL):
                start, offsets, inside = block_of(its_row, b, BLOCK, DIVISOR)
                its_scores = SEEN(its_row, uniforms + other * scalars, start, offsets, inside)
                in_range, its_digit = _digits(ordered(its_scores), inside, its_record)
                found = tl.histogram(its_digit, DIGITS, mask=in_range)
                tl.atomic_add(digits + other * DIGITS + j, found, mask=found > 0, sem="relaxed")


@triton.jit
def _select_digit(record, flags, counts):
    """Into the digit that holds the threshold, by how many keys have each."""
    j = tl.arange(0, DIGITS)
    rank = tl.load(record + RANK)
    shift = tl.load(record + SHIFT)
    base = tl.load(record + BASE)
    tl.debug_barrier()  # one thread writes what all have read
    digit = tl.sum((tl.cumsum(counts, 0, reverse=True) >= rank).to(tl.int32), 0) - 1
    if digit < 0:  # fewer numbers than are to be selected: all of them are
        _settle(record, flags, NEGATIVE_INFINITY, 0, 0)
    else:
        rank -= tl.sum(tl.where(j > digit, counts, 0), 0)
        base += digit.to(tl.int64) << shift
        if shift == 0:
            ties = tl.sum(tl.where(j == digit, counts, 0), 0).to(tl.int64)
            _settle(record, flags, base, rank, ties)
        else:
            tl.store(record + BASE, base)
            last = base + (tl.full([], 1, tl.int64) << shift) - 1
            tl.store(record + TOP, tl.minimum(last, HIGHEST))
            tl.store(record + SHIFT, tl.maximum(shift - DIGIT_BITS, 0))
            tl.store(record + RANK, rank)


@triton.jit(do_not_specialize=["first_slice"])
def pick(records, first_slice, digits, flags):
    """One program a slice: :func:`_select_digit` of what was counted; clear the counts."""
    i = first_slice + tl.program_id(0)
    record = records + i * RECORD
    mine = digits + i * DIGITS + tl.arange(0, DIGITS)
    if tl.load(record + STATUS) < FOUND:
        _select_digit(record, flags, tl.load(mine))
        tl.store(mine, tl.zeros([DIGITS], tl.int32))
