"""The reference of selection: K and slices (P3, P5), and the mask by a stable sort (P2, P4).

Two other algorithms give the same mask bit for bit: :mod:`mgup_core.selection.counting` needs only
counts, and so runs traced and sharded; :mod:`mgup_core.selection.partition` is the fastest where
the scores lie in host memory.
"""

from __future__ import annotations

from fractions import Fraction
from math import prod
from typing import Any

from .._typing import Array
from .counting import device


def top_count(tau: float, d: int) -> int:
    """``K = floor(tau * d)`` in exact arithmetic, tau being the decimal that repr prints (P3).

    >>> top_count(0.29, 100), int(0.29 * 100)
    (29, 28)
    """
    numerator, denominator = Fraction(repr(float(tau))).as_integer_ratio()
    # Eight decimals of tau at a time, the last first. A compiler may hold d as a symbol, which
    # knows integers of 64 bits and no fractions.
    k, (whole, rest) = 0, divmod(numerator, denominator)
    decimals = []
    while rest:
        eight, rest = divmod(rest * 10**8, denominator)
        decimals.append(eight)
    for eight in reversed(decimals):
        k = (eight * d + k) // 10**8
    return int(whole * d + k)


def slices(x: Array, xp: Any, stacked_dims: int = 0) -> Array:
    """``x`` as (n, d): one row for each index of the first ``stacked_dims`` axes (P5)."""
    if not 0 <= stacked_dims <= x.ndim:
        raise ValueError(
            f"stacked_dims={stacked_dims} is outside [0, {x.ndim}] for an array of shape "
            f"{tuple(x.shape)}; it counts the leading axes that are ranked separately."
        )
    n = prod(x.shape[:stacked_dims])
    return xp.reshape(x, (n, prod(x.shape[stacked_dims:])))


def argsort_mask(xp: Any, scores: Array, k: int) -> Array:
    """The mask of the k largest of each row of canonical scores (n, d), by stable sorts (P4).

    It is the reference. It needs only ``argsort`` of the array API, and so it also runs traced.
    """
    d = scores.shape[-1]
    if d == 0:
        return scores == scores
    nan = scores != scores
    lowest = xp.asarray(-xp.inf, dtype=scores.dtype, device=device(scores))
    filled = xp.where(nan, lowest, scores)
    order = xp.argsort(filled, axis=-1, descending=True, stable=True)
    place = xp.argsort(order, axis=-1)  # the inverse permutation gives each coordinate its place
    # NaN ranks below -inf (P2), so it moves behind all numbers; these keep their order.
    place = place + xp.astype(nan, place.dtype) * d
    return xp.argsort(xp.argsort(place, axis=-1), axis=-1) < k
