"""A step of ranked slices that reads and writes each coordinate once, where that is safe.

1. :mod:`sample_bracket <.sample_bracket>` takes a bracket from a sample; :mod:`verify <.verify>`
   replaces it by one that holds the threshold beyond doubt, if there is one.
2. :func:`apply_one_pass` writes moments and parameters. Above the bracket a coordinate is
   amplified, below it damped. In the bracket a coordinate takes the likelier multiplier, and the
   slice's list gets an entry: (score, the parameter by the other multiplier, offset in its block).
3. The exact threshold is found among the scores of the list (:mod:`radix_select <.radix_select>`),
   and its ties are shared out (:mod:`ties <.ties>`).
4. :func:`correct_likely` stores the other parameter where the threshold asks for it.

The step of a block is deferred if its slice has no verified bracket, or if its entries do not fit
into the list, which is known before anything is written. :func:`apply_deferred` takes the step at a
second read, from what the block still is.

No way of reading once is exact for certain: whatever is written of a coordinate before the last
score is read supposes something of the scores not yet read, and what it would take to undo it does
not fit into the memory that a step may use. Here the supposition is false with a probability below
2e-17, by the proof in :mod:`verify <.verify>`, and it is checked: in every step the counts of the
whole slice show for certain whether the bracket held (:func:`radix_select.check_bracket`). If it
ever did not, the next step would raise an error rather than go on.

:mod:`layout <.layout>` describes the arguments. Besides there are, for each entry of the list:
``candidates`` int32, the bits of the score; ``other_parameters`` in the parameter's dtype; and
``block_offsets`` int16.
"""

from __future__ import annotations

import triton
import triton.language as tl

from . import layout
from .ordered_keys import block_coordinates, score_of
from .radix_select import count_block, count_scores

FIRST_BLOCK = tl.constexpr(layout.FIRST_BLOCK)
FIRST_CANDIDATE = tl.constexpr(layout.FIRST_CANDIDATE)
CAPACITY = tl.constexpr(layout.CAPACITY)
W = tl.constexpr(layout.ADDRESSES)

RANGE_LOW = tl.constexpr(layout.RANGE_LOW)
RANGE_HIGH = tl.constexpr(layout.RANGE_HIGH)
BRACKET_COUNTS = tl.constexpr(layout.BRACKET_COUNTS)
THRESHOLD = tl.constexpr(layout.THRESHOLD)
TIE_QUOTA = tl.constexpr(layout.TIE_QUOTA)
TIES = tl.constexpr(layout.TIES)
VERIFIED = tl.constexpr(layout.VERIFIED)
LIKELY_THRESHOLD = tl.constexpr(layout.LIKELY_THRESHOLD)
LIST_LENGTH = tl.constexpr(layout.LIST_LENGTH)
RECORD = tl.constexpr(layout.RECORD)

FULL_SEARCHES = tl.constexpr(layout.FULL_SEARCHES)
DEFERRED = tl.constexpr(layout.DEFERRED)


@triton.jit(do_not_specialize=["first_block"])
def apply_one_pass(
    slice_table, search_records, slice_scalars, table_stride, scalars_stride, block_slice,
    first_block, block_counts, list_starts, list_lengths, candidates, other_parameters,
    block_offsets, batch_flags,
    STATISTIC: tl.constexpr, BOTH_UPDATES: tl.constexpr, STORE: tl.constexpr,
    BLOCK: tl.constexpr, DIVISOR: tl.constexpr,
):  # fmt: skip
    """One program a block: its step, if the slice's bracket is verified.

    Otherwise the scores are counted and copied as by :func:`radix_select.count_against_bracket`.
    """
    local = tl.program_id(0)
    block = first_block + local
    i = tl.load(block_slice + block).to(tl.int64)
    row = slice_table + i * table_stride
    record = search_records + i * RECORD
    if tl.load(record + VERIFIED) == 0:
        tl.store(list_lengths + local, -1)
        count_block(
            row, record, slice_scalars + i * scalars_stride, block, block_counts + local,
            list_starts + local, candidates, STATISTIC, BLOCK, DIVISOR,
        )  # fmt: skip
    else:
        low = score_of(tl.load(record + RANGE_LOW).to(tl.int32))
        high = score_of(tl.load(record + RANGE_HIGH).to(tl.int32))
        likely_threshold = score_of(tl.load(record + LIKELY_THRESHOLD).to(tl.int32))
        first_entry = tl.load(row + FIRST_CANDIDATE)
        capacity = tl.load(row + CAPACITY).to(tl.int32)
        start, offsets, inside = block_coordinates(row, block, BLOCK, DIVISOR)
        scalars = slice_scalars + i * scalars_stride
        both = BOTH_UPDATES(row, scalars, start, offsets, inside)
        scores = tl.where(inside, both[0], float("nan"))
        among, fours, begin, here = count_scores(record, scores, low, high, BLOCK)
        tl.store(block_counts + local, here)
        tl.store(list_starts + local, begin)
        # A thread holds rows of four neighbours, so that no coordinate moves between threads.
        among_fours = tl.reshape(among, [BLOCK // 4, 4])
        score_fours = tl.reshape(scores, [BLOCK // 4, 4])
        mask = among_fours > 0
        if begin + here <= capacity:
            tl.store(list_lengths + local, here)
            likely = scores > likely_threshold
            w = tl.where(likely, both[2], both[1])
            STORE(row, start, offsets, inside, w, both[3:])
            in_fours = fours >> 16
            at = first_entry + begin + (tl.cumsum(in_fours, 0) - in_fours)[:, None]
            at += tl.cumsum(among_fours, 1) - among_fours
            tl.store(candidates + at, score_fours.to(tl.int32, bitcast=True), mask=mask)
            other = tl.where(likely, both[1], both[2]).to(other_parameters.dtype.element_ty)
            tl.store(other_parameters + at, tl.reshape(other, [BLOCK // 4, 4]), mask=mask)
            offset = tl.reshape(offsets.to(tl.int16), [BLOCK // 4, 4])
            tl.store(block_offsets + at, offset, mask=mask)
        else:
            tl.store(list_lengths + local, -1)
            tl.atomic_min(record + LIST_LENGTH, begin.to(tl.int64), sem="relaxed")
            tl.atomic_add(batch_flags + FULL_SEARCHES, 1, sem="relaxed")
            tl.atomic_add(batch_flags + DEFERRED, 1, sem="relaxed")


@triton.jit(do_not_specialize=["first_block", "blocks"])
def correct_likely(
    slice_table, search_records, table_stride, block_slice, first_block, blocks,
    block_counts, list_starts, list_lengths, candidates, other_parameters, block_offsets,
    BLOCK: tl.constexpr, GROUP: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """One program for GROUP blocks: store the other parameter where the likelier was wrong.

    Args:
        block_counts: for each block the number of ties in the slice's earlier blocks, where only
            some ties are selected.
        WIDTH: entries of each list that a turn reads.
    """
    local = tl.program_id(0) * GROUP + tl.arange(0, GROUP)
    exists = local < blocks
    length = tl.load(list_lengths + local, mask=exists, other=0)
    longest = tl.max(length, 0)
    if longest > 0:
        i = tl.load(block_slice + first_block + local, mask=exists, other=0).to(tl.int64)
        row = slice_table + i * table_stride
        record = search_records + i * RECORD
        threshold = score_of(tl.load(record + THRESHOLD).to(tl.int32))[:, None]
        likely_threshold = score_of(tl.load(record + LIKELY_THRESHOLD).to(tl.int32))[:, None]
        quota = tl.load(record + TIE_QUOTA).to(tl.int32)
        partial = quota != tl.load(record + TIES).to(tl.int32)
        earlier = tl.load(block_counts + local, mask=exists & partial, other=0)
        left = (quota - earlier)[:, None]
        first = tl.load(row + FIRST_CANDIDATE) + tl.load(list_starts + local, mask=exists, other=0)
        start = (first_block + local - tl.load(row + FIRST_BLOCK)) * BLOCK
        w = tl.load(row + W).to(tl.pointer_type(other_parameters.dtype.element_ty)) + start
        for j in range(0, longest, WIDTH):
            entry = j + tl.arange(0, WIDTH)[None, :]
            mask = entry < length[:, None]
            at = first[:, None] + entry
            scores = tl.load(candidates + at, mask=mask, other=0).to(tl.float32, bitcast=True)
            tied = mask & (scores == threshold)
            rank = tl.cumsum(tied.to(tl.int32), 1)
            selected = mask & ((scores > threshold) | (tied & (rank <= left)))
            left -= tl.sum(tied.to(tl.int32), 1)[:, None]
            wrong = mask & (selected != (scores > likely_threshold))
            offset = tl.load(block_offsets + at, mask=wrong, other=0).to(tl.int32)
            value = tl.load(other_parameters + at, mask=wrong, other=0.0)
            tl.store(w[:, None] + offset, value, mask=wrong)


@triton.jit(do_not_specialize=["first_block", "blocks"])
def apply_deferred(
    slice_table, search_records, slice_scalars, table_stride, scalars_stride, block_slice,
    first_block, blocks, block_counts, list_lengths, batch_flags,
    UPDATE: tl.constexpr, BLOCK: tl.constexpr, DIVISOR: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    """One program for GROUP blocks: the deferred steps among theirs; the last blocks come first."""
    if tl.load(batch_flags + DEFERRED) > 0:
        end = blocks - tl.program_id(0) * GROUP
        group = end - 1 - tl.arange(0, GROUP)
        length = tl.load(list_lengths + group, mask=group >= 0, other=0)
        if tl.min(length, 0) < 0:
            for local in range(tl.maximum(end - GROUP, 0), end):
                if tl.load(list_lengths + local) < 0:
                    block = first_block + local
                    i = tl.load(block_slice + block).to(tl.int64)
                    row = slice_table + i * table_stride
                    start, offsets, inside = block_coordinates(row, block, BLOCK, DIVISOR)
                    UPDATE(
                        row, slice_scalars + i * scalars_stride, start, offsets, inside,
                        search_records + i * RECORD, block_counts + local,
                    )  # fmt: skip
