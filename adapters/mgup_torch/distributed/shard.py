"""The part of a DTensor that one rank holds: its coordinates, and the ranks with the others."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any, TypeGuard

import torch
from torch import Tensor

from .mesh_group import MeshGroup, Traffic

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

_PLAIN = (Tensor, torch.nn.Parameter)


def is_dtensor(x: Any) -> TypeGuard[DTensor]:
    """Whether ``x`` is a DTensor; it does not import ``torch.distributed.tensor``."""
    if type(x) in _PLAIN:  # the usual case; a step asks this many times of each tensor
        return False
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(x, module.DTensor)


def local(x: Tensor) -> Tensor:
    """This rank's shard of a DTensor; any other tensor as it is."""
    if not is_dtensor(x):
        return x
    detached: Any = x.detach()
    shard: Tensor = detached.to_local()
    return shard


def check_placement(name: str, p: Tensor) -> None:
    """Refuse a parameter whose coordinates on this rank are unknown.

    Raises:
        TypeError: for FSDP1's flattened parameters.
        ValueError: for partial placements, and a mesh without this rank.
    """
    if getattr(p, "_is_flat_param", False) or getattr(p, "_fsdp_flattened", False):
        raise TypeError(
            f"parameter {name} was flattened by FullyShardedDataParallel (FSDP1), so the tensors "
            "that are to be ranked can no longer be told apart. Use FSDP2, "
            "torch.distributed.fsdp.fully_shard."
        )
    if not is_dtensor(p):
        return
    mesh = p.device_mesh
    if mesh.get_coordinate() is None:
        raise ValueError(
            f"parameter {name} lies on {mesh}, of which rank {torch.distributed.get_rank()} is no "
            "part: give each rank only the parameters that its mesh covers."
        )
    for placement in p.placements:
        if placement.is_partial() or not (placement.is_replicate() or hasattr(placement, "dim")):
            raise ValueError(
                f"parameter {name} has placements {p.placements}; only Shard and Replicate can be "
                "trained. Make it whole first: p.redistribute(placements=[Replicate(), …])."
            )


def check_same_placement(what: str, p: Tensor, x: Tensor, *, remedy: str) -> None:
    """Refuse a gradient or a state whose placements are not its parameter's.

    State of another shape than the parameter's (numbers, sums of rows) is whole on every rank.

    Raises:
        ValueError: naming both placements and the remedy.
    """
    if is_dtensor(p) and is_dtensor(x):
        alike = p.placements == x.placements if x.shape == p.shape else is_replicated(x)
        if p.device_mesh == x.device_mesh and alike:
            return
    elif not is_dtensor(p) and not is_dtensor(x):
        return

    def placed(x: Tensor) -> str:
        return f"has placements {x.placements}" if is_dtensor(x) else "is no DTensor"

    raise ValueError(f"{what} {placed(x)}, but the parameter {placed(p)}: {remedy}.")


def check_gradient_placement(name: str, p: Tensor, g: Tensor) -> None:
    """Refuse a gradient whose placements are not its DTensor parameter's.

    Raises:
        ValueError: naming both placements and the remedy.
    """
    check_same_placement(
        f"the gradient of parameter {name}",
        p,
        g,
        remedy="place it alike, p.grad.redistribute(placements=p.placements)",
    )


def placed_gradient(name: str, p: Tensor) -> Tensor:
    """The gradient of a parameter that has one, with its placements; a partial one is summed.

    Tensor parallelism leaves partial gradients of the weights that it replicates.

    Raises:
        ValueError: for any other gradient with other placements.
    """
    g = p.grad
    assert g is not None
    if not (is_dtensor(p) or is_dtensor(g)):
        return g
    if is_dtensor(p) and is_dtensor(g) and p.device_mesh == g.device_mesh:
        pairs = list(zip(g.placements, p.placements, strict=True))
        if is_partial(g) and all(have == want or have.is_partial() for have, want in pairs):
            summed: Tensor = g.redistribute(placements=p.placements)
            return summed
    check_gradient_placement(name, p, g)
    return g


def is_partial(g: Any) -> bool:
    """Whether ``g`` is a DTensor whose value is the sum of the ranks' tensors."""
    return is_dtensor(g) and any(placement.is_partial() for placement in g.placements)


def is_replicated(x: Any) -> bool:
    """Whether ``x`` is a DTensor that every rank holds as a whole."""
    return is_dtensor(x) and all(placement.is_replicate() for placement in x.placements)


class Part:
    """One rank's part of the DTensors of one layout.

    Args:
        p: a DTensor that passed :func:`check_placement`.
        stacked_dims: how many leading axes are slices of their own (P5).
        traffic: counts what the collectives send.
    """

    def __init__(self, p: Any, stacked_dims: int, traffic: Traffic) -> None:
        self.mesh, self.placements = p.device_mesh, p.placements
        self.shape, self.stride, self.stacked = tuple(p.shape), p.stride(), stacked_dims
        self.length = math.prod(self.shape[stacked_dims:])
        """d, the length of a whole slice."""
        self.coordinates = [torch.arange(n) for n in self.shape]
        """For each axis, the indices on this rank, ascending."""
        split: dict[int, int] = {}
        for dim, placement in enumerate(self.placements):
            if not placement.is_replicate() and self.mesh.size(dim) > 1:
                axis = split[dim] = placement.dim % len(self.shape)
                self.coordinates[axis] = _piece(
                    self.coordinates[axis],
                    getattr(placement, "split_factor", 1),
                    self.mesh.size(dim),
                    self.mesh.get_local_rank(dim),
                )
        here = tuple(len(axis) for axis in self.coordinates)
        if here != tuple(p.to_local().shape):
            raise ValueError(
                f"a parameter of shape {self.shape} with placements {self.placements} on "
                f"{self.mesh} has a shard of shape {tuple(p.to_local().shape)} on rank "
                f"{torch.distributed.get_rank()}, where {here} belongs: the shards do not cover it."
            )
        ranked = tuple(dim for dim, axis in split.items() if axis >= stacked_dims)
        self.tensor_group = MeshGroup(self.mesh, tuple(split), traffic) if split else None
        """The ranks that hold the rest of the tensor, if it is sharded."""
        self.slice_group = MeshGroup(self.mesh, ranked, traffic) if ranked else None
        """The ranks that hold the rest of the slices on this rank, if these are sharded."""
        self.consecutive = [split[dim] for dim in ranked] == [stacked_dims] and all(
            getattr(placement, "split_factor", 1) == 1 for placement in self.placements
        )
        """Whether each rank holds consecutive coordinates of each slice, in the order of ranks."""
        self._moved: dict[Any, list[Tensor]] = {}

    def index(self, device: torch.device, dtype: torch.dtype) -> Tensor:
        """The flat index in the whole slice of each coordinate of a slice on this rank, (m,)."""
        axes = self._on(device)[self.stacked :]
        flat = torch.zeros((1,) * len(axes), dtype=dtype, device=device)
        stride = 1
        for i in reversed(range(len(axes))):
            along = [1] * len(axes)
            along[i] = -1
            flat = flat + (axes[i].to(dtype) * stride).view(along)
            stride *= self.shape[self.stacked + i]
        return flat.reshape(-1)

    def whole(self, x: Tensor) -> Tensor:
        """The whole tensor of which this rank holds ``x``; gathers it."""
        gathered: Tensor = self.wrap(x).full_tensor()
        return gathered

    def wrap(self, x: Tensor) -> Any:
        """The DTensor of which this rank holds ``x``."""
        from torch.distributed.tensor import DTensor

        return DTensor.from_local(
            x,
            self.mesh,
            self.placements,
            run_check=False,
            shape=torch.Size(self.shape),
            stride=self.stride,
        )

    def replicated(self, x: Tensor) -> Any:
        """What every rank holds, as a DTensor."""
        from torch.distributed.tensor import DTensor, Replicate

        everywhere = [Replicate()] * len(self.placements)
        return DTensor.from_local(x, self.mesh, everywhere, run_check=False)

    def gathered(self, x: Any) -> Tensor:
        """A whole tensor of which this rank holds a part, in memory of its own."""
        if is_replicated(x):
            return local(x).clone()
        if self.tensor_group is not None:
            self.tensor_group.traffic.add(local(x))
        whole: Tensor = x.full_tensor()
        return whole.clone() if self.tensor_group is None else whole

    def part(self, whole: Tensor) -> Tensor:
        """This rank's part of a whole tensor."""
        for axis, coordinates in enumerate(self._on(whole.device)):
            if len(coordinates) < whole.shape[axis]:
                whole = whole.index_select(axis, coordinates)
        return whole

    def _on(self, device: torch.device) -> list[Tensor]:
        if device not in self._moved:
            self._moved[device] = [axis.to(device) for axis in self.coordinates]
        return self._moved[device]


def _piece(axis: Tensor, factor: int, n: int, at: int) -> Tensor:
    """Part ``at`` of n, where each of ``factor`` pieces of the axis is cut into n parts."""
    return torch.cat([_chunk(piece, n, at) for piece in _pieces(axis, factor)])


def _pieces(axis: Tensor, n: int) -> list[Tensor]:
    return [_chunk(axis, n, i) for i in range(n)]


def _chunk(axis: Tensor, n: int, at: int) -> Tensor:
    """Chunk ``at`` of n, as ``torch.chunk`` cuts; the last chunks may be empty."""
    size = -(-len(axis) // n)
    return axis[at * size : (at + 1) * size]
