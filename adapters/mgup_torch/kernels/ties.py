"""Which of the scores that equal a slice's threshold are selected: the lowest indices (P4).

Each block is told how many of them lie in the slice's earlier blocks, and each device of a team how
many lie on earlier devices.
"""

from __future__ import annotations

import triton
import triton.language as tl

from . import layout as table
from .ordered_keys import block_of, score_of

D = tl.constexpr(table.D)
FIRST_BLOCK = tl.constexpr(table.FIRST_BLOCK)
CANDIDATES = tl.constexpr(table.CANDIDATES)

BASE = tl.constexpr(table.BASE)
TOP = tl.constexpr(table.TOP)
STATUS = tl.constexpr(table.STATUS)
THRESHOLD = tl.constexpr(table.THRESHOLD)
QUOTA = tl.constexpr(table.QUOTA)
TIES = tl.constexpr(table.TIES)
TIED = tl.constexpr(table.TIED)
VERIFIED = tl.constexpr(table.VERIFIED)
RECORD = tl.constexpr(table.RECORD)

AMONG_CANDIDATES = tl.constexpr(table.AMONG_CANDIDATES)
AMONG_ALL = tl.constexpr(table.AMONG_ALL)
FOUND = tl.constexpr(table.FOUND)
UNEVEN = tl.constexpr(table.UNEVEN)


@triton.jit(do_not_specialize=["first_block", "blocks"])
def count_ties(
    tables, records, uniforms, columns, scalars, block_slice, first_block, blocks,
    tallies, starts, lengths, candidates, flags,
    SEEN: tl.constexpr, BLOCK: tl.constexpr, DIVISOR: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    """One program for GROUP blocks: how many scores equal the threshold, where that matters."""
    if tl.load(flags + UNEVEN) > 0:
        local = tl.program_id(0) * GROUP + tl.arange(0, GROUP)
        exists = local < blocks
        i = tl.load(block_slice + first_block + local, mask=exists, other=0).to(tl.int64)
        record = records + i * RECORD
        uneven = exists & (tl.load(record + QUOTA) != tl.load(record + TIES))
        status = tl.load(record + STATUS)
        # A bracket of a single value has no copies: its tally counts ties already.
        copied = (status == FOUND + AMONG_CANDIDATES) & (
            tl.load(record + BASE) < tl.load(record + TOP)
        )
        verified = tl.load(record + VERIFIED) != 0
        waiting = tl.load(lengths + local, mask=exists & verified, other=0) < 0
        copied = tl.where(verified, ~waiting, copied)
        if tl.sum((uneven & copied).to(tl.int32), 0) > 0:
            length = tl.load(tallies + local, mask=uneven & copied, other=0)
            start = tl.load(starts + local, mask=uneven & copied, other=0)
            copies = candidates + tl.load(tables + i * columns + CANDIDATES) + start
            threshold = score_of(tl.load(record + THRESHOLD).to(tl.int32))
            ties = tl.zeros([GROUP], tl.int32)
            for j in range(tl.max(length, 0)):
                copy = tl.load(copies + j, mask=j < length, other=0).to(tl.float32, bitcast=True)
                ties += ((j < length) & (copy == threshold)).to(tl.int32)
            tl.store(tallies + local, ties, mask=uneven & copied)
        searched = uneven & tl.where(verified, waiting, status == FOUND + AMONG_ALL)
        if tl.sum(searched.to(tl.int32), 0) > 0:
            for k in range(GROUP):
                one = tl.program_id(0) * GROUP + k
                if tl.sum((searched & (local == one)).to(tl.int32), 0) > 0:
                    b = first_block + one
                    slice_number = tl.load(block_slice + b).to(tl.int64)
                    row = tables + slice_number * columns
                    at, offsets, inside = block_of(row, b, BLOCK, DIVISOR)
                    scores = SEEN(row, uniforms + slice_number * scalars, at, offsets, inside)
                    its = tl.load(records + slice_number * RECORD + THRESHOLD).to(tl.int32)
                    equal = inside & (scores == score_of(its))
                    tl.store(tallies + one, tl.sum(equal.to(tl.int32), 0))


@triton.jit(do_not_specialize=["first_slice", "first_block"])
def sum_ties(
    tables, records, columns, first_slice, first_block, tallies, flags,
    BLOCK: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """One program a slice: tallies become the number of ties in all earlier blocks."""
    i = first_slice + tl.program_id(0)
    row = tables + i * columns
    record = records + i * RECORD
    uneven = tl.load(record + QUOTA) != tl.load(record + TIES)
    tl.store(record + TIED, 0)
    if uneven & (tl.load(flags + UNEVEN) > 0):
        mine = tallies + tl.load(row + FIRST_BLOCK) - first_block
        n = (tl.load(row + D) + BLOCK - 1) // BLOCK
        earlier = tl.full([], 0, tl.int32)
        for start in range(0, n, WIDTH):
            j = start + tl.arange(0, WIDTH)
            ties = tl.load(mine + j, mask=j < n, other=0)
            tl.store(mine + j, earlier + tl.cumsum(ties, 0) - ties, mask=j < n)
            earlier += tl.sum(ties, 0)
        tl.store(record + TIED, earlier.to(tl.int64))


@triton.jit(do_not_specialize=["first_slice", "number"])
def tell_ties(records, first_slice, board, number, devices):
    """One program a slice: this device's ties into its row of a board of (devices, slices)."""
    tied = tl.load(records + (first_slice + tl.program_id(0)) * RECORD + TIED)
    for device in range(devices):
        mine = tl.where(device == number, tied, 0)
        tl.store(board + device * tl.num_programs(0) + tl.program_id(0), mine)


@triton.jit(do_not_specialize=["first_slice", "number"])
def leave_ties(records, first_slice, board, number):
    """One program a slice: those on earlier devices do not count toward this one's quota."""
    quota = records + (first_slice + tl.program_id(0)) * RECORD + QUOTA
    left = tl.load(quota)
    for device in range(number):
        left -= tl.load(board + device * tl.num_programs(0) + tl.program_id(0))
    tl.store(quota, left)
