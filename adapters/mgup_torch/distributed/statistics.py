"""What the policies did to tensors of which each rank holds a part."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mgup_core import Split, Statistics

from .mesh_group import Team
from .shard import Part

Decision = tuple[Part, Team | None, Tensor, Split]
"""Of one tensor: the part here, who shares its slices, their canonical scores here (n, m), and how
they were split."""


def measure(decisions: Sequence[Decision]) -> list[Statistics]:
    """The statistics of whole tensors: three collectives for all those of a team."""
    lowest = _lowest(decisions)
    tallies = []
    for (_, _, scores, split), least in zip(decisions, lowest, strict=True):
        phi = torch.where(split.mask, split.high, split.low)
        selected, ties, positive = split.mask, scores == least, scores > 0.0
        tallies.append(
            torch.stack([x.sum(dtype=torch.float64) for x in (selected, ties, positive, phi)])
        )
    ends = [(least.min() if least.numel() else least.sum() + math.inf) for least in lowest]
    sums = _shared([d[0].tensor_group for d in decisions], tallies, Team.total)
    ends = _shared(
        [d[0].tensor_group for d in decisions], [-e.double()[None] for e in ends], Team.greatest
    )
    return [
        _statistics(part, scores.dtype, tally, -end[0])
        for (part, _, scores, _), tally, end in zip(decisions, sums, ends, strict=True)
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
    found = _shared([d[1] for d in decisions], [-x.double() for x in here], Team.greatest)
    return [(-x).to(scores.dtype) for x, (_, _, scores, _) in zip(found, decisions, strict=True)]


def _shared(teams: Sequence[Team | None], values: Sequence[Tensor], reduce: object) -> list[Tensor]:
    """Each value reduced over its team, in one collective a team."""
    found = list(values)
    by_team: dict[tuple[str, ...], list[int]] = {}
    for i, team in enumerate(teams):
        if team is not None:
            by_team.setdefault(team.key, []).append(i)
    for numbers in by_team.values():
        team = teams[numbers[0]]
        flat = reduce(team, torch.cat([values[i].reshape(-1) for i in numbers]))
        parts = flat.split([values[i].numel() for i in numbers])
        for i, part in zip(numbers, parts, strict=True):
            found[i] = part.view(values[i].shape)
    return found
