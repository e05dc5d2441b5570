"""The step of ranked slices once the selection is known, and the scalars that it needs before.

:mod:`layout <.layout>` describes the arguments of the kernels.
"""

from __future__ import annotations

import triton
import triton.language as tl

from . import layout
from .ordered_keys import block_coordinates

RECORD = tl.constexpr(layout.RECORD)
STEP_ADDRESS = tl.constexpr(layout.STEP_ADDRESS)
STEP = tl.constexpr(layout.STEP)
ADVANCES_STEP = tl.constexpr(layout.ADVANCES_STEP)
LR = tl.constexpr(layout.LR)  # WEIGHT_DECAY, ALPHA and GAMMA follow it


@triton.jit
def current_step(rows, inside):
    """The step that slices take now, from 1: int64."""
    address = tl.load(rows + STEP_ADDRESS, mask=inside, other=0)
    taken = tl.load(address.to(tl.pointer_type(tl.float32)), mask=address != 0, other=0.0)
    after_taken = taken.to(tl.int64) + 1
    return tl.where(address != 0, after_taken, tl.load(rows + STEP, mask=inside, other=1))


@triton.jit
def bias_correction(t, complements, inside):
    """``1 - beta^t`` (N3), float32.

    Args:
        t: the step of each slice, int64.
        complements: address of ``1 - beta^(2^k)`` for k from 0 to 30, of each slice.
    """
    c = tl.zeros_like(t).to(tl.float32)
    for k in range(31):
        complement = tl.load(complements + k, mask=inside, other=0.0)
        c = tl.where(((t >> k) & 1) != 0, c + complement * (1.0 - c), c)
    return c


@triton.jit
def advance_steps(slice_table, table_stride, slices, samples_drawn, WIDTH: tl.constexpr):
    """One program for WIDTH slices: add 1 to the counts of steps, and once to ``samples_drawn``."""
    if tl.program_id(0) == 0:
        tl.store(samples_drawn, tl.load(samples_drawn) + 1)
    i = tl.program_id(0) * WIDTH + tl.arange(0, WIDTH)
    rows = slice_table + i.to(tl.int64) * table_stride
    advances = tl.load(rows + ADVANCES_STEP, mask=i < slices, other=0)
    address = tl.load(rows + STEP_ADDRESS, mask=advances != 0, other=0)
    count = address.to(tl.pointer_type(tl.float32))
    mask = address != 0
    tl.store(count, tl.load(count, mask=mask, other=0.0) + 1.0, mask=mask)


@triton.jit
def compute_scalars(
    slice_table, positive_counts, slice_scalars, table_stride, scalars_stride, slices,
    SCALARS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """One program for WIDTH slices: the scalars that the coordinates of a slice share.

    Args:
        positive_counts: (slices,) int64: the number of positive scores.
        SCALARS: :attr:`Functions.early_scalars` or :attr:`Functions.late_scalars`.
    """
    i = tl.program_id(0) * WIDTH + tl.arange(0, WIDTH)
    inside = i < slices
    at = i.to(tl.int64)
    SCALARS(
        slice_table + at * table_stride, positive_counts + at, slice_scalars + at * scalars_stride,
        inside,
    )  # fmt: skip


@triton.jit(do_not_specialize=["first_block"])
def count_positive(
    slice_table, positive_counts, slice_scalars, table_stride, scalars_stride, block_slice,
    first_block,
    STATISTIC: tl.constexpr, BLOCK: tl.constexpr, DIVISOR: tl.constexpr,
):  # fmt: skip
    """One program a block: add the number of its positive scores to that of its slice."""
    block = first_block + tl.program_id(0)
    i = tl.load(block_slice + block).to(tl.int64)
    row = slice_table + i * table_stride
    start, offsets, inside = block_coordinates(row, block, BLOCK, DIVISOR)
    positive = inside & STATISTIC(row, slice_scalars + i * scalars_stride, start, offsets, inside)
    count = positive_counts + i
    tl.atomic_add(count, tl.sum(positive.to(tl.int32), 0).to(tl.int64), sem="relaxed")


@triton.jit(do_not_specialize=["first_block"])
def apply_step(
    slice_table, search_records, slice_scalars, table_stride, scalars_stride, block_slice,
    first_block, block_counts,
    UPDATE: tl.constexpr, BLOCK: tl.constexpr, DIVISOR: tl.constexpr,
):  # fmt: skip
    """One program a block: its step.

    The last block comes first, since the cache still holds the end of the last read.
    """
    local = tl.num_programs(0) - 1 - tl.program_id(0)
    block = first_block + local
    i = tl.load(block_slice + block).to(tl.int64)
    row = slice_table + i * table_stride
    start, offsets, inside = block_coordinates(row, block, BLOCK, DIVISOR)
    UPDATE(
        row, slice_scalars + i * scalars_stride, start, offsets, inside,
        search_records + i * RECORD, block_counts + local,
    )  # fmt: skip


@triton.jit
def set_values(slice_table, table_stride, slices, column, WIDTH: tl.constexpr):
    """One program for WIDTH slices: take over values that only the device knows.

    Args:
        column: of the slice table: it points to LR, WEIGHT_DECAY, ALPHA and GAMMA, float32.
    """
    i = tl.program_id(0) * WIDTH + tl.arange(0, WIDTH)
    inside = i < slices
    rows = slice_table + i.to(tl.int64) * table_stride
    values = tl.load(rows + column, mask=inside, other=0).to(tl.pointer_type(tl.float32))
    for j in tl.static_range(4):
        value = tl.load(values + j, mask=inside, other=0.0).to(tl.float64)
        tl.store(rows + LR + j, value.to(tl.int64, bitcast=True), mask=inside)
