"""The exact threshold of every slice at once (P4), by counting; the host waits for nothing.

1. :mod:`sample_bracket <.sample_bracket>` draws a sample of each slice and takes two scores that
   likely enclose the threshold.
2. :func:`count_against_bracket` reads all scores once. It counts those above the bracket and copies
   the few in it, the candidates.
3. :func:`check_bracket` compares the counts with K. :func:`count_digits` and :func:`select_digit`
   then find the threshold among the candidates, one digit of its key at a time. If the bracket
   missed the threshold, or the candidates did not fit, they search all scores, which are read four
   more times: so the sample decides the time, never the result.
4. :mod:`ties <.ties>`: of the scores that equal the threshold, the lowest indices are selected.

Where :mod:`one_pass <.one_pass>` writes at the first read, only deferred blocks are read again.

A slice of which each device holds a contiguous part is ranked by the same kernels, with the counts
of all devices added up in between: :func:`sample_bracket.merge_brackets` takes the brackets of all
devices, and :func:`check_bracket` their counts.

Blocks, chunks of candidates and slices are numbered over a whole plan; ``first_block``,
``first_chunk`` and ``first_slice`` are the first ones of the batch that a launch is for.
:mod:`layout <.layout>` describes the other arguments.
"""

from __future__ import annotations

import triton
import triton.language as tl

from . import layout
from .ordered_keys import HIGHEST, NEGATIVE_INFINITY, block_coordinates, key_of, score_of

K = tl.constexpr(layout.K)
FIRST_CHUNK = tl.constexpr(layout.FIRST_CHUNK)
FIRST_CANDIDATE = tl.constexpr(layout.FIRST_CANDIDATE)
CAPACITY = tl.constexpr(layout.CAPACITY)

RANGE_LOW = tl.constexpr(layout.RANGE_LOW)
RANGE_HIGH = tl.constexpr(layout.RANGE_HIGH)
DIGIT_SHIFT = tl.constexpr(layout.DIGIT_SHIFT)
RANK_IN_RANGE = tl.constexpr(layout.RANK_IN_RANGE)
STATUS = tl.constexpr(layout.STATUS)
BRACKET_COUNTS = tl.constexpr(layout.BRACKET_COUNTS)
THRESHOLD = tl.constexpr(layout.THRESHOLD)
TIE_QUOTA = tl.constexpr(layout.TIE_QUOTA)
TIES = tl.constexpr(layout.TIES)
VERIFIED = tl.constexpr(layout.VERIFIED)
LIST_LENGTH = tl.constexpr(layout.LIST_LENGTH)
RECORD = tl.constexpr(layout.RECORD)

AMONG_CANDIDATES = tl.constexpr(layout.AMONG_CANDIDATES)
AMONG_ALL = tl.constexpr(layout.AMONG_ALL)
FOUND = tl.constexpr(layout.FOUND)
FULL_SEARCHES = tl.constexpr(layout.FULL_SEARCHES)
PARTIAL_TIES = tl.constexpr(layout.PARTIAL_TIES)
DIGIT_BITS = tl.constexpr(layout.DIGIT_BITS)
FIRST_SHIFT = tl.constexpr(layout.FIRST_SHIFT)

DIGITS = tl.constexpr(1 << layout.DIGIT_BITS)


@triton.jit
def _in_bracket(scores, low, high):
    return (scores >= low) & ~(scores > high)  # high is NaN where no score exceeds it


@triton.jit
def _append_candidates(candidates, end, capacity, scores, low, high):
    """Copy the scores in the bracket to ``end``; the end of each list with them."""
    among = _in_bracket(scores, low, high)
    tl.store(candidates + end, scores.to(tl.int32, bitcast=True), mask=among & (end < capacity))
    return end + among.to(tl.int32)


@triton.jit
def count_scores(record, scores, low, high, BLOCK: tl.constexpr):
    """Add the counts of a block's scores to those of its slice.

    Args:
        record: the slice's search record.
        scores: (BLOCK,) float32; NaN outside of the slice.
        low, high: the ends of the bracket, both included, float32.

    Returns:
        (among, fours, begin, here), int32: ``among``, (BLOCK,), is 1 for a score in the bracket;
        ``fours``, (BLOCK / 4,), has for each four neighbours how many are above the bracket and,
        from bit 16 on, how many are in it; ``begin`` is the number of scores in the bracket that
        the slice's blocks counted before this one, and ``here`` that of this block.
    """
    above = (scores > high).to(tl.int32)
    among = _in_bracket(scores, low, high).to(tl.int32)
    # A thread holds four neighbours: it adds them up first, and only the sums are scanned.
    fours = tl.sum(tl.reshape(above + (among << 16), [BLOCK // 4, 4]), 1)
    both = tl.sum(fours, 0)
    here = both >> 16
    added = ((both & 0xFFFF).to(tl.int64) << 32) | here.to(tl.int64)
    begin = tl.atomic_add(record + BRACKET_COUNTS, added, sem="relaxed").to(tl.int32)
    return among, fours, begin, here


@triton.jit
def count_block(
    row, record, scalars, block, block_count, list_start, candidates,
    STATISTIC: tl.constexpr, BLOCK: tl.constexpr, DIVISOR: tl.constexpr,
):  # fmt: skip
    """Count the scores of one block against the bracket, and copy those in it.

    Args:
        row, record, scalars: the slice's rows.
        block: the block's number in the plan.
        block_count: address of how many of the block's scores are in the bracket.
        list_start: address of the number of the slice's candidates before the block's own.
    """
    # These small loads come before the scores, so that nothing waits for them afterwards.
    top = tl.load(record + RANGE_HIGH).to(tl.int32)
    base = tl.load(record + RANGE_LOW).to(tl.int32)
    slice_candidates = candidates + tl.load(row + FIRST_CANDIDATE)
    capacity = tl.load(row + CAPACITY).to(tl.int32)
    start, offsets, inside = block_coordinates(row, block, BLOCK, DIVISOR)
    scores = STATISTIC(row, scalars, start, offsets, inside)
    scores = tl.where(inside, scores, float("nan"))  # neither above nor in any bracket
    low, high = score_of(base), score_of(top)
    _among, fours, begin, here = count_scores(record, scores, low, high, BLOCK)
    tl.store(block_count, here)
    if base < top:
        tl.store(list_start, begin)
        found = fours >> 16
        end = begin + tl.cumsum(found, 0) - found
        # Each thread stores the neighbours that it holds, one after the other: a scan over all
        # coordinates would exchange them between the threads.
        even, odd = tl.split(tl.reshape(scores, [BLOCK // 4, 2, 2]))
        for pair in tl.static_range(2):
            first, second = tl.split(even if pair == 0 else odd)
            end = _append_candidates(slice_candidates, end, capacity, first, low, high)
            end = _append_candidates(slice_candidates, end, capacity, second, low, high)


@triton.jit(do_not_specialize=["first_block"])
def count_against_bracket(
    slice_table, search_records, slice_scalars, table_stride, scalars_stride, block_slice,
    first_block, block_counts, list_starts, candidates,
    STATISTIC: tl.constexpr, BLOCK: tl.constexpr, DIVISOR: tl.constexpr,
):  # fmt: skip
    """One program a block: :func:`count_block`."""
    local = tl.program_id(0)
    block = first_block + local
    i = tl.load(block_slice + block).to(tl.int64)
    row = slice_table + i * table_stride
    record = search_records + i * RECORD
    count_block(
        row, record, slice_scalars + i * scalars_stride, block, block_counts + local,
        list_starts + local, candidates, STATISTIC, BLOCK, DIVISOR,
    )  # fmt: skip


@triton.jit
def _set_threshold(record, batch_flags, threshold, quota, ties):
    """End the search of a slice: ``quota`` of the ``ties`` at the threshold are selected."""
    tl.store(record + THRESHOLD, threshold)
    tl.store(record + TIE_QUOTA, quota)
    tl.store(record + TIES, ties)
    tl.store(record + STATUS, tl.load(record + STATUS) + FOUND)
    if quota != ties:
        tl.atomic_add(batch_flags + PARTIAL_TIES, 1, sem="relaxed")


@triton.jit(do_not_specialize=["first_slice"])
def write_counts(slice_table, search_records, table_stride, first_slice, counts):
    """One program a slice: this device's summands of the counts of :func:`check_bracket`.

    Args:
        counts: (3, slices) int64: scores above the bracket, scores in it, and 1 if the latter did
            not fit into the list.
    """
    i = first_slice + tl.program_id(0)
    counted = tl.load(search_records + i * RECORD + BRACKET_COUNTS)
    among = counted & 0xFFFFFFFF
    column, n = counts + tl.program_id(0), tl.num_programs(0)
    tl.store(column, counted >> 32)
    tl.store(column + n, among)
    spilled = among > tl.load(slice_table + i * table_stride + CAPACITY)
    tl.store(column + 2 * n, spilled.to(tl.int64))


@triton.jit(do_not_specialize=["first_slice"])
def check_bracket(
    slice_table, search_records, table_stride, first_slice, batch_flags, counts, misses,
    SHARED: tl.constexpr,
):  # fmt: skip
    """One program a slice: search the candidates if the bracket holds the threshold, else all.

    Args:
        counts: the counts of :func:`write_counts`, added up over the devices, if SHARED.
        misses: (1,) int32: the number of slices whose verified bracket missed the threshold.
    """
    i = first_slice + tl.program_id(0)
    _check_bracket(
        slice_table + i * table_stride, search_records + i * RECORD, batch_flags, counts, misses,
        SHARED,
    )  # fmt: skip


@triton.jit
def _check_bracket(row, record, batch_flags, counts, misses, SHARED: tl.constexpr):
    k = tl.load(row + K)
    if SHARED:
        column, n = counts + tl.program_id(0), tl.num_programs(0)
        above, among = tl.load(column), tl.load(column + n)
        fits = tl.load(column + 2 * n) == 0
    else:
        counted = tl.load(record + BRACKET_COUNTS)
        above, among = counted >> 32, counted & 0xFFFFFFFF
        fits = among <= tl.load(row + CAPACITY)
    rank = k - above
    top = tl.load(record + RANGE_HIGH)
    enclosed = (rank > 0) & (rank <= among)
    verified = tl.load(record + VERIFIED) != 0
    fits |= verified  # the blocks of a verified slice that do not fit are deferred
    if verified & ~enclosed:  # the step is written, and only the entries of the list can change
        tl.atomic_add(misses, 1, sem="relaxed")
        beyond = tl.where(rank <= 0, top, tl.load(record + RANGE_LOW) - 1)
        _set_threshold(record, batch_flags, beyond, 0, 0)
    elif k <= 0:
        _set_threshold(record, batch_flags, HIGHEST, 0, 0)
    elif enclosed & (tl.load(record + RANGE_LOW) == top):
        _set_threshold(record, batch_flags, top, rank, among)
    elif enclosed & fits:
        tl.store(record + RANK_IN_RANGE, rank)
    else:
        tl.store(record + RANGE_LOW, NEGATIVE_INFINITY + 1)
        tl.store(record + RANGE_HIGH, HIGHEST)
        tl.store(record + DIGIT_SHIFT, FIRST_SHIFT)
        tl.store(record + RANK_IN_RANGE, k)
        tl.store(record + STATUS, AMONG_ALL)
        tl.atomic_add(batch_flags + FULL_SEARCHES, 1, sem="relaxed")


@triton.jit
def is_searched(record, list_length, verified, otherwise):
    """Whether a block's scores are to be read again.

    Args:
        record: the search record of the block's slice.
        list_length: address of the block's number of list entries, -1 if its step is deferred.
        verified: the answer for a deferred block of a verified slice; its other blocks are not
            read again.
        otherwise: the answer for a block of a slice that is not verified.
    """
    one_pass = tl.load(record + VERIFIED) != 0
    deferred = tl.load(list_length, mask=one_pass, other=0) < 0
    return tl.where(one_pass, verified & deferred, otherwise)


@triton.jit
def _digit_in_range(keys, inside, record):
    """(among, digit): whether a key lies in the range that is searched, and its digit there."""
    base = tl.load(record + RANGE_LOW).to(tl.int32)
    top = tl.load(record + RANGE_HIGH).to(tl.int32)
    among = inside & (keys >= base) & (keys <= top)
    shift = tl.load(record + DIGIT_SHIFT).to(tl.uint32)
    digit = ((keys - base).to(tl.uint32, bitcast=True) >> shift).to(tl.int32, bitcast=True)
    return among, tl.where(among, digit, 0)


@triton.jit(do_not_specialize=["first_chunk", "chunks", "first_block", "blocks"])
def count_digits(
    slice_table, search_records, slice_scalars, table_stride, scalars_stride, chunk_slice,
    first_chunk, chunks, block_slice, first_block, blocks, list_lengths, candidates, histograms,
    batch_flags,
    STATISTIC: tl.constexpr, BLOCK: tl.constexpr, DIVISOR: tl.constexpr, CANDIDATES: tl.constexpr,
):  # fmt: skip
    """Add the present digit of each key in its slice's range to the slice's histogram.

    Programs below ``chunks`` read CANDIDATES candidates each. All programs share the blocks of
    those slices whose search goes over all scores.
    """
    program = tl.program_id(0)
    j = tl.arange(0, DIGITS)
    if program < chunks:
        chunk = first_chunk + program
        i = tl.load(chunk_slice + chunk).to(tl.int64)
        row = slice_table + i * table_stride
        record = search_records + i * RECORD
        n = tl.load(record + BRACKET_COUNTS) & 0xFFFFFFFF
        if tl.load(record + VERIFIED) != 0:
            n = tl.minimum(n, tl.load(record + LIST_LENGTH))
        start = (chunk - tl.load(row + FIRST_CHUNK)) * CANDIDATES
        if (tl.load(record + STATUS) == AMONG_CANDIDATES) & (start < n):
            at = start + tl.arange(0, CANDIDATES)
            slice_candidates = candidates + tl.load(row + FIRST_CANDIDATE)
            bits = tl.load(slice_candidates + at, mask=at < n, other=0)
            scores = bits.to(tl.float32, bitcast=True)
            among, digit = _digit_in_range(key_of(scores), at < n, record)
            # A histogram even of few keys: they may be equal, and single additions would queue.
            counts = tl.histogram(digit, DIGITS, mask=among)
            tl.atomic_add(histograms + i * DIGITS + j, counts, mask=counts > 0, sem="relaxed")
    if tl.load(batch_flags + FULL_SEARCHES) > 0:
        for block in range(first_block + program, first_block + blocks, tl.num_programs(0)):
            owner = tl.load(block_slice + block).to(tl.int64)
            owner_row = slice_table + owner * table_stride
            owner_record = search_records + owner * RECORD
            status = tl.load(owner_record + STATUS)
            list_length = list_lengths + block - first_block
            if is_searched(owner_record, list_length, status < FOUND, status == AMONG_ALL):
                start, offsets, inside = block_coordinates(owner_row, block, BLOCK, DIVISOR)
                scalars = slice_scalars + owner * scalars_stride
                block_scores = STATISTIC(owner_row, scalars, start, offsets, inside)
                in_range, its_digit = _digit_in_range(key_of(block_scores), inside, owner_record)
                found = tl.histogram(its_digit, DIGITS, mask=in_range)
                tl.atomic_add(histograms + owner * DIGITS + j, found, mask=found > 0, sem="relaxed")


@triton.jit
def _select_digit(record, batch_flags, counts):
    """Narrow the range to the digit that holds the threshold.

    Args:
        counts: (DIGITS,) int32: the number of keys in the range that have each digit.
    """
    j = tl.arange(0, DIGITS)
    rank = tl.load(record + RANK_IN_RANGE)
    shift = tl.load(record + DIGIT_SHIFT)
    base = tl.load(record + RANGE_LOW)
    tl.debug_barrier()  # all threads have read before one of them writes
    digit = tl.sum((tl.cumsum(counts, 0, reverse=True) >= rank).to(tl.int32), 0) - 1
    if digit < 0:  # the slice has fewer numbers than K, so all of them are selected
        _set_threshold(record, batch_flags, NEGATIVE_INFINITY, 0, 0)
    else:
        rank -= tl.sum(tl.where(j > digit, counts, 0), 0)
        base += digit.to(tl.int64) << shift
        if shift == 0:
            ties = tl.sum(tl.where(j == digit, counts, 0), 0).to(tl.int64)
            _set_threshold(record, batch_flags, base, rank, ties)
        else:
            tl.store(record + RANGE_LOW, base)
            last = base + (tl.full([], 1, tl.int64) << shift) - 1
            tl.store(record + RANGE_HIGH, tl.minimum(last, HIGHEST))
            tl.store(record + DIGIT_SHIFT, tl.maximum(shift - DIGIT_BITS, 0))
            tl.store(record + RANK_IN_RANGE, rank)


@triton.jit(do_not_specialize=["first_slice"])
def select_digit(search_records, first_slice, histograms, batch_flags):
    """One program a slice: narrow its range by its histogram, and clear the histogram."""
    i = first_slice + tl.program_id(0)
    record = search_records + i * RECORD
    histogram = histograms + i * DIGITS + tl.arange(0, DIGITS)
    if tl.load(record + STATUS) < FOUND:
        _select_digit(record, batch_flags, tl.load(histogram))
        tl.store(histogram, tl.zeros([DIGITS], tl.int32))
