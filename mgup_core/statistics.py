"""The statistics of a policy's decision, which every backend reports alike."""

from __future__ import annotations

from typing import NamedTuple

from ._typing import Array, Split
from .numerics.backend import Backend


class Statistics(NamedTuple):
    """The policy's decision about one parameter, as 0-d arrays on its device, without a sync."""

    selected: Array
    """Share of coordinates that have the high multiplier."""
    threshold: Array
    """The lowest selected score; +inf if none is selected."""
    ties: Array
    """The number of scores that equal the threshold of their slice, selected or not."""
    positive: Array
    """Share of scores above zero."""
    multiplier: Array
    """Mean multiplier of all coordinates."""


def measure(be: Backend, scores: Array, split: Split) -> Statistics:
    """The statistics of one decision over canonical scores (slices, d).

    Args:
        split: the split of these scores; its mask may have another shape with the same C order.
    """
    xp = be.xp
    mask = xp.reshape(split.mask, scores.shape)
    phi = xp.reshape(xp.where(split.mask, split.high, split.low), scores.shape)
    size = be.scalar(max(scores.shape[0] * scores.shape[1], 1))
    if scores.shape[0] * scores.shape[1] == 0:
        zero = be.scalar(0.0)
        return Statistics(zero, be.scalar(float("inf")), zero, zero, zero)

    def total(mask: Array) -> Array:
        return be.cast(xp.sum(be.count(mask)), be.dtype)

    lowest = xp.min(xp.where(mask, scores, be.scalar(float("inf"))), axis=-1, keepdims=True)
    return Statistics(
        selected=be.div(total(mask), size),
        threshold=xp.min(lowest),
        ties=total(scores == lowest),
        positive=be.div(total(scores > 0.0), size),
        multiplier=xp.mean(phi),
    )
