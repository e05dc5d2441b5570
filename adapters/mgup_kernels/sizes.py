"""How much of each slice is drawn, and how long its list of candidates may be."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import tuning, verify


def sample_chunks(lengths: Any, k: Any, bytes_moved: int) -> Any:
    """How many chunks are drawn to verify the bracket of each slice: (slices,) int64.

    Args:
        lengths, k: (slices,) int64, of ranked slices that lie on one device.
        bytes_moved: of a coordinate, by a step.
    """
    shortest = tuning.ONE_PASS if bytes_moved > tuning.NARROW else tuning.ONE_PASS_NARROW
    chunks = verify.sample_sizes(lengths, tuning.VERIFY_CHUNK, shortest) * (k > 0)
    least = max(tuning.ONE_PASS_TOTAL, tuning.ONE_PASS_SHARE * lengths.sum())
    return chunks * (lengths[chunks > 0].sum() >= least)


def first_sample(world_size: int, *, one_pass: bool) -> tuple[int, float]:
    """The size of the sample of each slice, and the DEVIATIONS of its bracket."""
    if one_pass:
        return tuning.ONE_PASS_SAMPLE, min(tuning.DEVIATIONS, tuning.ONE_PASS_DEVIATIONS)
    if world_size == 1:
        return tuning.SAMPLE, tuning.DEVIATIONS
    # The span of all devices' brackets misses only if each of them does.
    return tuning.SAMPLE, max(tuning.DEVIATIONS / world_size**0.5, 1.5)


def capacities(
    local_lengths: Any, share: Any, chunks: Any, sample: int, deviations: float, world_size: int
) -> Any:
    """Room for the candidates of each ranked slice: (slices,) int64.

    Args:
        local_lengths: of the slices, as far as they lie on this device.
        share: K / d of each.
        chunks: drawn from each to verify its bracket.
        sample, deviations: those of :func:`first_sample`.
        world_size: over how many devices each slice may be spread.
    """
    deviations = deviations if world_size == 1 else tuning.DEVIATIONS
    spread = 2 * deviations * np.sqrt(np.maximum(share * (1 - share), 0.01) / sample)
    # The brackets of a small slice's parts may lie apart: then there is room for all scores.
    least = 0 if world_size == 1 else tuning.SAMPLE
    capacity = np.maximum(np.ceil(tuning.ROOM * spread * local_lengths), least)
    if chunks.any():
        width = 2 * verify.half_width(chunks, share, tuning.VERIFY_CHUNK)
        # The ends of the bracket are edges, so it may be wider by two of their distances.
        width += 2 * (spread + 1.3 * width) / (tuning.EDGES - 1)
        listed = np.ceil(tuning.LIST_ROOM * width * local_lengths)
        capacity = np.where(chunks > 0, listed, capacity)
    return np.minimum(capacity, local_lengths).astype(np.int64)
