"""The statistics of sharded tensors, summed over the ranks that hold their parts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mgup_core import Split, Statistics

from .mesh_group import MeshGroup
from .shard import Part

Decision = tuple[Part, MeshGroup | None, Tensor, Split]
"""The decision about one tensor: this rank's part, the ranks that share its slices, the canonical
scores of this part (n, m), and their split."""


def measure(decisions: Sequence[Decision]) -> list[Statistics]:
    """The statistics of whole tensors, by three collectives for each mesh group."""
    lowest = _lowest(decisions)
    tallies = []
    for (_, _, scores, split), least in zip(decisions, lowest, strict=True):
        phi = torch.where(split.mask, split.high, split.low)
        selected, ties, positive = split.mask, scores == least, scores > 0.0
        tallies.append(
            torch.stack([x.sum(dtype=torch.float64) for x in (selected, ties, positive, phi)])
        )
    lowest_of_all = [(least.min() if least.numel() else least.sum() + math.inf) for least in lowest]
    sums = _shared([d[0].tensor_group for d in decisions], tallies, MeshGroup.all_reduce_sum)
    negated = _shared(
        [d[0].tensor_group for d in decisions],
        [-e.double()[None] for e in lowest_of_all],
        MeshGroup.all_reduce_max,
    )
    return [
        _statistics(part, scores.dtype, tally, -end[0])
        for (part, _, scores, _), tally, end in zip(decisions, sums, negated, strict=True)
    ]


def _statistics(part: Part, dtype: torch.dtype, tally: Tensor, lowest: Tensor) -> Statistics:
    size = math.prod(part.shape)
    if size == 0:
        zero = torch.zeros((), dtype=dtype, device=tally.device)
        return Statistics(zero, zero + math.inf, zero, zero, zero)
    selected, ties, positive, phi = tally
    share = [x.to(dtype) for x in (selected / size, positive / size, phi / size)]
    return Statistics(share[0], lowest.to(dtype), ties.to(dtype), share[1], share[2])


def _lowest(decisions: Sequence[Decision]) -> list[Tensor]:
    """The lowest selected score of each slice, (n, 1)."""
    here = []
    for _, _, scores, split in decisions:
        selected = scores.masked_fill(~split.mask, math.inf)
        empty = scores.new_full((scores.shape[0], 1), math.inf)
        here.append(selected.amin(-1, keepdim=True) if scores.shape[-1] else empty)
    found = _shared(
        [d[1] for d in decisions], [-x.double() for x in here], MeshGroup.all_reduce_max
    )
    return [(-x).to(scores.dtype) for x, (_, _, scores, _) in zip(found, decisions, strict=True)]


def _shared(
    mesh_groups: Sequence[MeshGroup | None],
    values: Sequence[Tensor],
    reduce: Callable[[MeshGroup, Tensor], Tensor],
) -> list[Tensor]:
    """Each value reduced over its mesh group, by one collective for each mesh group."""
    found = list(values)
    by_mesh_group: dict[tuple[str, ...], tuple[MeshGroup, list[int]]] = {}
    for i, one in enumerate(mesh_groups):
        if one is not None:
            by_mesh_group.setdefault(one.key, (one, []))[1].append(i)
    for mesh_group, numbers in by_mesh_group.values():
        flat = reduce(mesh_group, torch.cat([values[i].reshape(-1) for i in numbers]))
        parts = flat.split([values[i].numel() for i in numbers])
        for i, part in zip(numbers, parts, strict=True):
            found[i] = part.view(values[i].shape)
    return found
