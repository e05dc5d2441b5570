"""What one rank holds of a DTensor: which coordinates, and who holds the others."""

from __future__ import annotations

import math
import sys
from typing import Any

import torch
from torch import Tensor

from .mesh_group import Team, Traffic

_PLAIN = (Tensor, torch.nn.Parameter)


def is_dtensor(x: Any) -> bool:
    """Whether this is a DTensor, without importing what only makes them."""
    if type(x) in _PLAIN:  # nearly always, and asked many times of each tensor
        return False
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(x, module.DTensor)


def local(x: Tensor) -> Tensor:
    """What lies here of a tensor: the shard of a DTensor, and all of another."""
    return x.detach().to_local() if is_dtensor(x) else x


def check_placement(name: str, p: Tensor) -> None:
    """Refuse a parameter whose coordinates cannot be told.

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
    """Refuse a gradient or a state that lies elsewhere than its parameter.

    Raises:
        ValueError: naming both placements and the remedy.
    """
    if is_dtensor(p) == is_dtensor(x) and (
        not is_dtensor(p) or (p.device_mesh == x.device_mesh and p.placements == x.placements)
    ):
        return

    def placed(x: Tensor) -> str:
        return f"has placements {x.placements}" if is_dtensor(x) else "is no DTensor"

    raise ValueError(f"{what} {placed(x)}, but the parameter {placed(p)}: {remedy}.")


def check_gradient_placement(name: str, p: Tensor) -> None:
    """Refuse a gradient that lies elsewhere than its DTensor parameter.

    Raises:
        ValueError: naming both placements and the remedy.
    """
    check_same_placement(
        f"the gradient of parameter {name}",
        p,
        p.grad,
        remedy="place it alike, p.grad.redistribute(placements=p.placements)",
    )


def placed_gradient(name: str, p: Tensor) -> Tensor:
    """The gradient, placed as its parameter: a partial one, whose value is a sum, is summed.

    Tensor parallelism leaves such gradients of weights that it replicates.

    Raises:
        ValueError: for any other that lies elsewhere.
    """
    g = p.grad
    if not (is_dtensor(p) or is_dtensor(g)):
        return g
    if is_dtensor(p) and is_dtensor(g) and p.device_mesh == g.device_mesh:
        pairs = list(zip(g.placements, p.placements, strict=True))
        if is_partial(g) and all(have == want or have.is_partial() for have, want in pairs):
            return g.redistribute(placements=p.placements)
    check_gradient_placement(name, p)
    return g


def is_partial(g: Any) -> bool:
    """Whether this is a DTensor whose parts are yet to be summed."""
    return is_dtensor(g) and any(placement.is_partial() for placement in g.placements)


class Part:
    """One rank's part of the DTensors of one layout.

    Args:
        p: a DTensor that passed :func:`check_placement`.
        stacked_dims: how many leading axes are slices of their own (P5).
        traffic: where to count what is sent.
    """

    def __init__(self, p: Any, stacked_dims: int, traffic: Traffic) -> None:
        self.mesh, self.placements = p.device_mesh, p.placements
        self.shape, self.stride, self.stacked = tuple(p.shape), p.stride(), stacked_dims
        self.length = math.prod(self.shape[stacked_dims:])
        """d, the length of a whole slice."""
        self.coordinates = [torch.arange(n) for n in self.shape]
        """Of each axis, those that lie here, rising."""
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
        self.tensor_group = Team(self.mesh, tuple(split), traffic) if split else None
        """Those who hold the rest of the tensor, if it is split."""
        self.slice_group = Team(self.mesh, ranked, traffic) if ranked else None
        """Those who hold the rest of the slices that lie here, if these are split."""
        self.consecutive = [split[dim] for dim in ranked] == [stacked_dims] and all(
            getattr(placement, "split_factor", 1) == 1 for placement in self.placements
        )
        """Whether a rank holds one run of each slice, and those of the ranks follow one another."""
        self._moved: dict[Any, list[Tensor]] = {}

    def index(self, device: torch.device, dtype: torch.dtype) -> Tensor:
        """The flat index, in its whole slice, of each coordinate of a slice that lies here."""
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
        """All of the tensor whose part here is ``x``; gathers it."""
        return self.wrap(x).full_tensor()

    def wrap(self, x: Tensor) -> Any:
        """The DTensor whose part here is ``x``."""
        from torch.distributed.tensor import DTensor

        return DTensor.from_local(
            x, self.mesh, self.placements, run_check=False, shape=self.shape, stride=self.stride
        )

    def part(self, whole: Tensor) -> Tensor:
        """What lies here of a whole tensor."""
        for axis, coordinates in enumerate(self._on(whole.device)):
            if len(coordinates) < whole.shape[axis]:
                whole = whole.index_select(axis, coordinates)
        return whole

    def _on(self, device: torch.device) -> list[Tensor]:
        if device not in self._moved:
            self._moved[device] = [axis.to(device) for axis in self.coordinates]
        return self._moved[device]


def _piece(axis: Tensor, factor: int, n: int, at: int) -> Tensor:
    """The ``at``-th of n parts: of each of ``factor`` pieces, whatever else split them later."""
    return torch.cat([_chunk(piece, n, at) for piece in _pieces(axis, factor)])


def _pieces(axis: Tensor, n: int) -> list[Tensor]:
    return [_chunk(axis, n, i) for i in range(n)]


def _chunk(axis: Tensor, n: int, at: int) -> Tensor:
    """As ``torch.chunk`` cuts, the empty ones at the end included."""
    size = -(-len(axis) // n)
    return axis[at * size : (at + 1) * size]
