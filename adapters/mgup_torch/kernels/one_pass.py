"""A step of ranked slices that reads and writes each coordinate once, where that is safe.

1. :mod:`bracket <.bracket>` guesses, and :mod:`verify <.verify>` accepts a bracket that holds the
   threshold beyond doubt, or none.
2. :func:`apply_one_pass` writes moments and parameters. Above the bracket a coordinate is
   amplified, below it damped. Within, it takes the likelier of both, and an entry of a list says
   what it is otherwise: (score, the other parameter, place in its block).
3. The exact threshold is found among the scores of the list (:mod:`rank <.rank>`), and its ties
   (:mod:`ties <.ties>`).
4. :func:`correct` stores the other parameter where the threshold says so.

What must not be written yet is not written, and :func:`apply_waiting` writes it later, at a second
read, from what it still is: all blocks of a slice without a verified bracket; and every block
whose entries did not fit into the list, which it knows before it writes anything.

No way of reading once is exact for certain: whatever is written of a coordinate before the last
score is seen supposes something of the scores not yet seen, and what it would take to undo it does
not fit into the memory that a step may use. Here the supposition is false with a probability below
2e-17, by the proof in :mod:`verify <.verify>`, and it is checked: the counts of the whole slice
tell for certain, in every step, whether the bracket held (:func:`rank.begin`). If it ever did not,
the next step would raise an error rather than go on.
"""

from __future__ import annotations

import triton
import triton.language as tl

from . import layout as table
from .ordered_keys import block_of, score_of
from .radix_select import count_block, count_scores

FIRST_BLOCK = tl.constexpr(table.FIRST_BLOCK)
CANDIDATES = tl.constexpr(table.CANDIDATES)
CAPACITY = tl.constexpr(table.CAPACITY)
W = tl.constexpr(table.POINTERS)

BASE = tl.constexpr(table.BASE)
TOP = tl.constexpr(table.TOP)
COUNTED = tl.constexpr(table.COUNTED)
THRESHOLD = tl.constexpr(table.THRESHOLD)
QUOTA = tl.constexpr(table.QUOTA)
TIES = tl.constexpr(table.TIES)
VERIFIED = tl.constexpr(table.VERIFIED)
MIDDLE = tl.constexpr(table.MIDDLE)
WRITTEN = tl.constexpr(table.WRITTEN)
RECORD = tl.constexpr(table.RECORD)

UNFINISHED = tl.constexpr(table.UNFINISHED)
WAITING = tl.constexpr(table.WAITING)


@triton.jit(do_not_specialize=["first_block"])
def apply_one_pass(
    tables, records, uniforms, columns, scalars, block_slice, first_block,
    tallies, starts, lengths, candidates, others, places, flags,
    SEEN: tl.constexpr, BOTH: tl.constexpr, STORE: tl.constexpr,
    BLOCK: tl.constexpr, DIVISOR: tl.constexpr,
):  # fmt: skip
    """One program a block: its step, if the bracket is verified; else counts, as `rank.count`.

    Args:
        lengths: for each block of the batch, how many entries it has in the list of its slice; -1
            if it waits for the threshold.
    """
    local = tl.program_id(0)
    b = first_block + local
    i = tl.load(block_slice + b).to(tl.int64)
    row = tables + i * columns
    record = records + i * RECORD
    if tl.load(record + VERIFIED) == 0:
        tl.store(lengths + local, -1)
        count_block(
            row, record, uniforms + i * scalars, b, tallies + local, starts + local, candidates,
            SEEN, BLOCK, DIVISOR,
        )  # fmt: skip
    else:
        low = score_of(tl.load(record + BASE).to(tl.int32))
        high = score_of(tl.load(record + TOP).to(tl.int32))
        middle = score_of(tl.load(record + MIDDLE).to(tl.int32))
        entries = tl.load(row + CANDIDATES)
        capacity = tl.load(row + CAPACITY).to(tl.int32)
        start, offsets, inside = block_of(row, b, BLOCK, DIVISOR)
        found = BOTH(row, uniforms + i * scalars, start, offsets, inside)
        scores = tl.where(inside, found[0], float("nan"))
        among, fours, begin, here = count_scores(record, scores, low, high, BLOCK)
        tl.store(tallies + local, here)
        tl.store(starts + local, begin)
        # In rows of four neighbours, which a thread holds, nothing changes places.
        each = tl.reshape(among, [BLOCK // 4, 4])
        bits = tl.reshape(scores, [BLOCK // 4, 4])
        mask = each > 0
        if begin + here <= capacity:
            tl.store(lengths + local, here)
            likely = scores > middle
            w = tl.where(likely, found[2], found[1])
            STORE(row, start, offsets, inside, w, found[3:])
            number = fours >> 16
            at = entries + begin + (tl.cumsum(number, 0) - number)[:, None]
            at += tl.cumsum(each, 1) - each
            tl.store(candidates + at, bits.to(tl.int32, bitcast=True), mask=mask)
            other = tl.where(likely, found[1], found[2]).to(others.dtype.element_ty)
            tl.store(others + at, tl.reshape(other, [BLOCK // 4, 4]), mask=mask)
            place = tl.reshape(offsets.to(tl.int16), [BLOCK // 4, 4])
            tl.store(places + at, place, mask=mask)
        else:
            tl.store(lengths + local, -1)
            tl.atomic_min(record + WRITTEN, begin.to(tl.int64), sem="relaxed")
            tl.atomic_add(flags + UNFINISHED, 1, sem="relaxed")
            tl.atomic_add(flags + WAITING, 1, sem="relaxed")


@triton.jit(do_not_specialize=["first_block", "blocks"])
def correct(
    tables, records, columns, block_slice, first_block, blocks,
    tallies, starts, lengths, candidates, others, places,
    BLOCK: tl.constexpr, GROUP: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """One program for GROUP blocks: the entries of their lists of which the unlikely is true."""
    local = tl.program_id(0) * GROUP + tl.arange(0, GROUP)
    exists = local < blocks
    length = tl.load(lengths + local, mask=exists, other=0)
    longest = tl.max(length, 0)
    if longest > 0:
        i = tl.load(block_slice + first_block + local, mask=exists, other=0).to(tl.int64)
        row = tables + i * columns
        record = records + i * RECORD
        threshold = score_of(tl.load(record + THRESHOLD).to(tl.int32))[:, None]
        middle = score_of(tl.load(record + MIDDLE).to(tl.int32))[:, None]
        quota = tl.load(record + QUOTA).to(tl.int32)
        uneven = quota != tl.load(record + TIES).to(tl.int32)
        earlier = tl.load(tallies + local, mask=exists & uneven, other=0)
        left = (quota - earlier)[:, None]
        first = tl.load(row + CANDIDATES) + tl.load(starts + local, mask=exists, other=0)
        start = (first_block + local - tl.load(row + FIRST_BLOCK)) * BLOCK
        w = tl.load(row + W).to(tl.pointer_type(others.dtype.element_ty)) + start
        for j in range(0, longest, WIDTH):
            number = j + tl.arange(0, WIDTH)[None, :]
            mask = number < length[:, None]
            at = first[:, None] + number
            scores = tl.load(candidates + at, mask=mask, other=0).to(tl.float32, bitcast=True)
            tied = mask & (scores == threshold)
            rank = tl.cumsum(tied.to(tl.int32), 1)
            chosen = mask & ((scores > threshold) | (tied & (rank <= left)))
            left -= tl.sum(tied.to(tl.int32), 1)[:, None]
            wrong = mask & (chosen != (scores > middle))
            place = tl.load(places + at, mask=wrong, other=0).to(tl.int32)
            value = tl.load(others + at, mask=wrong, other=0.0)
            tl.store(w[:, None] + place, value, mask=wrong)


@triton.jit(do_not_specialize=["first_block", "blocks"])
def apply_waiting(
    tables, records, uniforms, columns, scalars, block_slice, first_block, blocks,
    tallies, lengths, flags,
    UPDATE: tl.constexpr, BLOCK: tl.constexpr, DIVISOR: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    """One program for GROUP blocks: the step of those that have waited."""
    if tl.load(flags + WAITING) > 0:
        end = blocks - tl.program_id(0) * GROUP
        group = end - 1 - tl.arange(0, GROUP)
        length = tl.load(lengths + group, mask=group >= 0, other=0)
        if tl.min(length, 0) < 0:
            for local in range(tl.maximum(end - GROUP, 0), end):
                if tl.load(lengths + local) < 0:
                    b = first_block + local
                    i = tl.load(block_slice + b).to(tl.int64)
                    row = tables + i * columns
                    start, offsets, inside = block_of(row, b, BLOCK, DIVISOR)
                    UPDATE(
                        row, uniforms + i * scalars, start, offsets, inside, records + i * RECORD,
                        tallies + local,
                    )  # fmt: skip
