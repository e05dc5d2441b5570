"""Scalars with the same bits on every backend (N2, N3), and moving averages (N6)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from .._typing import Arithmetic, Array

STEP_BITS = 31  # a traced step count is below 2^31


@lru_cache(maxsize=256)
def complements(beta: float) -> tuple[float, ...]:
    """``C_k = 1 - beta^(2^k)`` in float64, for k = 0, 1, …, 30 (N3)."""
    return tuple(1.0 - beta ** (2**k) for k in range(STEP_BITS))


def bias_correction(be: Arithmetic, beta: float, t: Any) -> Array:
    """``c(beta, t) = 1 - beta^t`` in the compute dtype, by complements (N3).

    It only adds and multiplies, so that a traced ``t`` gives the bits of a Python ``t``. A ``pow``
    in float32 would lose half the digits of 1 - 0.999^t.

    Args:
        t: the step, a Python int or a 0-d integer array, 1 <= t < 2^31.

    Returns:
        A 0-d array.

    >>> import numpy as np
    >>> from mgup_core.numerics.backend import backend_for
    >>> float(bias_correction(backend_for(np.zeros(1)), 0.5, 3))
    0.875
    """
    if isinstance(t, int):
        return be.scalar(host_correction(be.host_dtype, beta, t))
    return be.correction(beta, t)


def traced_correction(be: Arithmetic, beta: float, t: Array) -> Array:
    """``c(beta, t)`` of a 0-d integer array ``t`` whose value stays unknown."""
    one = be.scalar(1.0)
    c = be.scalar(0.0)
    for k, complement in enumerate(complements(beta)):
        if be.host_dtype(complement) == 1:  # from here on, c + (1 - c) is 1
            return be.xp.where(t >= 2**k, one, c)
        c = _with_bit(be, c, be.scalar(complement), t, k)
    return c


def correction_of(be: Arithmetic, complements: Sequence[Array], t: Array) -> Array:
    """``c(beta, t)`` from all :func:`complements` of one beta, or of several, as arrays (R7).

    It has the bits of :func:`traced_correction`, which knows beta and so leaves some bits of t out.
    """
    c = be.scalar(0.0)
    for k, complement in enumerate(complements):
        c = _with_bit(be, c, complement, t, k)
    return c


def _with_bit(be: Arithmetic, c: Array, complement: Array, t: Array, k: int) -> Array:
    bit = (t // 2**k) % 2 > 0
    return be.xp.where(bit, c + be.mul(complement, be.scalar(1.0) - c), c)


@lru_cache(maxsize=1024)
def host_correction(dtype: Any, beta: float, t: int) -> Any:
    """``c(beta, t)`` as a NumPy scalar of ``dtype``, float32 or float64."""
    one, c = dtype(1), dtype(0)
    for k, complement in enumerate(complements(beta)):
        if t >> k & 1:
            c = c + dtype(complement) * (one - c)
    return c


def inverse_correction(be: Arithmetic, beta: float, t: Any) -> Array:
    """``1 / c(beta, t)``, the reciprocal that R1 multiplies by (N2), as a 0-d array."""
    if isinstance(t, int):
        return be.scalar(be.host_dtype(1) / host_correction(be.host_dtype, beta, t))
    return be.div(be.scalar(1.0), bias_correction(be, beta, t))


def ema(be: Arithmetic, old: Array, new: Array, beta: float, weight: float | None = None) -> Array:
    """``beta * old + (1 - beta) * new``, with tiny results stored as 0 (N6).

    Args:
        weight: replaces ``1 - beta``, which is formed in float64 and rounded once (N2).
    """
    weight = 1.0 - beta if weight is None else weight
    return be.flush(be.mul(be.scalar(beta), old) + be.mul(be.scalar(weight), new))


def at_first(be: Arithmetic, t: Any, first: Array, later: Array) -> Array:
    """``first`` at step 1, else ``later``; ``t`` is an int or a 0-d integer array."""
    if isinstance(t, int):
        return first if t == 1 else later
    return be.xp.where(t == 1, first, later)
