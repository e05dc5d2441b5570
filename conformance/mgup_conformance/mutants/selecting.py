"""Mistakes in the score, the rank, the multiplier and the safeguard (P1 to P10)."""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from typing import Any

import numpy as np

import mgup_core
from mgup_core import AdaptiveSignMGUP, Backend, Cautious, Policy, SignMGUP, Split, top_count
from mgup_core import policy as policies
from mgup_core.numerics import backend as backends
from mgup_core.selection.reference import argsort_mask, slices

from .base import instead_of

Array = Any
RANK = (Backend, "rank_mask")
COUNT = (policies, "top_count")
_right_decide = Policy.decide


@instead_of(COUNT, clause="P3")
def k_rounded(tau: float, d: int) -> int:
    """K is rounded to nearest."""
    return round(tau * d)


@instead_of(COUNT, clause="P3")
def k_float(tau: float, d: int) -> int:
    """K is int(tau * d) in floating point."""
    return int(tau * d)


@instead_of(COUNT, clause="P3")
def k_ceil(tau: float, d: int) -> int:
    """K is rounded up."""
    return ceil(tau * d)


@instead_of(COUNT, clause="P3")
def k_never_zero(tau: float, d: int) -> int:
    """At least one coordinate is selected."""
    return max(1, top_count(tau, d))


@instead_of(COUNT, clause="P3")
def k_padded(tau: float, d: int) -> int:
    """K comes from the size padded to a multiple of 8."""
    return min(d, top_count(tau, -(-d // 8) * 8))


@instead_of(RANK, clause="P4")
def ties_reversed(be: Backend, scores: Array, k: int) -> Array:
    """Among equals the highest index comes first."""
    return argsort_mask(be.xp, scores[:, ::-1], k)[:, ::-1]


def _threshold(scores: Array, k: int) -> Array:
    ordered = -np.sort(-np.where(np.isnan(scores), -np.inf, scores), axis=-1)
    return ordered[:, k - 1 : k]


@instead_of(RANK, clause="P4")
def ties_all(be: Backend, scores: Array, k: int) -> Array:
    """Every score equal to the threshold is selected: >= for >."""
    return scores >= _threshold(scores, k) if k else scores != scores


@instead_of(RANK, clause="P4")
def ties_none(be: Backend, scores: Array, k: int) -> Array:
    """No score equal to the threshold is selected."""
    return scores > _threshold(scores, k) if k else scores != scores


@instead_of(RANK, clause="P2")
def nan_highest(be: Backend, scores: Array, k: int) -> Array:
    """NaN ranks above every number."""
    return argsort_mask(be.xp, np.where(np.isnan(scores), np.inf, scores).astype(scores.dtype), k)


@instead_of(RANK, clause="P4")
def smallest(be: Backend, scores: Array, k: int) -> Array:
    """The K smallest are selected."""
    return argsort_mask(be.xp, -scores, k)


@instead_of(RANK, clause="P4")
def magnitude(be: Backend, scores: Array, k: int) -> Array:
    """The K largest in magnitude are selected."""
    return argsort_mask(be.xp, np.abs(scores), k)


@instead_of((policies, "score"), (mgup_core, "score"), clause="P2")
def score_not_canonical(a: Array, g: Array, *, be: Backend) -> Array:
    """Tiny scores are told apart."""
    return be.mul(be.cast(a, be.dtype), be.cast(g, be.dtype))


@instead_of((mgup_core, "score"), clause="P2")
def zero_signed(a: Array, g: Array, *, be: Backend) -> Array:
    """A score of -0 ranks below +0."""
    s = be.mul(be.cast(a, be.dtype), be.cast(g, be.dtype))
    least = np.array(-2 * be.tiny_score, s.dtype)
    return np.where((s == 0) & np.signbit(s), least, be.flush(s, be.tiny_score))


@instead_of((backends, "slices"), clause="P5")
def whole_array(x: Array, xp: Any, stacked_dims: int = 0) -> Array:
    """Stacked slices are ranked together."""
    return slices(x, xp, 0)


@instead_of((Policy, "decide"), clause="P8")
def zero_selected(self: Policy, be: Backend, scores: Array) -> Split:
    """Sign mode takes >= for > and the reverse."""
    if isinstance(self, SignMGUP):
        self = replace(self, ties="aligned" if self.ties == "damped" else "damped")
    return _right_decide(self, be, scores)


@instead_of((Policy, "decide"), clause="P6")
def multiplier_swapped(self: Policy, be: Backend, scores: Array) -> Split:
    """Gamma goes to the selected, alpha to the rest."""
    split = _right_decide(self, be, scores)
    return Split(split.mask, split.low, split.high)


@instead_of((policies, "safeguard"), clause="P7")
def unsafe(mask: Array, scores: Array) -> Array:
    """A selected NaN or -inf gets alpha."""
    return mask


def _share(be: Backend, positive: Array, d: int, floor: float) -> Array:
    return np.maximum(positive.astype(be.host_dtype) / be.scalar(max(d, 1)), be.scalar(floor))


@instead_of((AdaptiveSignMGUP, "factors"), clause="P9")
def adaptive_unclipped(self: Any, be: Backend, positive: Array, d: int) -> tuple[Array, Array]:
    """The share of positive scores is not clipped."""
    share = _share(be, positive, d, 0.0)
    return be.scalar(1.0) / share, share


@instead_of((Cautious, "factors"), clause="P10")
def cautious_floor(self: Any, be: Backend, positive: Array, d: int) -> tuple[Array, Array]:
    """The floor of the cautious mean is 1e-8, not 1e-3."""
    return be.scalar(1.0) / _share(be, positive, d, 1e-8), be.scalar(0.0)


MUTANTS = (
    k_rounded, k_float, k_ceil, k_never_zero, k_padded, ties_reversed, ties_all, ties_none,
    nan_highest, smallest, magnitude, score_not_canonical, zero_signed, whole_array,
    zero_selected, multiplier_swapped, unsafe, adaptive_unclipped, cautious_floor,
)  # fmt: skip
