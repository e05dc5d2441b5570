"""The K-th largest score of a long array of which only blocks are in memory; NumPy arrays only.

A bracket (low, high] around the threshold is guessed from a sample. One pass over the blocks counts
the scores above each end and keeps the few scores in between. The counts prove whether the bracket
holds the threshold, so that the guess decides only the speed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .._typing import Array
from .sampling import sample_stride

_ONE_IN, _FEWEST, _MOST = 1 << 7, 1 << 12, 3 << 14  # one strided read costs as hundreds in order
_DEVIATIONS = 3.5  # of the sample's quantile: a few guesses in ten thousand miss


class Cut(NamedTuple):
    """The scores above ``threshold`` are amplified, and ``need`` of those equal to it (P4, P7)."""

    threshold: float
    need: int


class Scan(NamedTuple):
    """The counts of one block against a bracket."""

    above_high: int
    above_low: int
    between: Array
    """The scores in (low, high]; empty where the bracket holds a single value."""


def exact_cut(scores: Array, k: int) -> Cut:
    """The cut for the k largest of canonical scores (d,) except NaN and -inf (P7)."""
    if k <= 0:
        return Cut(math.inf, 0)
    return _cut_of(scores[scores > -math.inf], k)


def row_cuts(rows: Array, k: int) -> tuple[Array, Array]:
    """The cut for the k largest of each row of canonical scores (n, d), d >= 1.

    Returns:
        The thresholds, of the dtype of the scores, and the indices before which all scores equal to
        them are selected, and after which none: each (n,).
    """
    n, d = rows.shape
    thresholds = np.full(n, math.inf, rows.dtype)
    if k <= 0:  # an infinite score is none of the selected
        return thresholds, np.zeros(n, np.int64)
    bounds = np.full(n, d, np.int64)
    ordered = np.partition(rows, d - k, axis=-1)
    thresholds[:] = ordered[:, d - k]
    # NumPy ranks NaN highest. Where none is wanted, and the rest has no tie, this is the cut.
    special = np.isnan(ordered[:, d - k :].max(axis=-1)) | (thresholds == -math.inf)
    if k < d:
        special |= ordered[:, : d - k].max(axis=-1) == thresholds
    for i in np.flatnonzero(special):
        cut = exact_cut(rows[i], k)
        ties = int(np.count_nonzero(rows[i] == cut.threshold))
        thresholds[i] = cut.threshold
        bounds[i] = boundary(cut, [ties], [slice(0, d)], lambda _, i=i: rows[i])  # type: ignore[misc]
    return thresholds, bounds


def _cut_of(eligible: Array, k: int) -> Cut:
    """The cut for k >= 1 of scores above -inf; it reorders the array."""
    n = eligible.size
    if n <= k:
        return Cut(-math.inf, 0)
    eligible.partition(n - k)
    top = eligible[n - k :]
    threshold = top[0]
    return Cut(float(threshold), k - int(np.count_nonzero(top > threshold)))


def guess(sample: Array, share: float) -> tuple[float, float]:
    """A bracket (low, high] that likely holds the threshold of the top ``share`` of all scores.

    Where the quantiles on both sides are equal, the threshold is a score with many ties, and the
    bracket holds it alone. Otherwise the bracket excludes both quantiles, since many scores may
    equal either of them.
    """
    n = sample.size
    ordered = np.sort(np.where(sample > -math.inf, sample, -math.inf).astype(sample.dtype))
    position = round(n * (1.0 - share))
    margin = round(_DEVIATIONS * math.sqrt(n * share * (1.0 - share))) + 2
    below, above = position - margin, position + margin
    low = ordered[below] if below >= 0 else -math.inf
    high = ordered[above] if above < n else math.inf
    one_less = np.nextafter(sample.dtype.type(high), sample.dtype.type(-math.inf))
    if low == high:
        return float(one_less), float(high)
    return float(low), float(high if high == math.inf else one_less)


def scan(scores: Array, low: float, high: float) -> Scan:
    """Count one block of canonical scores against a bracket."""
    over = scores > high
    inside = scores > low
    above_low = int(np.count_nonzero(inside))
    above_high = int(np.count_nonzero(over))
    inside ^= over
    one = holds_one(scores.dtype.type, low, high)
    return Scan(above_high, above_low, scores[:0] if one else scores[inside])


def holds_one(dtype: Any, low: float, high: float) -> bool:
    """Whether (low, high] contains a single value of a NumPy scalar type."""
    return bool(np.nextafter(dtype(high), dtype(-math.inf)) <= low)


def resolve(scans: list[Scan], k: int, low: float, high: float) -> Cut | None:
    """The cut, or ``None`` if the scans show that it is not in their bracket."""
    above_high = sum(s.above_high for s in scans)
    above_low = sum(s.above_low for s in scans)
    if k > above_low and low == -math.inf:
        return Cut(low, 0)
    if not above_high < k <= above_low:
        return None
    between = np.concatenate([s.between for s in scans])
    if between.size == 0:
        return Cut(high, k - above_high)
    if k == above_low:
        return Cut(low, 0)
    return _cut_of(between, k - above_high)


def find_cut(
    k: int,
    spans: list[slice],
    scores: Callable[[int], Array],
    again: Callable[[int], Array],
    sample: Callable[[int], Array],
    each: Callable[[Callable[[int], Any]], list[Any]],
    scan: Callable[[Array, float, float], Scan] = scan,
) -> tuple[Cut, list[int]]:
    """(the cut for the k largest scores of all blocks, the count of ties in each block).

    Args:
        spans: the blocks, at least one.
        scores: gives the scores of a block by its index; called once for each block.
        again: gives them once more.
        sample: gives the scores at a stride.
        each: calls a function with each block's index, and returns the list of results.
        scan: :func:`scan`, or a faster function with the same result.
    """
    if len(spans) == 1:
        whole = scores(0)
        cut = exact_cut(whole, k)
        return cut, [int(np.count_nonzero(whole == cut.threshold))]
    size = spans[-1].stop
    stride = sample_stride(size, one_in=_ONE_IN, fewest=_FEWEST, most=_MOST)
    low, high = guess(sample(stride), k / size)
    scans: list[Scan] = each(lambda i: scan(scores(i), low, high))
    found = resolve(scans, k, low, high)
    if found is not None:
        return found, [ties_in(s, found.threshold) for s in scans]
    # The bracket missed, which is rare: partition all scores at once.
    whole = np.empty(size, np.result_type(scans[0].between))

    def fill(i: int) -> None:
        whole[spans[i]] = again(i)

    each(fill)
    cut = exact_cut(whole, k)
    return cut, [int(np.count_nonzero(whole[span] == cut.threshold)) for span in spans]


def boundary(cut: Cut, ties: list[int], spans: list[slice], scores: Callable[[int], Array]) -> int:
    """The index before which all scores equal to the threshold are selected, and after which none.

    Args:
        ties: the count of ties in each block, from :func:`find_cut`.
        scores: gives the scores of a block by its index.
    """
    need = cut.need
    for i, count in enumerate(ties):
        if need == 0:
            return int(spans[i].start)
        if need < count:
            places = np.flatnonzero(scores(i) == cut.threshold)
            return int(spans[i].start + places[need - 1] + 1)
        need -= count
    return int(spans[-1].stop)


def ties_in(block: Scan, threshold: float) -> int:
    """The number of a scanned block's scores that equal the threshold from :func:`resolve`."""
    if block.between.size:
        return int(np.count_nonzero(block.between == threshold))
    return block.above_low - block.above_high


def mask_of(scores: Array, threshold: float, ties: int, quota: int) -> Array:
    """The mask of one block: scores above the threshold, and the first ``quota`` of ``ties``."""
    if quota >= ties > 0:
        return scores >= threshold
    mask = scores > threshold
    if quota > 0:
        mask[np.flatnonzero(scores == threshold)[:quota]] = True
    return mask
