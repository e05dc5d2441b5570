"""The step itself, once the selection is known, and what goes before it."""

from __future__ import annotations

import triton
import triton.language as tl

from . import layout as table
from .ordered_keys import block_of

RECORD = tl.constexpr(table.RECORD)
STEP = tl.constexpr(table.STEP)
T = tl.constexpr(table.T)
LEADS = tl.constexpr(table.LEADS)


@triton.jit
def current_step(rows, inside):
    """The step that slices take, from 1, as int64."""
    address = tl.load(rows + STEP, mask=inside, other=0)
    taken = tl.load(address.to(tl.pointer_type(tl.float32)), mask=address != 0, other=0.0)
    return tl.where(address != 0, taken.to(tl.int64) + 1, tl.load(rows + T, mask=inside, other=1))


@triton.jit
def bias_correction(t, complements, inside):
    """``1 - beta^t`` (N3): the addresses of the complements are those of one row for each slice."""
    c = tl.zeros_like(t).to(tl.float32)
    for k in range(31):
        complement = tl.load(complements + k, mask=inside, other=0.0)
        c = tl.where(((t >> k) & 1) != 0, c + complement * (1.0 - c), c)
    return c


@triton.jit
def advance(tables, columns, slices, drawn, WIDTH: tl.constexpr):
    """A few programs: one more step taken, and one more sample drawn."""
    if tl.program_id(0) == 0:
        tl.store(drawn, tl.load(drawn) + 1)
    i = tl.program_id(0) * WIDTH + tl.arange(0, WIDTH)
    rows = tables + i.to(tl.int64) * columns
    leads = tl.load(rows + LEADS, mask=i < slices, other=0)
    address = tl.load(rows + STEP, mask=leads != 0, other=0)
    counter = address.to(tl.pointer_type(tl.float32))
    mask = address != 0
    tl.store(counter, tl.load(counter, mask=mask, other=0.0) + 1.0, mask=mask)


@triton.jit
def settle(
    tables, positives, uniforms, columns, scalars, slices, SETTLE: tl.constexpr, WIDTH: tl.constexpr
):
    """A few programs: scalars of all slices, WIDTH slices each."""
    i = tl.program_id(0) * WIDTH + tl.arange(0, WIDTH)
    inside = i < slices
    at = i.to(tl.int64)
    SETTLE(tables + at * columns, positives + at, uniforms + at * scalars, inside)


@triton.jit(do_not_specialize=["first_block"])
def count_positive(
    tables, positives, uniforms, columns, scalars, block_slice, first_block,
    SEEN: tl.constexpr, BLOCK: tl.constexpr, DIVISOR: tl.constexpr,
):  # fmt: skip
    """One program a block: how many scores of each slice are positive."""
    b = first_block + tl.program_id(0)
    i = tl.load(block_slice + b).to(tl.int64)
    row = tables + i * columns
    start, offsets, inside = block_of(row, b, BLOCK, DIVISOR)
    mask = inside & SEEN(row, uniforms + i * scalars, start, offsets, inside)
    tl.atomic_add(positives + i, tl.sum(mask.to(tl.int32), 0).to(tl.int64), sem="relaxed")


@triton.jit(do_not_specialize=["first_block"])
def step(
    tables, records, uniforms, columns, scalars, block_slice, first_block, tallies,
    UPDATE: tl.constexpr, BLOCK: tl.constexpr, DIVISOR: tl.constexpr,
):  # fmt: skip
    """One program a block, the last first: its end is what the cache holds of the last read."""
    local = tl.num_programs(0) - 1 - tl.program_id(0)
    b = first_block + local
    i = tl.load(block_slice + b).to(tl.int64)
    row = tables + i * columns
    start, offsets, inside = block_of(row, b, BLOCK, DIVISOR)
    UPDATE(
        row, uniforms + i * scalars, start, offsets, inside, records + i * RECORD, tallies + local
    )
