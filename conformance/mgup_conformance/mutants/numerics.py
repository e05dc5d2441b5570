"""Mistakes in the arithmetic (N2 to N6), of the size of a unit in the last place."""

from __future__ import annotations

from typing import Any

import numpy as np

from mgup_core import Backend, ema
from mgup_core.numerics import scalars
from mgup_core.rules import adam, lion, muon, sgd

from .base import Mutant, instead_of

Array = Any
AVERAGES = tuple((module, "ema") for module in (adam, lion, sgd, muon))
_right_flush = Backend.flush


@instead_of(*AVERAGES, clause="N2")
def complement_float32(
    be: Backend, old: Array, new: Array, beta: float, weight: float | None = None
) -> Array:
    """1 - beta is formed in float32."""
    if weight is not None:
        return ema(be, old, new, beta, weight)
    b = be.scalar(beta)
    return be.flush(b * old + (be.scalar(1.0) - b) * new)


@instead_of(*AVERAGES, clause="N5")
def contracted(
    be: Backend, old: Array, new: Array, beta: float, weight: float | None = None
) -> Array:
    """A product and a sum are fused, with one rounding."""
    weight = 1.0 - beta if weight is None else weight
    wider = np.longdouble if be.host_dtype == np.float64 else np.float64
    product = (be.scalar(beta) * old).astype(wider)
    return be.flush((product + be.scalar(weight).astype(wider) * new).astype(be.host_dtype))


@instead_of((Backend, "flush"), clause="N6")
def moments_not_flushed(be: Backend, x: Array, below: float | None = None) -> Array:
    """Tiny moments are kept."""
    return x if below is None else _right_flush(be, x, below)


@instead_of((Backend, "flush"), clause="N6")
def flushed_early(be: Backend, x: Array, below: float | None = None) -> Array:
    """Moments below 2^-90 are dropped, not only those below 2^-100."""
    return _right_flush(be, x, be.tiny_moment * 2.0**10 if below is None else below)


@instead_of((Backend, "sqrt"), clause="N4")
def sqrt_inexact(be: Backend, x: Array) -> Array:
    """One square root in eight is off by one unit."""
    root = np.sqrt(x)
    off = np.nextafter(root, np.inf).astype(root.dtype)
    return np.where((root > 0) & (np.arange(root.size).reshape(root.shape) % 8 == 7), off, root)


@instead_of((scalars, "host_correction"), clause="N3")
def power(dtype: Any, beta: float, t: int) -> Any:
    """1 - beta^t is formed by pow."""
    return dtype(1) - dtype(beta) ** dtype(t)


MUTANTS: tuple[Mutant, ...] = (
    complement_float32, contracted, moments_not_flushed, flushed_early, sqrt_inexact, power,
)  # fmt: skip
