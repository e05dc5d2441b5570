"""Functions in additions, products and quotients, so that they give the same bits everywhere.

No two libraries' ``tanh`` or ``exp`` round alike; correctly rounded operations in a fixed order do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .backend import Array, Backend

_ABOVE = (1.0, 17325 / 135135, 378 / 135135, 1 / 135135)
_BELOW = (1.0, 62370 / 135135, 3150 / 135135, 28 / 135135)
"""Lambert's continued fraction of ``tanh(y) / y`` to seven levels, as a quotient in ``y^2``."""


def polynomial(be: Backend, coefficients: Sequence[float], x: Array) -> Array:
    """``c0 + c1*x + c2*x^2 + …``, by Horner's rule."""
    value = be.scalar(coefficients[-1])
    for c in reversed(coefficients[:-1]):
        value = be.mul(value, x) + be.scalar(c)
    return value


def tanh(be: Backend, x: Array) -> Array:
    """The hyperbolic tangent, of any shape, within 8 units in the last place.

    ``y = x / 2^k`` by a continued fraction, then k times ``tanh 2y = 2 tanh y / (1 + tanh^2 y)``,
    in which errors shrink. Beyond ``|x| = 10`` (20 in float64) it is 1 to rounding. NaN stays.
    """
    limit, doublings = (20.0, 6) if be.host_dtype is np.float64 else (10.0, 3)
    x = be.xp.where(be.xp.abs(x) > be.scalar(limit), be.mul(be.xp.sign(x), be.scalar(limit)), x)
    y = be.mul(x, be.scalar(2.0**-doublings))
    square = be.mul(y, y)
    above = be.mul(y, polynomial(be, _ABOVE, square))
    value = be.div(above, polynomial(be, _BELOW, square))
    for _ in range(doublings):
        value = be.div(value + value, be.scalar(1.0) + be.mul(value, value))
    return value


def sinh_squared(be: Backend, x: Array, bound: float) -> Array:
    """``sinh(x)^2``, of any shape, where ``|x| <= bound``, within 8 units in the last place.

    ``y = x / 2^k``, at most 1, by the series of ``(cosh(2y) - 1) / 2``, then k times
    ``s <- 4s(1 + s)``.
    """
    doublings = max(0, math.ceil(math.log2(bound))) if bound > 0 else 0
    y = be.mul(x, be.scalar(2.0**-doublings))
    square = be.mul(y, y)
    terms = 12 if be.host_dtype is np.float64 else 7
    series = tuple(2.0 ** (2 * k + 1) / math.factorial(2 * k + 2) for k in range(terms))
    value = be.mul(square, polynomial(be, series, square))
    for _ in range(doublings):
        value = be.mul(be.mul(be.scalar(4.0), value), be.scalar(1.0) + value)
    return value
