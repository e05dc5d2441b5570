"""Slices that take their step together: the tables that describe them, and the launches."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from . import bracket, rank, step, table, ties
from .source import Functions

BLOCK, WARPS = 1024, 4  # eight coordinates a thread: what is done once a block weighs less
GROUP = 128  # blocks, and
WIDTH = 64  # slices a program, where one program has several
SAMPLE, CHUNK, SAMPLE_WARPS = 16384, 4, 32
DEVIATIONS = 4.0  # one guess in 16,000 misses, at up to a third of a step
ROOM = 1.25  # for copies, beyond the expected share of the bracket
DIVISOR = 8  # of the sizes of aligned slices, so that a thread loads four neighbours at once
LEAST, PARTS = 9 << 22, 10  # a batch has a tenth of all coordinates, or this many; and a quarter
SHARED_PARTS = 4  # where each batch costs collectives
COPIES = 2048  # that a program reads
READERS = 1024  # programs that read everything after a bad guess
LANES = 2  # batches at work at once: the small launches of one hide behind the reads of another


class Slice(NamedTuple):
    """A contiguous run of coordinates that are ranked together: a tensor, or a part of one."""

    size: int
    """How many lie on this device."""
    total: int
    """How many there are, with those on other devices."""
    top: int
    """How many of all are selected, in rank mode."""


class MeshGroup(Protocol):
    """The devices that hold the other parts of slices, each a run after the last one's."""

    rank: int
    world_size: int
    traffic: Any

    def all_reduce_sum_(self, x: Tensor) -> None: ...
    def all_reduce_max(self, x: Tensor) -> Tensor: ...


class _Batch(NamedTuple):
    """Slices and blocks that are ranked together."""

    first_slice: int
    slices: int
    first_block: int
    blocks: int
    first_chunk: int
    chunks: int


class _Lane:
    """The memory of one batch at work, and the streams that it runs on.

    Of launches with thousands of programs the device begins the next only when the last is nearly
    through. So that the small launches of one lane need not wait for the reads of another, they
    have a stream of higher priority.
    """

    def __init__(self, blocks: int, copies: int, device: torch.device, *, aside: bool) -> None:
        self.tallies = torch.zeros(blocks, dtype=torch.int32, device=device)
        self.starts = torch.zeros(blocks if copies else 0, dtype=torch.int32, device=device)
        self.candidates = torch.empty(copies, dtype=torch.int32, device=device)
        self.flags = torch.zeros(2, dtype=torch.int32, device=device)
        self.small = torch.cuda.Stream(device, priority=-1) if aside else None
        self.large = torch.cuda.Stream(device) if aside else None

    @contextlib.contextmanager
    def launches(self) -> Iterator[None]:
        """What is launched here is small; it comes after what this lane was told before."""
        if self.small is None:
            yield
            return
        with torch.cuda.stream(self.small):
            yield

    @contextlib.contextmanager
    def reads(self) -> Iterator[None]:
        """Within :meth:`launches`: what is launched here reads everything."""
        if self.small is None or self.large is None:
            yield
            return
        self.large.wait_stream(self.small)
        with torch.cuda.stream(self.large):
            yield
        self.small.wait_stream(self.large)

    def fork(self) -> None:
        """What is launched here comes after what the current stream has been told so far."""
        if self.small is not None:
            self.small.wait_stream(torch.cuda.current_stream(self.small.device))

    def join(self) -> None:
        """What the current stream is told from now on comes after what was launched here."""
        if self.small is not None:
            torch.cuda.current_stream(self.small.device).wait_stream(self.small)


class Plan:
    """The step of some slices of one kind on one device, with all memory that it needs.

    Args:
        slices: at least one, and as many on each device of a team.
        addresses: how many arrays each has.
        ranks: whether there is a threshold to find.
        aligned: whether all addresses are multiples of 16 and all sizes of 8.
        rules: how many the slices may have, at most; all of one form.
        team: who holds the rest of the slices, if these are parts.
    """

    def __init__(
        self,
        slices: Sequence[Slice],
        functions: Functions,
        addresses: int,
        device: torch.device,
        *,
        ranks: bool,
        aligned: bool,
        rules: int,
        team: MeshGroup | None = None,
    ) -> None:
        self.functions, self.ranks, self.team = functions, ranks, team
        n = len(slices)
        sizes, totals, top = np.array(slices, np.int64).T
        capacity = _capacity(sizes, totals, top, team) if ranks else np.zeros(n, np.int64)
        blocks, chunks = -(-sizes // BLOCK), -(-capacity // COPIES)
        self.rows = np.zeros((n, table.POINTERS + addresses), np.int64)
        self.rows[:, table.D] = sizes
        self.rows[:, table.TOTAL] = totals
        self.rows[:, table.K] = top
        self.rows[:, table.CAPACITY] = capacity
        self.rows[:, table.FIRST_BLOCK] = np.cumsum(blocks) - blocks
        self.rows[:, table.FIRST_CHUNK] = np.cumsum(chunks) - chunks
        # By the whole slices, so that all devices of a team have the same batches.
        weights = totals if team is None else -(-totals // team.world_size)
        parts = (PARTS if team is None else SHARED_PARTS) if ranks else 1
        self.batches = _batches(weights, blocks, chunks, parts)
        needed = 0
        for batch in self.batches:
            mine = slice(batch.first_slice, batch.first_slice + batch.slices)
            self.rows[mine, table.CANDIDATES] = np.cumsum(capacity[mine]) - capacity[mine]
            needed = max(needed, int(capacity[mine].sum()))

        def zeros(*shape: int, dtype: torch.dtype = torch.int64) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=device)

        def owners(counts: Any) -> Tensor:
            return torch.from_numpy(np.repeat(np.arange(n, dtype=np.int32), counts)).to(device)

        self.tables = zeros(*self.rows.shape)
        self.host_numbers = np.zeros((0, functions.numbers.length), np.float32)
        self.numbers = zeros(rules, functions.numbers.length, dtype=torch.float32)
        self.records = zeros(n, table.RECORD)
        self.positives = zeros(n)
        self.uniforms = zeros(n, max(functions.uniforms, 1), dtype=torch.float32)
        self.block_slice, self.chunk_slice = owners(blocks), owners(chunks)
        most = max(batch.blocks for batch in self.batches) if ranks else 1
        count = min(LANES, len(self.batches))
        self.lanes = [_Lane(most, needed, device, aside=count > 1) for _ in range(count)]
        self.digits = zeros(n if ranks else 0, 1 << table.DIGIT_BITS, dtype=torch.int32)
        # What all guesses span misses only if all of them do.
        self.deviations = (
            DEVIATIONS if team is None else max(DEVIATIONS / team.world_size**0.5, 1.5)
        )
        self.shape = self.tables.stride(0), self.uniforms.stride(0)
        self.blocked = {
            "BLOCK": BLOCK,
            "DIVISOR": DIVISOR if aligned else 1,
            "num_warps": WARPS,
            "enable_fp_fusion": False,
        }

    def set_numbers(self, numbers: Any, owner: Any) -> None:
        """What the functions read of the floats of some rules.

        Args:
            numbers: float32, (rules, numbers). owner: which of the rules each slice has.
        """
        self.host_numbers = numbers
        row = self.functions.numbers.length * self.numbers.element_size()
        self.rows[:, table.NUMBERS] = self.numbers.data_ptr() + row * owner

    def launch(self) -> None:
        """Rank and step, from what the tables on the device say; returns before it is done."""
        f = self.functions
        self._settle(f.before)
        if self.ranks and self.team is not None:
            self._guess(0, len(self.rows))
            self._share_brackets(self.team)
        elif not self.ranks and f.seen is not None:
            self._count_positive()
        for lane in self.lanes:
            lane.fork()
        for lane, batch in zip(itertools.cycle(self.lanes), self.batches, strict=False):
            with lane.launches():
                if self.ranks:
                    self._rank(batch, lane)
                if not batch.blocks:
                    continue
                with lane.reads():
                    step.step[(batch.blocks,)](
                        self.tables, self.records, self.uniforms, *self.shape, self.block_slice,
                        batch.first_block, lane.tallies, UPDATE=f.update, **self.blocked,
                    )  # fmt: skip
        for lane in self.lanes:
            lane.join()
        n = len(self.rows)
        step.advance[(-(-n // WIDTH),)](self.tables, self.shape[0], n, WIDTH=WIDTH, num_warps=2)

    def memory(self) -> int:
        """Bytes on the device."""
        members = (self, *self.lanes)
        tensors = (x for one in members for x in vars(one).values() if isinstance(x, Tensor))
        return sum(x.numel() * x.element_size() for x in tensors)

    def _settle(self, function: Callable[..., Any]) -> None:
        n = len(self.rows)
        step.settle[(-(-n // WIDTH),)](
            self.tables, self.positives, self.uniforms, *self.shape, n,
            SETTLE=function, WIDTH=WIDTH, num_warps=2, enable_fp_fusion=False,
        )  # fmt: skip

    def _count_positive(self) -> None:
        self.positives.zero_()
        for batch in self.batches:
            if batch.blocks:
                step.count_positive[(batch.blocks,)](
                    self.tables, self.positives, self.uniforms, *self.shape, self.block_slice,
                    batch.first_block, SEEN=self.functions.seen, **self.blocked,
                )  # fmt: skip
        if self.team is not None:
            self.team.all_reduce_sum_(self.positives)
        self._settle(self.functions.after)

    def _guess(self, first_slice: int, slices: int) -> None:
        bracket.bracket[(slices,)](
            self.tables, self.records, self.uniforms, *self.shape, first_slice,
            SEEN=self.functions.seen, SAMPLE=SAMPLE, CHUNK=CHUNK,
            DIVISOR=self.blocked["DIVISOR"], DEVIATIONS=self.deviations,
            num_warps=SAMPLE_WARPS, enable_fp_fusion=False,
        )  # fmt: skip

    def _rank(self, batch: _Batch, lane: _Lane) -> None:
        columns, seen = self.shape[0], self.functions.seen
        whole = self.tables, self.records, self.uniforms, *self.shape
        mine = slice(batch.first_slice, batch.first_slice + batch.slices)
        lane.flags.zero_()
        if self.team is None:
            self._guess(batch.first_slice, batch.slices)
        if batch.blocks:
            with lane.reads():
                rank.count[(batch.blocks,)](
                    *whole, self.block_slice, batch.first_block, lane.tallies, lane.starts,
                    lane.candidates, SEEN=seen, **self.blocked,
                )  # fmt: skip
        counts = None if self.team is None else self._share_counts(self.team, batch)
        rank.begin[(batch.slices,)](
            self.tables, self.records, columns, batch.first_slice, lane.flags, counts,
            SHARED=self.team is not None, num_warps=1,
        )  # fmt: skip
        for _ in range(4):  # digits of eight bits
            if batch.blocks:
                rank.refine[(max(batch.chunks, min(batch.blocks, READERS)),)](
                    *whole, self.chunk_slice, batch.first_chunk, batch.chunks, self.block_slice,
                    batch.first_block, batch.blocks, lane.candidates, self.digits, lane.flags,
                    SEEN=seen, COPIES=COPIES, **self.blocked,
                )  # fmt: skip
            if self.team is not None:
                self.team.all_reduce_sum_(self.digits[mine])
            rank.pick[(batch.slices,)](
                self.records, batch.first_slice, self.digits, lane.flags, num_warps=2
            )
        if batch.blocks:
            ties.count_ties[(-(-batch.blocks // GROUP),)](
                *whole, self.block_slice, batch.first_block, batch.blocks, lane.tallies,
                lane.starts, lane.candidates, lane.flags, SEEN=seen, GROUP=GROUP, **self.blocked,
            )  # fmt: skip
        ties.sum_ties[(batch.slices,)](
            self.tables, self.records, columns, batch.first_slice, batch.first_block, lane.tallies,
            lane.flags, BLOCK=BLOCK, WIDTH=4096, num_warps=8,
        )  # fmt: skip
        if self.team is not None:
            self._share_ties(self.team, batch)

    # -- with the other devices of a team, all of which do the same -----------------------------

    def _share_brackets(self, team: MeshGroup) -> None:
        """The guesses of all devices as one."""
        bounds = torch.stack([-self.records[:, table.LOW], self.records[:, table.HIGH]])
        n = len(self.rows)
        bracket.enclose[(n,)](self.records, team.all_reduce_max(bounds), n, num_warps=1)

    def _share_counts(self, team: MeshGroup, batch: _Batch) -> Tensor:
        """What :func:`rank.begin` wants to know of all devices."""
        counts = self.records.new_empty(3, batch.slices)
        rank.tell_counts[(batch.slices,)](
            self.tables, self.records, self.shape[0], batch.first_slice, counts, num_warps=1
        )
        team.all_reduce_sum_(counts)
        return counts

    def _share_ties(self, team: MeshGroup, batch: _Batch) -> None:
        """Leave to this device the ties that no earlier one takes."""
        board = self.records.new_empty(team.world_size, batch.slices)
        mine = self.records, batch.first_slice, board, team.rank
        ties.tell_ties[(batch.slices,)](*mine, team.world_size, num_warps=1)
        team.all_reduce_sum_(board)
        ties.leave_ties[(batch.slices,)](*mine, num_warps=1)


def _capacity(sizes: Any, totals: Any, top: Any, team: MeshGroup | None) -> Any:
    """How many copies to keep room for: what a bracket has on both sides, and some more."""
    share = top / np.maximum(totals, 1)
    width = 2 * DEVIATIONS * np.sqrt(np.maximum(share * (1 - share), 0.01) / SAMPLE)
    expected = np.ceil(ROOM * width * sizes).astype(np.int64)
    # Parts of a small slice guess apart from each other: room for all of them.
    least = 0 if team is None else SAMPLE
    return np.minimum(sizes, np.maximum(expected, least))


def _batches(sizes: Any, blocks: Any, chunks: Any, parts: int) -> list[_Batch]:
    """Consecutive slices, so few coordinates at a time that the memory for copies stays small."""
    most = max(LEAST, math.ceil(int(sizes.sum()) / parts))
    starts, filled = [0], 0
    for i, size in enumerate(sizes):
        if filled and filled + size > most:
            starts.append(i)
            filled = 0
        filled += int(size)
    ends = [*starts[1:], len(sizes)]

    def span(counts: Any, a: int, z: int) -> tuple[int, int]:
        return int(counts[:a].sum()), int(counts[a:z].sum())

    return [
        _Batch(a, z - a, *span(blocks, a, z), *span(chunks, a, z))
        for a, z in zip(starts, ends, strict=True)
    ]
