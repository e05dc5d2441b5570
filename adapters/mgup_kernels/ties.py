"""Which scores that equal their slice's threshold are selected: those of the lowest indices (P4).

Each block needs the number of ties in the slice's earlier blocks, and each device the number of
ties on the devices before it. :mod:`layout <.layout>` describes the arguments.
"""

from __future__ import annotations

import triton
import triton.language as tl

from . import layout
from .ordered_keys import block_coordinates, score_of

LOCAL_LENGTH = tl.constexpr(layout.LOCAL_LENGTH)
FIRST_BLOCK = tl.constexpr(layout.FIRST_BLOCK)
FIRST_CANDIDATE = tl.constexpr(layout.FIRST_CANDIDATE)

RANGE_LOW = tl.constexpr(layout.RANGE_LOW)
RANGE_HIGH = tl.constexpr(layout.RANGE_HIGH)
STATUS = tl.constexpr(layout.STATUS)
THRESHOLD = tl.constexpr(layout.THRESHOLD)
TIE_QUOTA = tl.constexpr(layout.TIE_QUOTA)
TIES = tl.constexpr(layout.TIES)
LOCAL_TIES = tl.constexpr(layout.LOCAL_TIES)
VERIFIED = tl.constexpr(layout.VERIFIED)
RECORD = tl.constexpr(layout.RECORD)

AMONG_CANDIDATES = tl.constexpr(layout.AMONG_CANDIDATES)
AMONG_ALL = tl.constexpr(layout.AMONG_ALL)
FOUND = tl.constexpr(layout.FOUND)
PARTIAL_TIES = tl.constexpr(layout.PARTIAL_TIES)


@triton.jit(do_not_specialize=["first_block", "blocks"])
def count_ties(
    slice_table, search_records, slice_scalars, table_stride, scalars_stride, block_slice,
    first_block, blocks, block_counts, list_starts, list_lengths, candidates, batch_flags,
    STATISTIC: tl.constexpr, BLOCK: tl.constexpr, DIVISOR: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    """One program for GROUP blocks: count their ties, in slices that select only some ties.

    The counts replace those of the scores in the bracket.
    """
    if tl.load(batch_flags + PARTIAL_TIES) > 0:
        local = tl.program_id(0) * GROUP + tl.arange(0, GROUP)
        exists = local < blocks
        i = tl.load(block_slice + first_block + local, mask=exists, other=0).to(tl.int64)
        record = search_records + i * RECORD
        partial = exists & (tl.load(record + TIE_QUOTA) != tl.load(record + TIES))
        status = tl.load(record + STATUS)
        # A bracket of one key has no candidates: the block's count is that of its ties already.
        listed = (status == FOUND + AMONG_CANDIDATES) & (
            tl.load(record + RANGE_LOW) < tl.load(record + RANGE_HIGH)
        )
        verified = tl.load(record + VERIFIED) != 0
        deferred = tl.load(list_lengths + local, mask=exists & verified, other=0) < 0
        listed = tl.where(verified, ~deferred, listed)
        if tl.sum((partial & listed).to(tl.int32), 0) > 0:
            length = tl.load(block_counts + local, mask=partial & listed, other=0)
            start = tl.load(list_starts + local, mask=partial & listed, other=0)
            block_list = candidates + tl.load(slice_table + i * table_stride + FIRST_CANDIDATE)
            block_list += start
            threshold = score_of(tl.load(record + THRESHOLD).to(tl.int32))
            ties = tl.zeros([GROUP], tl.int32)
            for j in range(tl.max(length, 0)):
                bits = tl.load(block_list + j, mask=j < length, other=0)
                score = bits.to(tl.float32, bitcast=True)
                ties += ((j < length) & (score == threshold)).to(tl.int32)
            tl.store(block_counts + local, ties, mask=partial & listed)
        searched = partial & tl.where(verified, deferred, status == FOUND + AMONG_ALL)
        if tl.sum(searched.to(tl.int32), 0) > 0:
            for k in range(GROUP):
                one = tl.program_id(0) * GROUP + k
                if tl.sum((searched & (local == one)).to(tl.int32), 0) > 0:
                    block = first_block + one
                    owner = tl.load(block_slice + block).to(tl.int64)
                    row = slice_table + owner * table_stride
                    at, offsets, inside = block_coordinates(row, block, BLOCK, DIVISOR)
                    scalars = slice_scalars + owner * scalars_stride
                    scores = STATISTIC(row, scalars, at, offsets, inside)
                    key = tl.load(search_records + owner * RECORD + THRESHOLD).to(tl.int32)
                    equal = inside & (scores == score_of(key))
                    tl.store(block_counts + one, tl.sum(equal.to(tl.int32), 0))


@triton.jit(do_not_specialize=["first_slice", "first_block"])
def prefix_sum_ties(
    slice_table, search_records, table_stride, first_slice, first_block, block_counts, batch_flags,
    BLOCK: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """One program a slice: each block's count becomes that of the ties in all earlier blocks."""
    i = first_slice + tl.program_id(0)
    row = slice_table + i * table_stride
    record = search_records + i * RECORD
    partial = tl.load(record + TIE_QUOTA) != tl.load(record + TIES)
    tl.store(record + LOCAL_TIES, 0)
    if partial & (tl.load(batch_flags + PARTIAL_TIES) > 0):
        slice_counts = block_counts + tl.load(row + FIRST_BLOCK) - first_block
        n = (tl.load(row + LOCAL_LENGTH) + BLOCK - 1) // BLOCK
        earlier = tl.full([], 0, tl.int32)
        for start in range(0, n, WIDTH):
            j = start + tl.arange(0, WIDTH)
            ties = tl.load(slice_counts + j, mask=j < n, other=0)
            tl.store(slice_counts + j, earlier + tl.cumsum(ties, 0) - ties, mask=j < n)
            earlier += tl.sum(ties, 0)
        tl.store(record + LOCAL_TIES, earlier.to(tl.int64))


@triton.jit(do_not_specialize=["first_slice", "rank"])
def write_local_ties(search_records, first_slice, ties_by_rank, rank, world_size):
    """One program a slice: this device's ties in its own row, zero in the others'.

    Args:
        ties_by_rank: (world_size, slices) int64, to be added up over the devices.
    """
    ties = tl.load(search_records + (first_slice + tl.program_id(0)) * RECORD + LOCAL_TIES)
    for r in range(world_size):
        summand = tl.where(r == rank, ties, 0)
        tl.store(ties_by_rank + r * tl.num_programs(0) + tl.program_id(0), summand)


@triton.jit(do_not_specialize=["first_slice", "rank"])
def subtract_earlier_ties(search_records, first_slice, ties_by_rank, rank):
    """One program a slice: the ties on earlier devices use up the quota first."""
    quota = search_records + (first_slice + tl.program_id(0)) * RECORD + TIE_QUOTA
    left = tl.load(quota)
    for r in range(rank):
        left -= tl.load(ties_by_rank + r * tl.num_programs(0) + tl.program_id(0))
    tl.store(quota, left)
