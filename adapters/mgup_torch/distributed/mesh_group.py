"""The collectives of the ranks that hold the shards of one tensor, and what they send."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass
class Traffic:
    """What one rank passed to collectives in a step."""

    collectives: int = 0
    bytes: int = 0

    def add(self, x: Tensor) -> None:
        """Count one collective of this tensor."""
        self.collectives += 1
        self.bytes += x.numel() * x.element_size()


class MeshGroup:
    """The ranks whose mesh coordinates differ from this rank's only along some mesh dimensions.

    A reduction over several dimensions is one all-reduce along each, so that the mesh's own process
    groups are enough.

    Args:
        mesh: a ``DeviceMesh`` that contains this rank.
        dims: at least one dimension of the mesh.
        traffic: counts what the collectives send.
    """

    def __init__(self, mesh: Any, dims: tuple[int, ...], traffic: Traffic) -> None:
        self.groups = tuple(mesh.get_group(dim) for dim in dims)
        self.coordinate = tuple(mesh.get_local_rank(dim) for dim in dims)
        self.shape = tuple(mesh.size(dim) for dim in dims)
        self.device = torch.device(mesh.device_type)
        self.traffic = traffic

    @property
    def key(self) -> tuple[str, ...]:
        """Equal for mesh groups of the same ranks, whichever mesh they were made from."""
        return tuple(group.group_name for group in self.groups)

    @property
    def world_size(self) -> int:
        """The number of ranks."""
        return math.prod(self.shape)

    @property
    def rank(self) -> int:
        """This rank's index among them, in C order of the dimensions."""
        rank = 0
        for at, n in zip(self.coordinate, self.shape, strict=True):
            rank = rank * n + at
        return rank

    def all_reduce_sum(self, x: Tensor) -> Tensor:
        """The sum over the ranks, on the device of ``x``."""
        return self._reduce(x, dist.ReduceOp.SUM)

    def all_reduce_max(self, x: Tensor) -> Tensor:
        """The maximum over the ranks, on the device of ``x``."""
        return self._reduce(x, dist.ReduceOp.MAX)

    def _reduce(self, x: Tensor, operation: Any) -> Tensor:
        if x.numel() == 0:  # it is empty on every rank then
            return x
        # The mesh's device: an offloaded parameter lies in host memory.
        buffer = x.to(self.device, copy=True).contiguous()
        self._reduce_(buffer, operation)
        return buffer.to(x.device)

    def all_reduce_sum_(self, x: Tensor) -> None:
        """Replace a contiguous ``x`` on the mesh's device by the sum over the ranks."""
        self._reduce_(x, dist.ReduceOp.SUM)

    def _reduce_(self, x: Tensor, operation: Any) -> None:
        for group in self.groups:
            dist.all_reduce(x, operation, group=group)
            self.traffic.add(x)

    def broadcast(self, x: Tensor, owner: int) -> Tensor:
        """The ``x`` of the rank with this index (:attr:`rank`), on the device of ``x``."""
        source: list[int] = []
        for n in reversed(self.shape):
            owner, at = divmod(owner, n)
            source.insert(0, at)
        buffer = x.to(self.device).contiguous()
        for i, group in enumerate(self.groups):
            if self.coordinate[i + 1 :] == tuple(source[i + 1 :]):
                dist.broadcast(buffer, group_src=source[i], group=group)
                self.traffic.add(buffer)
        return buffer.to(x.device)

    def all_gather_object(self, value: Any) -> list[Any]:
        """The ``value`` of every rank, for error messages only, since it waits for the device."""
        found = [value]
        for group, n in zip(self.groups, self.shape, strict=True):
            parts: list[Any] = [None] * n
            dist.all_gather_object(parts, found, group=group)
            found = [value for part in parts for value in part]
        return found
