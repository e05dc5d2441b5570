"""From the tallies of a blockwise step to the statistics that every backend reports."""

from __future__ import annotations

import torch

from mgup_core import Statistics
from mgup_core.host.blocks import Tally


def combine(slices: list[Tally]) -> Statistics:
    """The statistics of one parameter from its slices' tallies, as 0-d float32 tensors."""
    size = max(sum(s.size for s in slices), 1)
    total = sum(s.selected * float(s.high) + (s.size - s.selected) * float(s.low) for s in slices)
    return Statistics(
        selected=torch.tensor(sum(s.selected for s in slices) / size),
        threshold=torch.tensor(min((float(s.threshold) for s in slices), default=torch.inf)),
        ties=torch.tensor(float(sum(s.ties for s in slices))),
        positive=torch.tensor(sum(s.positive for s in slices) / size),
        multiplier=torch.tensor(total / size),
    )
