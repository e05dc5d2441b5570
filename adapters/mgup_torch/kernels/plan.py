"""Slices that take their step together: the tables that describe them, and the launches."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from . import apply as step
from . import layout as table
from . import one_pass, ties, verify
from . import radix_select as rank
from . import sample_bracket as bracket
from .batches import Batch, Lane, batches_of
from .codegen import Functions

BLOCK, WARPS = 1024, 4  # eight coordinates a thread: what is done once a block weighs less
GROUP = 128  # blocks, and
WIDTH = 64  # slices a program, where one program has several
SAMPLE, CHUNK, SAMPLE_SHARE = 16384, 4, 512  # scores, neighbours, and scores a warp
ONE_PASS_SAMPLE, ONE_PASS_DEVIATIONS = 4096, 3.0  # for a first guess only
DEVIATIONS = 4.0  # one guess in 16,000 misses, at up to a third of a step
ROOM = 1.25  # for copies, beyond the expected share of the bracket
DIVISOR = 8  # of the sizes of aligned slices, so that a thread loads four neighbours at once
LEAST, PARTS = 9 << 22, 10  # a batch has a tenth of all coordinates, or this many; and a quarter
SHARED_PARTS = 4  # where each batch costs collectives
COPIES = 2048  # that a program reads
READERS = 1024  # programs that read everything after a bad guess, or
FEW_READERS = 512  # where that is rare, since others run beside them
# Coordinates of the shortest slice that may take its step in one pass, and of the shortest where a
# step moves no more than NARROW bytes a coordinate. Of all such slices of a plan, the least, below
# which scores are read again from the cache, and the least share.
ONE_PASS, ONE_PASS_NARROW, NARROW = 1 << 18, 1 << 22, 16
ONE_PASS_TOTAL, ONE_PASS_SHARE = 1 << 23, 0.75
DRAWN, DRAWERS, EDGES = 8, 64, 64  # neighbours in a chunk, chunks a program, edges to choose from
RUNS, RUN, WAITERS = 16, 32, 8  # blocks a program, whose lists it reads, or that have waited
LIST_ROOM, FILL = 1.25, 0.95  # for entries, beyond the expected share of a verified bracket
LANES = 2  # batches at work at once: the small launches of one hide behind the reads of another
# The same in one pass, where what is in the bracket takes more memory, and a batch less time.
ONE_PASS_LEAST, ONE_PASS_PARTS, ONE_PASS_LANES = 7 << 20, 20, 3


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
        share = top / np.maximum(totals, 1)
        drawn = np.zeros(n, np.int64)
        if ranks and team is None and functions.both is not None:
            shortest = ONE_PASS if functions.moved > NARROW else ONE_PASS_NARROW
            drawn = verify.draws(sizes, DRAWN, shortest) * (top > 0)
            least = max(ONE_PASS_TOTAL, ONE_PASS_SHARE * sizes.sum())
            drawn *= sizes[drawn > 0].sum() >= least
        one_pass = bool(drawn.any())
        self.sample, self.deviations = SAMPLE, DEVIATIONS
        if one_pass:
            self.sample, self.deviations = ONE_PASS_SAMPLE, min(DEVIATIONS, ONE_PASS_DEVIATIONS)
        elif team is not None:  # what all guesses span misses only if all of them do
            self.deviations = max(DEVIATIONS / team.world_size**0.5, 1.5)
        wide = DEVIATIONS if team is not None else self.deviations
        spread = 2 * wide * np.sqrt(np.maximum(share * (1 - share), 0.01) / self.sample)
        # Parts of a small slice guess apart from each other: room for all of them.
        capacity = np.maximum(np.ceil(ROOM * spread * sizes), 0 if team is None else SAMPLE)
        if one_pass:
            width = 2 * verify.half_width(drawn, share, DRAWN)
            width += 2 * (spread + 1.3 * width) / (EDGES - 1)  # for that edges are some way apart
            capacity = np.where(drawn > 0, np.ceil(LIST_ROOM * width * sizes), capacity)
        capacity = np.minimum(capacity, sizes).astype(np.int64) * ranks
        blocks, chunks, draws = -(-sizes // BLOCK), -(-capacity // COPIES), -(-drawn // DRAWERS)
        self.rows = np.zeros((n, table.POINTERS + addresses), np.int64)
        self.rows[:, table.D] = sizes
        self.rows[:, table.TOTAL] = totals
        self.rows[:, table.K] = top
        self.rows[:, table.CAPACITY] = capacity
        self.rows[:, table.FIRST_BLOCK] = np.cumsum(blocks) - blocks
        self.rows[:, table.FIRST_CHUNK] = np.cumsum(chunks) - chunks
        self.rows[:, table.DRAWS] = drawn
        self.rows[:, table.FIRST_DRAW] = np.cumsum(draws) - draws
        # By the whole slices, so that all devices of a team have the same batches.
        weights = totals if team is None else -(-totals // team.world_size)
        parts = (PARTS if team is None else SHARED_PARTS) if ranks else 1
        least = ONE_PASS_LEAST if one_pass else LEAST
        parts = ONE_PASS_PARTS if one_pass else parts
        self.batches = batches_of(weights, blocks, chunks, draws, parts, least)
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
        self.draw_slice = owners(draws)
        self.sums = zeros(n if one_pass else 0, 2, EDGES, dtype=torch.int32)
        self.drawn, self.missed = zeros(1), zeros(1, dtype=torch.int32)
        on_gpu = device.type == "cuda"
        self.told = torch.zeros(int(one_pass), dtype=torch.int32, pin_memory=one_pass and on_gpu)
        most = max(batch.blocks for batch in self.batches) if ranks else 1
        count = min(ONE_PASS_LANES if one_pass else LANES, len(self.batches))
        aside = one_pass and count > 1
        self.guesses = torch.cuda.Stream(device, priority=-1) if aside else None
        others = functions.dtype if one_pass else None
        self.lanes = [
            Lane(most, needed, device, aside=count > 1, others=others) for _ in range(count)
        ]
        self.flags = zeros(len(self.batches), 3, dtype=torch.int32)
        if one_pass:  # the longest slices first: the end of the last batch nothing hides
            self.batches.sort(
                key=lambda b: -int(totals[b.first_slice : b.first_slice + b.slices].max())
            )
        self.digits = zeros(n if ranks else 0, 1 << table.DIGIT_BITS, dtype=torch.int32)
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
        if self.ranks:
            self.flags.zero_()
        if len(self.told):
            self.told.copy_(self.missed, non_blocking=True)
        for lane in self.lanes:
            lane.fork()
        guessed = self._guess_ahead()
        for lane, batch, flags, guess in zip(
            itertools.cycle(self.lanes), self.batches, self.flags, guessed, strict=False
        ):
            with lane.launches():
                if self.ranks:
                    self._rank(batch, lane, flags, guess)
                if batch.draws:
                    self._apply_list(batch, lane, flags)
                    continue
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
        step.advance[(-(-n // WIDTH),)](
            self.tables, self.shape[0], n, self.drawn, WIDTH=WIDTH, num_warps=2
        )

    def check(self) -> None:
        """Raise if an earlier step was not exact, by what the device has said of it so far.

        Raises:
            RuntimeError: the proof in :mod:`verify <.verify>` gives it a probability below 2e-17.
        """
        if self.told.any():
            raise RuntimeError(
                f"in an earlier step {int(self.told)} slices had their threshold outside of a "
                "verified bracket, and some of their coordinates took the other multiplier. Load "
                "a checkpoint from before, and report it: chance alone does not explain it."
            )

    def memory(self) -> int:
        """Bytes on the device."""
        members = (self, *self.lanes)
        tensors = (x for one in members for x in vars(one).values() if isinstance(x, Tensor))
        return sum(x.numel() * x.element_size() for x in tensors if x.device.type != "cpu")

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
            SEEN=self.functions.seen, SAMPLE=self.sample, CHUNK=CHUNK,
            DIVISOR=self.blocked["DIVISOR"], DEVIATIONS=self.deviations,
            num_warps=self.sample // SAMPLE_SHARE, enable_fp_fusion=False,
        )  # fmt: skip

    def _guess_ahead(self) -> list[torch.cuda.Event | None]:
        """The guesses of all batches, ahead of their passes, and what says that each is made."""
        if self.guesses is None:
            return [None] * len(self.batches)
        events = []
        self.guesses.wait_stream(torch.cuda.current_stream(self.guesses.device))
        with torch.cuda.stream(self.guesses):
            for batch, flags in zip(self.batches, self.flags, strict=True):
                self._guess(batch.first_slice, batch.slices)
                if batch.draws:
                    self._verify(batch, flags)
                events.append(self.guesses.record_event())
        return events

    def _rank(
        self, batch: Batch, lane: Lane, flags: Tensor, guess: torch.cuda.Event | None
    ) -> None:
        columns, seen = self.shape[0], self.functions.seen
        whole = self.tables, self.records, self.uniforms, *self.shape
        mine = slice(batch.first_slice, batch.first_slice + batch.slices)
        if guess is not None:
            torch.cuda.current_stream(self.tables.device).wait_event(guess)
        elif self.team is None:
            self._guess(batch.first_slice, batch.slices)
            if batch.draws:
                self._verify(batch, flags)
        if batch.draws:
            with lane.reads():
                one_pass.apply_one_pass[(batch.blocks,)](
                    *whole, self.block_slice, batch.first_block, lane.tallies, lane.starts,
                    lane.lengths, lane.candidates, lane.others, lane.places, flags,
                    SEEN=seen, BOTH=self.functions.both, STORE=self.functions.store,
                    **self.blocked,
                )  # fmt: skip
        elif batch.blocks:
            with lane.reads():
                rank.count[(batch.blocks,)](
                    *whole, self.block_slice, batch.first_block, lane.tallies, lane.starts,
                    lane.candidates, SEEN=seen, **self.blocked,
                )  # fmt: skip
        counts = None if self.team is None else self._share_counts(self.team, batch)
        rank.begin[(batch.slices,)](
            self.tables, self.records, columns, batch.first_slice, flags, counts, self.missed,
            SHARED=self.team is not None, num_warps=1,
        )  # fmt: skip
        readers = FEW_READERS if batch.draws else READERS
        for _ in range(4):  # digits of eight bits
            if batch.blocks:
                rank.refine[(max(batch.chunks, min(batch.blocks, readers)),)](
                    *whole, self.chunk_slice, batch.first_chunk, batch.chunks, self.block_slice,
                    batch.first_block, batch.blocks, lane.lengths, lane.candidates, self.digits,
                    flags,
                    SEEN=seen, COPIES=COPIES, **self.blocked,
                )  # fmt: skip
            if self.team is not None:
                self.team.all_reduce_sum_(self.digits[mine])
            rank.pick[(batch.slices,)](
                self.records, batch.first_slice, self.digits, flags, num_warps=2
            )
        if batch.blocks:
            ties.count_ties[(-(-batch.blocks // GROUP),)](
                *whole, self.block_slice, batch.first_block, batch.blocks, lane.tallies,
                lane.starts, lane.lengths, lane.candidates, flags,
                SEEN=seen, GROUP=GROUP, **self.blocked,
            )  # fmt: skip
        ties.sum_ties[(batch.slices,)](
            self.tables, self.records, columns, batch.first_slice, batch.first_block, lane.tallies,
            flags, BLOCK=BLOCK, WIDTH=4096, num_warps=8,
        )  # fmt: skip
        if self.team is not None:
            self._share_ties(self.team, batch)

    def _verify(self, batch: Batch, flags: Tensor) -> None:
        """Say of each slice of a batch whether it may take its step in one pass."""
        options = {
            "CHUNK": DRAWN,
            "EDGES": EDGES,
            "GUESSED": self.deviations / self.sample**0.5,
        }
        verify.count_sample[(batch.draws,)](
            self.tables, self.records, self.uniforms, *self.shape, self.draw_slice,
            batch.first_draw, self.sums, self.drawn, SEEN=self.functions.seen, WIDTH=DRAWERS,
            DIVISOR=self.blocked["DIVISOR"], **options, num_warps=4, enable_fp_fusion=False,
        )  # fmt: skip
        verify.verify_bracket[(batch.slices,)](
            self.tables, self.records, self.shape[0], batch.first_slice, self.sums, flags,
            FILL=FILL, **options, num_warps=1, enable_fp_fusion=False,
        )  # fmt: skip

    def _apply_list(self, batch: Batch, lane: Lane, flags: Tensor) -> None:
        """What is left to be done once the threshold is known."""
        mine = self.block_slice, batch.first_block, batch.blocks
        one_pass.correct[(-(-batch.blocks // RUNS),)](
            self.tables, self.records, self.shape[0], *mine, lane.tallies, lane.starts,
            lane.lengths, lane.candidates, lane.others, lane.places,
            BLOCK=BLOCK, GROUP=RUNS, WIDTH=RUN, num_warps=4,
        )  # fmt: skip
        one_pass.apply_waiting[(-(-batch.blocks // WAITERS),)](
            self.tables, self.records, self.uniforms, *self.shape, *mine, lane.tallies,
            lane.lengths, flags, UPDATE=self.functions.update, GROUP=WAITERS, **self.blocked,
        )  # fmt: skip

    # -- with the other devices of a team, all of which do the same -----------------------------

    def _share_brackets(self, team: MeshGroup) -> None:
        """The guesses of all devices as one."""
        bounds = torch.stack([-self.records[:, table.LOW], self.records[:, table.HIGH]])
        n = len(self.rows)
        bracket.enclose[(n,)](self.records, team.all_reduce_max(bounds), n, num_warps=1)

    def _share_counts(self, team: MeshGroup, batch: Batch) -> Tensor:
        """What :func:`rank.begin` wants to know of all devices."""
        counts = self.records.new_empty(3, batch.slices)
        rank.tell_counts[(batch.slices,)](
            self.tables, self.records, self.shape[0], batch.first_slice, counts, num_warps=1
        )
        team.all_reduce_sum_(counts)
        return counts

    def _share_ties(self, team: MeshGroup, batch: Batch) -> None:
        """Leave to this device the ties that no earlier one takes."""
        board = self.records.new_empty(team.world_size, batch.slices)
        mine = self.records, batch.first_slice, board, team.rank
        ties.tell_ties[(batch.slices,)](*mine, team.world_size, num_warps=1)
        team.all_reduce_sum_(board)
        ties.leave_ties[(batch.slices,)](*mine, num_warps=1)
