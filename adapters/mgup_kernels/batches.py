"""Slices that are ranked together, and the memory and the streams that they use meanwhile."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

from .device import Array, Device


class Slice(NamedTuple):
    """A contiguous run of coordinates that are ranked together: a tensor, or a part of one."""

    local_length: int
    """How many of its coordinates lie on this device."""
    length: int
    """How many it has on all devices."""
    k: int
    """How many of all are selected, in rank mode."""


class MeshGroup(Protocol):
    """The devices that hold the parts of slices, in the order of their coordinates."""

    traffic: Any

    @property
    def rank(self) -> int: ...
    @property
    def world_size(self) -> int: ...
    def all_reduce_sum_(self, x: Any) -> None: ...
    def all_reduce_max(self, x: Any) -> Any: ...


class Batch(NamedTuple):
    """Consecutive slices that are ranked together, by their numbers in the plan."""

    first_slice: int
    slices: int
    first_block: int
    blocks: int
    first_chunk: int
    chunks: int
    """Of candidates."""
    first_sampler: int
    samplers: int
    """Programs that draw the samples by which brackets are verified."""


class Workspace:
    """The memory that a batch uses while it is ranked, and the streams that it runs on.

    While a launch of thousands of programs runs, the device begins the next launch only when it is
    nearly through. A workspace therefore has a stream of higher priority for its small launches, so
    that they need not wait for another workspace's reads of all coordinates.

    Args:
        blocks: of the largest batch.
        candidates: of the batch with the most.
        streams: whether it has streams of its own, or launches on the current one.
        parameter_dtype: of the list entries of a step in one pass; ``None`` if there is no such.
    """

    def __init__(
        self,
        blocks: int,
        candidates: int,
        device: Device,
        *,
        streams: bool,
        parameter_dtype: str | None,
    ) -> None:
        one_pass = parameter_dtype is not None
        self.device = device
        self.block_counts: Array = device.zeros((blocks,), "int32")
        self.list_starts: Array = device.zeros((blocks if candidates else 0,), "int32")
        self.list_lengths: Array = device.zeros((one_pass * blocks,), "int32")
        self.candidates: Array = device.zeros((candidates,), "int32")
        self.other_parameters: Array = device.zeros(
            (one_pass * candidates,), parameter_dtype or "float32"
        )
        self.block_offsets: Array = device.zeros((one_pass * candidates,), "int16")
        self.small_stream = device.stream(urgent=True) if streams else None
        self.large_stream = device.stream(urgent=False) if streams else None

    @contextlib.contextmanager
    def small_launches(self) -> Iterator[None]:
        """Launches in here are small, and follow what was launched in this workspace before."""
        if self.small_stream is None:
            yield
            return
        with self.device.on(self.small_stream):
            yield

    @contextlib.contextmanager
    def large_launches(self) -> Iterator[None]:
        """Within :meth:`small_launches`: launches in here read all coordinates of the batch."""
        if self.small_stream is None or self.large_stream is None:
            yield
            return
        self.large_stream.wait_stream(self.small_stream)
        with self.device.on(self.large_stream):
            yield
        self.small_stream.wait_stream(self.large_stream)

    def fork(self) -> None:
        """Let the workspace's launches wait for the current stream."""
        if self.small_stream is not None:
            self.small_stream.wait_stream(self.device.current_stream())

    def join(self) -> None:
        """Let the current stream wait for the workspace's launches."""
        if self.small_stream is not None:
            self.device.current_stream().wait_stream(self.small_stream)


def split_into_batches(
    lengths: Any, blocks: Any, chunks: Any, samplers: Any, most: int
) -> list[Batch]:
    """Consecutive slices of at most ``most`` coordinates together, or a single longer slice.

    Args:
        lengths: (slices,) int64: the coordinates of each slice.
        blocks, chunks, samplers: (slices,) int64: how many each slice has.
    """
    starts, filled = [0], 0
    for i, length in enumerate(lengths):
        if filled and filled + length > most:
            starts.append(i)
            filled = 0
        filled += int(length)
    ends = [*starts[1:], len(lengths)]

    def span(counts: Any, first: int, end: int) -> tuple[int, int]:
        return int(counts[:first].sum()), int(counts[first:end].sum())

    return [
        Batch(a, z - a, *span(blocks, a, z), *span(chunks, a, z), *span(samplers, a, z))
        for a, z in zip(starts, ends, strict=True)
    ]


def most_coordinates(lengths: Any, least: int, parts: int) -> int:
    """How many coordinates a batch has, at most: few, so that its candidates need little memory.

    Args:
        lengths: (slices,) int64: the coordinates of each slice.
    """
    return max(least, math.ceil(int(lengths.sum()) / parts))
