"""Slices that are ranked together, and the memory and streams that they take meanwhile."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch


class Batch(NamedTuple):
    """Slices and blocks that are ranked together."""

    first_slice: int
    slices: int
    first_block: int
    blocks: int
    first_chunk: int
    chunks: int
    first_draw: int
    draws: int
    """Programs that draw chunks of slices that may take their step in one pass."""


class Lane:
    """The memory of one batch at work, and the streams that it runs on.

    Of launches with thousands of programs the device begins the next only when the last is nearly
    through. So that the small launches of one lane need not wait for the reads of another, they
    have a stream of higher priority.
    """

    def __init__(
        self,
        blocks: int,
        copies: int,
        device: torch.device,
        *,
        aside: bool,
        others: torch.dtype | None,
    ) -> None:
        self.tallies = torch.zeros(blocks, dtype=torch.int32, device=device)
        self.starts = torch.zeros(blocks if copies else 0, dtype=torch.int32, device=device)
        self.candidates = torch.empty(copies, dtype=torch.int32, device=device)
        one_pass = others is not None
        self.lengths = torch.zeros(one_pass * blocks, dtype=torch.int32, device=device)
        self.others = torch.empty(one_pass * copies, dtype=others, device=device)
        self.places = torch.empty(one_pass * copies, dtype=torch.int16, device=device)
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


def batches_of(
    sizes: Any, blocks: Any, chunks: Any, draws: Any, parts: int, least: int
) -> list[Batch]:
    """Consecutive slices, so few coordinates at a time that the memory for copies stays small."""
    most = max(least, math.ceil(int(sizes.sum()) / parts))
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
        Batch(a, z - a, *span(blocks, a, z), *span(chunks, a, z), *span(draws, a, z))
        for a, z in zip(starts, ends, strict=True)
    ]
