"""The collectives of the devices that hold the parts of one tensor, and what they send."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass
class Traffic:
    """What one rank gave to collectives in a step."""

    collectives: int = 0
    bytes: int = 0

    def add(self, x: Tensor) -> None:
        """Count one collective of this tensor."""
        self.collectives += 1
        self.bytes += x.numel() * x.element_size()

    def __iadd__(self, other: Traffic) -> Traffic:
        self.collectives += other.collectives
        self.bytes += other.bytes
        return self

    def __sub__(self, other: Traffic) -> Traffic:
        return Traffic(self.collectives - other.collectives, self.bytes - other.bytes)


class Team:
    """The ranks that differ from this one only along some dimensions of a mesh.

    A sum over several dimensions is one all-reduce along each, so no process group need be made.

    Args:
        mesh: a ``DeviceMesh`` that holds this rank.
        dims: of the mesh, one at least.
        traffic: where to count what is sent.
    """

    def __init__(self, mesh: Any, dims: tuple[int, ...], traffic: Traffic) -> None:
        self.groups = tuple(mesh.get_group(dim) for dim in dims)
        self.place = tuple(mesh.get_local_rank(dim) for dim in dims)
        self.shape = tuple(mesh.size(dim) for dim in dims)
        self.device = torch.device(mesh.device_type)
        self.traffic = traffic

    @property
    def key(self) -> tuple[str, ...]:
        """Equal for teams of the same ranks, whatever mesh they were read off."""
        return tuple(group.group_name for group in self.groups)

    @property
    def size(self) -> int:
        """How many ranks."""
        size = 1
        for n in self.shape:
            size *= n
        return size

    def total(self, x: Tensor) -> Tensor:
        """The sum over the ranks, on the device of ``x``."""
        return self._reduce(x, dist.ReduceOp.SUM)

    def greatest(self, x: Tensor) -> Tensor:
        """The maximum over the ranks, on the device of ``x``."""
        return self._reduce(x, dist.ReduceOp.MAX)

    def _reduce(self, x: Tensor, operation: Any) -> Tensor:
        if x.numel() == 0:  # then it is so on every rank
            return x
        buffer = x.to(self.device, copy=True).contiguous()  # parameters may be offloaded
        self._reduce_(buffer, operation)
        return buffer.to(x.device)

    def total_(self, x: Tensor) -> None:
        """The sum over the ranks, in place of a contiguous ``x`` on the mesh's device."""
        self._reduce_(x, dist.ReduceOp.SUM)

    def _reduce_(self, x: Tensor, operation: Any) -> None:
        for group in self.groups:
            dist.all_reduce(x, operation, group=group)
            self.traffic.add(x)

    def broadcast(self, x: Tensor, owner: int) -> Tensor:
        """The ``x`` of the ``owner``-th rank in C order of the dimensions, into ``x``."""
        source = []
        for n in reversed(self.shape):
            owner, at = divmod(owner, n)
            source.insert(0, at)
        buffer = x.to(self.device).contiguous()
        for i, group in enumerate(self.groups):
            if self.place[i + 1 :] == tuple(source[i + 1 :]):
                dist.broadcast(buffer, group_src=source[i], group=group)
                self.traffic.add(buffer)
        return buffer.to(x.device)

    @property
    def number(self) -> int:
        """This rank's place in C order of the dimensions."""
        number = 0
        for at, n in zip(self.place, self.shape, strict=True):
            number = number * n + at
        return number

    def gather(self, thing: Any) -> list[Any]:
        """The ``thing`` of each rank. Waits for the device; for messages of errors only."""
        found = [thing]
        for group, n in zip(self.groups, self.shape, strict=True):
            parts: list[Any] = [None] * n
            dist.all_gather_object(parts, found, group=group)
            found = [thing for part in parts for thing in part]
        return found
